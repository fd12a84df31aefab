//! A server as a child in the foreground, gone with the test that started it.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::ports::free_ports;

/// How often a start is tried when another process was quicker to take the port.
const TRIES: usize = 5;

/// Longer than any of these servers takes to listen.
const READY: Duration = Duration::from_secs(20);

/// Longer than any of these servers takes to end when it is asked to.
const END: Duration = Duration::from_secs(20);

/// Between two looks whether they do.
const PACE: Duration = Duration::from_millis(5);

/// A running server and its folder.
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
    /// What it listens on, in the order that was asked for.
    pub(crate) ports: Vec<u16>,
}

impl Daemon {
    /// Starts a server. `prepare` writes its files into the folder for these ports and gives the
    /// command that runs it in the foreground.
    pub(crate) async fn start(
        ports: usize,
        prepare: impl AsyncFn(&Path, &[u16]) -> Command,
    ) -> Daemon {
        let mut last = String::new();
        for _ in 0..TRIES {
            let folder = open_folder();
            let ports = free_ports(ports);
            let mut command = prepare(folder.path(), &ports).await;
            let log = File::create(folder.path().join("output")).unwrap();
            let child = command
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut daemon = Daemon { child, folder, ports };
            if daemon.is_listening().await {
                return daemon;
            }
            last = daemon.log();
        }
        panic!("a server did not start:\n{last}");
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process, which leads a group of its own.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it, and not to its helpers.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.unwrap().success(), "{}", self.log());
    }

    /// Waits for its end; true where that was with exit code 0.
    pub(crate) async fn ended(&mut self) -> bool {
        let start = Instant::now();
        let mut pace = tokio::time::interval(PACE);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(start.elapsed() < END, "it did not end:\n{}", self.log());
            pace.tick().await;
        }
    }

    /// What it has said and logged, for a test that failed.
    pub(crate) fn log(&self) -> String {
        let files = ["output", "log", "mainlog", "paniclog", "rejectlog"];
        let logs = files.iter().map(|name| self.folder().join(name));
        logs.filter_map(|file| fs::read(file).ok())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .collect()
    }

    /// True when every port answers, false when the server has ended before that.
    async fn is_listening(&mut self) -> bool {
        let start = Instant::now();
        let mut pace = tokio::time::interval(PACE);
        for port in self.ports.clone() {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                if self.child.try_wait().unwrap().is_some() || start.elapsed() > READY {
                    return false;
                }
                pace.tick().await;
            }
        }
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    /// Ends the server with all its helpers, which are in a process group of their own.
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        // One that has ended already needs no signal.
        let kill =
            Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        drop(kill);
        let _ = self.child.wait();
    }
}

/// A folder that a server can enter after it has dropped root's rights.
fn open_folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Whether this test runs as root; servers that start as root want to go on as another user.
pub(crate) fn running_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Gives files to another user, which only root can and only root has to.
pub(crate) fn give_to(owner: &str, paths: &[PathBuf]) {
    if running_as_root() {
        let status = Command::new("chown").arg("-R").arg(owner).args(paths).status().unwrap();
        assert!(status.success(), "chown {owner}");
    }
}

/// The name of the user (`-un`) or group (`-gn`) that runs this test.
pub(crate) fn own(which: &str) -> String {
    let output = Command::new("id").arg(which).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
