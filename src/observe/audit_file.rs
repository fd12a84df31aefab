//! The audit file: appended to, rotated by day and size, old ones removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use time::{Date, OffsetDateTime, UtcOffset};

use super::audit_parts;

/// A file beyond this size is rotated before its day is over.
const SIZE_LIMIT: u64 = 64 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An open audit file. Time comes in with each call.
pub(super) struct AuditFile {
    path: PathBuf,
    keep: Duration,
    limit: u64,
    open: Option<Open>,
    unrotated: Option<io::Error>,
}

struct Open {
    file: File,
    /// The day of its first line.
    day: Date,
    /// The last write broke off inside a line.
    torn: bool,
}

impl AuditFile {
    /// Opens or makes the file, so that a wrong path is found at the start.
    pub(super) fn open(path: PathBuf, keep: Duration, now: OffsetDateTime) -> io::Result<Self> {
        let mut file = Self { path, keep, limit: SIZE_LIMIT, open: None, unrotated: None };
        file.open = Some(file.append(now).map_err(|error| file.named(&error))?);
        file.remove_old(now);
        Ok(file)
    }

    /// Appends a line. After an error the next one is tried as if nothing had been.
    pub(super) fn write(&mut self, line: &[u8], now: OffsetDateTime) -> io::Result<()> {
        // A file that cannot be rotated is still written to: a long audit is better than none.
        self.unrotated = self.rotate_if_due(now).map_err(|error| self.named(&error)).err();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.append(now).map_err(|error| self.named(&error))?,
        };
        let mut octets = Vec::with_capacity(line.len() + 2);
        if open.torn {
            octets.push(b'\n');
        }
        octets.extend_from_slice(line);
        octets.push(b'\n');
        let written = open.file.write_all(&octets);
        open.torn = written.is_err();
        self.open = Some(open);
        written.map_err(|error| self.named(&error))
    }

    /// Why the last write did not start a new file although it was time to.
    pub(super) fn unrotated(&self) -> Option<&io::Error> {
        self.unrotated.as_ref()
    }

    fn rotate_if_due(&mut self, now: OffsetDateTime) -> io::Result<()> {
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(_) => {
                // It was moved away, by logrotate perhaps: the next line starts a new one.
                self.open = None;
                return Ok(());
            }
        };
        let Some(open) = &self.open else { return Ok(()) };
        let due = found.len() >= self.limit || open.day != utc(now).date();
        // A device or a pipe is nothing to rename.
        if !due || !found.is_file() || found.len() == 0 {
            return Ok(());
        }
        fs::rename(&self.path, audit_parts::free_name(&self.path, now)?)?;
        self.open = None;
        self.remove_old(now);
        Ok(())
    }

    fn append(&self, now: OffsetDateTime) -> io::Result<Open> {
        // The folder may have been removed since the start, or unmounted.
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&self.path)?;
        let found = file.metadata()?;
        let changed = found.modified().ok().filter(|_| found.len() > 0);
        let day = changed.map_or_else(|| utc(now), |at| utc(at.into())).date();
        Ok(Open { file, day, torn: false })
    }

    /// Removes parts older than `keep`, as of two days after the last part before today at the most.
    /// Where that is long ago, kimgate has not run, or the clock has jumped; it may jump back, and what
    /// was removed is gone. The rotation of the next day removes it then.
    fn remove_old(&self, now: OffsetDateTime) {
        let Ok(parts) = audit_parts::rotated(&self.path) else { return };
        let before = parts.iter().map(|part| part.rotated).filter(|at| at.date() < utc(now).date());
        let now = before.max().map_or(now, |last| now.min(last + 2 * DAY));
        for part in parts {
            if now - part.rotated > self.keep {
                let _ = fs::remove_file(part.path);
            }
        }
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("audit file {}: {error}", self.path.display()))
    }
}

fn utc(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use time::macros::datetime;

    use super::*;

    const KEEP: Duration = Duration::from_secs(3 * 24 * 3600);

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_day_starts_a_new_file_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let stranger = dir.path().join("audit.2020-01-01.jsonl");
        fs::write(&stranger, "not ours").unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut file =
            AuditFile::open(path.clone(), KEEP, datetime!(2027-01-01 12:00 UTC)).unwrap();
        file.write(b"one", datetime!(2027-01-01 23:59:59 UTC)).unwrap();
        file.write(b"two", datetime!(2027-01-02 00:00:01 UTC)).unwrap();
        file.write(b"three", datetime!(2027-01-02 00:00:02 UTC)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
        let first = "audit.2027-01-02T000001Z.jsonl";
        assert_eq!(fs::read_to_string(dir.path().join(first)).unwrap(), "one\n");

        file.write(b"four", datetime!(2027-01-05 00:00:02 UTC)).unwrap();
        file.write(b"five", datetime!(2027-01-06 00:00 UTC)).unwrap();
        let left = [
            "audit.2020-01-01.jsonl",
            "audit.2027-01-05T000002Z.jsonl",
            "audit.2027-01-06T000000Z.jsonl",
            "audit.jsonl",
        ];
        assert_eq!(names(dir.path()), left);
    }

    #[test]
    fn a_clock_that_jumps_ahead_for_a_moment_deletes_no_audit() {
        let dir = tempfile::tempdir().unwrap();
        let start = datetime!(2027-01-01 12:00 UTC);
        let mut file = AuditFile::open(dir.path().join("audit.jsonl"), KEEP, start).unwrap();
        for (line, now) in [
            ("one", start),
            ("two", start + DAY),
            ("jumped", start + 7000 * DAY),
            ("back", start + 2 * DAY),
            ("next", start + 3 * DAY),
        ] {
            file.write(line.as_bytes(), now).unwrap();
        }
        let text = |name: &String| fs::read_to_string(dir.path().join(name)).unwrap();
        let lines: Vec<String> = names(dir.path()).iter().map(text).collect();
        for line in ["one", "two", "jumped", "back", "next"] {
            assert!(lines.iter().any(|part| part.trim() == line), "{line} is gone: {lines:?}");
        }
    }

    #[test]
    fn a_full_file_is_rotated_even_twice_in_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let now = datetime!(2027-01-01 12:00 UTC);
        let path = dir.path().join("kim audit");
        let mut file = AuditFile::open(path.clone(), KEEP, now).unwrap();
        file.limit = 8;
        for line in ["eight is", "enough!!", "so it is", "end"] {
            file.write(line.as_bytes(), now).unwrap();
        }
        assert_eq!(
            names(dir.path()),
            [
                "kim audit",
                "kim audit.2027-01-01T120000Z",
                "kim audit.2027-01-01T120000Z-1",
                "kim audit.2027-01-01T120000Z-2",
            ]
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "end\n");
        let later = now + Duration::from_secs(4 * 24 * 3600);
        AuditFile::open(path, DAY, later).unwrap();
        assert_eq!(names(dir.path()), ["kim audit"], "every count is recognised");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let now = datetime!(2027-01-01 12:00 UTC);
        let path = dir.path().join("audit.jsonl");
        let mut file = AuditFile::open(path.clone(), KEEP, now).unwrap();
        file.write(b"one", now).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        file.write(b"two", now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn yesterdays_file_is_rotated_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        fs::write(&path, "old\n").unwrap();
        let tomorrow = OffsetDateTime::from(SystemTime::now()) + Duration::from_secs(24 * 3600);
        let mut file = AuditFile::open(path.clone(), KEEP, tomorrow).unwrap();
        file.write(b"new", tomorrow).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/audit.jsonl");
        AuditFile::open(path.clone(), KEEP, datetime!(2027-01-01 12:00 UTC)).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_nothing_more() {
        let now = datetime!(2027-01-01 12:00 UTC);
        let mut file = AuditFile::open(PathBuf::from("/dev/full"), KEEP, now).unwrap();
        for day in 0..2 {
            let error = file.write(b"line", now + Duration::from_secs(day * 86_400)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        }
        assert!(Path::new("/dev/full").exists());
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again_and_one_that_cannot_be_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let now = datetime!(2027-01-01 12:00 UTC);
        let folder = dir.path().join("audit");
        let path = folder.join("audit.jsonl");
        let mut file = AuditFile::open(path.clone(), KEEP, now).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        file.write(b"one", now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "in the way").unwrap();
        let error = file.write(b"two", now).unwrap_err().to_string();
        assert!(error.contains("audit.jsonl"), "{error}");
        fs::remove_file(&folder).unwrap();
        file.write(b"three", now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_folder_instead_of_a_file_is_found_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let now = datetime!(2027-01-01 12:00 UTC);
        let error = AuditFile::open(dir.path().into(), KEEP, now).err().unwrap().to_string();
        assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    }
}
