//! Reads values into settings and reports every problem, not only the first.
//!
//! serde stops at the first value that it cannot read. So such a value is reported and taken out,
//! and the rest is read again, until all of it can be read.

use figment::error::{Actual, Kind};
use figment::value::{Dict, Value};

use super::finding::{Key, Report, printable, quoted};
use super::settings::{Settings, every_key};
use super::values::ValueError;

/// Reads the settings from the merged layers; `raw` holds the environment's values as text.
pub(super) fn settings(
    mut merged: Dict,
    mut raw: Vec<(Vec<String>, String)>,
    report: &mut Report<'_>,
) -> Settings {
    check_shape(&mut merged, report);
    let mut root = Value::from(merged);
    while !report.is_full() {
        let error = match root.deserialize::<Settings>() {
            Ok(settings) => return settings,
            Err(error) => error,
        };
        // A variable has no quotes: what looked like a number may be meant as text.
        if let Some(at) = raw.iter().position(|(key, _)| *key == error.path)
            && matches!(error.kind, Kind::InvalidType(..))
        {
            let (key, text) = raw.swap_remove(at);
            if put(&mut root, &key, Value::from(text)) {
                continue;
            }
        }
        let mut path = error.path.clone();
        complain(&error.kind, &path, report);
        // A list is taken out as a whole, so that its other entries keep their places.
        while !take(&mut root, &path) {
            if path.pop().is_none() {
                return Settings::default();
            }
        }
    }
    Settings::default()
}

/// Tables that hold tables with names of the operator's choice.
const NAMED: [&str; 7] =
    ["listeners", "client_modules", "workstations", "users", "groups", "departments", "accounts"];

/// Takes out any value where a table belongs: serde would read a list as the values of a table in
/// their order.
fn check_shape(merged: &mut Dict, report: &mut Report<'_>) {
    let is_inner = |key: &str| ["trust", "receive", "delete", "send"].contains(&key);
    keep_tables(merged, &Key::root(), |_| true, report);
    for section in NAMED {
        let Some(Value::Dict(_, entries)) = merged.get_mut(section) else { continue };
        let section = Key::of(&[section]);
        keep_tables(entries, &section, |_| true, report);
        for (name, entry) in entries {
            if let Value::Dict(_, entry) = entry {
                keep_tables(entry, &section.join(name), is_inner, report);
            }
        }
    }
}

fn keep_tables(dict: &mut Dict, at: &Key, is_table: fn(&str) -> bool, report: &mut Report<'_>) {
    dict.retain(|name, value| {
        if !is_table(name) || value.as_dict().is_some() {
            return true;
        }
        let key = at.join(name);
        let named = at.names().is_empty() && NAMED.contains(&name.as_str());
        let header = if named { format!("[{key}.NAME]") } else { format!("[{key}]") };
        let (problem, remedy) = if matches!(value, Value::Array(..)) && named {
            ("is a list, but its entries have names", format!("write {header} for each"))
        } else if at.names().is_empty() && !every_key().iter().any(|(_, k)| k == name) {
            ("is not a key", format!("remove it{}", nearest_text(name, sections())))
        } else if at.names().is_empty() && !sections().contains(&name.as_str()) {
            ("stands outside of any table", belonging(name, &[]))
        } else {
            ("is not a table", format!("write {header} and its keys below"))
        };
        report.unreadable(key, problem.into(), remedy);
        false
    });
}

fn complain(kind: &Kind, path: &[String], report: &mut Report<'_>) {
    let key = Key::from(path.to_vec());
    match kind {
        Kind::UnknownField(name, expected) => unknown_key(name, expected, &key, report),
        Kind::UnknownVariant(found, expected) => {
            let words: Vec<String> = expected.iter().map(|word| format!("\"{word}\"")).collect();
            let remedy = match nearest(found, expected.iter().copied()) {
                Some(word) => format!("write \"{word}\"; known: {}", words.join(", ")),
                None => format!("write one of {}", words.join(", ")),
            };
            report.unreadable(key, format!("{} is not known here", quoted(found)), remedy);
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let is_number = matches!(found, Actual::Signed(_) | Actual::Unsigned(_));
            let problem = if is_number && matches!(kind, Kind::InvalidValue(..)) {
                format!("{} is out of range", shape(found))
            } else {
                format!("is {}", shape(found))
            };
            report.unreadable(key, problem, format!("write {}", wanted(expected, found)));
        }
        Kind::Message(message) => {
            let error = ValueError::from_serde(message)
                .unwrap_or_else(|| ValueError::new(message, "see config/full.toml"));
            report.unreadable(key, printable(&error.problem), printable(&error.remedy));
        }
        Kind::InvalidLength(..)
        | Kind::MissingField(_)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => {
            report.unreadable(key, printable(&kind.to_string()), "see config/full.toml".into());
        }
    }
}

fn unknown_key(name: &str, expected: &[&'static str], key: &Key, report: &mut Report<'_>) {
    let parent = key.parent();
    let remedy = match nearest(name, expected.iter().copied()) {
        Some(meant) => format!("write \"{meant}\""),
        None => belonging(name, parent.names()),
    };
    let problem =
        if parent.names().is_empty() { "is not a table of kimgate" } else { "is not a key" };
    report.unreadable(key.clone(), problem.into(), remedy);
    if let Some(meant) = nearest(name, expected.iter().copied()) {
        report.stands_for(parent.join(meant));
    }
}

/// The remedy for a key in the wrong table: the table where it belongs, else to remove it.
fn belonging(name: &str, here: &[String]) -> String {
    let keys = every_key();
    let tables = |key: &str| {
        let found: Vec<String> = keys
            .iter()
            .filter(|(tables, k)| k == key && !tables.is_empty())
            .map(|(tables, _)| format!("[{}]", tables.join(".")))
            .collect();
        found.join(" or ")
    };
    let exact = tables(name);
    if !exact.is_empty() {
        return format!("it belongs under {exact}");
    }
    match nearest(name, keys.iter().map(|(_, key)| key.as_str())) {
        Some(meant) if !tables(meant).is_empty() => {
            format!("write \"{meant}\" under {}", tables(meant))
        }
        Some(_) | None if here.is_empty() => format!("known: {}", sections().join(", ")),
        Some(_) | None => {
            let shape = |tables: &[String]| {
                tables.len() == here.len()
                    && tables.iter().zip(here).all(|(t, h)| t == h || t == "NAME")
            };
            let known: Vec<&str> =
                keys.iter().filter(|(t, _)| shape(t)).map(|(_, key)| key.as_str()).collect();
            format!("known here: {}", known.join(", "))
        }
    }
}

/// The most similar word, if one is similar enough.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes time in proportion to both lengths multiplied, and no name is that long.
    if word.chars().count() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    // Jaro-Winkler finds a wrong ending; a single slip counts as similar in a short word too.
    let likeness = |known: &str| match strsim::osa_distance(&word, known) {
        0 | 1 if known.len() > 2 => 1.0,
        _ => strsim::jaro_winkler(&word, known),
    };
    known
        .map(|known| (likeness(&known.to_ascii_lowercase()), known))
        .filter(|(likeness, _)| *likeness > 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn nearest_text(word: &str, known: Vec<&str>) -> String {
    nearest(word, known.into_iter())
        .map_or_else(String::new, |meant| format!(", or write [{meant}]"))
}

fn sections() -> Vec<&'static str> {
    let all = [
        "gateway",
        "tls",
        "policy",
        "contexts",
        "mailboxes",
        "protection",
        "limits",
        "headers",
        "receipts",
        "admin",
        "audit",
        "log",
    ];
    NAMED.into_iter().chain(all).collect()
}

/// What kind of value was found. Its text is not shown, as it may be a login.
fn shape(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => format!("{value}"),
        Actual::Unsigned(number) => format!("the number {number}"),
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Float(number) => format!("the number {number}"),
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text".into(),
        Actual::Seq => "a list".into(),
        Actual::Map => "a table".into(),
        Actual::Unit
        | Actual::Option
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "something else".into(),
    }
}

/// What serde expected, in words for the operator.
fn wanted(expected: &str, found: &Actual) -> String {
    let is_number = matches!(found, Actual::Signed(_) | Actual::Unsigned(_) | Actual::Float(_));
    let number = is_number.then(|| shape(found).replace("the number ", ""));
    match (expected, number) {
        ("a sequence", _) => "a list, as in [\"a\", \"b\"]".into(),
        ("a boolean", _) => "true or false, without quotes".into(),
        ("a string" | "path string", Some(number)) => format!("text, in quotes: \"{number}\""),
        ("a string" | "path string", None) => "text in quotes".into(),
        ("u16", _) => "a whole number from 0 to 65535, without quotes".into(),
        ("u32", _) => "a whole number, without quotes".into(),
        (expected, Some(number))
            if expected.starts_with("a duration") && !matches!(found, Actual::Float(_)) =>
        {
            format!("\"{number}s\" if seconds are meant")
        }
        (expected, _) if expected.starts_with("struct ") => "a table with its keys".into(),
        (expected, _) => expected.into(),
    }
}

fn at<'a>(root: &'a mut Value, path: &[String]) -> Option<&'a mut Dict> {
    let mut here = root;
    for name in path {
        let Value::Dict(_, dict) = here else { return None };
        here = dict.get_mut(name)?;
    }
    let Value::Dict(_, dict) = here else { return None };
    Some(dict)
}

fn put(root: &mut Value, path: &[String], value: Value) -> bool {
    let Some((name, tables)) = path.split_last() else { return false };
    at(root, tables).map(|dict| dict.insert(name.clone(), value)).is_some()
}

fn take(root: &mut Value, path: &[String]) -> bool {
    let Some((name, tables)) = path.split_last() else { return false };
    at(root, tables).and_then(|dict| dict.remove(name)).is_some()
}
