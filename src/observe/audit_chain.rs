//! The chain of an audit: each line carries the hash of the line before, over rotated files and restarts.
//!
//! A line that broke off (a full disk, a power cut) has no hash. It counts as a part of the line before, so
//! the next hash covers both. Empty lines do not count.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

/// What the first line of all carries.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Bytes at the end of a file in which its last line is looked for. Longer than any line.
const TAIL: u64 = 256 << 10;

/// The hash that follows these bytes.
fn hash_of(before: &[u8]) -> String {
    match before {
        [] => NOTHING.into(),
        _ => digest(&SHA256, before).as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The line, a JSON object, with the hash of what stands before it.
pub(super) fn sealed(line: &[u8], before: &[u8]) -> Vec<u8> {
    let open = line.strip_suffix(b"}").unwrap_or(line);
    [open, b",\"hash\":\"", hash_of(before).as_bytes(), b"\"}"].concat()
}

/// What the hash of the next line covers: the last whole line of these files, the newest first, and what
/// broke off behind it. Empty if nothing is there.
pub(super) fn tail<'a>(files: impl IntoIterator<Item = &'a Path>) -> io::Result<Vec<u8>> {
    let mut behind = Vec::new();
    for file in files {
        let End { text, is_whole } = end(file)?;
        behind = match (&text[..], &behind[..]) {
            ([], _) => behind,
            (_, []) => text,
            (_, _) => [&text, &b"\n"[..], &behind].concat(),
        };
        if is_whole {
            break;
        }
    }
    Ok(behind)
}

/// The end of a file.
struct End {
    /// The last whole line and what follows it; all that is read, if there is none.
    text: Vec<u8>,
    is_whole: bool,
}

fn end(file: &Path) -> io::Result<End> {
    let mut file = File::open(file)?;
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text)?;
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let last = lines.iter().rposition(|line| carried(line).is_some());
    let text = lines.get(last.unwrap_or(0)..).unwrap_or_default().join(&b'\n');
    Ok(End { text, is_whole: last.is_some() })
}

/// These files in the order of the chain. Their names tell the same order, unless the clock jumped. Files
/// that no hash puts elsewhere stay where they are, for [`verify_audit`] to judge.
pub fn in_chain_order(files: Vec<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut left = VecDeque::new();
    for file in files {
        let follows = first_hash(&file)?;
        let next = hash_of(&end(&file)?.text);
        left.push_back((file, follows, next));
    }
    let is_end = |hash: &Option<String>| {
        hash.as_ref().is_some_and(|hash| left.iter().any(|(_, _, next)| next == hash))
    };
    let mut at = left.iter().position(|(_, follows, _)| !is_end(follows)).unwrap_or(0);
    let mut ordered = Vec::new();
    while let Some((file, _, next)) = left.remove(at) {
        ordered.push(file);
        at = left.iter().position(|(_, follows, _)| follows.as_ref() == Some(&next)).unwrap_or(0);
    }
    Ok(ordered)
}

/// The hash that the first whole line carries.
fn first_hash(file: &Path) -> io::Result<Option<String>> {
    let mut reader = BufReader::new(File::open(file)?.take(TAIL));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Some(hash) = carried(line.trim_ascii_end()) {
            return Ok(hash);
        }
        line.clear();
    }
    Ok(None)
}

/// The hash that a whole line carries, if it carries one; `None` for a line that broke off.
fn carried(line: &[u8]) -> Option<Option<String>> {
    #[derive(Deserialize)]
    struct Carried {
        #[serde(default)]
        hash: Option<String>,
    }
    serde_json::from_slice::<Carried>(line).ok().map(|line| line.hash)
}

/// A chain that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditChain {
    /// Lines that carry a hash.
    pub lines: u64,
    /// Lines before the first of them, from before `audit.chain` was on.
    pub unchained: u64,
    /// Lines that broke off.
    pub torn: u64,
    /// Nothing is missing before the first line that carries a hash.
    pub is_whole: bool,
    /// The hash that the next line will carry. Kept elsewhere, it shows later that nothing up to here
    /// was changed.
    pub last: String,
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} line {line} {why}")]
pub struct BrokenAudit {
    /// The file.
    pub file: String,
    /// The line's number in it, from 1.
    pub line: u64,
    /// What is wrong with the line.
    pub why: String,
}

/// Checks the chain in these files, the oldest first. `Err` within `Ok` names the first line that does
/// not follow from the one before.
pub fn verify_audit<R: Read>(
    files: impl IntoIterator<Item = (String, R)>,
) -> io::Result<Result<AuditChain, BrokenAudit>> {
    let mut chain = AuditChain::default();
    let mut before = Before::default();
    let mut last_place = String::new();
    for (file, source) in files {
        let mut reader = BufReader::new(source);
        let mut text = Vec::new();
        let mut number = 0;
        while reader.read_until(b'\n', &mut text)? > 0 {
            number += 1;
            let line = text.strip_suffix(b"\n").unwrap_or(&text);
            if !line.is_empty() {
                if let Err(why) = chain.follow(line, &mut before, &last_place) {
                    return Ok(Err(BrokenAudit { file, line: number, why }));
                }
                last_place = format!("{file} line {number}");
            }
            text.clear();
        }
    }
    chain.last = hash_of(&before.text);
    Ok(Ok(chain))
}

/// What stands before a line.
#[derive(Default)]
struct Before {
    text: Vec<u8>,
    /// There is a whole line in it. If not, what it follows is gone.
    is_whole: bool,
}

impl AuditChain {
    fn follow(&mut self, line: &[u8], before: &mut Before, last_place: &str) -> Result<(), String> {
        match carried(line) {
            None => {
                self.torn += 1;
                if !before.text.is_empty() {
                    before.text.push(b'\n');
                }
                before.text.extend_from_slice(line);
                return Ok(());
            }
            Some(None) if self.lines > 0 => {
                return Err(
                    "carries no hash: it was changed or inserted, or audit.chain was off".into()
                );
            }
            Some(None) => self.unchained += 1,
            Some(Some(hash)) => {
                // The first line that is there may follow a file that was deleted for its age or size.
                let follows = hash == hash_of(&before.text);
                if before.is_whole && !follows {
                    return Err(format!(
                        "does not follow {last_place}: that line was changed, or lines between them \
                         were removed, inserted or moved"
                    ));
                }
                if self.lines == 0 {
                    self.is_whole = follows;
                }
                self.lines += 1;
            }
        }
        before.text.clear();
        before.text.extend_from_slice(line);
        before.is_whole = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chained(lines: &[&str]) -> Vec<Vec<u8>> {
        let mut before = Vec::new();
        let seal = |line: &&str| {
            before = sealed(line.as_bytes(), &before);
            before.clone()
        };
        lines.iter().map(seal).collect()
    }

    fn verify(files: &[&[Vec<u8>]]) -> Result<AuditChain, BrokenAudit> {
        let files = files.iter().enumerate().map(|(n, lines)| {
            let text: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            (format!("file{n}"), io::Cursor::new(text))
        });
        verify_audit(files).unwrap()
    }

    fn broken(files: &[&[Vec<u8>]]) -> (String, u64) {
        let broken = verify(files).unwrap_err();
        (broken.file, broken.line)
    }

    #[test]
    fn a_chain_that_was_not_touched_holds_and_one_that_was_names_the_line() {
        let lines =
            chained(&[r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#]);
        let chain = verify(&[&lines[..2], &lines[2..]]).unwrap();
        assert_eq!((chain.lines, chain.is_whole), (5, true));
        assert_eq!(chain.last, hash_of(&lines[4]));
        for n in 0..4 {
            let mut changed = lines.clone();
            changed[n] =
                String::from_utf8(lines[n].clone()).unwrap().replace("\"n\":", "\"n\":1").into();
            assert_eq!(broken(&[&changed]), ("file0".into(), n as u64 + 2), "changed {n}");
            let error = verify(&[&changed]).unwrap_err().to_string();
            assert!(error.contains(&format!("does not follow file0 line {}", n + 1)), "{error}");
            let mut moved = lines.clone();
            moved.swap(n, n + 1);
            let at = n.max(1) as u64;
            assert_eq!(broken(&[&moved]), ("file0".into(), if n == 0 { 2 } else { at + 1 }));
            let mut inserted = lines.clone();
            inserted.insert(n + 1, lines[n].clone());
            assert_eq!(broken(&[&inserted]).1, n as u64 + 2, "inserted after {n}");
            inserted[n + 1] = b"not json".to_vec();
            assert_eq!(broken(&[&inserted]).1, n as u64 + 3, "rubbish after {n}");
            inserted[n + 1] = b"{\"n\":9}".to_vec();
            assert_eq!(broken(&[&inserted]).1, n as u64 + 2, "no hash after {n}");
        }
        for n in 1..4 {
            let mut removed = lines.clone();
            removed.remove(n);
            assert_eq!(broken(&[&removed]), ("file0".into(), n as u64 + 1), "removed {n}");
        }
        let gone = verify(&[&lines[..1], &lines[3..]]).unwrap_err();
        assert_eq!((gone.file.as_str(), gone.line), ("file1", 1), "a file in the middle");
        let old = verify(&[&lines[2..]]).unwrap();
        assert!(!old.is_whole, "older files may be gone");
    }

    #[test]
    fn a_line_that_broke_off_is_covered_by_the_next_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let first = sealed(b"{\"n\":0}", b"");
        std::fs::write(&path, [&first, &b"\n\n{\"n\":1,\"hal"[..]].concat()).unwrap();
        let next = sealed(b"{\"n\":2}", &tail([&*path]).unwrap());
        let lines = [first.clone(), Vec::new(), b"{\"n\":1,\"hal".to_vec(), next.clone()];
        let chain = verify(&[&lines]).unwrap();
        assert_eq!((chain.lines, chain.torn), (2, 1));
        assert_eq!(broken(&[&[first, next]]), ("file0".into(), 2));
    }

    /// A full disk tore the first line of a new file: the chain counted as broken ever after.
    #[test]
    fn a_file_that_begins_with_a_line_that_broke_off_follows_the_file_before() {
        let dir = tempfile::tempdir().unwrap();
        let [old, torn, new] = ["old", "torn", "new"].map(|name| dir.path().join(name));
        let first = sealed(b"{\"n\":0}", b"");
        std::fs::write(&old, [&first, &b"\n"[..]].concat()).unwrap();
        std::fs::write(&torn, b"{\"n\":1").unwrap();
        std::fs::write(&new, b"{\"n\":2,\n").unwrap();
        let next = sealed(b"{\"n\":3}", &tail([&*new, &*torn, &*old]).unwrap());
        let broke_off = [b"{\"n\":1".to_vec()];
        let last = [b"{\"n\":2,".to_vec(), next];
        let chain = verify(&[&[first], &broke_off, &last]).unwrap();
        assert_eq!((chain.lines, chain.torn, chain.is_whole), (2, 2, true));
        // The file before was removed for its age.
        let chain = verify(&[&broke_off, &last]).unwrap();
        assert_eq!((chain.lines, chain.torn, chain.is_whole), (1, 2, false));
    }

    /// The clock jumped, so that the names no longer told the order: the chain counted as broken.
    #[test]
    fn the_order_of_files_is_that_of_the_chain_and_not_that_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let lines = chained(&[r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
        let file = |name: &str, line: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, [line, b"\n"].concat()).unwrap();
            path
        };
        let named = ["c", "a", "d", "b"].iter().zip(&lines).map(|(name, line)| file(name, line));
        let ordered: Vec<PathBuf> = named.collect();
        let mut by_name = ordered.clone();
        by_name.sort();
        assert_eq!(in_chain_order(by_name.clone()).unwrap(), ordered);
        std::fs::remove_file(by_name.remove(2)).unwrap();
        assert_eq!(in_chain_order(by_name).unwrap().len(), 3, "none is left out");
    }

    #[test]
    fn lines_from_before_the_chain_are_covered_by_its_first_hash() {
        let old = b"{\"n\":0}".to_vec();
        let lines = [old.clone(), sealed(b"{\"n\":1}", &old)];
        let chain = verify(&[&lines]).unwrap();
        assert_eq!((chain.lines, chain.unchained, chain.is_whole), (1, 1, true));
        assert_eq!(broken(&[&[b"{\"n\":7}".to_vec(), lines[1].clone()]]).1, 2);
    }
}
