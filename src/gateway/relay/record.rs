//! What happened in a session: told to the observer, and remembered as far as it matters later.

use tokio::time::Instant;

use super::Driver;
use crate::gateway::reply::code_of;
use crate::gateway::wire::Wire;
use crate::observe::{Direction, Event, Phase};
use crate::proto::header::HeaderReader;
use crate::proto::relay::Fact;
use crate::words::RequiredField;

/// What a session remembers of itself.
#[derive(Default)]
pub(super) struct Record {
    /// When the command that is under way was sent, or the message.
    asked: Option<Instant>,
    /// After how many seconds its answer began.
    waited: Option<f64>,
    /// When the workstation left while the client module was still working.
    left: Option<Instant>,
    reported: Reported,
}

/// What the workstation asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// RETR.
    Message,
    /// TOP.
    Preview,
}

/// How much traffic was reported already.
#[derive(Default)]
struct Reported {
    to_workstation: u64,
    to_client_module: u64,
}

impl Record {
    /// Notices when the workstation has left.
    pub(super) fn see_presence(&mut self, workstation: &Wire) {
        if workstation.end().is_some() {
            self.left.get_or_insert_with(Instant::now);
        }
    }

    fn begin(&mut self) {
        (self.asked, self.waited) = (Some(Instant::now()), None);
    }

    fn seconds(&self) -> f64 {
        self.asked.map_or(0.0, |asked| asked.elapsed().as_secs_f64())
    }
}

impl Driver {
    pub(super) fn record(&mut self, fact: Fact<'_>) {
        let Self { pair, record, .. } = self;
        let (observer, session) = (&pair.shared.observer, &pair.facts);
        match fact {
            Fact::RetrieveAsked => {
                record.begin();
                pair.tracked.phase(Phase::Retrieving);
            }
            Fact::RetrieveBegan => record.waited = Some(record.seconds()),
            Fact::Received { bytes, is_complete, header, .. } => {
                self.received(Part::Message, bytes, is_complete, header);
            }
            Fact::Previewed { bytes, is_complete, header, .. } => {
                if bytes > 0 {
                    self.received(Part::Preview, bytes, is_complete, header);
                }
            }
            Fact::Deleted { number } => observer.emit(Event::MessageDeleted { session, number }),
            Fact::SendBegan => pair.tracked.phase(Phase::Sending),
            Fact::SendEnded => record.begin(),
            Fact::Sent { bytes, header, recipients, accepted, reply, added } => {
                let left_after = record.asked.zip(record.left);
                let missing = missing_fields(header);
                observer.emit(Event::MessageSent {
                    session,
                    bytes,
                    seconds: record.seconds(),
                    service: header.values(RequiredField::Service.as_str()).next(),
                    message_id: header.values(RequiredField::MessageId.as_str()).next(),
                    missing: &missing,
                    recipients,
                    accepted,
                    left_after: left_after
                        .map(|(asked, left)| left.duration_since(asked).as_secs_f64()),
                    reply: code_of(&pair.client_module.bytes()[..reply]),
                    added,
                });
            }
        }
    }

    fn received(&self, part: Part, bytes: u64, complete: bool, header: &HeaderReader) {
        let Self { pair, record, .. } = self;
        let values = |name| header.values(name).map(str::to_owned).collect::<Vec<_>>();
        pair.shared.observer.emit(Event::MessageReceived {
            session: &pair.facts,
            bytes,
            complete,
            top: part == Part::Preview,
            seconds: record.seconds(),
            wait: record.waited.unwrap_or_else(|| record.seconds()),
            service: header.values("X-KIM-Dienstkennung").next(),
            decryption: &values("X-KIM-DecryptionResult"),
            integrity: &values("X-KIM-IntegrityCheckResult"),
        });
    }

    /// Tells how many bytes went each way since the last time.
    pub(super) fn report_traffic(&mut self) {
        let Self { pair, record: Record { reported, .. }, .. } = self;
        let (to_workstation, to_client_module) =
            (pair.workstation.sent(), pair.client_module.sent());
        let more = to_client_module - reported.to_client_module;
        pair.tracked.relayed(Direction::ToModule, more);
        pair.tracked.relayed(Direction::ToClient, to_workstation - reported.to_workstation);
        *reported = Reported { to_workstation, to_client_module };
    }
}

/// What a sent message lacks of what practice software has to write. Nothing, where a field that was
/// not found may be there all the same.
fn missing_fields(header: &HeaderReader) -> Vec<RequiredField> {
    let mut missing = Vec::new();
    if header.is_certain() {
        missing.extend(RequiredField::ALL);
        missing.retain(|field| !header.says(field.as_str()));
    }
    missing
}
