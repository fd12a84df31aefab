//! Reloads when files change, since a job that renews a certificate at night sends no signal.
//!
//! The operating system reports changes where it can. Where it cannot, as on network shares, the
//! files are read every 30 s. Only another content is a change: a file that was written again with
//! the same content is not reloaded, and one that could not be used is tried again once it differs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use super::Reloader;
use crate::config;

/// Between two looks at the files where no change is reported.
const PACE: Duration = Duration::from_secs(30);
/// A certificate and its key are two files. kimgate reads neither while less than this has passed
/// since the last reported change.
const QUIET: Duration = Duration::from_millis(500);
/// Changes that never stop put a reload off for no longer than this.
const LONGEST: Duration = Duration::from_secs(5);
/// Certificates are small; a device file has no end.
const LARGEST: u64 = 4 << 20;

/// What a look at the files found.
enum Look {
    Nothing,
    /// A file has changed, and the writer may not have finished.
    News,
    Reloaded {
        accepted: bool,
    },
}

/// Reloads whenever a file of the configuration has changed, for as long as the runtime runs.
pub async fn follow(reloader: Reloader) {
    let (sender, mut changes) = channel(1);
    let mut watch = Some(FileWatch::new(sender));
    let mut has_settled = false;
    loop {
        let (reloader, mut watched) = (reloader.clone(), watch.take());
        // Reading files is slow work for a thread that serves sessions.
        let looked = tokio::task::spawn_blocking(move || {
            // First watch, then look: no change in between is missed.
            if let Some(watch) = &mut watched {
                watch.watch(&reloader.files());
            }
            let look = match has_settled {
                true => reloader
                    .reload_if_changed()
                    .map_or(Look::Nothing, |outcome| Look::Reloaded { accepted: outcome.is_ok() }),
                false if reloader.has_changed() => Look::News,
                false => Look::Nothing,
            };
            (watched, look)
        });
        let Ok((watched, look)) = looked.await else { return };
        watch = watched;
        has_settled = match look {
            Look::Nothing => tokio::select! {
                Some(()) = changes.recv() => {
                    settle(&mut changes).await;
                    true
                }
                () = sleep(PACE) => false,
            },
            Look::News => {
                settle(&mut changes).await;
                true
            }
            // There may be other files to listen for now, so all of it begins anew.
            Look::Reloaded { accepted: true } => {
                tracing::info!("files have changed and were reloaded");
                false
            }
            Look::Reloaded { accepted: false } => {
                tracing::error!("changed files cannot be used, the old ones stay in use");
                false
            }
        };
    }
}

/// Waits until no change is reported for a while.
async fn settle(changes: &mut Receiver<()>) {
    let latest = Instant::now() + LONGEST;
    while let Ok(Ok(Some(()))) = timeout_at(latest, timeout(QUIET, changes.recv())).await {}
}

/// The hashes of the files at one moment; `None` for a file that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Snapshot {
    /// Looks at the configuration file and at the files that it names now.
    pub(super) fn take(source: &Path, before: &Self) -> Self {
        let own = content(source);
        let files: Vec<PathBuf> = match before.0.get(source) == Some(&own) {
            true => before.files(),
            false => config::files(source, std::env::vars()),
        };
        Self(files.into_iter().map(|file| (file.clone(), content(&file))).collect())
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }
}

fn content(file: &Path) -> Option<[u8; 32]> {
    // Keys are among them.
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(file).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    digest(&SHA256, &bytes).as_ref().try_into().ok()
}

/// The changes that the operating system reports.
struct FileWatch {
    /// `None`: it reports nothing.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Everything else that happens in those folders is of no interest, as the audit file's lines.
    names: Arc<Mutex<HashSet<PathBuf>>>,
}

impl FileWatch {
    fn new(sender: Sender<()>) -> Self {
        let names = Arc::new(Mutex::new(HashSet::new()));
        let known = names.clone();
        let notice = move |event: notify::Result<Event>| {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            if event.map_or(true, |event| matters(&event, &known)) {
                // A full channel holds a notice already.
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(notice)
            .inspect_err(|error| tracing::warn!(%error, "changed files are noticed by looking"))
            .ok();
        Self { watcher, folders: BTreeSet::new(), names }
    }

    /// From now on listens for these files, in their folders: files are replaced by renaming
    /// another one over them, or by turning a link.
    fn watch(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let trails: HashSet<PathBuf> = files.iter().flat_map(|file| trail(file)).collect();
        let folders: BTreeSet<PathBuf> =
            trails.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        for gone in self.folders.difference(&folders) {
            // One that is no longer there is not watched either.
            let _ = watcher.unwatch(gone);
        }
        for folder in &folders {
            // Again at each look: a folder may have been replaced by another one. One that is not
            // there cannot be watched; the slow look finds it.
            let _ = watcher.watch(folder, RecursiveMode::NonRecursive);
        }
        self.folders = folders;
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = trails;
    }
}

/// Whether an event may have changed what is in one of these paths. Reading a file, as we do
/// ourselves, is an event too.
fn matters(event: &Event, names: &HashSet<PathBuf>) -> bool {
    let written = AccessKind::Close(AccessMode::Write);
    let is_reading = matches!(event.kind, EventKind::Access(kind) if kind != written);
    !is_reading && (event.need_rescan() || event.paths.iter().any(|path| names.contains(path)))
}

/// A file and every link on the way to its content. Container platforms mount
/// `tls.crt -> ..data/tls.crt` and `..data -> ..2026_11_25`, and then turn `..data`.
fn trail(file: &Path) -> Vec<PathBuf> {
    let Ok(mut at) = std::path::absolute(file) else { return vec![] };
    let mut trail = vec![at.clone()];
    // Linux follows as many.
    for _ in 0..40 {
        let Some((link, target, rest)) = first_link(&at) else { break };
        at = link.parent().unwrap_or(Path::new("/")).join(target).join(rest);
        trail.push(link);
        trail.push(at.clone());
    }
    trail
}

/// The first link of a path, its target, and the rest of the path.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let parts: Vec<&OsStr> = path.iter().collect();
    (1..=parts.len()).find_map(|length| {
        let link: PathBuf = parts[..length].iter().collect();
        let target = std::fs::read_link(&link).ok()?;
        Some((link, target, parts[length..].iter().collect()))
    })
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};

    use super::*;

    #[test]
    fn only_what_may_change_a_watched_file_is_heard() {
        let names = HashSet::from([PathBuf::from("/etc/kim/gateway.pem")]);
        let reading = EventKind::Access(AccessKind::Open(AccessMode::Read));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, path, heard) in [
            (EventKind::Create(CreateKind::File), "/etc/kim/gateway.pem", true),
            (EventKind::Remove(RemoveKind::File), "/etc/kim/gateway.pem", true),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), "/etc/kim/gateway.pem", true),
            (renamed, "/etc/kim/gateway.pem", true),
            (renamed, "/etc/kim/audit.jsonl", false),
            (reading, "/etc/kim/gateway.pem", false),
        ] {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(matters(&event, &names), heard, "{event:?}");
        }
    }

    #[test]
    fn a_change_is_seen_by_looking_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("k.toml"), "tls.certificate = \"a.pem\"").unwrap();
        let mut before = Snapshot::take(&file("k.toml"), &Snapshot::default());
        assert_eq!(before.files(), [file("a.pem"), file("k.toml")]);
        let changes: [(&str, &str, bool); 6] = [
            ("a.pem", "", true),
            ("a.pem", "1", true),
            ("a.pem", "1", false),
            ("other", "1", false),
            ("k.toml", "tls.client_ca = \"other\"", true),
            ("other", "2", true),
        ];
        for (name, text, news) in changes {
            std::fs::write(file(name), text).unwrap();
            let now = Snapshot::take(&file("k.toml"), &before);
            assert_eq!(now != before, news, "{name}: {text}");
            before = now;
        }
    }

    #[cfg(unix)]
    #[test]
    fn every_link_on_the_way_is_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let path = |name: &str| base.join(name);
        std::fs::create_dir(path("..1")).unwrap();
        symlink("..1", path("..data")).unwrap();
        symlink("..data/tls.crt", path("tls.crt")).unwrap();
        let trail = trail(&path("tls.crt"));
        let expected = ["tls.crt", "..data/tls.crt", "..data", "..1/tls.crt"].map(path);
        assert!(expected.iter().all(|path| trail.contains(path)), "{trail:?}");
        symlink("loop", path("loop")).unwrap();
        assert!(super::trail(&path("loop")).len() > 1, "an endless link ends");
    }
}
