//! Turns what the operator wrote into what the program needs, or into a list of all problems.
//!
//! [`load`] reads defaults, file and `KIMGATE_` variables into [`settings::Settings`], judges them
//! and builds [`Config`]. Every finding has file, line, key, problem and remedy. Nothing is opened
//! but the file itself and the certificates that it names, and nothing is changed.

mod build;
mod finding;
mod layers;
mod lint;
mod read;
mod rules;
pub mod settings;
mod source;
mod toml_hints;
mod values;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

pub use finding::{Finding, Severity};
pub use values::{Address, AdminAddress, Size, Time, ValueError};

use crate::observe::{LogConfig, ObserveConfig};
use crate::policy::Rules;
use crate::{admin, gateway};
use build::Surroundings;
use finding::{Key, Report};
use source::Source;

/// What the program needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners, client modules, limits.
    pub gateway: gateway::Config,
    /// Permissions; they compile.
    pub rules: Rules,
    /// Audit and metrics.
    pub observe: ObserveConfig,
    /// The admin pages; `None` where they are off.
    pub admin: Option<admin::Config>,
    /// The log for people.
    pub log: LogConfig,
    /// What survives a restart.
    pub state_dir: PathBuf,
    /// Whether `run` gives up core dumps and other files.
    pub sandbox: bool,
    /// The file that this was read from.
    pub source: PathBuf,
    /// 16 hexadecimal digits made of the file's text and the variables: the same text gives the
    /// same hash. It is not a cryptographic one.
    pub hash: String,
}

/// A good configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program needs.
    pub config: Config,
    /// What is legal but unwise.
    pub warnings: Vec<Finding>,
    source: Source,
}

impl Loaded {
    /// The file as it was read.
    pub fn text(&self) -> &str {
        self.source.text()
    }

    /// The line in which `key` stands, or else the table around it.
    pub fn line_of(&self, key: &[String]) -> Option<usize> {
        self.source.place(&Key::from(key.to_vec())).line
    }

    /// Where `key` was written: the file, or the variable of the environment, and the line; `None`
    /// where it was left out and its default holds.
    pub fn place_of(&self, key: &[String]) -> Option<(PathBuf, Option<usize>)> {
        let key = Key::from(key.to_vec());
        let place = self.source.is_written(&key).then(|| self.source.place(&key))?;
        Some((place.file, place.line))
    }

    /// A finding about `key` of this configuration, made after it was loaded.
    pub fn finding(
        &self,
        severity: Severity,
        key: &[&str],
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let key = Key::of(key);
        let place = self.source.place(&key);
        Finding {
            severity,
            file: place.file,
            line: place.line,
            column: place.column,
            key: key.to_string(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// Reads the configuration at `path` and the variables of `env` that belong to it.
///
/// `Err` holds every error, and the warnings too, in the order of the file.
pub fn load(
    path: &Path,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Vec<Finding>> {
    build_from(Source::read(path).map_err(|finding| vec![*finding])?, path, env)
}

/// The same of a text that is not at `path` yet.
pub fn load_text(
    path: &Path,
    text: String,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Vec<Finding>> {
    build_from(Source::parse(path, text).map_err(|finding| vec![*finding])?, path, env)
}

fn build_from(
    mut source: Source,
    path: &Path,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Vec<Finding>> {
    let env: Vec<_> = env.collect();
    let host_name = host_name(&env);
    let layers = layers::merge(&mut source, env.into_iter())
        .map_err(|error| vec![source.unreadable(&error.to_string())])?;
    let place =
        Surroundings { source: path.to_owned(), host_name, hash: hash(source.text(), &layers.raw) };
    let mut report = Report::new(&source, layers.findings);
    let settings = read::settings(layers.merged, layers.raw, &mut report);
    let config = build::config(&settings, &place, &mut report);
    lint::lint(&settings, &place, &mut report);
    let has_errors = report.has_errors();
    let findings = report.into_findings();
    match config {
        Some(config) if !has_errors => Ok(Loaded { config, warnings: findings, source }),
        Some(_) | None => Err(findings),
    }
}

/// What holds, as JSON: what was written, and the defaults for the rest, as far as it can be read.
/// Keys that kimgate does not know are not in it.
pub fn effective(
    path: &Path,
    env: impl Iterator<Item = (String, String)>,
) -> Option<serde_json::Value> {
    let mut source = Source::read(path).ok()?;
    let layers = layers::merge(&mut source, env).ok()?;
    let mut report = Report::new(&source, layers.findings);
    serde_json::to_value(read::settings(layers.merged, layers.raw, &mut report)).ok()
}

/// The files that the configuration at `path` depends on: itself, and the certificates, keys and
/// lists that it names, as far as it can be read and whether they are there or not.
pub fn files(path: &Path, env: impl Iterator<Item = (String, String)>) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let Ok(mut source) = Source::read(path) else { return files };
    let Ok(layers) = layers::merge(&mut source, env) else { return files };
    let place =
        Surroundings { source: path.to_owned(), host_name: String::new(), hash: String::new() };
    let settings = read::settings(layers.merged, layers.raw, &mut Report::new(&source, vec![]));
    files.extend(lint::material(&settings, &place));
    files
}

/// The machine's name, as far as it can be had without asking the network.
fn host_name(env: &[(String, String)]) -> String {
    let variable = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let file = |path: &str| std::fs::read_to_string(path).ok();
    [
        file("/proc/sys/kernel/hostname"),
        file("/etc/hostname"),
        variable("HOSTNAME"),
        variable("COMPUTERNAME"),
    ]
    .into_iter()
    .flatten()
    .map(|name| name.trim().to_owned())
    .find(|name| lint::is_host_name(name))
    .unwrap_or_else(|| "kimgate.local".into())
}

fn hash(text: &str, variables: &[(Vec<String>, String)]) -> String {
    // SipHash with fixed keys: it tells one configuration from another and keeps nothing secret.
    let mut hasher = DefaultHasher::new();
    (text, variables).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
