//! A message on its way to the client module: its header block is judged before the client module
//! sees DATA, and then it streams, byte for byte, up to an end that nobody can read differently.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::pair::{Pair, Side, Stop, seconds, stalled};
use super::reply::code_of;
use super::smtp::{Transaction, ask, bring, final_reply, reset};
use super::wire::{Filled, Wire};
use crate::observe::Event;
use crate::policy::Denial;
use crate::proto::dot::{DotScan, END};
use crate::proto::header::HeaderReader;
use crate::proto::smtp::reply::Reply;
use crate::words::Reason;

const GO_AHEAD: &[u8] = b"354 KIM-Gateway: end data with <CR><LF>.<CR><LF>\r\n";
const NO_RECIPIENT: &[u8] = b"503 5.5.1 KIM-Gateway: need MAIL and RCPT first (bad-command)\r\n";

const SERVICE: &str = "X-KIM-Dienstkennung";
const READ_RECEIPT: &str = "Disposition-Notification-To";
const MIDDLEWARE: &str = "X-KIM-Middleware";
/// Stands for what a header block says beyond the limit; only a list that takes anything takes it.
const UNREAD: &str = "\u{2026}";
const MESSAGE_ID: &str = "Message-ID";
const WANTED: &[&str] = &[SERVICE, READ_RECEIPT, MESSAGE_ID];

/// A message as it comes from the workstation.
struct Intake {
    dots: DotScan,
    header: HeaderReader,
    /// What may go on and has not gone yet.
    ready: Vec<u8>,
    /// Octets of the message, without the line that ends it.
    octets: u64,
    has_ended: bool,
    is_ambiguous: bool,
}

/// Takes a message from the workstation and sees it answered.
pub(crate) async fn carry_message(pair: &mut Pair, envelope: Transaction) -> Result<(), Stop> {
    if envelope.recipients == 0 {
        // Nothing is asked of the client module that it could only refuse.
        if envelope.is_open {
            reset(pair).await?;
        }
        return pair.reply(NO_RECIPIENT).await;
    }
    pair.reply(GO_AHEAD).await?;
    let mut intake = Intake::new(pair.live.config.limits.header);
    while !intake.is_header_known() {
        intake.take(pair).await?;
    }
    if intake.is_ambiguous {
        return break_off(pair, &mut intake, Reason::AmbiguousLineEnding).await;
    }
    if let Some(reply) = judge(pair, &intake) {
        intake.swallow(pair).await?;
        reset(pair).await?;
        return pair.reply(&reply).await;
    }
    // The header block may have taken its time; what the client module said meanwhile is no answer.
    pair.check_silence().await?;
    let reply = ask(pair, b"DATA\r\n").await?;
    if reply.code != 354 {
        intake.swallow(pair).await?;
        return match reply.code / 100 {
            2 => Err(Stop::Say(Reason::ClientModuleProtocolError)),
            4 | 5 if reply.code != 421 => bring_refusal(pair, reply).await,
            _ => bring(pair, reply).await,
        };
    }
    pair.module.consume(reply.len);
    match stream(pair, &mut intake).await? {
        Streamed::Whole { mut added } => {
            added.extend(envelope.receipts.then_some("NOTIFY"));
            finish(pair, &intake, &envelope, &added).await
        }
        // The client module must not take what it has for a whole message.
        Streamed::Refused(reason) => {
            pair.module.reset_on_drop();
            break_off(pair, &mut intake, reason).await
        }
        Streamed::Failed(reason) => {
            pair.module.reset_on_drop();
            intake.swallow(pair).await?;
            Err(Stop::Say(reason))
        }
    }
}

/// Refuses the message when all of it has come, and ends the session: whoever sends such a message
/// has no other that is wanted, whether this one was begun at the client module or not.
async fn break_off(pair: &mut Pair, intake: &mut Intake, reason: Reason) -> Result<(), Stop> {
    intake.swallow(pair).await?;
    pair.refuse(reason, "").await?;
    Err(Stop::Said(reason))
}

/// Brings the refusal of DATA. The workstation hears it behind its message, where a transaction is
/// over whatever the answer; the client module has refused a command and still keeps its recipients.
async fn bring_refusal(pair: &mut Pair, reply: Reply) -> Result<(), Stop> {
    let words = pair.module.bytes()[..reply.len].to_vec();
    pair.module.consume(reply.len);
    let reset = reset(pair).await;
    pair.reply(&words).await?;
    reset
}

/// How the way to the client module ended.
enum Streamed {
    /// All but the final dot is there.
    Whole { added: Vec<&'static str> },
    /// The message must not be completed.
    Refused(Reason),
    /// The client module did not listen to its end.
    Failed(Reason),
}

async fn stream(pair: &mut Pair, intake: &mut Intake) -> Result<Streamed, Stop> {
    let (lines, added) = added_lines(pair, &intake.header);
    let limit = pair.live.config.limits.message;
    let head = [lines.into_bytes(), std::mem::take(&mut intake.ready)].concat();
    let mut written = write(pair.stall(), &mut pair.module, &head).await;
    drop(head);
    loop {
        if let Err(reason) = written {
            return Ok(Streamed::Failed(reason));
        }
        if intake.is_ambiguous {
            return Ok(Streamed::Refused(Reason::AmbiguousLineEnding));
        }
        if limit > 0 && intake.octets > limit {
            return Ok(Streamed::Refused(Reason::MessageTooLarge));
        }
        if intake.has_ended {
            // An answer to the message cannot be there before its end.
            return Ok(match pair.check_silence().await {
                Ok(()) => Streamed::Whole { added },
                Err(Stop::Say(reason)) => Streamed::Failed(reason),
                Err(stop) => return Err(stop),
            });
        }
        if pair.client.bytes().is_empty() {
            // Its last bytes may have come together with its end, which is not told a second time.
            if pair.client.end().is_some() {
                return Err(Stop::ClientLeft);
            }
            pair.report_traffic();
            let stall = pair.stall();
            // What cannot be flushed cannot be written either, and the next write says so.
            let _ = stalled(stall, pair.module.flush()).await;
            match pair.hear(Instant::now() + stall).await {
                Some(Side::Client(Filled::More)) => {}
                Some(Side::Client(Filled::Ended(_))) => return Err(Stop::ClientLeft),
                Some(Side::Module(filled)) => return Ok(Streamed::Failed(interrupted(filled))),
                None => return Err(Stop::Broken(Reason::Timeout)),
            }
        }
        let piece = intake.scan(pair);
        let stall = pair.stall();
        written = write(stall, &mut pair.module, piece.release).await;
        if written.is_ok() {
            let safe = &pair.client.bytes()[..piece.safe];
            written = write(stall, &mut pair.module, safe).await;
        }
        pair.client.consume(piece.used);
        pair.give_way(piece.used).await;
    }
}

/// Writes on, as long as the client module listens. It has no say before the message ends: whatever
/// it says or does before that is not the message's answer.
async fn write(stall: Duration, module: &mut Wire, bytes: &[u8]) -> Result<(), Reason> {
    match stalled(stall, module.write_while_silent(bytes)).await {
        Some(true) => Ok(()),
        Some(false) if module.bytes().is_empty() => Err(Reason::ClientModuleUnreachable),
        Some(false) => Err(Reason::ClientModuleProtocolError),
        None => Err(Reason::ClientModuleUnreachable),
    }
}

fn interrupted(filled: Filled) -> Reason {
    match filled {
        Filled::More => Reason::ClientModuleProtocolError,
        Filled::Ended(_) => Reason::ClientModuleUnreachable,
    }
}

/// Writes the final dot and waits for the answer, which is the message's fate.
async fn finish(
    pair: &mut Pair,
    intake: &Intake,
    envelope: &Transaction,
    added: &[&str],
) -> Result<(), Stop> {
    let ended = Instant::now();
    let answer = fate(pair).await;
    let code = answer.map_or("", |reply| code_of(&pair.module.bytes()[..reply.len])).to_owned();
    pair.shared.observer.emit(Event::MessageSent {
        session: &pair.facts,
        bytes: intake.octets,
        seconds: seconds(ended),
        service: intake.header.values(SERVICE).next(),
        message_id: intake.header.values(MESSAGE_ID).next(),
        recipients: envelope.recipients,
        accepted: answer.map(|reply| reply.is_positive()),
        left_after: pair.left.map(|left| left.duration_since(ended).as_secs_f64()),
        reply: &code,
        added,
    });
    bring(pair, answer.map_err(Stop::Say)?).await
}

/// The answer to a whole message, which is waited for whether the workstation does so or not.
async fn fate(pair: &mut Pair) -> Result<Reply, Reason> {
    let sent = stalled(pair.stall(), pair.module.send(END)).await;
    sent.ok_or(Reason::ClientModuleUnreachable)?;
    pair.report_traffic();
    final_reply(pair).await
}

/// The refusal of a message, if its header block deserves one.
fn judge(pair: &Pair, intake: &Intake) -> Option<Vec<u8>> {
    let header = &intake.header;
    // A message that names several services must be allowed every one of them: nobody knows which
    // one the other side will go by.
    let mut services: Vec<Option<&str>> = header.values(SERVICE).map(Some).collect();
    if header.is_over_limit() {
        services.push(Some(UNREAD));
    } else if services.is_empty() {
        services.push(None);
    }
    services.into_iter().find_map(|service| {
        let Denial { reason, .. } = pair.judged(pair.permit.judge_service(service))?;
        Some(pair.refusal(reason, service.unwrap_or("KIM-Mail;Default;V1.0")))
    })
}

/// The header lines that the configuration asks for, and their names.
fn added_lines(pair: &Pair, header: &HeaderReader) -> (String, Vec<&'static str>) {
    let config = &pair.live.config;
    let mut lines = String::new();
    let mut added = Vec::new();
    if config.middleware_header {
        lines.push_str(MIDDLEWARE);
        lines.push_str(concat!(": kimgate;", env!("CARGO_PKG_VERSION"), "\r\n"));
        added.push(MIDDLEWARE);
    }
    let is_header_whole = header.is_done() && !header.is_over_limit();
    if config.read_receipts && is_header_whole && !header.has(READ_RECEIPT) {
        lines.push_str(&format!("{READ_RECEIPT}: <{}>\r\n", pair.permit.account()));
        added.push(READ_RECEIPT);
    }
    (lines, added)
}

/// What one look at the workstation's bytes gave.
struct Piece {
    release: &'static [u8],
    safe: usize,
    used: usize,
}

impl Intake {
    fn new(header_limit: usize) -> Self {
        Self {
            dots: DotScan::strict(),
            header: HeaderReader::new(WANTED, header_limit),
            ready: Vec::new(),
            octets: 0,
            has_ended: false,
            is_ambiguous: false,
        }
    }

    fn is_header_known(&self) -> bool {
        self.header.is_done() || self.header.is_over_limit() || self.has_ended || self.is_ambiguous
    }

    /// Looks at what the workstation has sent, without taking it.
    fn scan(&mut self, pair: &Pair) -> Piece {
        let bytes = pair.client.bytes();
        let scanned = self.dots.scan(bytes);
        self.is_ambiguous |= scanned.ambiguous;
        self.has_ended |= scanned.end.is_some();
        self.octets += (scanned.release.len() + scanned.safe) as u64;
        Piece {
            release: scanned.release,
            safe: scanned.safe,
            used: scanned.end.unwrap_or(bytes.len()),
        }
    }

    /// Takes what the workstation has sent, or waits for it, into `ready`.
    async fn take(&mut self, pair: &mut Pair) -> Result<(), Stop> {
        wait_for_client(pair).await?;
        let piece = self.scan(pair);
        let start = self.ready.len();
        self.ready.extend_from_slice(piece.release);
        self.ready.extend_from_slice(&pair.client.bytes()[..piece.safe]);
        self.header.feed(&self.ready[start..]);
        if self.has_ended {
            // The final line is held back here, and it is what ends the last field of a message
            // without a body.
            self.header.feed(END);
        }
        pair.client.consume(piece.used);
        Ok(())
    }

    /// Reads on to the true end of the message, so that nothing of it is taken for a command.
    async fn swallow(&mut self, pair: &mut Pair) -> Result<(), Stop> {
        while !self.has_ended {
            wait_for_client(pair).await?;
            let piece = self.scan(pair);
            pair.client.consume(piece.used);
        }
        Ok(())
    }
}

/// Waits until there are bytes of the message.
async fn wait_for_client(pair: &mut Pair) -> Result<(), Stop> {
    if !pair.client.bytes().is_empty() {
        return Ok(());
    }
    match timeout(pair.stall(), pair.client.fill()).await {
        Ok(Filled::More) => Ok(()),
        Ok(Filled::Ended(_)) => Err(Stop::ClientLeft),
        Err(_) => Err(Stop::Broken(Reason::Timeout)),
    }
}
