//! Reads wanted fields of a header block that passes, dot-stuffed as it is on the wire.
//!
//! It is as generous as any reader after it may be, because a field must not be hidden from policy: a
//! field is found after a lone CR, after a stuffed dot, after an empty line of bare line feeds, and with
//! blanks before its colon. Names: RFC 5322 section 2.2.
//!
//! No reader can be as generous as all others. Some trim control characters from a name, or compare it
//! by Unicode's rules for upper and lower case. So the reader also reports whether the header block is
//! [malformed](HeaderReader::is_malformed): a field that it did not find stands in such a block only.

use memchr::memchr2;

/// How many values of each field are kept. A field with more counts as not read to its end
/// ([`HeaderReader::is_over_limit`]); it takes no place from other fields.
const VALUES: usize = 16;
/// How many bytes of one value are kept.
const VALUE: usize = 1024;
/// How many bytes a field name may have, with the blanks before its colon. A longer one is not wanted,
/// and makes the header block malformed.
const NAME: usize = 76;
/// The end of a value that was cut, so that no exact rule matches it.
const CUT: &str = "\u{2026}";

/// Finds fields by name. Its memory does not grow with the header.
#[derive(Clone, Debug)]
pub struct HeaderReader {
    wanted: &'static [&'static str],
    /// Of these no more is kept than that they are there.
    noticed: &'static [&'static str],
    /// One bit for each of `noticed`.
    present: u32,
    left: usize,
    state: State,
    /// The line holds nothing so far, except for a stuffed dot or a CR.
    is_blank: bool,
    /// The line before this one ended in CRLF. All readers see an empty line only between two CRLF: for
    /// a reader that takes LF for a character, the header goes on after LF LF and LF CRLF.
    follows_crlf: bool,
    /// There was a character that is not a blank.
    has_begun: bool,
    name: Vec<u8>,
    /// There was a blank after the name. Only its colon may follow.
    is_name_over: bool,
    value: Option<(usize, Vec<u8>)>,
    found: Vec<(usize, String)>,
    has_more: bool,
    has_long_name: bool,
    is_malformed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a line.
    LineStart,
    /// After a dot at the beginning, which the next hop removes.
    Stuffing,
    /// In blanks before the first field. JavaMail drops them and reads the field.
    Indent,
    Name,
    Value,
    /// In a field that is not wanted, or a line that is not a field.
    Skip,
    /// After a CR. Some readers take it for the end of the line, all take it for half a CRLF.
    Return,
    Done,
    OverLimit,
}

impl HeaderReader {
    /// Reads at most `limit` bytes of the header block and keeps the fields of these names.
    pub fn new(wanted: &'static [&'static str], limit: usize) -> Self {
        Self {
            wanted,
            noticed: &[],
            present: 0,
            left: limit,
            state: State::LineStart,
            is_blank: true,
            follows_crlf: true,
            has_begun: false,
            name: Vec::new(),
            is_name_over: false,
            value: None,
            found: Vec::new(),
            has_more: false,
            has_long_name: false,
            is_malformed: false,
        }
    }

    /// Also notices whether there are fields of these names, 32 at most. Their values are not kept, and
    /// they may repeat.
    pub fn noticing(self, noticed: &'static [&'static str]) -> Self {
        Self { noticed, ..self }
    }

    /// Reads the next piece. `Some(n)`: the header block and its empty line end after `n` bytes of it.
    /// They also end at a lone dot, where the whole message ends. `None`: they have not ended yet, or
    /// the limit was reached.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let window = &bytes[..bytes.len().min(self.left)];
        let mut at = 0;
        while at < window.len() {
            match self.state {
                State::Done => return Some(0),
                State::OverLimit => return None,
                State::Skip => {
                    at += memchr2(b'\r', b'\n', &window[at..]).unwrap_or(window.len() - at)
                }
                State::Value => at += self.take_value(&window[at..]),
                State::LineStart
                | State::Stuffing
                | State::Indent
                | State::Name
                | State::Return => {}
            }
            let Some(&byte) = window.get(at) else { break };
            at += 1;
            self.step(byte);
            if self.state == State::Done {
                return Some(at);
            }
        }
        self.left -= window.len();
        if window.len() < bytes.len() && self.state != State::Done {
            self.give_up();
        }
        self.is_done().then_some(0)
    }

    /// Whether the header block is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the header block is complete, or longer than the limit, so that no more of it is read.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Done | State::OverLimit)
    }

    /// Whether the header block is longer than the limit, repeats a wanted field more than 16 times, or
    /// has a name of more than 76 bytes. It may hold wanted fields then that were not found.
    pub fn is_over_limit(&self) -> bool {
        self.state == State::OverLimit || self.has_more || self.has_long_name
    }

    /// Whether a line is no header field, so that another reader may find a field in it.
    ///
    /// A field begins with its name, of 1 to 76 bytes of printable ASCII (33 to 126, RFC 5322 section
    /// 2.2), and a colon. These lines are well formed too:
    ///
    /// - Folded lines. They begin with a blank and belong to the line before. Where they are the first
    ///   lines of all, the blanks do not count.
    /// - `Name :`, the obsolete syntax of RFC 5322 section 4.5.8, also folded before the colon. The
    ///   blanks count among the 76 bytes.
    /// - Empty lines. An empty line that ends in a bare CR or LF does not end the header block, so what
    ///   follows it has to be well formed too.
    pub fn is_malformed(&self) -> bool {
        self.is_malformed
    }

    /// The values of the wanted fields of this name in their order, unfolded and trimmed. A value of more
    /// than 1024 bytes is cut and ends in an ellipsis.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let wanted = self.wanted.iter().position(|wanted| wanted.eq_ignore_ascii_case(name));
        let of_name = move |(index, _): &&(usize, String)| Some(*index) == wanted;
        self.found.iter().filter(of_name).map(|(_, value)| value.as_str())
    }

    /// Whether there is a wanted field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// Whether there is a field of this name, wanted or noticed, that is not empty.
    pub fn says(&self, name: &str) -> bool {
        let noticed = self.noticed.iter().position(|noticed| noticed.eq_ignore_ascii_case(name));
        noticed.is_some_and(|at| self.present & 1 << at != 0)
            || self.values(name).any(|value| !value.is_empty())
    }

    /// Whether a field that was not found is not there: the whole block was read, and there is no line
    /// in which another reader may find it.
    pub fn is_certain(&self) -> bool {
        self.is_done() && !self.is_over_limit() && !self.is_malformed
    }

    fn step(&mut self, byte: u8) {
        match (byte, self.state) {
            (_, State::Done | State::OverLimit) => {}
            (b'\n', State::Return) if self.is_blank && self.follows_crlf => {
                self.end_field();
                self.state = State::Done;
            }
            (b'\n', state) => {
                self.follows_crlf = state == State::Return;
                self.state = State::LineStart;
                self.is_blank = true;
            }
            // A second CR is not part of a line end, so the line is not empty.
            (b'\r', State::Return) => self.is_blank = false,
            (b'\r', _) => self.state = State::Return,
            (b'.', State::LineStart) => self.state = State::Stuffing,
            (b'.', State::Return) => {
                self.is_blank = false;
                self.state = State::Stuffing;
            }
            (_, State::LineStart | State::Stuffing | State::Return) => {
                self.is_blank = false;
                self.begin_line(byte);
            }
            (b' ' | b'\t', State::Indent) => {}
            (_, State::Indent) => self.push_name(byte),
            (b':', State::Name) => self.begin_value(),
            (_, State::Name) => self.push_name(byte),
            (_, State::Value | State::Skip) => {}
        }
    }

    fn begin_line(&mut self, byte: u8) {
        if !matches!(byte, b' ' | b'\t') {
            self.end_field();
            self.name.clear();
            self.is_name_over = false;
            self.push_name(byte);
        } else if self.value.is_some() {
            self.keep(b" ");
            self.state = State::Value;
        } else if !self.has_begun {
            self.state = State::Indent;
        } else if self.name.is_empty() {
            self.state = State::Skip;
        } else {
            // JavaMail joins the lines first and then looks for the colon.
            self.push_name(byte);
        }
    }

    fn push_name(&mut self, byte: u8) {
        self.has_begun = true;
        match byte {
            b' ' | b'\t' => self.is_name_over = true,
            // A colon comes here only where no name is before it.
            b':' => self.is_malformed = true,
            33..=126 if !self.is_name_over => {}
            _ => self.is_malformed = true,
        }
        self.state = if self.name.len() < NAME {
            self.name.push(byte);
            State::Name
        } else {
            (self.is_malformed, self.has_long_name) = (true, true);
            self.name.clear();
            State::Skip
        };
    }

    fn begin_value(&mut self) {
        let name = self.name.trim_ascii_end();
        let mut names = self.wanted.iter().chain(self.noticed);
        let wanted = names.position(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()));
        self.name.clear();
        self.value = wanted.map(|index| (index, Vec::new()));
        self.state = if self.value.is_some() { State::Value } else { State::Skip };
    }

    /// Reads up to the next line end and gives the number of bytes.
    fn take_value(&mut self, bytes: &[u8]) -> usize {
        let len = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        self.keep(&bytes[..len]);
        len
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some((_, value)) = &mut self.value {
            // One byte more than is shown says that the value was longer.
            let room = (VALUE + 1).saturating_sub(value.len());
            let bytes = if value.is_empty() { bytes.trim_ascii_start() } else { bytes };
            value.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn end_field(&mut self) {
        // A name is forgotten at its colon.
        self.is_malformed |= !self.name.is_empty();
        let Some((index, value)) = self.value.take() else { return };
        if let Some(noticed) = index.checked_sub(self.wanted.len()) {
            self.present |= u32::from(!value.trim_ascii().is_empty()) << noticed;
            return;
        }
        let same = self.found.iter().filter(|(of, _)| *of == index).count();
        if same < VALUES {
            self.found.push((index, text(&value)));
        } else {
            self.has_more = true;
        }
    }

    fn give_up(&mut self) {
        self.state = State::OverLimit;
        self.value = None;
    }
}

fn text(value: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(value.trim_ascii()).into_owned();
    if value.len() > VALUE || text.len() > VALUE {
        text.truncate(text.floor_char_boundary(VALUE - CUT.len()));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &[&str] = &["X-KIM-Dienstkennung", "Subject"];

    /// End, services, subjects, and whether it gave up.
    type Seen = (Option<usize>, Vec<String>, Vec<String>, bool);

    fn read<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        let mut reader = HeaderReader::new(WANTED, limit);
        let (mut end, mut offered) = (None, 0);
        for piece in pieces {
            if let Some(n) = reader.feed(piece) {
                end = end.or(Some(offered + n));
            }
            offered += piece.len();
        }
        let values = |name| reader.values(name).map(String::from).collect();
        (end, values("x-kim-dienstkennung"), values("Subject"), reader.is_over_limit())
    }

    fn read_however_cut(limit: usize, message: &[u8]) -> Seen {
        let whole = read(limit, [message]);
        for cut in 0..=message.len() {
            let parts = read(limit, [&message[..cut], &message[cut..]]);
            assert_eq!(parts, whole, "{} cut at {cut}", message.escape_ascii());
        }
        assert_eq!(read(limit, message.chunks(1)), whole, "{}", message.escape_ascii());
        whole
    }

    #[test]
    fn fields_are_noticed_without_being_kept_and_may_repeat() {
        let table: [(String, bool, bool); 7] = [
            ("A: 1\r\n\r\n".into(), true, false),
            ("a :\r\n 1\r\nB: \r\n\r\n".into(), true, false),
            ("A:\r\nB: x\r\n\r\n".into(), false, true),
            ("A: 1\r\n".repeat(40) + "B: 1\r\n\r\n", true, true),
            ("B: \r\nB: 1\r\nSubject: A: 1\r\n\r\n".into(), false, true),
            ("Subject: x\r\n\r\nA: 1\r\nB: 1\r\n".into(), false, false),
            (format!("A: {}\r\nB: \t \r\n\r\n", "x".repeat(5000)), true, false),
        ];
        for (message, a, b) in table {
            for size in [1, 7, message.len()] {
                let mut reader = HeaderReader::new(WANTED, 8192).noticing(&["A", "B"]);
                for piece in message.as_bytes().chunks(size) {
                    reader.feed(piece);
                }
                assert_eq!((reader.says("a"), reader.says("B")), (a, b), "{message}");
                assert!(!reader.is_over_limit() && reader.is_certain(), "{message}");
            }
        }
    }

    #[test]
    fn wanted_fields_are_found_in_every_spelling() {
        let table: [(&[u8], &[&str]); 23] = [
            (b"X-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n\r\n", &["eAU;Lieferung;V1.0"]),
            (b"x-kim-DIENSTKENNUNG:eAU\r\n\r\n", &["eAU"]),
            (b"X-KIM-Dienstkennung \t: eAU \r\n\r\n", &["eAU"]),
            (b"X-KIM-Dienstkennung:\r\n eAU;\r\n\tX\r\n\r\n", &["eAU; X"]),
            (b"X-KIM-Dienstkennung\r\n : eAU\r\n\r\n", &["eAU"]),
            (b"X-KIM-Dienstkennung: a\r\nX-KIM-Dienstkennung: b\r\n\r\n", &["a", "b"]),
            (b".X-KIM-Dienstkennung: a\r\n. b\r\n\r\n", &["a b"]),
            (b"..X-KIM-Dienstkennung: a\r\n\r\n", &[]),
            (b"A: b\nX-KIM-Dienstkennung: a\n\r\n\r\n", &["a"]),
            (b"A: b\n\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"A: b\n\r\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"A: b\r\n\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b" X-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"\t\r\n  X-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"A: b\rX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"A: b\r.X-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"A: b\r\r\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"\r\r\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"no header line\r\nX-KIM-Dienstkennung: a\r\n\r\n", &["a"]),
            (b"A: b\r\n X-KIM-Dienstkennung: a\r\n\r\n", &[]),
            (b"X-KIM-Dienstkennung-2: a\r\nX-KIM: b\r\n\r\nX-KIM-Dienstkennung: c\r\n", &[]),
            (b"X-KIM-Dienstkennung: \xff\xc3\xa4\r\n\r\n", &["\u{fffd}\u{e4}"]),
        ];
        for (message, expected) in table {
            let (end, services, _, _) = read_however_cut(4096, message);
            assert_eq!(services, expected, "{}", message.escape_ascii());
            assert!(end.is_some(), "{}", message.escape_ascii());
        }
    }

    fn is_malformed(message: &[u8]) -> bool {
        let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut reader = HeaderReader::new(WANTED, 4096);
            for piece in pieces {
                let _ = reader.feed(piece);
            }
            reader.is_malformed()
        };
        let whole = read(&mut [message].into_iter());
        assert_eq!(read(&mut message.chunks(1)), whole, "{}", message.escape_ascii());
        whole
    }

    #[test]
    fn a_line_that_is_no_field_makes_the_header_malformed() {
        let blanks = |count| format!("X-KIM-Dienstkennung{}: eAU\r\n\r\n", " ".repeat(count));
        let [most, one_more, many] = [57, 58, 3000].map(blanks);
        let table: [(&[u8], bool); 38] = [
            (b"Subject: a\r\n\r\n\x01", false),
            (b"\r\n", false),
            (b"a:\r\n\r\n", false),
            (b"!#~: a\r\n\r\n", false),
            (b"Subject: a\r\n \x01\xff b\r\n \r\n\tc\r\n\r\n", false),
            (b"Subject \t: a\r\n\r\n", false),
            (b"Subject\r\n : a\r\n\r\n", false),
            (b" Subject: a\r\n\r\n", false),
            (b"\t\r\n  Subject: a\r\n\r\n", false),
            (b".Subject: a\r\n. b\r\n\r\n", false),
            (b"Subject: a\n\nTo: b\r\n\r\n", false),
            (b"Subject: a\rTo: b\r\n\r\n", false),
            (b"Subject: a\r\n.\r\n", false),
            (most.as_bytes(), false),
            (one_more.as_bytes(), true),
            (many.as_bytes(), true),
            (&[&b"X-KIM-Dienstkennung"[..], &[b'\t'; 58], b": eAU\r\n\r\n"].concat(), true),
            (&[&[b'x'; 77][..], b": eAU\r\n\r\n"].concat(), true),
            (b"X-KIM-Dienstkennung\x00: eAU\r\n\r\n", true),
            (b"X-KIM-Dienstkennung\x1f: eAU\r\n\r\n", true),
            (b"X-KIM-Dienstkennung\x0b : eAU\r\n\r\n", true),
            (b"\x00X-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b"\x08X-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b" \x0cX-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b"\x7fX-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b".\x01X-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b"A: b\r\n\x01\r\n X-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b"A: b\r\n\x1f\x02\r\n\tX-KIM-Dienstkennung: eAU\r\n\r\n", true),
            (b"A\r\n \x01: b\r\n\r\n", true),
            ("X-KIM-D\u{131}enstkennung: eAU\r\n\r\n".as_bytes(), true),
            ("X-\u{212a}IM-Dienstkennung: eAU\r\n\r\n".as_bytes(), true),
            ("X-KIM-Dien\u{17f}tkennung: eAU\r\n\r\n".as_bytes(), true),
            (b"no header line\r\n\r\n", true),
            (b"nocolon\r\nA: b\r\n\r\n", true),
            (b"nocolon\r\n.\r\n", true),
            (b": a\r\n\r\n", true),
            (b"X-KIM\r-Dienstkennung: a\r\n\r\n", true),
            (b"A: b\n\nbody of a message\r\n", true),
        ];
        for (message, expected) in table {
            assert_eq!(is_malformed(message), expected, "{}", message.escape_ascii());
        }
    }

    #[test]
    fn the_header_ends_at_its_empty_line_or_with_the_message() {
        let table: [(&[u8], Option<usize>); 12] = [
            (b"A: b\r\n\r\nbody", Some(8)),
            (b"\r\nbody", Some(2)),
            (b"A: b\n\nbody", None),
            (b"A: b\n\r\nbody", None),
            (b"A: b\r\n\nbody", None),
            (b"A: b\r\r\n\r\nbody", Some(9)),
            (b"A: b\r\n.\r\n", Some(9)),
            (b".\r\n", Some(3)),
            (b"A: b\r\n..\r\n", None),
            (b"A: b\r\n \r\n", None),
            (b"A: b\r\n", None),
            (b"body\r\nbody\r\n", None),
        ];
        for (message, expected) in table {
            assert_eq!(read_however_cut(4096, message).0, expected, "{}", message.escape_ascii());
        }
    }

    #[test]
    fn a_header_without_end_is_given_up_at_the_limit() {
        let message = b"Subject: a\r\nSubject: b\r\n\r\n";
        assert_eq!(read_however_cut(26, message).0, Some(26));
        let (end, _, subjects, is_over) = read_however_cut(25, message);
        assert_eq!((end, is_over), (None, true));
        assert_eq!(subjects, ["a"]);
    }

    #[test]
    fn a_field_that_repeats_hides_no_other() {
        let many = b"Subject: x\r\n".repeat(VALUES + 1);
        let message = [&many[..], b"X-KIM-Dienstkennung: a\r\n\r\n"].concat();
        let (end, services, subjects, is_over) = read_however_cut(4096, &message);
        assert_eq!((end, subjects.len(), is_over), (Some(message.len()), VALUES, true));
        assert_eq!(services, ["a"]);
    }

    #[test]
    fn a_value_that_was_cut_shows_it() {
        let cut = |value: String| {
            let message = format!("Subject: {value}\r\n\r\n");
            read_however_cut(8192, message.as_bytes()).2.remove(0)
        };
        assert_eq!(cut("x".repeat(VALUE)), "x".repeat(VALUE));
        assert!(cut("x".repeat(VALUE + 1)).ends_with(CUT));
        assert_eq!(cut("\u{e4}".repeat(VALUE)).len(), VALUE - 1);
        let padded = cut(format!("eAU{}evil", " ".repeat(VALUE)));
        assert!(padded.ends_with(CUT) && padded.len() <= VALUE, "{padded}");
    }
}
