//! What observe needs to know; `config` fills it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::kim::Account;

/// Everything an [`Observer`](super::Observer) starts from.
#[derive(Clone, Debug, Default)]
pub struct ObserveConfig {
    /// Where audit lines go.
    pub audit: AuditConfig,
    /// The names that may become metric labels.
    pub names: KnownNames,
}

/// Names out of the configuration. They, and the lists in the code, are all that a metric label may
/// hold: no label ever has what a stranger typed.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    /// Configured accounts.
    pub accounts: Vec<Account>,
    /// Patterns of services, as written in any `services` list.
    pub services: Vec<String>,
    /// Configured client modules.
    pub client_modules: Vec<String>,
}

/// As in `[audit]`.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// `None`: standard output.
    pub file: Option<PathBuf>,
    /// No audit at all: `demo`, and tests that look at something else.
    pub off: bool,
    /// How long rotated files are kept.
    pub keep: Duration,
    /// Bytes of all files together; the oldest go first.
    pub max_size: u64,
    /// Each line carries the hash of the line before.
    pub chain: bool,
    /// Repeated refusals are written each, for tests that compare every line. Not a key.
    pub repeats: bool,
    /// Mail addresses become keyed hashes.
    pub pseudonymize: bool,
    /// Where the key of those hashes is kept.
    pub state_dir: PathBuf,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            file: None,
            off: false,
            keep: Duration::from_secs(30 * 24 * 60 * 60),
            max_size: 2 << 30,
            chain: false,
            repeats: false,
            pseudonymize: false,
            state_dir: PathBuf::from("state"),
        }
    }
}

/// As in `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for programs.
    pub format: LogFormat,
    /// The least important lines that are shown.
    pub level: LogLevel,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important log lines that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What needs action.
    Error,
    /// What needs a look, refusals for instance.
    Warn,
    /// Logins and messages.
    #[default]
    Info,
    /// Connections as well.
    Debug,
    /// Everything.
    Trace,
}

/// What is wrong with a word in `[log]`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {expected}")]
pub struct LogWordError {
    expected: &'static str,
}

impl FromStr for LogFormat {
    type Err = LogWordError;

    fn from_str(text: &str) -> Result<Self, LogWordError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogWordError { expected: "text, json" }),
        }
    }
}

impl FromStr for LogLevel {
    type Err = LogWordError;

    fn from_str(text: &str) -> Result<Self, LogWordError> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(LogWordError { expected: "error, warn, info, debug, trace" }),
        }
    }
}
