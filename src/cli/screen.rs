//! What a person reads: answers on standard output, complaints on standard error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// A terminal, or whatever stands in for one.
pub(super) struct Screen {
    has_colour: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let has_colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { has_colour }
    }

    /// Columns of the terminal; `None` where there is none and lines may be as long as they are.
    pub(super) fn width(&self) -> Option<usize> {
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let found = || terminal_size::terminal_size_of(std::io::stdout());
        asked.or_else(|| found().map(|(width, _)| width.0.into()))
    }

    /// One line of the answer. A reader that has gone away, as `head` does, is no error.
    pub(super) fn say(&mut self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
        let _ = std::io::stdout().flush();
    }

    /// One line about what is wrong.
    pub(super) fn complain(&mut self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// A step that worked.
    pub(super) fn done(&mut self, step: impl Display) {
        let mark = self.paint("32", "✓");
        self.say(&format!("  {mark} {step}"));
    }

    /// A step that failed.
    pub(super) fn failed(&mut self, step: impl Display) {
        let mark = self.paint("31", "✗");
        self.say(&format!("  {mark} {step}"));
    }

    /// A step that worked and left something to know about.
    pub(super) fn noted(&mut self, step: impl Display) {
        let mark = self.paint("33", "!");
        self.say(&format!("  {mark} {step}"));
    }

    pub(super) fn headline(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.say(&text);
    }

    /// Text in the colour of a yes or of a no.
    pub(super) fn verdict(&self, is_good: bool, text: &str) -> String {
        self.paint(if is_good { "1;32" } else { "1;31" }, text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
