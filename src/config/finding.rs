//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::source::Source;
use crate::printable::{cut, escaped};

/// One thing that `kimgate check` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it keeps kimgate from starting.
    pub severity: Severity,
    /// The file, or the environment variable.
    pub file: PathBuf,
    /// Line in the file, from 1; none for what the file does not have at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in that line, in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The key as it would be written in TOML with dots; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// Whether a finding keeps kimgate from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// Legal, and unwise.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
            if let Some(column) = self.column {
                write!(f, "{column}:")?;
            }
        }
        write!(f, " {}: ", self.severity.as_str())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, " — {}", self.remedy)?;
        }
        Ok(())
    }
}

/// A place in the configuration: the keys from the outside in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<String>);

impl Key {
    /// The whole file.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The key with these names.
    pub(super) fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// The key `name` below this one.
    pub(super) fn join(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }

    /// The element of this list.
    pub(super) fn element(&self, index: usize) -> Self {
        self.join(&index.to_string())
    }

    /// The key without its last name.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// Its names.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether this is `outer` or inside it.
    pub(super) fn is_within(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }
}

impl From<Vec<String>> for Key {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

impl fmt::Display for Key {
    /// With dots, quoted where TOML needs quotes. A list's index is left out: the line says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_index = |name: &String| name.bytes().all(|b| b.is_ascii_digit());
        let shown = match self.0.split_last() {
            Some((last, list)) if list.len() > 1 && is_index(last) => list,
            Some(_) | None => &self.0,
        };
        for (at, name) in shown.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if !name.is_empty() && name.bytes().all(bare) {
                write!(f, "{dot}{name}")?;
            } else if let Some((address, _)) = name.split_once('#') {
                // A login where an account belongs: only its address may be shown.
                write!(f, "{dot}\"{}#…\"", printable(address))?;
            } else {
                write!(f, "{dot}\"{}\"", printable(name))?;
            }
        }
        Ok(())
    }
}

/// Collects findings and puts the place to each.
pub(super) struct Report<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
    /// Keys that were left out because they could not be read; nothing is said about what depends
    /// on them.
    unread: Vec<Key>,
}

/// The most findings that are kept; a file with more is not a configuration.
const MOST: usize = 200;

impl<'a> Report<'a> {
    /// Starts with these findings.
    pub(super) fn new(source: &'a Source, findings: Vec<Finding>) -> Self {
        Self { source, findings, unread: Vec::new() }
    }

    /// Adds something that keeps kimgate from starting.
    pub(super) fn error(
        &mut self,
        key: &Key,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, key, problem.into(), remedy.into());
    }

    /// Adds something legal but unwise.
    pub(super) fn warning(
        &mut self,
        key: &Key,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, key, problem.into(), remedy.into());
    }

    /// Adds an error about a value that was left out.
    pub(super) fn unreadable(&mut self, key: Key, problem: String, remedy: String) {
        self.error(&key, problem, remedy);
        self.unread.push(key);
    }

    /// Remembers that something unreadable was meant for `key`.
    pub(super) fn stands_for(&mut self, key: Key) {
        self.unread.push(key);
    }

    /// Whether `key` was written but could not be read.
    pub(super) fn is_unread(&self, key: &Key) -> bool {
        self.unread.iter().any(|unread| unread == key)
    }

    /// Whether something in this section's entry of this name, or around it, could not be read.
    pub(super) fn is_unread_within(&self, section: &str, name: &str) -> bool {
        let entry = Key::of(&[section, name]);
        self.unread.iter().any(|unread| unread.is_within(&entry) || entry.is_within(unread))
    }

    /// Whether `key` is a table that no header names, only headers of tables in it.
    pub(super) fn is_implied(&self, key: &Key) -> bool {
        self.source.is_implied(key)
    }

    /// Whether more can be said.
    pub(super) fn is_full(&self) -> bool {
        self.findings.len() >= MOST
    }

    /// Whether kimgate cannot start.
    pub(super) fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Everything found, in the order of the file; what the environment says comes last.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by(|a, b| {
            let place = |f: &Finding| (f.file != *self.source.path(), f.line, f.column);
            place(a).cmp(&place(b)).then_with(|| a.severity.cmp(&b.severity))
        });
        if self.is_full() {
            self.findings
                .push(self.source.unreadable("there are more problems than are shown here"));
        }
        self.findings.dedup();
        self.findings
    }

    fn add(&mut self, severity: Severity, key: &Key, problem: String, remedy: String) {
        // The list or table around a bad entry is incomplete; what is said about it would vanish
        // once the entry is corrected.
        let follows = self.unread.iter().any(|unread| unread.is_within(key));
        if follows || self.is_full() {
            return;
        }
        let place = self.source.place(key);
        self.findings.push(Finding {
            severity,
            file: place.file,
            line: place.line,
            column: place.column,
            key: key.to_string(),
            problem,
            remedy,
        });
    }
}

/// `"text"` for a finding: cut, and without anything that moves a terminal's cursor.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// The text escaped, and cut after 120 characters.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 120;
    let shown = cut(text, LONGEST);
    let mark = if shown.len() < text.len() { "…" } else { "" };
    escaped(shown).into_owned() + mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_toml_would_write_them() {
        let table: [(&[&str], &str); 5] = [
            (&["accounts", "a@b#h:995#M#C#W"], "accounts.\"a@b#…\""),
            (&["gateway", "name"], "gateway.name"),
            (&["accounts", "a@b.c", "send", "allow", "1"], "accounts.\"a@b.c\".send.allow"),
            (&["workstations", "7"], "workstations.7"),
            (&["groups", "a\u{1b}[2J"], "groups.\"a\\u{1b}[2J\""),
        ];
        for (names, shown) in table {
            assert_eq!(Key::of(names).to_string(), shown);
        }
    }

    #[test]
    fn nothing_that_was_written_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}b\nc\u{202e}d"), "a\\u{1b}b\\u{a}c\\u{202e}d");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), 121);
    }
}
