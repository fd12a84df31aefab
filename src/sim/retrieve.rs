//! A message on its way out: dot-stuffed piece by piece, with faults at their place in it.

use super::digest::Digest;
use super::fault::{Manner, Point};
use super::journal::Seen;
use super::kim_2026;
use super::message::{self, Message};
use super::session::SimSession;
use super::wire::SimResult;

/// Sends a message and its end.
pub(crate) async fn send(
    session: &mut SimSession,
    number: usize,
    message: &Message,
) -> SimResult<()> {
    let mut digest = Digest::new();
    let has = |manner| session.world.script.has(session.protocol, manner);
    let mut message = message.clone();
    if has(Manner::Undecryptable) {
        let original = message.pieces().next().unwrap_or_default();
        message = Message::whole(message::undecryptable(&original));
    }
    if has(Manner::Kim2026)
        && let Some(bytes) = message.bytes()
    {
        message = Message::whole(kim_2026::fetched(bytes));
    }
    let sent = send_pieces(session, &message, &mut digest).await;
    session.world.journal.write(|| Seen::Fetched {
        connection: session.connection,
        number,
        bytes: digest.bytes(),
        sha256: digest.hex(),
        complete: sent.is_ok(),
    });
    sent
}

async fn send_pieces(
    session: &mut SimSession,
    message: &Message,
    digest: &mut Digest,
) -> SimResult<()> {
    let effects = session.world.script.due_in_retr(session.protocol, message.size());
    let mut effects = effects.into_iter().peekable();
    let mut stuffing = Stuffing::new();
    for mut piece in message.pieces() {
        let end = digest.bytes() + piece.len() as u64;
        while let Some((at, effect)) = effects.next_if(|(at, _)| *at < end) {
            // `at` lies within this piece, and so fits.
            let before = piece.split_to((at - digest.bytes()) as usize);
            session.wire.send(&stuffing.stuff(&before)).await?;
            digest.update(&before);
            session.suffer(&effect).await?;
        }
        session.wire.send(&stuffing.stuff(&piece)).await?;
        digest.update(&piece);
    }
    for (_, effect) in effects {
        session.suffer(&effect).await?;
    }
    let end: &[u8] = if stuffing.at_line_start() { b"." } else { b"\r\n." };
    let effects = session.world.script.due(session.protocol, Point::RetrEnd);
    if effects.is_empty() {
        return session.wire.reply(end).await;
    }
    session.wire.send(end).await?;
    for effect in effects {
        session.suffer(&effect).await?;
    }
    session.wire.reply(b"").await
}

/// Dot-stuffing (RFC 1939 section 3) of a message that is here whole.
pub(crate) fn stuffed(bytes: &[u8]) -> Vec<u8> {
    Stuffing::new().stuff(bytes)
}

/// Dot-stuffing of a message that comes in pieces.
struct Stuffing {
    /// The last two bytes so far.
    last: [u8; 2],
}

impl Stuffing {
    fn new() -> Self {
        Self { last: *b"\r\n" }
    }

    fn at_line_start(&self) -> bool {
        self.last == *b"\r\n"
    }

    fn stuff(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() + piece.len() / 64);
        let dot_first = self.at_line_start() && piece.starts_with(b".");
        let dot_second = self.last[1] == b'\r' && piece.starts_with(b"\n.");
        let at_edge = [dot_first.then_some(0), dot_second.then_some(1)];
        let within = memchr::memmem::find_iter(piece, b"\r\n.").map(|at| at + 2);
        let mut done = 0;
        for dot in at_edge.into_iter().flatten().chain(within) {
            out.extend_from_slice(&piece[done..dot]);
            out.push(b'.');
            done = dot;
        }
        out.extend_from_slice(&piece[done..]);
        match piece {
            [] => {}
            [one] => self.last = [self.last[1], *one],
            [.., before, one] => self.last = [*before, *one],
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_at_line_starts_and_nowhere_else_however_the_bytes_are_cut() {
        let table: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b".", b".."),
            (b".\r\n..\r\na.b\r\n.", b"..\r\n...\r\na.b\r\n.."),
            (b"a\n.b\r.c", b"a\n.b\r.c"),
            (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n"),
            (b"\r\r\n.", b"\r\r\n.."),
        ];
        for (message, expected) in table {
            for cut in 0..=message.len() {
                let mut stuffing = Stuffing::new();
                let mut out = stuffing.stuff(&message[..cut]);
                out.extend(stuffing.stuff(&message[cut..]));
                assert_eq!(out, expected, "{message:?} cut at {cut}");
            }
            let mut stuffing = Stuffing::new();
            let out: Vec<u8> = message.chunks(1).flat_map(|byte| stuffing.stuff(byte)).collect();
            assert_eq!(out, expected);
        }
    }
}
