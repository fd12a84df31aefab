//! What a person reads: answers on standard output, complaints on standard error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use crate::printable::{escaped_json, escaped_lines};

/// Standard output and standard error, usually a terminal.
///
/// Every text is escaped here, also one that was escaped before: what a server, a certificate or a
/// file says can then neither move the cursor nor hide from the reader.
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

    /// One line of the answer, or several. A reader that has gone away, as `head` does, is not an error.
    pub(super) fn say(&mut self, line: &str) {
        put(&escaped_lines(line));
    }

    /// A JSON document, or a line of one. Its values are what they were; unsafe characters in them
    /// are written in JSON's own escapes.
    pub(super) fn say_json(&mut self, json: &str) {
        put(&escaped_json(json));
    }

    /// A file for another program. Its bytes stay as they are, unless a terminal would show them.
    pub(super) fn say_file(&mut self, text: &str) {
        if std::io::stdout().is_terminal() { self.say(text) } else { put(text) }
    }

    /// One line about what is wrong.
    pub(super) fn complain(&mut self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{}", escaped_lines(line));
    }

    /// A step that worked.
    pub(super) fn done(&mut self, step: impl Display) {
        self.marked("32", "✓", step);
    }

    /// A step that failed.
    pub(super) fn failed(&mut self, step: impl Display) {
        self.marked("31", "✗", step);
    }

    /// A step that worked and left something to know about.
    pub(super) fn noted(&mut self, step: impl Display) {
        self.marked("33", "!", step);
    }

    pub(super) fn headline(&mut self, text: &str) {
        put(&self.paint("1", text));
    }

    /// A line that begins with a yes or a no in its colour.
    pub(super) fn verdict(&mut self, is_good: bool, word: &str, rest: &str) {
        let word = self.paint(if is_good { "1;32" } else { "1;31" }, word);
        put(&format!("{word}{}", escaped_lines(rest)));
    }

    fn marked(&mut self, colour: &str, mark: &str, step: impl Display) {
        let mark = self.paint(colour, mark);
        put(&format!("  {mark} {}", escaped_lines(&step.to_string())));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        let text = escaped_lines(text);
        match self.has_colour {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.into_owned(),
        }
    }
}

/// Writes what is escaped, or meant for a program.
fn put(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}
