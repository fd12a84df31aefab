//! The audit file: appended to, rotated by day and size, old ones removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::{Date, OffsetDateTime, UtcOffset};

use super::{AuditConfig, audit_chain, audit_parts};

/// A file beyond this size is rotated before its day is over.
const SIZE_LIMIT: u64 = 64 << 20;
/// So many files fit into `max_size`, so that few lines go with the oldest one.
const SHARES: u64 = 8;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An open audit file. Time comes in with each call.
pub(super) struct AuditFile {
    path: PathBuf,
    keep: Duration,
    max_size: u64,
    limit: u64,
    /// What the next line's hash covers, where lines are chained.
    chain: Option<Before>,
    open: Option<Open>,
    unrotated: Option<io::Error>,
}

/// What the operator wants of it.
#[derive(Clone, Copy)]
pub(super) struct AuditFileConfig {
    /// How long rotated parts are kept.
    pub(super) keep: Duration,
    /// Bytes of all parts together.
    pub(super) max_size: u64,
    /// Each line carries the hash of the line before.
    pub(super) chain: bool,
}

impl From<&AuditConfig> for AuditFileConfig {
    fn from(config: &AuditConfig) -> Self {
        Self { keep: config.keep, max_size: config.max_size, chain: config.chain }
    }
}

/// What the next line's hash covers.
enum Before {
    /// These bytes.
    Known(Vec<u8>),
    /// It stands at the end of the file.
    InFile,
}

struct Open {
    file: File,
    /// The day of its first line.
    day: Date,
    /// The time of its newest line. The clock may have jumped back since.
    newest: OffsetDateTime,
    /// It does not end with a whole line.
    torn: bool,
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) lost: usize,
    pub(super) error: io::Error,
}

impl AuditFile {
    /// Opens or makes the file, so that a wrong path is found at the start.
    pub(super) fn open(
        path: PathBuf,
        config: AuditFileConfig,
        now: OffsetDateTime,
    ) -> io::Result<Self> {
        let AuditFileConfig { keep, max_size, chain } = config;
        let limit = SIZE_LIMIT.min(max_size / SHARES);
        let chain = chain.then_some(Before::InFile);
        let mut file = Self { path, keep, max_size, limit, chain, open: None, unrotated: None };
        file.open = Some(file.append(now).map_err(|error| file.named(&error))?);
        file.remove_old(now);
        Ok(file)
    }

    /// Appends lines. After an error the next ones are tried as if nothing had been.
    pub(super) fn write_all(
        &mut self,
        mut lines: &[Vec<u8>],
        now: OffsetDateTime,
    ) -> Result<(), Failed> {
        while !lines.is_empty() {
            let size = self.rotate_if_due(now).unwrap_or_else(|error| {
                // A file that cannot be rotated is still written to: a long audit is better than none.
                self.unrotated = Some(self.named(&error));
                0
            });
            let room = self.limit.saturating_sub(size);
            let mut filled = 0;
            let fitting = lines.iter().take_while(|line| {
                let fits = filled < room;
                filled += line.len() as u64;
                fits
            });
            let (first, rest) = lines.split_at(fitting.count().max(1));
            if let Err(error) = self.append_lines(first, now) {
                // Some of them may be there.
                self.open = None;
                self.chain = self.chain.take().map(|_| Before::InFile);
                return Err(Failed { lost: lines.len(), error: self.named(&error) });
            }
            lines = rest;
        }
        Ok(())
    }

    fn append_lines(&mut self, lines: &[Vec<u8>], now: OffsetDateTime) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.append(now)?,
        };
        let mut before = self.before()?;
        let mut bytes = if open.torn { vec![b'\n'] } else { Vec::new() };
        for line in lines {
            match &mut before {
                Some(before) => {
                    *before = audit_chain::sealed(line, before);
                    bytes.extend_from_slice(before);
                }
                None => bytes.extend_from_slice(line),
            }
            bytes.push(b'\n');
        }
        open.file.write_all(&bytes)?;
        open.torn = false;
        open.newest = open.newest.max(now);
        self.open = Some(open);
        self.chain = before.map(Before::Known);
        Ok(())
    }

    /// What the next line's hash covers: the end of this file, or of the part that was rotated away last.
    fn before(&self) -> io::Result<Option<Vec<u8>>> {
        match &self.chain {
            None => Ok(None),
            Some(Before::Known(before)) => Ok(Some(before.clone())),
            Some(Before::InFile) => {
                let parts = audit_parts::rotated(&self.path)?;
                let parts = parts.iter().rev().map(|part| &*part.path);
                audit_chain::tail(std::iter::once(&*self.path).chain(parts)).map(Some)
            }
        }
    }

    /// Why the last write did not start a new file although it was time to.
    pub(super) fn unrotated(&self) -> Option<&io::Error> {
        self.unrotated.as_ref()
    }

    /// Gives the bytes that are in the file.
    fn rotate_if_due(&mut self, now: OffsetDateTime) -> io::Result<u64> {
        self.unrotated = None;
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(_) => {
                // It was moved away, by logrotate perhaps: the next line starts a new one.
                self.open = None;
                return Ok(0);
            }
        };
        let Some(open) = &self.open else { return Ok(found.len()) };
        let due = found.len() >= self.limit || open.day != utc(now).date();
        // A device or a pipe is nothing to rename.
        if !due || !found.is_file() || found.len() == 0 {
            return Ok(found.len());
        }
        // A part must not look older than what is in it: it would be removed for its age.
        fs::rename(&self.path, audit_parts::free_name(&self.path, now.max(open.newest))?)?;
        self.open = None;
        self.remove_old(now);
        Ok(0)
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
        let newest = changed.map_or_else(|| utc(now), |at| utc(at.into()));
        let torn = found.is_file() && found.len() > 0 && !ends_with_a_line(&self.path)?;
        Ok(Open { file, day: newest.date(), newest, torn })
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
        self.remove_beyond_size();
    }

    /// Removes the oldest parts until there is room for the file that is written to now.
    fn remove_beyond_size(&self) {
        let Ok(parts) = audit_parts::rotated(&self.path) else { return };
        let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        let mut total = self.limit.max(size(&self.path));
        total += parts.iter().map(|part| size(&part.path)).sum::<u64>();
        for part in parts {
            if total <= self.max_size {
                return;
            }
            let freed = size(&part.path);
            if fs::remove_file(&part.path).is_ok() {
                total = total.saturating_sub(freed);
            }
        }
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("audit file {}: {error}", self.path.display()))
    }
}

fn ends_with_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn utc(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use time::macros::datetime;

    use super::*;

    const KEEP: AuditFileConfig = keep(Duration::from_secs(3 * 24 * 3600));

    const fn keep(keep: Duration) -> AuditFileConfig {
        AuditFileConfig { keep, max_size: 2 << 30, chain: false }
    }

    impl AuditFile {
        fn write(&mut self, line: &[u8], now: OffsetDateTime) -> io::Result<()> {
            self.write_all(&[line.to_vec()], now).map_err(|failed| failed.error)
        }
    }

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

    /// A machine without a clock of its own starts in 1970. The part that was rotated then was named so,
    /// and removed for its age at the next rotation.
    #[test]
    fn a_clock_that_jumps_back_deletes_no_audit_and_breaks_no_chain() {
        let dir = tempfile::tempdir().unwrap();
        let start = datetime!(2027-01-01 12:00 UTC);
        let path = dir.path().join("audit.jsonl");
        let config = AuditFileConfig { chain: true, ..KEEP };
        let mut file = AuditFile::open(path.clone(), config, start).unwrap();
        let times = [
            start,
            start + DAY,
            datetime!(1970-01-01 0:00:10 UTC),
            start + 2 * DAY,
            start + 7000 * DAY,
            start + 2 * DAY,
            start + 3 * DAY,
        ];
        for (n, now) in times.into_iter().enumerate() {
            file.write(format!("{{\"n\":{n}}}").as_bytes(), now).unwrap();
        }
        let parts = audit_parts::rotated(&path).unwrap().into_iter().map(|part| part.path);
        let files = audit_chain::in_chain_order(parts.chain([path]).collect()).unwrap();
        let files =
            files.iter().map(|file| (file.display().to_string(), File::open(file).unwrap()));
        let chain = audit_chain::verify_audit(files).unwrap().unwrap();
        assert_eq!((chain.lines, chain.is_whole), (7, true));
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
        AuditFile::open(path, keep(DAY), later).unwrap();
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

    #[test]
    fn all_files_together_stay_below_max_size_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let now = datetime!(2027-01-01 12:00 UTC);
        let path = dir.path().join("audit.jsonl");
        let config = AuditFileConfig { max_size: 64 << 10, chain: true, ..KEEP };
        let mut file = AuditFile::open(path.clone(), config, now).unwrap();
        let size = || -> u64 {
            let files = fs::read_dir(dir.path()).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
        };
        // One batch is larger than all files may be.
        for batch in 0..5_u32 {
            let lines = (0..1000)
                .map(|n| format!("{{\"n\":{},\"text\":\"{}\"}}", batch * 1000 + n, "x".repeat(80)));
            let lines: Vec<_> = lines.map(String::into_bytes).collect();
            file.write_all(&lines, now).unwrap();
            assert!((32 << 10..=66 << 10).contains(&size()), "{} bytes", size());
        }
        let parts = audit_parts::rotated(&path).unwrap();
        let files = parts.iter().map(|part| (String::new(), File::open(&part.path).unwrap()));
        audit_chain::verify_audit(files).unwrap().expect("the names tell the order");
        let last = fs::read_to_string(&path).unwrap();
        assert!(last.lines().next_back().unwrap().contains("\"n\":4999"), "{last}");
        let less = AuditFileConfig { max_size: 16 << 10, ..KEEP };
        AuditFile::open(path, less, now).unwrap();
        assert!(size() <= 24 << 10, "at the start as well: {}", size());
    }

    #[test]
    fn the_chain_goes_on_over_rotation_restart_and_a_line_that_broke_off() {
        let dir = tempfile::tempdir().unwrap();
        let now = datetime!(2027-01-01 12:00 UTC);
        let path = dir.path().join("audit.jsonl");
        let config = AuditFileConfig { chain: true, ..KEEP };
        let verify = || {
            let parts = audit_parts::rotated(&path).unwrap().into_iter().map(|part| part.path);
            let files = parts.chain([path.clone()]).filter(|file| file.exists());
            let files = files.map(|file| (file.display().to_string(), File::open(file).unwrap()));
            audit_chain::verify_audit(files).unwrap()
        };
        for day in 0..4 {
            let now = now + day * DAY;
            let mut file =
                AuditFile::open(path.clone(), AuditFileConfig { keep: 99 * DAY, ..config }, now)
                    .unwrap();
            for n in 0..3 {
                file.write(format!("{{\"day\":{day},\"n\":{n}}}").as_bytes(), now + DAY).unwrap();
            }
            if day == 1 {
                // The power fails.
                let mut file = OpenOptions::new().append(true).open(&path).unwrap();
                file.write_all(b"{\"day\":1,\"n").unwrap();
            }
        }
        let chain = verify().unwrap();
        assert_eq!((chain.lines, chain.torn, chain.is_whole), (12, 1, true));
        let middle = &audit_parts::rotated(&path).unwrap()[1].path;
        fs::remove_file(middle).unwrap();
        assert!(verify().unwrap_err().to_string().contains("line 1 does not follow"));
    }
}
