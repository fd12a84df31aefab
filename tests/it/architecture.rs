//! Which module may use which: the map in `src/lib.rs`, held by reading the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module of the library, what of the crate it may use, and what from outside it must not.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

/// A machine that cannot wait, dial or look at a clock is tested with bytes alone.
const PURE: &[&str] = &["tokio", "tokio_rustls", "tokio_util", "rustls", "std::net", "std::time"];

const LAYERS: &[Layer] = &[
    Layer { name: "printable", may_use: &[], never: PURE },
    Layer { name: "words", may_use: &[], never: PURE },
    Layer { name: "secret", may_use: &[], never: PURE },
    Layer { name: "kim", may_use: &["words"], never: PURE },
    Layer { name: "proto", may_use: &["secret", "words"], never: PURE },
    // Addresses are what a policy is about, and the time of a refusal comes in as a value.
    Layer {
        name: "policy",
        may_use: &["kim", "words"],
        never: &["tokio", "tokio_rustls", "tokio_util", "rustls", "Instant::now", "SystemTime"],
    },
    Layer { name: "trust", may_use: &["printable", "secret", "words"], never: &[] },
    Layer {
        name: "observe",
        may_use: &["kim", "proto", "policy", "printable", "trust", "words"],
        never: &[],
    },
    Layer {
        name: "gateway",
        may_use: &["secret", "kim", "proto", "policy", "printable", "trust", "observe", "words"],
        never: &[],
    },
    Layer { name: "admin", may_use: &["observe", "words"], never: &[] },
    Layer { name: "service", may_use: &["gateway"], never: &["tokio", "rustls"] },
    Layer { name: "sim", may_use: &["secret", "kim", "proto", "words"], never: &[] },
];

/// These put the rest together and may use all of it.
const TOP: &[&str] = &["config", "app", "autoconfig", "cli", "lib", "main"];

#[test]
fn no_module_reaches_upwards_or_sideways() {
    let mut faults = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        faults.extend(judge(&module_of(&file), &text).map(|f| format!("{}: {f}", file.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_layer_of_the_table_has_files() {
    let found: BTreeSet<String> = sources().iter().map(|file| module_of(file)).collect();
    assert!(LAYERS.iter().all(|layer| found.contains(layer.name)), "{found:?}");
}

#[test]
fn a_planted_import_is_found() {
    let table = [
        ("proto", "use crate::policy::Policy;", true),
        ("proto", "use crate::{secret::Secret, gateway};", true),
        ("proto", "use crate::{\n    secret::Secret,\n    words::{Reason, Close},\n};", false),
        ("proto", "fn f() -> crate::observe::Event { todo!() }", true),
        ("proto", "use tokio::io::AsyncRead;", true),
        ("proto", "use std::{fmt, net::IpAddr};", true),
        ("proto", "let start = std::time::Instant::now();", true),
        ("kim", "use super::super::gateway::Config;", true),
        ("kim", "use std::fmt;", false),
        ("kim", "// crate::gateway is out of reach here, and tokio:: too", false),
        ("policy", "use std::net::IpAddr;", false),
        ("policy", "tokio::spawn(async {});", true),
        ("policy", "let now = Instant::now();", true),
        ("gateway", "use crate::sim::Sim;", true),
        ("admin", "pub(crate) use crate::observe::Observer;", false),
        ("app", "use crate::{admin, gateway, sim};", false),
        ("stranger", "", true),
    ];
    for (module, text, wrong) in table {
        assert_eq!(judge(module, text).next().is_some(), wrong, "{module}: {text}");
    }
}

/// Every Rust file of the library; a walk that finds nothing proves nothing.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "only {files:?}");
    files
}

/// The first step of a file's path below `src`.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    below.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// What in this text goes against the table.
fn judge(module: &str, text: &str) -> impl Iterator<Item = String> {
    let code = without_comments_and_tests(text);
    let mut faults = Vec::new();
    if let Some(layer) = LAYERS.iter().find(|layer| layer.name == module) {
        for used in uses(&code, "crate") {
            if used != module && !layer.may_use.contains(&used.as_str()) {
                faults.push(format!("{module} must not use crate::{used}"));
            }
        }
        if code.contains("super::super::super") || climbs_out(&code, module) {
            faults.push(format!("{module} reaches out by super"));
        }
        for word in layer.never {
            if mentions(&code, word) {
                faults.push(format!("{module} must not use {word}"));
            }
        }
    } else if !TOP.contains(&module) {
        faults.push(format!("{module} is not in the table"));
    }
    faults.into_iter()
}

/// Comments may speak about anything, and a test may wait for anything.
fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The first steps of all paths below `root`, `root::{a, b::{c, d}}` included.
fn uses(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split(&format!("{root}::")).skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_steps(group)),
            None => found.extend([word(rest)]),
        }
    }
    found.retain(|name| !name.is_empty() && name.starts_with(char::is_lowercase));
    found
}

/// The words at the outermost level of a braced group, up to its closing brace.
fn first_steps(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut steps = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => steps.push(String::new()),
            c if depth == 0 => steps.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    steps.iter().map(|step| word(step.trim())).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// `super::super::x` at the top of a module names the crate's root.
fn climbs_out(code: &str, module: &str) -> bool {
    uses(code, "super::super")
        .iter()
        .any(|name| name != module && LAYERS.iter().any(|layer| layer.name == name))
}

/// Whether the code names this path, as a whole or inside a braced `use std::{…}`.
fn mentions(code: &str, path: &str) -> bool {
    let whole = code.match_indices(path).any(|(at, _)| {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        !code[..at].ends_with(joins) && !code[at + path.len()..].starts_with(joins)
    });
    let (root, step) = path.rsplit_once("::").unwrap_or((path, ""));
    whole || root == "std" && uses(code, "std").contains(step)
}
