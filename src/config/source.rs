//! The file as it was written: of limited size, parsed once, with a line for every key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{ImDocument, Item, Table, TableLike, Value};

use super::finding::{Finding, Key, Severity};
use super::toml_hints;

/// The largest file, in bytes: ten thousand workstations and accounts fit, a log file does not.
const LARGEST: u64 = 4 << 20;

/// The file's text, and where each key stands.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
    spans: HashMap<Vec<String>, Range<usize>>,
    line_starts: Vec<usize>,
    /// Tables that no header names: only headers of tables in them do.
    implied: HashSet<Vec<String>>,
    /// Keys that an environment variable set, with the variable's name.
    variables: BTreeMap<Vec<String>, String>,
}

/// Where something was written.
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
}

impl Source {
    /// Reads and parses the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Box<Finding>> {
        let mut source = Self::empty(path);
        let bytes = source.bytes()?;
        let text = source.decode(bytes)?;
        Self::parse(path, text)
    }

    /// Parses a text that is at `path` or will be written there.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, Box<Finding>> {
        let mut source = Self::empty(path);
        source.text = text;
        let line_ends = source.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        source.line_starts.extend(line_ends.map(|(at, _)| at + 1));
        let document = match ImDocument::parse(source.text.clone()) {
            Ok(document) => document,
            Err(error) => {
                let at = error.span().map(|span| span.start);
                let message = super::finding::printable(&error.message().replace('\n', "; "));
                let line = at.map(|at| source.position(at).0 - 1);
                let meant = line.and_then(|line| toml_hints::meant(&source.text, line));
                let shown = super::finding::printable;
                let remedy = match &meant {
                    Some((_, meant)) => format!("write {}", shown(meant)),
                    None => {
                        "text stands in quotes, a table's name in [brackets], each key once".into()
                    }
                };
                let problem = match &meant {
                    Some((line, _)) => format!("not TOML: {}: {message}", shown(line)),
                    None => format!("not TOML: {message}"),
                };
                return Err(source.refuse(at, problem, &remedy));
            }
        };
        collect_table(document.as_table(), &mut Vec::new(), &mut source.spans);
        collect_implied(document.as_table(), &mut Vec::new(), &mut source.implied);
        Ok(source)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            text: String::new(),
            spans: HashMap::new(),
            line_starts: vec![0],
            implied: HashSet::new(),
            variables: BTreeMap::new(),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Its text, which is TOML.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The finding for a text that is TOML and still cannot be read.
    pub(super) fn unreadable(&self, problem: &str) -> Finding {
        *self.refuse(None, super::finding::printable(problem), "compare it with config/full.toml")
    }

    /// Records that `variable` set `key`.
    pub(super) fn set_by(&mut self, key: Vec<String>, variable: String) {
        self.variables.insert(key, variable);
    }

    /// The variable that set `key` or something around it.
    pub(super) fn variable(&self, key: &Key) -> Option<&str> {
        let names = key.names();
        let around = (0..=names.len()).rev().map(|end| &names[..end]);
        around.filter_map(|around| self.variables.get(around)).next().map(String::as_str)
    }

    /// Whether `key` itself was written, by the file or by a variable.
    pub(super) fn is_written(&self, key: &Key) -> bool {
        self.variable(key).is_some() || self.spans.contains_key(key.names())
    }

    /// Whether `key` is a table that no header names, only headers of tables in it.
    pub(super) fn is_implied(&self, key: &Key) -> bool {
        self.implied.contains(key.names())
    }

    /// Where `key` was written, else the place of the table around it.
    pub(super) fn place(&self, key: &Key) -> Place {
        if let Some(variable) = self.variable(key) {
            return Place { file: variable.into(), line: None, column: None };
        }
        let names = key.names();
        let nearest = (1..=names.len()).rev().find_map(|end| self.spans.get(&names[..end]));
        let position = nearest.map(|span| self.position(span.start));
        Place {
            file: self.path.clone(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, Box<Finding>> {
        let unreadable = |error: std::io::Error| {
            let problem = format!("cannot be read: {error}");
            self.refuse(
                None,
                problem,
                "give the configuration with --config FILE or KIMGATE_CONFIG",
            )
        };
        let mut bytes = Vec::new();
        let file = File::open(&self.path).map_err(unreadable)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST {
            let problem = format!("is larger than {} MiB", LARGEST >> 20);
            return Err(self.refuse(None, problem, "name the configuration, not another file"));
        }
        Ok(bytes)
    }

    fn decode(&mut self, bytes: Vec<u8>) -> Result<String, Box<Finding>> {
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        String::from_utf8(bytes).map_err(|error| {
            if utf16 {
                return self.refuse(None, "is UTF-16 text".into(), "save it as UTF-8");
            }
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count();
            let problem = "holds a character that is not UTF-8".into();
            let remedy = "save it as UTF-8, or write ae, oe, ue, ss";
            let mut finding = self.refuse(None, problem, remedy);
            finding.line = Some(line);
            finding
        })
    }

    fn refuse(&self, at: Option<usize>, problem: String, remedy: &str) -> Box<Finding> {
        let position = at.map(|at| self.position(at));
        Box::new(Finding {
            severity: Severity::Error,
            file: self.path.clone(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            key: String::new(),
            problem,
            remedy: remedy.into(),
        })
    }

    /// Line and column of a byte offset, from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts[line - 1];
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

fn collect_table(
    table: &dyn TableLike,
    path: &mut Vec<String>,
    spans: &mut HashMap<Vec<String>, Range<usize>>,
) {
    for (name, item) in table.iter() {
        path.push(name.to_owned());
        let key = table.get_key_value(name).and_then(|(key, _)| key.span());
        // The span of a header comes first: that of its key may belong to a deeper header.
        let header = item.as_table().and_then(|table| table.span());
        if let Some(span) = header.or(key).or_else(|| item.span()) {
            spans.insert(path.clone(), span);
        }
        collect_item(item, path, spans);
        path.pop();
    }
}

fn collect_implied(table: &Table, path: &mut Vec<String>, implied: &mut HashSet<Vec<String>>) {
    for (name, item) in table.iter() {
        let Some(inner) = item.as_table() else { continue };
        path.push(name.to_owned());
        if inner.is_implicit() && !inner.is_dotted() {
            implied.insert(path.clone());
        }
        collect_implied(inner, path, implied);
        path.pop();
    }
}

fn collect_item(
    item: &Item,
    path: &mut Vec<String>,
    spans: &mut HashMap<Vec<String>, Range<usize>>,
) {
    if let Some(table) = item.as_table_like() {
        collect_table(table, path, spans);
    } else if let Some(array) = item.as_array() {
        collect_array(array, path, spans);
    }
}

fn collect_array(
    array: &toml_edit::Array,
    path: &mut Vec<String>,
    spans: &mut HashMap<Vec<String>, Range<usize>>,
) {
    for (index, value) in array.iter().enumerate() {
        path.push(index.to_string());
        if let Some(span) = value.span() {
            spans.insert(path.clone(), span);
        }
        match value {
            Value::Array(inner) => collect_array(inner, path, spans),
            Value::InlineTable(table) => collect_table(table, path, spans),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source, Box<Finding>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Source::read(file.path())
    }

    #[test]
    fn every_key_has_the_line_it_stands_in() {
        let source = source(
            "[a]\nb = 1\nlist = [\n  \"x\",\n  \"y\",\n]\n[c.d.\"e.f\"]\ng = { h = 2 }\n[c]\ni = 1\n",
        )
        .unwrap();
        let table: [(&[&str], Option<usize>); 10] = [
            (&["a"], Some(1)),
            (&["a", "b"], Some(2)),
            (&["a", "list", "1"], Some(5)),
            (&["c", "d", "e.f"], Some(7)),
            (&["c", "d", "e.f", "g", "h"], Some(8)),
            (&["c"], Some(9)),
            (&["c", "i"], Some(10)),
            (&["a", "absent"], Some(1)),
            (&["absent"], None),
            (&[], None),
        ];
        for (names, line) in table {
            assert_eq!(source.place(&Key::of(names)).line, line, "{names:?}");
        }
    }

    #[test]
    fn columns_count_characters() {
        let source = source("[a]\n\"ü\" = 1\nb = [\"ü\", \"x\"]\n").unwrap();
        assert_eq!(source.place(&Key::of(&["a", "b", "1"])).column, Some(11));
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let error = source("[a]\nb = \n").unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(5)), "{error}");
        let twice = source("[a]\nb = 1\nb = 2\n").unwrap_err();
        assert_eq!(twice.line, Some(3), "{twice}");
    }
}
