//! Where a dot-ended message ends; changes no byte.
//!
//! A message ends with a dot that stands alone on a line: CRLF `.` CRLF (RFC 5321 section 4.1.1.4,
//! RFC 1939 section 3). Servers differ in what else they take for it: LF `.` LF, LF `.` CRLF,
//! CR `.` CR, CRCRLF `.` CRLF and so on. A sender who knows such a difference between two servers
//! in a row smuggles a second message, with an envelope that the first server never judged, into
//! the first one. So a strict scan reports every dot that any server could take for a line of its
//! own while another does not, and holds it back until that is known.
//!
//! Three octets count as edges of a line here: CR, LF, and NUL, where a reader in C may stop. A dot
//! between two edges is *lone*. A lone dot between CRLF and CRLF is the end. Every lone dot is
//! ambiguous, but for the end whose first CRLF follows neither CR nor NUL.

use memchr::memchr_iter;

/// The line that ends a message. A strict scan never lets it through: whoever decides that the
/// message may be completed writes it.
pub const END: &[u8] = b".\r\n";

/// Reads along; keeps no more of the message than its last three octets.
#[derive(Clone, Debug)]
pub struct DotScan {
    mode: Mode,
    /// What came last, to know what stands before a dot. A message begins as if behind CRLF.
    last: [u8; 3],
    /// The dot at the end of what was scanned, which the next octets decide about.
    pending: Option<Pending>,
    is_ambiguous: bool,
}

/// What one scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Octets that an earlier scan held back and that proved harmless: forward them first. At most
    /// two.
    pub release: &'static [u8],
    /// Then forward so many of these octets. What is between `safe` and the end of the slice, or
    /// `end`, is held back: do not offer it again, it comes as `release` or never.
    pub safe: usize,
    /// The message, with its final line, ends after so many of these octets. In a strict scan the
    /// final line is not among the safe ones; write [`END`] to complete the message.
    pub end: Option<usize>,
    /// A lone dot was seen, now or before, that two servers could read differently. From its dot on
    /// nothing is safe any more; the scan still finds the end.
    pub ambiguous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Strict,
    Lenient,
}

/// What stands before a dot at the edge of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// CRLF, and nothing that a reader could draw into it.
    Clean,
    /// CRLF behind CR or NUL.
    Doubtful,
    /// CR, LF or NUL alone.
    Bare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    before: Before,
    /// A CR came behind the dot.
    has_return: bool,
}

enum Verdict {
    Harmless,
    End { ambiguous: bool },
    Ambiguous,
    Undecided { has_return: bool },
}

impl DotScan {
    /// From a workstation to a client module (DATA): ambiguous sequences are reported, and neither
    /// they nor the final line are ever safe to forward.
    pub fn strict() -> Self {
        Self::new(Mode::Strict)
    }

    /// From a client module to a workstation (RETR, TOP, lists): CRLF `.` CRLF ends, everything
    /// else passes, and everything up to the end is safe at once.
    pub fn lenient() -> Self {
        Self::new(Mode::Lenient)
    }

    fn new(mode: Mode) -> Self {
        Self { mode, last: *b" \r\n", pending: None, is_ambiguous: false }
    }

    /// Reads on. After the end, nothing more is to be offered.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let scanned = self.search(bytes);
        for &byte in &bytes[bytes.len().saturating_sub(3)..] {
            self.last = [self.last[1], self.last[2], byte];
        }
        scanned
    }

    fn search(&mut self, bytes: &[u8]) -> Scanned {
        let release = match self.settle_pending(bytes) {
            Ok(release) => release,
            Err(scanned) => return scanned,
        };
        let mut safe = if self.is_ambiguous { 0 } else { bytes.len() };
        let mut end = None;
        for dot in memchr_iter(b'.', bytes) {
            let Some(before) = self.before(bytes, dot) else { continue };
            match self.judge(before, &bytes[dot + 1..]) {
                Verdict::Harmless => continue,
                Verdict::Ambiguous => self.is_ambiguous = true,
                Verdict::Undecided { has_return } => {
                    self.pending = Some(Pending { before, has_return });
                }
                Verdict::End { ambiguous } => {
                    self.is_ambiguous |= ambiguous;
                    end = Some(dot + 1 + 2);
                }
            }
            safe = safe.min(dot);
            if end.is_some() {
                break;
            }
        }
        self.scanned(release, safe, end, bytes)
    }

    /// What became of the dot at the end of the last slice. `Err`: nothing else is to be searched.
    fn settle_pending(&mut self, bytes: &[u8]) -> Result<&'static [u8], Scanned> {
        let Some(pending) = self.pending else { return Ok(b"") };
        let held: &[u8] = if pending.has_return { b".\r" } else { b"." };
        let mut after = [b'\r'; 2];
        let come = usize::from(pending.has_return);
        let next = bytes.len().min(after.len() - come);
        after[come..come + next].copy_from_slice(&bytes[..next]);
        let verdict = self.judge(pending.before, &after[..come + next]);
        self.pending = None;
        match verdict {
            Verdict::Harmless if self.is_ambiguous => Ok(b""),
            Verdict::Harmless => Ok(held),
            Verdict::Ambiguous => {
                self.is_ambiguous = true;
                Ok(b"")
            }
            Verdict::Undecided { has_return } => {
                self.pending = Some(Pending { before: pending.before, has_return });
                Err(self.scanned(b"", 0, None, bytes))
            }
            Verdict::End { ambiguous } => {
                self.is_ambiguous |= ambiguous;
                Err(self.scanned(b"", 0, Some(after.len() - come), bytes))
            }
        }
    }

    fn scanned(
        &self,
        release: &'static [u8],
        safe: usize,
        end: Option<usize>,
        bytes: &[u8],
    ) -> Scanned {
        match self.mode {
            Mode::Strict => Scanned { release, safe, end, ambiguous: self.is_ambiguous },
            Mode::Lenient => {
                Scanned { release: b"", safe: end.unwrap_or(bytes.len()), end, ambiguous: false }
            }
        }
    }

    /// What stands before the dot, where that is an edge; most dots end a sentence.
    fn before(&self, bytes: &[u8], dot: usize) -> Option<Before> {
        let back = |n: usize| match dot.checked_sub(n) {
            Some(at) => bytes[at],
            None => self.last[self.last.len() + dot - n],
        };
        match (back(1), self.mode) {
            (b'\n', Mode::Lenient) => (back(2) == b'\r').then_some(Before::Clean),
            (b'\n', Mode::Strict) => Some(match (back(3), back(2)) {
                (b'\r' | 0, b'\r') => Before::Doubtful,
                (_, b'\r') => Before::Clean,
                _ => Before::Bare,
            }),
            (b'\r' | 0, Mode::Strict) => Some(Before::Bare),
            _ => None,
        }
    }

    /// Of a dot at the edge of a line, with what is known to follow it.
    fn judge(&self, before: Before, after: &[u8]) -> Verdict {
        match (before, after) {
            (_, []) => Verdict::Undecided { has_return: false },
            (Before::Bare, [b'\r' | b'\n' | 0, ..]) => Verdict::Ambiguous,
            (_, [b'\r']) => Verdict::Undecided { has_return: true },
            (Before::Clean, [b'\r', b'\n', ..]) => Verdict::End { ambiguous: false },
            (Before::Doubtful, [b'\r', b'\n', ..]) => Verdict::End { ambiguous: true },
            (_, [b'\r' | b'\n' | 0, ..]) if self.mode == Mode::Strict => Verdict::Ambiguous,
            _ => Verdict::Harmless,
        }
    }
}
