//! What a package installs beside the program: man pages and shell completions, drawn from the
//! command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Failure, Words};

/// Write man pages and shell completions into a folder
#[derive(Debug, Args)]
pub(super) struct PackageFiles {
    /// It is made where it is absent
    folder: PathBuf,
}

impl PackageFiles {
    pub(super) fn execute(self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.folder)?;
        clap_mangen::generate_to(Words::command(), &self.folder)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut Words::command(), "kimgate", &self.folder)?;
        }
        Ok(())
    }
}
