//! Audit lines on their way out: a bounded queue and a thread of its own, so that a slow or full
//! disk, or a reader that has stopped, costs lines and never a session.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use time::OffsetDateTime;

use super::AuditConfig;
use super::audit_file::{AuditFile, AuditFileConfig, Failed};
use super::fold::{Folded, Folds};
use super::log;
use super::record::{Record, rfc3339};

/// Lines that wait for the disk. At a hundred events a second, forty seconds.
const QUEUE: usize = 4096;
/// Bytes that a line seldom exceeds.
const LINE: usize = 512;
/// How long lines gather before they are written in one go. A busy gateway says thousands of them
/// in a second, and waking this thread for each one costs more than writing it.
const GATHER: Duration = Duration::from_millis(10);
/// Between two complaints about the same sink.
const QUIET: Duration = Duration::from_secs(60);
/// How long [`Audit::flush`] waits.
const FLUSH: Duration = Duration::from_secs(2);

/// Where audit lines go.
pub(super) struct Audit {
    queue: Option<SyncSender<Job>>,
    losses: Losses,
}

enum Job {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

enum Output {
    Stdout,
    File(AuditFile),
}

impl Audit {
    /// Opens the output and starts its thread; `lost` counts what could not be written. The thread also
    /// writes what was folded, when its time has come.
    pub(super) fn start(
        config: &AuditConfig,
        lost: IntCounter,
        folds: Arc<Folds>,
    ) -> io::Result<Self> {
        if config.off {
            return Ok(Self { queue: None, losses: Losses::new(lost) });
        }
        let output = match &config.file {
            None => Output::Stdout,
            Some(path) => {
                let now = OffsetDateTime::now_utc();
                Output::File(AuditFile::open(path.clone(), AuditFileConfig::from(config), now)?)
            }
        };
        let (sender, receiver) = sync_channel(QUEUE);
        let losses = Losses::new(lost.clone());
        // The thread ends when the last sender is gone.
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || write_all(&receiver, output, &losses, &folds))?;
        Ok(Self { queue: Some(sender), losses: Losses::new(lost) })
    }

    pub(super) fn write(&self, record: &Record<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut line = Vec::with_capacity(LINE);
        match serde_json::to_writer(&mut line, record) {
            Ok(()) => {
                if queue.try_send(Job::Line(line)).is_err() {
                    self.losses.add(1, &"the queue is full");
                }
            }
            Err(error) => self.losses.add(1, &error),
        }
    }

    /// Waits until what was written so far is out; false if that takes too long.
    pub(super) fn flush(&self) -> bool {
        let Some(queue) = &self.queue else { return true };
        let (done, wait) = sync_channel(1);
        let deadline = Instant::now() + FLUSH;
        let mut job = Job::Flush(done);
        while let Err(full) = queue.try_send(job) {
            if Instant::now() >= deadline {
                return false;
            }
            job = match full {
                std::sync::mpsc::TrySendError::Full(job) => job,
                std::sync::mpsc::TrySendError::Disconnected(_) => return false,
            };
            thread::sleep(Duration::from_millis(5));
        }
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

fn write_all(jobs: &Receiver<Job>, mut output: Output, losses: &Losses, folds: &Folds) {
    loop {
        let first = match folds.next() {
            None => jobs.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => match jobs.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => Ok(None),
                received => received.map(Some),
            },
        };
        let Ok(first) = first else { return };
        if matches!(first, Some(Job::Line(_))) {
            thread::sleep(GATHER);
        }
        let mut lines = Vec::new();
        let mut flushes = Vec::new();
        for job in first.into_iter().chain(jobs.try_iter()).take(QUEUE) {
            match job {
                Job::Line(line) => lines.push(line),
                Job::Flush(done) => flushes.push(done),
            }
        }
        let folded = if flushes.is_empty() { folds.due(Instant::now()) } else { folds.all() };
        lines.extend(unfolded(&folded));
        if !lines.is_empty() {
            match output.write(&lines) {
                Ok(()) => losses.over(),
                Err(failed) => losses.add(failed.lost, &failed.error),
            }
            if let Some(error) = output.trouble() {
                losses.complain(error);
            }
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}

/// Says it in the log, and gives the audit's lines.
fn unfolded(folded: &[Folded]) -> impl Iterator<Item = Vec<u8>> {
    let time = rfc3339(OffsetDateTime::now_utc());
    folded.iter().filter_map(move |folded| {
        log::folded(folded);
        folded.line(&time)
    })
}

impl Output {
    /// Writes lines, each without its end. After an error all that were to be written together count as
    /// lost, though some may be there.
    fn write(&mut self, lines: &[Vec<u8>]) -> Result<(), Failed> {
        match self {
            Self::Stdout => {
                let whole = [&lines.join(&b'\n')[..], b"\n"].concat();
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(&whole).and_then(|()| stdout.flush());
                written.map_err(|error| Failed { lost: lines.len(), error })
            }
            Self::File(file) => file.write_all(lines, OffsetDateTime::now_utc()),
        }
    }

    fn trouble(&self) -> Option<&io::Error> {
        match self {
            Self::Stdout => None,
            Self::File(file) => file.unrotated(),
        }
    }
}

/// Counts every lost line, and says so once a minute and when it is over.
struct Losses {
    lost: IntCounter,
    said: Mutex<Option<Instant>>,
    /// It was said that lines are lost, and not yet that this is over.
    losing: AtomicBool,
}

impl Losses {
    fn new(lost: IntCounter) -> Self {
        Self { lost, said: Mutex::new(None), losing: AtomicBool::new(false) }
    }

    fn add(&self, lines: usize, why: &dyn std::fmt::Display) {
        self.lost.inc_by(lines as u64);
        if self.complain(why) {
            self.losing.store(true, Ordering::Relaxed);
        }
    }

    fn over(&self) {
        if self.losing.swap(false, Ordering::Relaxed) {
            tracing::warn!(lost = self.lost.get(), "audit lines are written again");
        }
    }

    /// True if it was said, false if that was done a moment ago.
    fn complain(&self, why: &dyn std::fmt::Display) -> bool {
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if said.is_some_and(|at| at.elapsed() < QUIET) {
            return false;
        }
        *said = Some(Instant::now());
        drop(said);
        tracing::error!(lost = self.lost.get(), error = %why, "audit trouble; mail goes on");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Pseudonyms};
    use super::*;

    fn config(file: &std::path::Path) -> AuditConfig {
        AuditConfig { file: Some(file.into()), ..AuditConfig::default() }
    }

    fn record(number: u32) -> Record<'static> {
        let event =
            Event::ConfigLoaded { reload: true, accepted: true, hash: "", problems: number };
        let now = OffsetDateTime::UNIX_EPOCH;
        Record::new(&event, now, &Pseudonyms::Off, &Pseudonyms::Off)
    }

    fn counter() -> IntCounter {
        IntCounter::new("lost", "lost").unwrap()
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::start(&config(&path), counter(), Arc::default()).unwrap();
        for number in 0..100 {
            audit.write(&record(number));
        }
        assert!(audit.flush());
        let text = std::fs::read_to_string(path).unwrap();
        let numbers: Vec<u64> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["problems"].clone()
            })
            .map(|number| number.as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_costs_lines_that_are_counted() {
        let lost = counter();
        let audit =
            Audit::start(&config(std::path::Path::new("/dev/full")), lost.clone(), Arc::default())
                .unwrap();
        for _ in 0..3 {
            audit.write(&record(0));
        }
        assert!(audit.flush());
        assert_eq!(lost.get(), 3);
    }

    #[test]
    fn a_queue_that_nobody_empties_costs_lines_and_no_time() {
        let (queue, _stuck) = sync_channel(1);
        let lost = counter();
        let audit = Audit { queue: Some(queue), losses: Losses::new(lost.clone()) };
        for _ in 0..10 {
            audit.write(&record(0));
        }
        assert_eq!(lost.get(), 9);
    }
}
