//! `UIDL n`, asked by kimgate itself: what the client module calls a message, whatever number the
//! message has in this session. The workstation sees nothing of it.

use super::{AnswerScan, Command};
use crate::proto::ProtocolError;
use crate::proto::relay::Uid;

/// Characters of a UID that are read. RFC 1939 section 7 allows 70.
const LONGEST: usize = 512;

/// The question, and then its answer.
pub(super) struct UidQuestion {
    number: u32,
    words: String,
    scan: AnswerScan,
    uid: Option<String>,
}

impl UidQuestion {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            words: format!("UIDL {number}\r\n"),
            scan: AnswerScan::new(&Command::Uidl(Some(number)), 0),
            uid: None,
        }
    }

    pub(super) fn words(&self) -> &[u8] {
        self.words.as_bytes()
    }

    /// Reads what has come of the answer. `Some(n)`: it is complete after `n` of these bytes.
    ///
    /// # Errors
    ///
    /// It is no answer of POP3.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let scanned = self.scan.scan(bytes)?;
        if !scanned.done {
            return Ok(None);
        }
        self.uid = parse(&bytes[..scanned.forward], self.number).map(str::to_owned);
        Ok(Some(scanned.forward))
    }

    /// What the answer says. A refusal and a line that names no message say nothing.
    pub(super) fn uid(&self) -> Uid<'_> {
        self.uid.as_deref().map_or(Uid::Unknown, Uid::Is)
    }
}

/// The UID in `+OK number uid`.
fn parse(line: &[u8], number: u32) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_suffix("\r\n")?.split(' ').filter(|word| !word.is_empty());
    let is_this = words.next() == Some("+OK") && words.next()?.parse() == Ok(number);
    let uid = words.next().filter(|_| is_this && words.next().is_none())?;
    let is_plain = uid.bytes().all(|byte| byte.is_ascii_graphic());
    (is_plain && uid.len() <= LONGEST).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_message_or_says_nothing() {
        let long = format!("+OK 2 {}", "x".repeat(LONGEST));
        let too_long = format!("{long}x");
        let table: [(&str, Option<&str>); 15] = [
            ("+OK 2 QhdPYR:00WBw1Ph7x7", Some("QhdPYR:00WBw1Ph7x7")),
            ("+OK  2  a ", Some("a")),
            ("+OK 2 {~}!", Some("{~}!")),
            (&long, long.get(6..)),
            (&too_long, None),
            ("+OK 1 a", None),
            ("+OK 2", None),
            ("+OK 2 ", None),
            ("+OK", None),
            ("+OK a 2", None),
            ("+OK 2 a b", None),
            ("+OK 2 a\tb", None),
            ("+OK 2 \u{e4}", None),
            ("+OK 4294967298 a", None),
            ("-ERR no such message", None),
        ];
        for (answer, uid) in table {
            let line = format!("{answer}\r\n");
            for cut in 0..line.len() {
                let mut question = UidQuestion::new(2);
                assert_eq!(question.read(&line.as_bytes()[..cut]).unwrap(), None, "{answer}");
                let read = question.read(format!("{line}+OK").as_bytes()).unwrap();
                assert_eq!(read, Some(line.len()), "{answer} cut at {cut}");
                assert_eq!(question.uid(), uid.map_or(Uid::Unknown, Uid::Is), "{answer}");
            }
        }
        assert_eq!(UidQuestion::new(2).words(), b"UIDL 2\r\n");
        assert!(UidQuestion::new(2).read(b"250 ok\r\n").is_err());
    }
}
