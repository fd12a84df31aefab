//! `kimgate check`: every problem of a configuration at once.

use clap::Args;

use super::{ConfigFile, Failure, Screen};
use crate::config::{Finding, Severity, load};

/// Read and check the configuration: every problem at once, with file, line and remedy
///
/// Exit code 0: it can be used (there may be warnings). 1: it has at least one error.
#[derive(Debug, Args)]
#[command(after_help = "Example: kimgate check --config config/kimgate.toml")]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let path = self.file.path()?;
        let (usable, findings) = match load(&path, std::env::vars()) {
            Ok(loaded) => (true, loaded.warnings),
            Err(findings) => (false, findings),
        };
        if self.json {
            let json = serde_json::to_string_pretty(&findings).map_err(Failure::error)?;
            screen.say(&json);
        } else {
            for finding in &findings {
                screen.say(&finding.to_string());
            }
            let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
            let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
            screen.complain(&match (usable, warnings) {
                (true, 0) => format!("{}: good", path.display()),
                (true, _) => format!("{}: usable, {}", path.display(), count(warnings, "warning")),
                (false, _) => format!(
                    "{}: not usable, {} and {}",
                    path.display(),
                    count(errors, "error"),
                    count(warnings, "warning")
                ),
            });
        }
        if usable { Ok(()) } else { Err(Failure::no()) }
    }
}

/// The findings of a configuration that cannot be used, for a command that needs it.
pub(super) fn refuse(screen: &mut Screen, findings: &[Finding]) -> Failure {
    for finding in findings {
        screen.complain(&finding.to_string());
    }
    Failure::error("the configuration cannot be used; nothing was started")
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
