//! Which module may use which: the map in ARCHITECTURE.md, held by reading the sources.
//!
//! The document has the only table. A module that is missing there fails, and so does a source that
//! names a module that its row does not allow, or anything that its row forbids.

mod circles;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use self::source::{Source, rust_files, sources};

const DOCUMENT: &str = include_str!("../../ARCHITECTURE.md");

/// The head of the table, which is how it is found.
const HEAD: &str = "| module | holds | may use | never |";

/// A module of the library, what of the crate it may use, and what from outside it must not.
struct Row {
    name: String,
    may_use: Vec<String>,
    never: Vec<String>,
}

#[test]
fn every_module_keeps_to_its_row() {
    let rows = table();
    let faults: Vec<String> = sources().iter().flat_map(|source| judge(&rows, source)).collect();
    assert!(faults.is_empty(), "against the map in ARCHITECTURE.md:\n{}", faults.join("\n"));
}

#[test]
fn every_row_has_files_and_names_modules_that_have_rows() {
    let rows = table();
    let sources = sources();
    let found: BTreeSet<&str> = sources.iter().map(Source::row).collect();
    let named: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(named, found);
    assert_eq!(rows.len(), found.len(), "a module has two rows");
    for row in &rows {
        for used in &row.may_use {
            assert!(named.contains(used.as_str()), "{} may use {used}, which has no row", row.name);
        }
    }
}

/// Modules are layers: if the table lets one use another, there is no way back.
#[test]
fn the_table_itself_has_no_circle() {
    let mut rows = table();
    while !rows.is_empty() {
        let left: BTreeSet<String> = rows.iter().map(|row| row.name.clone()).collect();
        let before = rows.len();
        rows.retain(|row| row.may_use.iter().any(|used| left.contains(used)));
        assert!(rows.len() < before, "these use each other: {left:?}");
    }
}

/// One fault of each kind in each row, as a file of that module.
#[test]
fn a_fault_planted_in_any_row_is_found() {
    let rows = table();
    for row in &rows {
        let name = &row.name;
        let is_fault = |file: &str, text: &str| {
            let source = Source::new(&format!("{name}{file}"), text);
            !judge(&rows, &source).is_empty()
        };
        let mut planted = 0;
        for other in rows.iter().map(|row| &row.name).filter(|other| *other != name) {
            let allowed = row.may_use.contains(other);
            for (file, text) in [
                (".rs", format!("use crate::{other}::X;")),
                (".rs", format!("fn f() -> crate::{other}::X {{ todo!() }}")),
                ("/deep.rs", format!("use crate::{{{name}::Y, {other}::{{X, Z}}}};")),
                ("/deep.rs", format!("use super::super::{other}::X;")),
                (".rs", format!("pub use super::{other}::X;")),
            ] {
                assert_eq!(is_fault(file, &text), !allowed, "{name}: {text}");
                planted += usize::from(!allowed);
            }
            assert!(!is_fault(".rs", &format!("// crate::{other}::X")), "{name}: a comment");
            let test = format!("#[cfg(test)]\nmod tests {{ use crate::{other}::X; }}");
            assert!(!is_fault(".rs", &test), "{name}: a test");
        }
        for word in &row.never {
            for text in [
                format!("use {word}::x;"),
                format!("use {{std::fmt, {word}::x}};"),
                format!("fn f() {{ {word}::x() }}"),
            ] {
                assert!(is_fault("/deep.rs", &text), "{name}: {text}");
                planted += 1;
            }
            if let Some((root, step)) = word.rsplit_once("::") {
                let text = format!("use {root}::{{fmt, {step}}};");
                assert!(is_fault(".rs", &text), "{name}: {text}");
            } else {
                let text = format!("use {word}_of_a_companion::X;");
                assert!(is_fault(".rs", &text), "{name}: {text}");
            }
        }
        assert!(planted > 0, "no fault is possible in the row of {name}");
    }
    assert!(!judge(&rows, &Source::new("stranger.rs", "")).is_empty());
}

/// A test that prints a line and passes is not required by `KIMGATE_REQUIRE_INTEROP=1`.
#[test]
fn no_test_skips_on_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let here = folder.join("it/architecture.rs");
    let tools = folder.join("it/support/tools.rs");
    for file in rust_files(&folder).iter().filter(|file| **file != here && **file != tools) {
        let text = fs::read_to_string(file).unwrap();
        for sign in ["\"skipped", "\"skipping", "var(\"KIMGATE_REQUIRE_INTEROP"] {
            assert!(!text.contains(sign), "{}: {sign}; call tools::skip", file.display());
        }
    }
}

/// The rows of the map. Backquoted words in the last two columns are what is held.
fn table() -> Vec<Row> {
    let (_, below) = DOCUMENT.split_once(HEAD).expect("ARCHITECTURE.md has the table");
    let lines = below.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows = lines.flat_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [modules, _, may_use, never] = cells[..] else { panic!("four columns: {line}") };
        quoted(modules).into_iter().map(|name| Row {
            name,
            may_use: quoted(may_use),
            never: quoted(never),
        })
    });
    rows.collect()
}

/// The words in backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What in this file goes against the table.
fn judge(rows: &[Row], source: &Source) -> Vec<String> {
    let (file, name) = (&source.name, source.row());
    let Some(row) = rows.iter().find(|row| row.name == name) else {
        return vec![format!("{file}: {name} is not in the table")];
    };
    let mut faults = Vec::new();
    for path in source.code.all_paths() {
        let Some(target) = source.resolve(path) else { continue };
        let Some(used) = target.first() else { continue };
        let is_module = rows.iter().any(|row| row.name == *used);
        if is_module && used != name && !row.may_use.contains(used) {
            faults.push(format!("{file}: {name} must not use {used} ({})", path.join("::")));
        }
    }
    for word in row.never.iter().filter(|word| source.code.mentions(word)) {
        faults.push(format!("{file}: {name} must not name {word}"));
    }
    faults
}
