//! The real binary, run as a person runs it, without that person's environment.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output, of a command that ended as it should.
    pub(crate) fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// The binary with these arguments and no variable of kimgate's.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KIMGATE_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn kimgate(args: &[&str]) -> Ran {
    run(&mut command(args))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A file of this repository.
pub(crate) fn in_repository(path: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Writes a file into a folder.
pub(crate) fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A command that stays until it is dropped.
pub(crate) struct Running {
    child: Child,
    /// What it said before it was ready.
    pub(crate) said: Vec<String>,
}

impl Running {
    /// Starts it and waits for a line with this text on standard output.
    pub(crate) fn start(args: &[&str], ready: &str) -> Self {
        let child = command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut running = Self { child, said: Vec::new() };
        let output = running.child.stdout.take().unwrap();
        running.wait_for(output, ready);
        running
    }

    /// Starts it and waits for a line with this text in its log, which is standard error.
    pub(crate) fn start_logging(args: &[&str], ready: &str) -> Self {
        let child = command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Self { child, said: Vec::new() };
        let log = running.child.stderr.take().unwrap();
        running.wait_for(log, ready);
        running
    }

    fn wait_for(&mut self, output: impl Read + Send + 'static, ready: &str) {
        let mut lines = BufReader::new(output).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
            let is_ready = line.contains(ready);
            self.said.push(line);
            is_ready
        });
        assert!(is_ready, "it ended before {ready:?}: {:?}", self.said);
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.count());
    }

    /// The rest of the line that begins with this word.
    pub(crate) fn value(&self, word: &str) -> &str {
        self.said
            .iter()
            .find_map(|line| line.trim_start().strip_prefix(word))
            .unwrap_or_else(|| panic!("no {word} in {:?}", self.said))
            .trim()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
