//! What the process gives up when it has read its configuration: core dumps, and all files but its
//! own.
//!
//! A fault in kimgate or in a library must not let a peer read or write other files of the machine,
//! start a program, or get passwords out of a core dump. systemd's unit and the container say the
//! same from outside; this holds where kimgate was started without them.
//!
//! Landlock (Linux 5.13 and later) judges a file when it is opened. It holds for the thread that
//! asks and for those that it starts later, so it comes before the runtime. The network stays as it
//! is.

use std::io;
use std::path::{Path, PathBuf};

/// The folders that may be read since the sandbox was entered.
#[derive(Debug)]
pub struct Sandbox {
    readable: Vec<PathBuf>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum NoSandbox {
    /// The kernel has no landlock, or a filter of system calls hides it.
    #[error("this kernel has no landlock")]
    Unsupported,
    /// The kernel has it and refused.
    #[error("landlock: {0}")]
    Failed(String),
}

impl Sandbox {
    /// Leaves the process the folders of these files to read, these folders to write, and what the
    /// system's libraries read. Nothing can be started. To be called before there are other threads.
    pub fn enter(files: &[PathBuf], writable: &[PathBuf]) -> Result<Self, NoSandbox> {
        let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        readable.extend(RESOLVER.iter().flat_map(|file| folders_of(Path::new(file))));
        readable.extend(files.iter().flat_map(|file| folders_of(file)));
        readable.extend(writable.iter().filter_map(|folder| folder.canonicalize().ok()));
        readable.sort();
        readable.dedup();
        system::restrict(&readable, writable)?;
        Ok(Self { readable })
    }

    /// Whether this file can be opened, as far as the sandbox goes.
    pub fn admits(&self, file: &Path) -> bool {
        let mut folders = folders_of(file).into_iter();
        folders.all(|folder| self.readable.iter().any(|admitted| folder.starts_with(admitted)))
    }
}

/// What the system's libraries read, the resolver above all. Folders and not files, because a file
/// such as `resolv.conf` is replaced by a new one.
const SYSTEM: [&str; 11] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/proc",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// Files of the resolver that may be links to a folder which another system has elsewhere.
const RESOLVER: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];

/// The folder in which a file stands, and the one to which a link leads from there.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let named = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.canonicalize(),
        Some(_) | None => std::env::current_dir().and_then(|folder| folder.canonicalize()),
    };
    let led_to = file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned));
    named.into_iter().chain(led_to).collect()
}

/// Passwords and logins pass through the memory of this process, and a core dump would leave them on
/// a disk. Other processes of the same user can no longer trace it either.
pub fn forbid_core_dumps() -> io::Result<()> {
    system::forbid_core_dumps()
}

#[cfg(target_os = "linux")]
mod system {
    use super::{NoSandbox, Path, PathBuf, io};
    use landlock::{
        ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, path_beneath_rules,
    };
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    /// Rights that were tested. An older kernel restricts as many of them as it knows.
    const TESTED: ABI = ABI::V5;

    pub(super) fn restrict(readable: &[PathBuf], writable: &[PathBuf]) -> Result<(), NoSandbox> {
        match enforce(readable, writable) {
            Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
            Ok(RulesetStatus::NotEnforced) => Err(NoSandbox::Unsupported),
            Err(error) => Err(NoSandbox::Failed(error.to_string())),
        }
    }

    fn enforce(
        readable: &[impl AsRef<Path>],
        writable: &[impl AsRef<Path>],
    ) -> Result<RulesetStatus, RulesetError> {
        let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir;
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(TESTED))?
            .create()?
            .add_rules(path_beneath_rules(readable, read))?
            .add_rules(path_beneath_rules(writable, read | write))?
            .restrict_self()?;
        Ok(status.ruleset)
    }

    pub(super) fn forbid_core_dumps() -> io::Result<()> {
        // A unit's filter of system calls may refuse this one; the other one is enough.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{NoSandbox, PathBuf, io};

    pub(super) fn restrict(_: &[PathBuf], _: &[PathBuf]) -> Result<(), NoSandbox> {
        Err(NoSandbox::Unsupported)
    }

    pub(super) fn forbid_core_dumps() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_admitted_where_it_stands_and_where_its_link_leads() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for inner in ["config", "live", "archive", "elsewhere"] {
            std::fs::create_dir(path(inner)).unwrap();
        }
        std::fs::write(path("archive/1.pem"), "").unwrap();
        std::fs::write(path("elsewhere/1.pem"), "").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("archive/1.pem"), path("live/gateway.pem")).unwrap();
            std::os::unix::fs::symlink(path("elsewhere/1.pem"), path("live/away.pem")).unwrap();
        }
        let files = [path("config/kimgate.toml"), path("live/gateway.pem")];
        let readable = files.iter().flat_map(|file| folders_of(file)).collect();
        let sandbox = Sandbox { readable };
        for (file, admitted) in [
            ("config/kimgate.toml", true),
            ("config/made-later.pem", true),
            ("live/gateway.pem", true),
            ("archive/2.pem", true),
            ("live/away.pem", cfg!(not(unix))),
            ("elsewhere/1.pem", false),
            ("config/../elsewhere/1.pem", false),
        ] {
            assert_eq!(sandbox.admits(&path(file)), admitted, "{file}");
        }
    }

    /// Landlock holds for one thread and for those that it starts, so a thread can try it.
    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_configurations_folders_are_read_only_state_is_written_and_nothing_starts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for inner in ["config", "state", "elsewhere"] {
            std::fs::create_dir(path(inner)).unwrap();
            std::fs::write(path(inner).join("file"), "x").unwrap();
        }
        let (files, writable) = ([path("config/kimgate.toml")], [path("state")]);
        let outcome = std::thread::scope(|scope| {
            let tried = scope.spawn(|| {
                Sandbox::enter(&files, &writable)?;
                let read = |name: &str| std::fs::read(path(name)).is_ok();
                let write = |name: &str| std::fs::write(path(name), "y").is_ok();
                assert!(read("config/file") && !write("config/file") && !write("config/new"));
                assert!(read("state/file") && write("state/file") && write("state/new"));
                assert!(std::fs::rename(path("state/new"), path("state/kept")).is_ok());
                assert!(std::fs::create_dir(path("state/inner")).is_ok());
                assert!(!read("elsewhere/file") && !write("elsewhere/file"));
                assert!(!write("elsewhere/new") && !write("new"));
                assert!(std::fs::rename(path("state/kept"), path("elsewhere/kept")).is_err());
                assert!(std::fs::read("/etc/hosts").is_ok());
                assert!(std::process::Command::new("/bin/true").status().is_err());
                Ok(())
            });
            tried.join().unwrap()
        });
        match outcome {
            Ok(()) | Err(NoSandbox::Unsupported) => {}
            Err(NoSandbox::Failed(error)) => panic!("{error}"),
        }
        assert_eq!(std::fs::read_to_string(path("elsewhere/file")).unwrap(), "x");
    }

    /// In a process of its own, because there is no way back.
    #[cfg(target_os = "linux")]
    #[test]
    fn no_core_is_dumped() {
        const ALONE: &str = "KIMGATE_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let test = "sandbox::tests::no_core_is_dumped";
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            let again = again.args(["--exact", test]).env(ALONE, "1").output().unwrap();
            assert!(again.status.success(), "{again:?}");
            return;
        }
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        forbid_core_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    }
}
