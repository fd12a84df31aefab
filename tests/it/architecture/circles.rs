//! Which files of one folder use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, sources};

/// How many files of a folder may form one circle; in a folder that is not named here, none may.
///
/// A subfolder counts as one file. A folder's own `mod.rs` does not count: it puts the files together,
/// and they use what it defines. What it passes on by `pub use` counts as the file it comes from.
const ALLOWED: &[(&str, usize)] = &[
    ("config", 2),
    ("gateway", 2),
    ("policy", 6),
    ("proto", 2),
    ("proto/smtp", 2),
    ("sim", 5),
    ("trust", 2),
    ("trust/workstations", 3),
];

/// The files of each folder and what each of them uses of the others.
type Folders = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

#[test]
fn no_circle_is_larger_than_allowed() {
    let found = circles(&sources());
    let mut faults = Vec::new();
    for (folder, circle) in &found {
        let allowed = ALLOWED.iter().find(|(name, _)| name == folder).map_or(1, |(_, size)| *size);
        if circle.len() > allowed {
            let files = circle.join(", ");
            faults.push(format!("{folder}: {} files, {allowed} allowed: {files}", circle.len()));
        }
    }
    for (folder, size) in ALLOWED {
        let sizes = found.iter().filter(|(name, _)| name == folder).map(|(_, files)| files.len());
        let largest = sizes.max().unwrap_or(1);
        if largest < *size {
            faults.push(format!("{folder}: needs no more than {largest}, lower its number"));
        }
    }
    assert!(faults.is_empty(), "import circles:\n{}", faults.join("\n"));
}

#[test]
fn a_planted_circle_is_found() {
    let plant = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
        circles(&sources)
    };
    let none: &[(&str, &str)] = &[
        ("g/mod.rs", "mod a;\nmod b;\nmod c;\npub use self::b::B;"),
        ("g/a.rs", "use super::B;\nuse super::c::C;"),
        ("g/b.rs", "use crate::g::c::{C, D};"),
        ("g/c.rs", "#[cfg(test)]\nmod tests { use super::super::a::A; }"),
    ];
    assert_eq!(plant(none), []);
    for (file, text) in [
        ("g/c.rs", "use super::a::A;"),
        ("g/c.rs", "use crate::{words::Reason, g::{b::B, a::A}};"),
        ("g/c.rs", "fn f() { super::a::f() }"),
        ("g/c/mod.rs", "mod d;"),
    ] {
        let mut files: Vec<_> =
            none.iter().copied().filter(|(name, _)| *name != "g/c.rs").collect();
        files.push((file, text));
        files.push(("g/c/d.rs", "use super::super::a::A;"));
        assert!(
            plant(&files)
                .iter()
                .any(|(folder, circle)| folder == "g" && circle.contains(&"a".to_owned())),
            "{text}"
        );
    }
    // The folder's own file puts the others together.
    let face = [
        ("g/mod.rs", "mod a;\nmod b;\npub struct Config;\nfn f() { a::f() }"),
        ("g/a.rs", "use super::b::B;"),
        ("g/b.rs", "use super::Config;"),
    ];
    assert_eq!(plant(&face), []);
    // Through a name that it passes on, and through a subfolder that passes it on.
    let passed_on = [
        ("g/mod.rs", "mod a;\nmod d;\npub(super) use d::D;"),
        ("g/a.rs", "pub struct A;\nuse super::D;"),
        ("g/d/mod.rs", "mod e;\npub use self::e::D;"),
        ("g/d/e.rs", "use crate::g::a;\nfn f() { a::f() }"),
    ];
    assert_eq!(plant(&passed_on), [("g".to_owned(), vec!["a".to_owned(), "d".to_owned()])]);
}

/// Every circle of two files or more, with its folder.
fn circles(sources: &[Source]) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (folder, files) in uses(sources) {
        let reached: BTreeMap<&String, BTreeSet<&String>> =
            files.keys().map(|file| (file, reach(&files, file))).collect();
        let mut seen = BTreeSet::new();
        for file in files.keys() {
            let circle: Vec<String> = files
                .keys()
                .filter(|other| reached[file].contains(other) && reached[*other].contains(file))
                .cloned()
                .collect();
            if circle.len() > 1 && seen.insert(circle.clone()) {
                found.push((folder.clone(), circle));
            }
        }
    }
    found
}

/// Everything that a file uses, and what that uses, and so on.
fn reach<'a>(
    files: &'a BTreeMap<String, BTreeSet<String>>,
    file: &'a String,
) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for used in files.get(file).into_iter().flatten() {
            if reached.insert(used) {
                next.push(used);
            }
        }
    }
    reached
}

fn uses(sources: &[Source]) -> Folders {
    // What a module passes on: its path with the name, and where that comes from.
    let passed_on: BTreeMap<Vec<String>, Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            source.code.passed_on.iter().filter_map(|path| {
                let from = source.resolve(path)?;
                Some(([&source.module[..], &from[from.len() - 1..]].concat(), from))
            })
        })
        .collect();
    let mut folders = Folders::new();
    for source in sources {
        for path in source.code.all_paths() {
            let Some(mut target) = source.resolve(path) else { continue };
            // Passed on by a module that had it passed on, at most as often as folders are deep.
            for _ in 0..4 {
                let start =
                    (1..=target.len()).find_map(|n| Some((n, passed_on.get(&target[..n])?)));
                let Some((length, from)) = start else { break };
                target = [&from[..], &target[length..]].concat();
            }
            let depth = source.module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            // Between the crate's modules the table decides.
            if depth == 0 {
                continue;
            }
            let user = place(&source.module, depth);
            let used = match target.get(depth) {
                Some(step) if sources.iter().any(|s| s.module.starts_with(&target[..=depth])) => {
                    step.clone()
                }
                _ => "mod".to_owned(),
            };
            let is_face = user == "mod" || used == "mod";
            if user != used && !is_face {
                let folder = source.module[..depth].join("/");
                folders.entry(folder.clone()).or_default().entry(used.clone()).or_default();
                folders.entry(folder).or_default().entry(user).or_default().insert(used);
            }
        }
    }
    folders
}

/// The file or folder of a module below its first `depth` steps; a folder's own file is `mod`.
fn place(module: &[String], depth: usize) -> String {
    module.get(depth).cloned().unwrap_or_else(|| "mod".to_owned())
}
