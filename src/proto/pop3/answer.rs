//! Answers of a POP3 server to the commands after the login, while they are forwarded.

use super::Command;
use crate::proto::ProtocolError;
use crate::proto::dot::{DotScan, END};
use crate::proto::error::Excerpt;
use crate::proto::header::HeaderReader;
use crate::proto::line::{Framed, next_line};

/// The fields that are read of a message: the service, and what the client module found out when it
/// decrypted the message and verified its signature.
pub const HEADER_FIELDS: &[&str] = &[
    "X-KIM-Dienstkennung",
    "X-KIM-DecryptionResult",
    "X-KIM-IntegrityCheckResult",
    "X-KIM-Fehlermeldung",
    "Subject",
];

/// How many bytes a status line may have; RFC 1939 section 3 allows a server 512.
const STATUS: usize = 8 << 10;

/// Finds the end of an answer and reads what is needed of it. Its bytes are forwarded as they came.
#[derive(Clone, Debug)]
pub struct AnswerScan {
    is_multi_line: bool,
    is_ok: Option<bool>,
    dots: DotScan,
    header: Option<HeaderReader>,
    body: u64,
    after_header: AfterHeader,
    is_done: bool,
}

/// What one scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// How many bytes of the piece belong to the answer.
    pub forward: usize,
    /// The answer is complete. Bytes after it are unasked.
    pub done: bool,
}

impl AnswerScan {
    /// For the answer to this command. Of a message's header block `header_limit` bytes are read.
    pub fn new(command: &Command, header_limit: usize) -> Self {
        let is_message = matches!(command, Command::Retr(_) | Command::Top(..));
        Self {
            is_multi_line: command.is_multi_line(),
            is_ok: None,
            dots: DotScan::lenient(),
            header: is_message.then(|| HeaderReader::new(HEADER_FIELDS, header_limit)),
            body: 0,
            after_header: AfterHeader::default(),
            is_done: false,
        }
    }

    /// Reads the next piece. Bytes that are not to be forwarded yet are offered again, with more after
    /// them: a status line is forwarded as a whole, so no part of something else is.
    ///
    /// # Errors
    ///
    /// The status line is not one of POP3, or too long.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        let mut forward = 0;
        if self.is_ok.is_none() {
            forward = self.scan_status(bytes)?;
        }
        if self.is_ok.is_some() && !self.is_done {
            forward += self.scan_body(&bytes[forward..]);
        }
        Ok(Scan { forward, done: self.is_done })
    }

    /// Whether the answer is `+OK`; `None` until the status line is complete.
    pub fn is_ok(&self) -> Option<bool> {
        self.is_ok
    }

    /// Whether anything has come after the status line.
    pub fn body_started(&self) -> bool {
        self.body > 0
    }

    /// How many bytes came on the wire between the status line and the line with the final dot. While
    /// the answer is not complete: how many came so far.
    pub fn body_bytes(&self) -> u64 {
        if self.is_done { self.body.saturating_sub(END.len() as u64) } else { self.body }
    }

    /// How many of [`body_bytes`](Self::body_bytes) came after the empty line of the header block.
    pub fn bytes_after_header(&self) -> u64 {
        let bytes = self.after_header.bytes;
        if self.is_done { bytes.saturating_sub(END.len() as u64) } else { bytes }
    }

    /// The [`HEADER_FIELDS`] of a message (RETR, TOP) that have come so far; `None` for other answers.
    pub fn header(&self) -> Option<&HeaderReader> {
        self.header.as_ref()
    }

    fn scan_status(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        let line = match next_line(bytes, STATUS) {
            Framed::Incomplete => return Ok(0),
            Framed::TooLong => return Err(ProtocolError::LineTooLong(STATUS)),
            Framed::Faulty { fault, .. } => return Err(ProtocolError::Faulty(fault)),
            Framed::Line(line) => line,
        };
        let is_ok =
            is_ok(line.text).ok_or_else(|| ProtocolError::NotAnAnswer(Excerpt::of(line.text)))?;
        self.is_ok = Some(is_ok);
        self.is_done = !(is_ok && self.is_multi_line);
        Ok(line.wire)
    }

    fn scan_body(&mut self, bytes: &[u8]) -> usize {
        let scanned = self.dots.scan(bytes);
        let body = &bytes[..scanned.safe];
        if let Some(header) = &mut self.header
            && !header.is_done()
        {
            header.feed(body);
        }
        if self.header.is_some() {
            self.after_header.feed(body);
        }
        self.body += body.len() as u64;
        self.is_done = scanned.end.is_some();
        body.len()
    }
}

/// Counts what follows the first empty line. Unlike [`HeaderReader`] it has no limit: a header block
/// that is too long to be read hides no content.
#[derive(Clone, Debug, Default)]
struct AfterHeader {
    line: HeaderLine,
    bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum HeaderLine {
    /// Nothing of it has come, or CR alone.
    #[default]
    Blank,
    /// Something else has come.
    Filled,
    /// The empty line was there.
    Over,
}

impl AfterHeader {
    fn feed(&mut self, mut bytes: &[u8]) {
        while self.line != HeaderLine::Over {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                if bytes.iter().any(|byte| *byte != b'\r') {
                    self.line = HeaderLine::Filled;
                }
                return;
            };
            let is_blank = bytes[..end].iter().all(|byte| *byte == b'\r');
            self.line = match self.line {
                HeaderLine::Blank if is_blank => HeaderLine::Over,
                HeaderLine::Blank | HeaderLine::Filled | HeaderLine::Over => HeaderLine::Blank,
            };
            bytes = &bytes[end + 1..];
        }
        self.bytes += bytes.len() as u64;
    }
}

/// The status indicator of RFC 1939 section 3; `None` where there is none.
pub(super) fn is_ok(line: &[u8]) -> Option<bool> {
    let word = line.split(|&b| b == b' ').next().unwrap_or_default();
    match word {
        b"+OK" => Some(true),
        b"-ERR" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::line::Fault;

    #[derive(Debug, PartialEq)]
    struct Seen {
        forwarded: usize,
        done: bool,
        ok: Option<bool>,
        body: u64,
        services: Vec<String>,
    }

    fn read<'a>(
        command: &Command,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Seen, ProtocolError> {
        let mut scan = AnswerScan::new(command, 1024);
        let (mut forwarded, mut done, mut unread) = (0, false, Vec::new());
        for piece in pieces {
            unread.extend_from_slice(piece);
            if !done {
                let found = scan.scan(&unread)?;
                unread.drain(..found.forward);
                (forwarded, done) = (forwarded + found.forward, found.done);
            }
        }
        let services = scan
            .header()
            .into_iter()
            .flat_map(|h| h.values("X-KIM-Dienstkennung").map(String::from));
        Ok(Seen {
            forwarded,
            done,
            ok: scan.is_ok(),
            body: scan.body_bytes(),
            services: services.collect(),
        })
    }

    fn read_however_cut(command: &Command, bytes: &[u8]) -> Result<Seen, ProtocolError> {
        let whole = read(command, [bytes]);
        for cut in 0..=bytes.len() {
            let parts = read(command, [&bytes[..cut], &bytes[cut..]]);
            assert_eq!(parts, whole, "{} cut at {cut}", bytes.escape_ascii());
        }
        assert_eq!(read(command, bytes.chunks(1)), whole);
        whole
    }

    #[test]
    fn an_answer_ends_where_its_command_says() {
        // Command, answer, bytes that belong to it, bytes of its body.
        let table: [(Command, &[u8], usize, u64); 10] = [
            (Command::Stat, b"+OK 1 2\r\n", 9, 0),
            (Command::Stat, b"+OK\r\n+OK\r\n", 5, 0),
            (Command::Stat, b"-ERR [SYS/TEMP] no\r\n", 20, 0),
            (Command::List(Some(1)), b"+OK 1 100\r\n", 11, 0),
            (Command::List(None), b"+OK\r\n1 100\r\n.\r\n", 15, 7),
            (Command::List(None), b"+OK\r\n.\r\n", 8, 0),
            (Command::List(None), b"-ERR no\r\n", 9, 0),
            (Command::Uidl(None), b"+OK\r\n1 .\r\n..\r\n.\r\n+OK", 17, 9),
            (Command::Retr(1), b"+OK 7 octets\r\nA: b\r\n\r\nc\n.\nd\r\n.\r\n", 32, 15),
            (Command::Top(1, 0), b"+OK\r\nA: b\r\n\r\n.\r\n", 16, 8),
        ];
        for (command, bytes, forwarded, body) in table {
            let seen = read_however_cut(&command, bytes).unwrap();
            let shown = bytes.escape_ascii();
            assert_eq!((seen.forwarded, seen.done, seen.body), (forwarded, true, body), "{shown}");
            assert_eq!(seen.ok, Some(bytes.starts_with(b"+OK")), "{shown}");
        }
    }

    #[test]
    fn the_service_of_a_message_is_read_in_passing() {
        let answer =
            b"+OK\r\nX-KIM-Dienstkennung: eAU\r\nA: b\r\n\r\nX-KIM-Dienstkennung: no\r\n.\r\n";
        let seen = read_however_cut(&Command::Retr(1), answer).unwrap();
        assert_eq!(seen.services, ["eAU"]);
        assert!(read(&Command::List(None), [&answer[..]]).unwrap().services.is_empty());
    }

    #[test]
    fn what_is_no_status_line_is_an_error() {
        let error = |bytes: &[u8]| read_however_cut(&Command::Noop, bytes).unwrap_err();
        for odd in ["", "OK", "+ok", "+OKAY", "250 ok", " +OK", "+ "] {
            let line = format!("{odd}\r\n");
            assert!(matches!(error(line.as_bytes()), ProtocolError::NotAnAnswer(_)), "{odd}");
        }
        assert_eq!(error(b"+OK\n"), ProtocolError::Faulty(Fault::BareLineFeed));
        assert_eq!(error(b"+OK\0\r\n"), ProtocolError::Faulty(Fault::Nul));
        assert_eq!(error(&[b'+'; STATUS + 9]), ProtocolError::LineTooLong(STATUS));
    }

    #[test]
    fn a_long_status_line_passes() {
        let line = format!("+OK {}\r\n", "x".repeat(2000));
        let seen = read_however_cut(&Command::Noop, line.as_bytes()).unwrap();
        assert_eq!(seen.forwarded, line.len());
    }
}
