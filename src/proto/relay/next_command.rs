//! The next command of a workstation: a whole line, while the client module is silent.

use super::{
    Attention, Limit, Question, Refusal, Seen, Side, Step, StepReport, Teardown, Unread, Verdict,
    Why,
};
use crate::proto::line::{Fault, Framed, Line, next_line};
use crate::words::Reason;

/// Unusable lines that are answered. A mail program has no reason for more, so the next one ends
/// the session.
const BAD_LINES: u32 = 20;

/// Waits for a line, sees that the client module has said nothing meanwhile, and asks whether the
/// session may still go on.
#[derive(Debug, Default)]
pub(in crate::proto) struct NextCommand {
    stage: Stage,
    bad_lines: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Line,
    /// A line that cannot be read was skipped.
    Unreadable(Fault),
    /// A line is here, of so many bytes with its CRLF. The client module was polled.
    Silence(usize),
    /// The client module was silent, and the owner was asked.
    Permission(usize),
}

/// What [`NextCommand::next`] found.
pub(in crate::proto) enum Next<'a> {
    /// This has to be done first.
    Step(Step<'static>),
    /// A command to carry out.
    Line(Line<'a>),
}

impl NextCommand {
    /// `goodbye` is how a client module begins the words with which it ends an idle session.
    pub(in crate::proto) fn next<'a>(
        &mut self,
        goodbye: &[u8],
        seen: Seen<'a>,
        report: &StepReport,
    ) -> Next<'a> {
        let step = match self.stage {
            Stage::Line => self.wait_for_line(goodbye, seen),
            Stage::Unreadable(fault) => {
                self.stage = Stage::Line;
                Step::Refuse(Refusal::Command(fault.into()))
            }
            Stage::Silence(len) => match broken_silence(goodbye, seen.client_module) {
                Some(reason) => Step::End(Teardown::refused(reason)),
                None => {
                    self.stage = Stage::Permission(len);
                    Step::Ask(Question::Command)
                }
            },
            Stage::Permission(len) => match report.verdict() {
                None => Step::Ask(Question::Command),
                Some(Verdict::Refuse(reason)) => Step::End(Teardown::refused(reason)),
                Some(Verdict::Pass) => {
                    self.stage = Stage::Line;
                    let text = &seen.workstation.bytes[..len - 2];
                    return Next::Line(Line { text, wire: len });
                }
            },
        };
        Next::Step(step)
    }

    fn wait_for_line(&mut self, goodbye: &[u8], seen: Seen<'_>) -> Step<'static> {
        match next_line(seen.workstation.bytes, seen.settings.command_line) {
            Framed::Line(line) => {
                self.stage = Stage::Silence(line.wire);
                return Step::Poll;
            }
            Framed::TooLong => return Step::End(Teardown::refused(Reason::LineTooLong)),
            Framed::Faulty { consumed, fault } => {
                if let Some(teardown) = self.count_bad_line() {
                    return Step::End(teardown);
                }
                self.stage = Stage::Unreadable(fault);
                return Step::Skip { from: Side::Workstation, bytes: consumed };
            }
            Framed::Incomplete => {}
        }
        if seen.workstation.eof.is_some() {
            return Step::End(Teardown::new(Why::Left));
        }
        match broken_silence(goodbye, seen.client_module) {
            Some(reason) => Step::End(Teardown::refused(reason)),
            None => Step::Wait {
                workstation: Attention::Need,
                client_module: Attention::Watch,
                limit: Limit::Idle,
            },
        }
    }

    /// Counts a line that cannot be carried out. After [`BAD_LINES`] of them, returns the teardown.
    pub(in crate::proto) fn count_bad_line(&mut self) -> Option<Teardown> {
        self.bad_lines += 1;
        (self.bad_lines > BAD_LINES).then(|| Teardown::refused(Reason::BadCommand))
    }
}

/// What it means that the client module speaks or ends without having been asked. An answer belongs
/// to one command, so bytes that came before the command are not its answer. A goodbye is no fault:
/// servers say it when a session was idle for longer than they like (RFC 5321 section 3.8).
pub(in crate::proto) fn broken_silence(
    goodbye: &[u8],
    client_module: Unread<'_>,
) -> Option<Reason> {
    match (client_module.bytes, client_module.eof) {
        ([], None) => None,
        ([], Some(_)) => Some(Reason::ClientModuleUnreachable),
        (bytes, _) if is_goodbye(goodbye, bytes) => Some(Reason::ClientModuleUnreachable),
        (_, _) => Some(Reason::ClientModuleProtocolError),
    }
}

/// Whether these bytes are a goodbye, or as much of one as has come. No bytes are none yet.
pub(in crate::proto) fn is_goodbye(goodbye: &[u8], bytes: &[u8]) -> bool {
    bytes.starts_with(goodbye) || goodbye.starts_with(bytes)
}
