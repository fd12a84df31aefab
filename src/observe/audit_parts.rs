//! The names of an audit file's rotated parts: `audit.jsonl` becomes `audit.2027-01-31T235959Z.jsonl`,
//! with `-1` and so on where two fall into one second.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// When a file was rotated, in its name; no colons, for Windows' sake.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour][minute][second]Z");

/// A part of an audit that is no longer written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPart {
    /// No line in it is newer.
    pub rotated: OffsetDateTime,
    /// Tells those of one second apart.
    count: u16,
    /// Where it is.
    pub path: PathBuf,
}

/// The parts that were rotated away from this audit file, the oldest first.
pub fn rotated(audit: &Path) -> io::Result<Vec<AuditPart>> {
    let folder = audit.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        if let Some((rotated, count)) = name.and_then(|name| read(audit, name)) {
            parts.push(AuditPart { rotated, count, path });
        }
    }
    parts.sort();
    Ok(parts)
}

/// A name for the part that is rotated away now.
pub(super) fn free_name(audit: &Path, now: OffsetDateTime) -> io::Result<PathBuf> {
    let (stem, end) = around(audit);
    let stamp = now.to_offset(UtcOffset::UTC).format(STAMP).map_err(io::Error::other)?;
    // Not the name of one that was deleted for its size a moment ago: names tell the order.
    let second = now.replace_nanosecond(0).unwrap_or(now);
    let last = rotated(audit)?.into_iter().rfind(|part| part.rotated == second);
    let first = last.map_or(0, |part| part.count.saturating_add(1));
    let count = (first..first.saturating_add(1000))
        .map(|n| if n == 0 { String::new() } else { format!("-{n}") });
    let mut names = count.map(|count| audit.with_file_name(format!("{stem}{stamp}{count}{end}")));
    names
        .find(|name| !name.exists())
        .ok_or_else(|| io::Error::other("too many rotations in one second"))
}

/// What a name says; `None` for one that is not of our making.
fn read(audit: &Path, name: &str) -> Option<(OffsetDateTime, u16)> {
    let (stem, end) = around(audit);
    let middle = name.strip_prefix(&stem)?.strip_suffix(&end)?;
    let (stamp, count) = match middle.split_once("Z-") {
        Some(parts) => parts,
        None => (middle.strip_suffix('Z')?, "0"),
    };
    let rotated = PrimitiveDateTime::parse(&format!("{stamp}Z"), STAMP).ok()?;
    Some((rotated.assume_utc(), count.parse().ok()?))
}

/// What stands before and after the stamp.
fn around(audit: &Path) -> (String, String) {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let end = audit.extension().map(|end| format!(".{}", end.to_string_lossy()));
    (format!("{}.", text(audit.file_stem())), end.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_the_order_in_which_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let ordered = [
            "kim.2026-12-31T235959Z.jsonl",
            "kim.2027-01-01T000000Z.jsonl",
            "kim.2027-01-01T000000Z-2.jsonl",
            "kim.2027-01-01T000000Z-10.jsonl",
            "kim.2027-01-02T000000Z.jsonl",
        ];
        let others = ["kim.jsonl", "kim.2027-01-01.jsonl", "other.2027-01-01T000000Z.jsonl", "x"];
        for name in ordered.iter().chain(&others) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let parts = rotated(&dir.path().join("kim.jsonl")).unwrap();
        let names: Vec<_> = parts.iter().map(|part| part.path.file_name().unwrap()).collect();
        assert_eq!(names, ordered);
    }
}
