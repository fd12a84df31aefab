//! What the sources of kimgate name: every path, with groups written out and tests left out.

use std::fs;
use std::path::{Path, PathBuf};

/// One file below `src`.
pub(super) struct Source {
    /// Below `src`, for messages.
    pub(super) name: String,
    /// Where its module stands: `gateway::relay::driver` in steps; empty for `lib.rs` and `main.rs`.
    pub(super) module: Vec<String>,
    pub(super) code: Code,
}

impl Source {
    /// A file of this name with this text; `relay/mod.rs` and `relay.rs` are the module `relay`.
    pub(super) fn new(name: &str, text: &str) -> Self {
        let mut module: Vec<String> =
            name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let is_named_by_its_folder = module.last().is_some_and(|last| last == "mod");
        if is_named_by_its_folder || module == ["lib"] || module == ["main"] {
            module.pop();
        }
        Self { name: name.to_owned(), module, code: Code::read(text) }
    }

    /// The row of the table that this file belongs to.
    pub(super) fn row(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// The module that a path of this file names, in steps from the crate's root; `None` where it names
    /// another crate or something in scope.
    pub(super) fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|step| *step == "super").count();
        match path.first()?.as_str() {
            // The binary's root is a crate beside the library.
            "crate" | "kimgate" => Some(path[1..].to_vec()),
            "self" => Some([&self.module[..], &path[1..]].concat()),
            "super" => {
                let kept = self.module.len().saturating_sub(supers);
                Some([&self.module[..kept], &path[supers..]].concat())
            }
            child if self.code.children.iter().any(|name| name == child) => {
                Some([&self.module[..], path].concat())
            }
            _ => None,
        }
    }
}

/// Every Rust file of the library but those that are tests as a whole.
pub(super) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    rust_files(&root)
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "tests.rs"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            Source::new(&name, &fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The Rust files in a folder and in those below it.
pub(super) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
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
    assert!(files.len() > 10, "a walk that finds nothing proves nothing: {files:?}");
    files.sort();
    files
}

/// The code of one file.
pub(super) struct Code {
    /// Names and signs, without comments, texts and what is compiled for tests alone.
    words: Vec<String>,
    /// Every path of two steps or more.
    pub(super) paths: Vec<Vec<String>>,
    /// What the file passes on under its own name, by `pub use`: paths with their last name.
    pub(super) passed_on: Vec<Vec<String>>,
    /// The modules that it declares.
    children: Vec<String>,
}

impl Code {
    pub(super) fn read(text: &str) -> Self {
        let words = without_tests(&words(text));
        let children = words
            .windows(3)
            .filter(|three| three[0] == "mod" && three[2] == ";")
            .map(|three| three[1].clone())
            .collect();
        let (mut paths, mut passed_on) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < words.len() {
            let starts = is_name(&words[at]) && words.get(at + 1).is_some_and(|word| word == "::");
            if !starts {
                at += 1;
                continue;
            }
            // `pub(in crate::proto)` says who may use it, and uses nothing.
            if words[..at].ends_with(&["(".to_owned(), "in".to_owned()]) {
                at = tree(&words, at).1;
                continue;
            }
            let public = is_public_use(&words[..at]);
            let (found, next) = tree(&words, at);
            if public {
                passed_on.extend(found);
            } else {
                paths.extend(found);
            }
            at = next;
        }
        Self { words, paths, passed_on, children }
    }

    /// Whether the code names this: a crate (`tokio`, its companions `tokio_rustls` too), a path
    /// (`std::fs`), or a type.
    pub(super) fn mentions(&self, wanted: &str) -> bool {
        let steps: Vec<&str> = wanted.split("::").collect();
        if let [name] = steps[..] {
            let companion = format!("{name}_");
            let is_companion =
                |path: &Vec<String>| path.first().is_some_and(|step| step.starts_with(&companion));
            return self.words.iter().any(|word| word == name)
                || self.all_paths().any(is_companion);
        }
        self.all_paths().any(|path| path.windows(steps.len()).any(|part| part == steps))
    }

    pub(super) fn all_paths(&self) -> impl Iterator<Item = &Vec<String>> {
        self.paths.iter().chain(&self.passed_on)
    }
}

/// Whether what comes next is the tree of a `pub use` or `pub(crate) use`.
fn is_public_use(before: &[String]) -> bool {
    let [before @ .., last] = before else { return false };
    let is_use = last == "use";
    is_use && before.last().is_some_and(|word| word == "pub" || word == ")")
}

/// The paths of a tree like `a::{b, c::{self, d as e}}` that begins here, and where it ends.
fn tree(words: &[String], mut at: usize) -> (Vec<Vec<String>>, usize) {
    let mut path = Vec::new();
    loop {
        match words.get(at).map(String::as_str) {
            Some("{") => {
                let mut paths = Vec::new();
                at += 1;
                while at < words.len() && words[at] != "}" {
                    if words[at] == "," {
                        at += 1;
                        continue;
                    }
                    let (inner, next) = tree(words, at);
                    paths.extend(inner.into_iter().map(|inner| match &inner[..] {
                        // `a::{self}` names `a`.
                        [only] if only == "self" => path.clone(),
                        _ => [&path[..], &inner].concat(),
                    }));
                    // A sign that belongs to no path.
                    at = next.max(at + 1);
                }
                return (paths, at + 1);
            }
            Some(name) if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                at += 1;
            }
            _ => return (vec![path], at),
        }
        if words.get(at).is_some_and(|word| word == "as") {
            at += 2;
        }
        match words.get(at) {
            Some(word) if word == "::" => at += 1,
            _ => {
                return (vec![path], at);
            }
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Leaves out each item after `#[cfg(test)]`: a test may use anything.
fn without_tests(words: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if !words[at..].iter().map(String::as_str).take(MARK.len()).eq(MARK) {
            kept.push(words[at].clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        let mut depth = 0;
        while at < words.len() {
            match words[at].as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(words[at - 1].as_str(), "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// Names, `::` and single signs. Comments and texts are left out.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    let joins = |c: &char| c.is_alphanumeric() || *c == '_';
    while at < chars.len() {
        let c = chars[at];
        if is(at, '/') && is(at + 1, '/') {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if let Some(end) = end_of_raw_text(&chars, at) {
            at = end;
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' && (is(at + 1, '\\') || is(at + 2, '\'')) {
            // A character; what has no second quote is a lifetime.
            at += if is(at + 1, '\\') { 3 } else { 2 };
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else if joins(&c) {
            let word: String = chars[at..].iter().take_while(|c| joins(c)).collect();
            at += word.chars().count();
            words.push(word);
        } else if c == ':' && is(at + 1, ':') {
            words.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
            at += 1;
        }
    }
    words
}

/// Where `r"…"` or `br#"…"#` ends that begins here.
fn end_of_raw_text(chars: &[char], at: usize) -> Option<usize> {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    if at > 0 && joins(chars[at - 1]) {
        return None;
    }
    let rest = &chars[at..];
    let rest = rest.strip_prefix(&['b']).unwrap_or(rest).strip_prefix(&['r'])?;
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    let inside = rest[hashes..].strip_prefix(&['"'])?;
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let length = inside.windows(end.len()).position(|part| part == end)?;
    Some(chars.len() - inside.len() + length + end.len())
}

#[test]
fn paths_are_read_out_of_code_and_of_nothing_else() {
    let table: &[(&str, &[&str])] = &[
        ("use a::b;", &["a::b"]),
        ("use a::{b, c::{self, d as e}, f::*};", &["a::b", "a::c", "a::c::d", "a::f::*"]),
        ("fn f(x: a::B<c::D>) { g::h() }", &["a::B", "c::D", "g::h"]),
        ("let x = \"a::b\"; let y = 'a'; let z: &'a str = r#\"c::\"d\"#; e::f", &["e::f"]),
        ("// a::b\n/// c::d\ne::f", &["e::f"]),
        ("#[cfg(test)]\nmod tests { use a::b; }\nuse c::d;", &["c::d"]),
        ("#[cfg(test)]\nuse a::{b, c};\nuse c::d;", &["c::d"]),
        ("#[cfg(test)]\nmod tests;\nuse c::d;", &["c::d"]),
        ("pub(in crate::a) fn f() { b::c() }", &["b::c"]),
        ("match x { '\\'' => a::b, '\"' => c::d }", &["a::b", "c::d"]),
    ];
    for (text, expected) in table {
        let found: Vec<String> =
            Code::read(text).paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(found, *expected, "{text}");
    }
    let code = Code::read("pub(crate) use self::wire::Wire;\nuse tokio_rustls::TlsStream;");
    assert_eq!(code.passed_on, [["self", "wire", "Wire"]]);
    assert!(code.mentions("tokio") && code.mentions("TlsStream") && !code.mentions("rustls"));
}
