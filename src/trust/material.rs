//! PEM files become chains, keys and roots; every error names the file and what to write instead.

use std::path::PathBuf;

/// A file that cannot serve, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct MaterialError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it and what to do.
    pub problem: MaterialProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum MaterialProblem {
    /// The operating system refuses.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Something legal that a person should know about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", path.display())]
pub struct MaterialWarning {
    /// The file.
    pub path: PathBuf,
    /// What to know about it.
    pub text: String,
}
