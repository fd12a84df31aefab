//! POP3 commands after the login.

use crate::proto::Hint;

/// What the workstation wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The number of messages and their size together.
    Stat,
    /// The sizes of all messages, or of one.
    List(Option<u32>),
    /// The lasting names of all messages, or of one.
    Uidl(Option<u32>),
    /// A message.
    Retr(u32),
    /// The header of a message and so many lines of its body.
    Top(u32, u32),
    /// Mark a message as deleted. QUIT deletes it.
    Dele(u32),
    /// Remove the marks.
    Rset,
    /// Nothing, and an answer.
    Noop,
    /// Delete what is marked, and end the session.
    Quit,
    /// What the server offers.
    Capa,
}

/// Reads a line without its CRLF.
///
/// Blanks between words and at the end of the line may be more than one: programs send `LIST ` and
/// `QUIT `, and a refused QUIT would lose their deletions. Numbers are plain decimal ones, and nothing
/// follows them: if two servers could read different numbers in a line, a message that policy protects
/// could be deleted.
///
/// # Errors
///
/// [`Hint::NotCarried`], [`Hint::LoggedIn`] or [`Hint::Malformed`].
pub fn parse(line: &[u8]) -> Result<Command, Hint> {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |last| last + 1);
    let mut words = line[..end].split(|&b| b == b' ');
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    let arguments: Vec<&[u8]> = words.filter(|word| !word.is_empty()).take(3).collect();
    match (verb.as_slice(), arguments.as_slice()) {
        (b"STAT", []) => Ok(Command::Stat),
        (b"LIST", []) => Ok(Command::List(None)),
        (b"LIST", [message]) => Ok(Command::List(Some(message_number(message)?))),
        (b"UIDL", []) => Ok(Command::Uidl(None)),
        (b"UIDL", [message]) => Ok(Command::Uidl(Some(message_number(message)?))),
        (b"RETR", [message]) => Ok(Command::Retr(message_number(message)?)),
        (b"TOP", [message, lines]) => Ok(Command::Top(message_number(message)?, number(lines)?)),
        (b"DELE", [message]) => Ok(Command::Dele(message_number(message)?)),
        (b"RSET", []) => Ok(Command::Rset),
        (b"NOOP", []) => Ok(Command::Noop),
        (b"QUIT", []) => Ok(Command::Quit),
        (b"CAPA", []) => Ok(Command::Capa),
        (b"USER" | b"PASS" | b"AUTH" | b"APOP" | b"STLS", _) => Err(Hint::LoggedIn),
        (
            b"STAT" | b"LIST" | b"UIDL" | b"RETR" | b"TOP" | b"DELE" | b"RSET" | b"NOOP" | b"QUIT"
            | b"CAPA",
            _,
        ) => Err(Hint::Malformed),
        _ => Err(Hint::NotCarried),
    }
}

impl Command {
    /// Whether a positive answer ends with a lone dot, and not with its status line.
    pub fn is_multi_line(&self) -> bool {
        match self {
            Self::List(None) | Self::Uidl(None) | Self::Retr(_) | Self::Top(..) | Self::Capa => {
                true
            }
            Self::Stat
            | Self::List(Some(_))
            | Self::Uidl(Some(_))
            | Self::Dele(_)
            | Self::Rset
            | Self::Noop
            | Self::Quit => false,
        }
    }
}

/// Message numbers begin at one.
fn message_number(word: &[u8]) -> Result<u32, Hint> {
    number(word).and_then(|n| if n == 0 { Err(Hint::Malformed) } else { Ok(n) })
}

fn number(word: &[u8]) -> Result<u32, Hint> {
    let is_plain = word == b"0" || (!word.starts_with(b"0") && word.iter().all(u8::is_ascii_digit));
    let text = std::str::from_utf8(word).ok().filter(|_| is_plain);
    text.and_then(|text| text.parse().ok()).ok_or(Hint::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_one_way_only() {
        let table: [(&str, Result<Command, Hint>); 59] = [
            ("STAT", Ok(Command::Stat)),
            ("stat", Ok(Command::Stat)),
            ("STAT ", Ok(Command::Stat)),
            ("STAT 1", Err(Hint::Malformed)),
            ("LIST", Ok(Command::List(None))),
            ("List 7", Ok(Command::List(Some(7)))),
            ("LIST ", Ok(Command::List(None))),
            ("LIST   ", Ok(Command::List(None))),
            ("LIST  1 ", Ok(Command::List(Some(1)))),
            ("LIST  1  2", Err(Hint::Malformed)),
            ("LIST 1\t2", Err(Hint::Malformed)),
            ("LIST 1 2", Err(Hint::Malformed)),
            ("UIDL", Ok(Command::Uidl(None))),
            ("UIDL ", Ok(Command::Uidl(None))),
            ("UIDL  3", Ok(Command::Uidl(Some(3)))),
            ("UIDL 12", Ok(Command::Uidl(Some(12)))),
            ("RETR 1", Ok(Command::Retr(1))),
            ("RETR 4294967295", Ok(Command::Retr(u32::MAX))),
            ("RETR 4294967296", Err(Hint::Malformed)),
            ("RETR", Err(Hint::Malformed)),
            ("RETR 0", Err(Hint::Malformed)),
            ("RETR 01", Err(Hint::Malformed)),
            ("RETR +1", Err(Hint::Malformed)),
            ("RETR -1", Err(Hint::Malformed)),
            ("RETR 1 ", Ok(Command::Retr(1))),
            ("RETR  1", Ok(Command::Retr(1))),
            ("RETR 1\t", Ok(Command::Retr(1))),
            ("RETR ", Err(Hint::Malformed)),
            ("RETR  01", Err(Hint::Malformed)),
            ("RETR 1\u{a0}", Err(Hint::Malformed)),
            ("RETR\t1", Err(Hint::NotCarried)),
            ("RETR 1x", Err(Hint::Malformed)),
            ("RETR 0x1", Err(Hint::Malformed)),
            ("RETR \u{661}", Err(Hint::Malformed)),
            ("TOP 1 0", Ok(Command::Top(1, 0))),
            ("TOP 1 20", Ok(Command::Top(1, 20))),
            ("TOP  1   20  ", Ok(Command::Top(1, 20))),
            ("TOP 1 ", Err(Hint::Malformed)),
            ("TOP 1", Err(Hint::Malformed)),
            ("TOP 1 00", Err(Hint::Malformed)),
            ("TOP 1 0 0", Err(Hint::Malformed)),
            ("DELE 3", Ok(Command::Dele(3))),
            ("DELE  3 ", Ok(Command::Dele(3))),
            ("DELE", Err(Hint::Malformed)),
            ("DELE 3 4 5 6 7", Err(Hint::Malformed)),
            ("RSET", Ok(Command::Rset)),
            ("NOOP", Ok(Command::Noop)),
            ("QUIT", Ok(Command::Quit)),
            ("RSET ", Ok(Command::Rset)),
            ("NOOP  ", Ok(Command::Noop)),
            ("QUIT ", Ok(Command::Quit)),
            ("QUIT  \t", Ok(Command::Quit)),
            ("CAPA", Ok(Command::Capa)),
            ("CAPA ", Ok(Command::Capa)),
            (" QUIT", Err(Hint::NotCarried)),
            ("USER x", Err(Hint::LoggedIn)),
            ("STLS", Err(Hint::LoggedIn)),
            ("XTND XMIT", Err(Hint::NotCarried)),
            ("", Err(Hint::NotCarried)),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }
}
