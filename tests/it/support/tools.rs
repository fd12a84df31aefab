//! Programs from outside: whether they are there, and how one is run to its end.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longer than any of these programs takes; a hanging one fails its test instead of the run.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program returned.
pub(crate) struct Finished {
    pub(crate) ok: bool,
    /// Standard output, unchanged.
    pub(crate) stdout: Vec<u8>,
    /// Both outputs as text, for a test that failed.
    pub(crate) said: String,
}

/// Whether all of these programs are installed.
///
/// A missing one is named, and the test passes without having looked; where
/// `KIMGATE_REQUIRE_INTEROP=1` says that everything has to be there, it fails instead.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|p| find(p).is_none()).collect();
    missing.is_empty() || skip(&format!("not installed: {}", missing.join(", ")))
}

/// Says why a test does not run, or fails it where skipping is not allowed. Always false.
///
/// Every skip of every test comes here; `no_test_skips_on_its_own` holds that.
pub(crate) fn skip(why: &str) -> bool {
    let required = std::env::var_os("KIMGATE_REQUIRE_INTEROP").is_some_and(|v| v == "1");
    assert!(!required, "KIMGATE_REQUIRE_INTEROP=1, but: {why}");
    eprintln!("skipped: {why}");
    false
}

/// Runs a test once more, in a process where it is the only one, and returns what that process said.
/// `None` says that the caller is in that process already and goes on.
///
/// For a test that changes or measures its whole process. `test` is its full name.
pub(crate) fn run_alone(test: &str) -> Option<String> {
    const ALONE: &str = "TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return None;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", test, "--nocapture"]).env(ALONE, test).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    Some(said)
}

/// Where a program is. Daemons live in sbin, which a plain user's PATH may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A command for a program that `have` has seen.
pub(crate) fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| program.into()))
}

/// Runs a command to its end with this as its input.
pub(crate) async fn run(command: &mut Command, input: &[u8]) -> Finished {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let feed = async {
        // A program that ends before it has read everything has said why on its output.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(LIMIT, both)
        .await
        .unwrap_or_else(|_| panic!("{program} did not end within {LIMIT:?}"))
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Finished {
        ok: output.status.success(),
        stdout: output.stdout,
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}
