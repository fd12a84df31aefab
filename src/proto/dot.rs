//! Finds the end of a message that ends with a dot. It changes no byte.
//!
//! A message ends with a dot that stands alone on a line: CRLF `.` CRLF (RFC 5321 section 4.1.1.4,
//! RFC 1939 section 3). Servers differ in what else they take for it: LF `.` LF, LF `.` CRLF,
//! CR `.` CR, CRCRLF `.` CRLF and so on. If two servers in a row differ, a sender can hide a second
//! message inside the first one, and the first server does not judge its envelope (SMTP smuggling). So
//! a strict scan reports every dot that one server could take for a line of its own and another could
//! not. It holds such a dot back until it is known what follows.
//!
//! Three bytes count as edges of a line here: CR, LF, and NUL, where a reader in C may stop. A dot
//! between two edges is *lone*. A lone dot between CRLF and CRLF is the end. The end is clear if
//! neither CR nor NUL stands before its first CRLF. Every other lone dot is ambiguous.

use memchr::memchr_iter;

/// The line that ends a message. A strict scan never forwards it: its owner writes it after deciding
/// that the message may be completed.
pub const END: &[u8] = b".\r\n";

/// Reads a message in pieces. It keeps no more than the last three bytes.
#[derive(Clone, Debug)]
pub struct DotScan {
    mode: Mode,
    /// The last three bytes, to know what stands before a dot. A message begins as if a CRLF stood
    /// before it.
    last: [u8; 3],
    /// A dot at the end of what was scanned. The next bytes decide what it is.
    pending: Option<Pending>,
    is_ambiguous: bool,
}

/// What one scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// At most two bytes that an earlier scan held back and that are harmless. Forward them first.
    pub release: &'static [u8],
    /// Then forward so many bytes of the slice. The bytes between `safe` and `end` (or the end of the
    /// slice) are held back. Do not offer them again: they come as `release`, or not at all.
    pub safe: usize,
    /// The message and its final line end after so many bytes of the slice. In a strict scan the final
    /// line is not `safe`: it is forwarded apart, where the message may be completed.
    pub end: Option<usize>,
    /// There was a lone dot, now or before, that two servers could read differently. From that dot on
    /// nothing is `safe`, but the scan still finds the end.
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
    /// CRLF, and neither CR nor NUL before it.
    Clean,
    /// CRLF after CR or NUL.
    Doubtful,
    /// CR, LF or NUL alone.
    Bare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    before: Before,
    /// A CR came after the dot.
    has_return: bool,
}

enum Verdict {
    Harmless,
    End { ambiguous: bool },
    Ambiguous,
    Undecided { has_return: bool },
}

impl DotScan {
    /// For a message from a workstation to a client module (DATA). Ambiguous dots are reported. Neither
    /// they nor the final line are `safe`.
    pub fn strict() -> Self {
        Self::new(Mode::Strict)
    }

    /// For an answer from a client module to a workstation (RETR, TOP, lists). Only CRLF `.` CRLF ends
    /// it. Everything up to its end is `safe` at once.
    pub fn lenient() -> Self {
        Self::new(Mode::Lenient)
    }

    fn new(mode: Mode) -> Self {
        Self { mode, last: *b" \r\n", pending: None, is_ambiguous: false }
    }

    /// Reads the next piece. Do not call it after the end was found.
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

    /// Decides about the dot at the end of the last slice. `Err`: this slice needs no search.
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

    /// The edge before the dot; `None` where there is none, as for a dot that ends a sentence.
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

    /// Judges a dot after an edge by the bytes after it, as far as they are known.
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
