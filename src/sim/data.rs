//! A message on its way in: counted and hashed whole, kept as far as memory allows, delivered.

use std::collections::BTreeSet;

use super::digest::Digest;
use super::fault::{Manner, Point};
use super::journal::Seen;
use super::kim_2026;
use super::message::{self, Message};
use super::session::{SimSession, World};
use super::smtp::Envelope;
use super::store::StoreShare;
use super::wire::SimResult;

/// Reads a message to its end, answers, and delivers it.
pub(crate) async fn receive(session: &mut SimSession, envelope: Envelope) -> SimResult<()> {
    let mut body = Body::new(&session.world);
    let read = read(session, &mut body).await;
    note(&session.world, session.connection, &envelope, &body, read.is_ok());
    read?;
    let complaint = complaint(session, &body);
    let reply = complaint.as_deref().unwrap_or("250 2.0.0 OK");
    if let Some(reply) = session.prepare(Point::EndOfData, reply).await? {
        if complaint.is_some() || deliver(&session.world, &envelope, body) {
            session.reply(&reply).await?;
        } else {
            session.wire.reply(b"452 4.2.2 Der Speicher des Simulators ist voll").await?;
        }
    }
    for effect in session.world.script.due(session.protocol, Point::AfterData) {
        session.suffer(&effect).await?;
    }
    Ok(())
}

async fn read(session: &mut SimSession, body: &mut Body) -> SimResult<()> {
    let lenient = session.world.script.has(session.protocol, Manner::LenientDot);
    let mut effects = session.world.script.due_in_data(session.protocol).into_iter().peekable();
    let mut unstuff = Unstuff::new(lenient);
    loop {
        let ended = unstuff.feed(session.wire.input(), |bytes| body.push(bytes));
        while let Some((_, effect)) = effects.next_if(|(at, _)| *at <= body.digest.bytes()) {
            session.suffer(&effect).await?;
        }
        if ended {
            return Ok(());
        }
        session.wire.fill().await?;
    }
}

/// Why a strict client module refuses this message. One that was too large to keep is let through.
fn complaint(session: &SimSession, body: &Body) -> Option<String> {
    let is_strict = session.world.script.has(session.protocol, Manner::StrictHeaders);
    let message = body.kept.as_ref().filter(|_| is_strict)?;
    let complaint = kim_2026::complaint(message);
    complaint.or_else(|| {
        let id = kim_2026::message_id(message)?;
        let is_known = !session.world.remember(id);
        is_known.then(|| "554 5.6.0 Message-ID ist schon verwendet".to_owned())
    })
}

/// Notes what came of a message.
pub(crate) fn note(
    world: &World,
    connection: u64,
    envelope: &Envelope,
    body: &Body,
    complete: bool,
) {
    world.journal.write(|| Seen::Received {
        connection,
        sender: envelope.sender.clone(),
        recipients: envelope.recipients.clone(),
        bytes: body.digest.bytes(),
        sha256: body.digest.hex(),
        complete,
    });
}

/// Puts a message into the maildrop of each recipient. False: there is no room.
pub(crate) fn deliver(world: &World, envelope: &Envelope, body: Body) -> bool {
    let Body { digest, kept, held, limit: _ } = body;
    // Its memory is counted anew in each maildrop.
    drop(held);
    let whole = kept.map(|bytes| match world.raw_delivery {
        true => bytes,
        false => message::received(&bytes),
    });
    let message = match whole {
        Some(bytes) => Message::whole(bytes),
        None => message::stand_in(digest.bytes(), &digest.hex()),
    };
    let (known, unknown): (BTreeSet<String>, BTreeSet<String>) = envelope
        .recipients
        .iter()
        .map(|recipient| recipient.to_ascii_lowercase())
        .partition(|recipient| world.accounts.has_maildrop(recipient));
    let sender = envelope.sender.to_ascii_lowercase();
    if !unknown.is_empty() && !sender.is_empty() && world.accounts.has_maildrop(&sender) {
        let unknown: Vec<String> = unknown.into_iter().collect();
        let header: Vec<u8> = message.pieces().next().unwrap_or_default().to_vec();
        let report = message::undeliverable(&envelope.sender, &unknown, &header);
        world.store.deliver(&sender, Message::whole(report));
    }
    known.iter().all(|recipient| world.store.deliver(recipient, message.clone()))
}

/// What came of a message so far.
pub(crate) struct Body {
    digest: Digest,
    /// All its bytes, as long as there is room.
    kept: Option<Vec<u8>>,
    held: StoreShare,
    limit: usize,
}

impl Body {
    pub(crate) fn new(world: &World) -> Self {
        let (held, limit) = (world.store.hold(), world.store.maildrop_limit());
        Self { digest: Digest::new(), kept: Some(Vec::new()), held, limit }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        if let Some(kept) = &mut self.kept {
            if kept.len() + bytes.len() <= self.limit && self.held.grow(bytes.len()) {
                kept.extend_from_slice(bytes);
            } else {
                self.kept = None;
            }
        }
    }
}

/// Takes the dot-stuffing out of a message and finds its end (RFC 5321 section 4.5.2): CRLF, dot,
/// CRLF and nothing else, unless it is to be lenient.
struct Unstuff {
    lenient: bool,
    /// Whether the next byte begins a line.
    at_line_start: bool,
}

impl Unstuff {
    fn new(lenient: bool) -> Self {
        Self { lenient, at_line_start: true }
    }

    /// Uses up what is there, except for a last few bytes that need their successors. True: the
    /// message has ended, and the rest of the input follows it.
    fn feed(&mut self, input: &mut Vec<u8>, mut emit: impl FnMut(&[u8])) -> bool {
        let mut used = 0;
        let ended = loop {
            let rest = &input[used..];
            if self.at_line_start && rest.first() == Some(&b'.') {
                match rest.get(1..) {
                    Some([b'\r', b'\n', ..]) => {
                        used += 3;
                        break true;
                    }
                    Some([b'\n', ..]) if self.lenient => {
                        used += 2;
                        break true;
                    }
                    None | Some([] | [b'\r']) => break false,
                    Some(_) => {
                        used += 1;
                        self.at_line_start = false;
                    }
                }
                continue;
            }
            let (mark, line_end): (&[u8], usize) =
                if self.lenient { (b"\n.", 1) } else { (b"\r\n.", 2) };
            if let Some(at) = memchr::memmem::find(rest, mark) {
                emit(&rest[..at + line_end]);
                used += at + line_end;
                self.at_line_start = true;
                continue;
            }
            // A line end, or its first half, may be followed by the dot that is still to come.
            let keep = usize::from(rest.ends_with(b"\r"));
            let ready = &rest[..rest.len() - keep];
            if !ready.is_empty() {
                emit(ready);
                self.at_line_start = ready.ends_with(&mark[..line_end]);
                used += ready.len();
            }
            break false;
        };
        input.drain(..used);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuffed(parts: &[&[u8]], lenient: bool) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut unstuff, mut input, mut message) = (Unstuff::new(lenient), Vec::new(), Vec::new());
        for (at, part) in parts.iter().enumerate() {
            input.extend_from_slice(part);
            if unstuff.feed(&mut input, |bytes| message.extend_from_slice(bytes)) {
                input.extend(parts[at + 1..].concat());
                return (message, Some(input));
            }
        }
        (message, None)
    }

    #[test]
    fn the_end_is_found_and_dots_are_taken_out_wherever_the_bytes_are_cut() {
        type Case<'a> = (&'a [u8], bool, &'a [u8], Option<&'a [u8]>);
        let table: [Case<'_>; 10] = [
            (b".\r\n", false, b"", Some(b"")),
            (b"a\r\n.\r\nQUIT\r\n", false, b"a\r\n", Some(b"QUIT\r\n")),
            (b"..\r\n...a\r\n.\r\n", false, b".\r\n..a\r\n", Some(b"")),
            (b"\r\n\r\n.\r\n", false, b"\r\n\r\n", Some(b"")),
            (b"a\n.\nb\n.\r\nc\r\n.\nd\r\n.\r\n", false, b"a\n.\nb\n.\r\nc\r\n\nd\r\n", Some(b"")),
            (b"a\r.\r\r\n.\r\n", false, b"a\r.\r\r\n", Some(b"")),
            (b"a\r\r\n.\rb\r\n.\r\n", false, b"a\r\r\n\rb\r\n", Some(b"")),
            (b"a\n.\nMAIL", true, b"a\n", Some(b"MAIL")),
            (b"a\r\n.\nMAIL", true, b"a\r\n", Some(b"MAIL")),
            (b"a\n.\r\nMAIL", true, b"a\n", Some(b"MAIL")),
        ];
        for (input, lenient, message, left) in table {
            for cut in 0..=input.len() {
                let (got, rest) = unstuffed(&[&input[..cut], &input[cut..]], lenient);
                assert_eq!(got, message, "{input:?} cut at {cut}");
                assert_eq!(rest.as_deref(), left, "{input:?} cut at {cut}");
            }
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(unstuffed(&bytes, lenient), (message.to_vec(), left.map(<[u8]>::to_vec)));
        }
    }
}
