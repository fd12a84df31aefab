//! `kimgate reload`: has a running gateway read its configuration again.

use std::time::Duration;

use clap::Args;

use super::admin::{Admin, command, no_kimgate};
use super::{Failure, Screen};
use crate::admin::Reloaded;
use crate::printable::printable;

/// Have a running gateway read its configuration again
///
/// Says what is different now and for whom, or every problem with file and line; then the old
/// configuration stays in force. Exit code 0: the new one is in force. 1: it is not.
#[derive(Debug, Args)]
#[command(after_help = "Example: kimgate reload --config config/kimgate.toml")]
pub(super) struct Reload {
    #[command(flatten)]
    admin: Admin,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
}

/// Rules for ten thousand workstations are compiled and compared in a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

impl Reload {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let address = self.admin.address()?;
        let answer = command(address, "reload", "", PATIENCE)?;
        let done: Reloaded = match answer.code {
            200 | 422 => serde_json::from_slice(&answer.body).map_err(|_| no_kimgate(address))?,
            _ => return Err(no_kimgate(address)),
        };
        if self.json {
            screen.say_json(&serde_json::to_string_pretty(&done).map_err(Failure::error)?);
        } else {
            for line in &done.lines {
                screen.say(&printable(line));
            }
            screen.complain(match (done.accepted, done.lines.is_empty()) {
                (true, true) => "reloaded; nothing changes for workstations",
                (true, false) => "reloaded",
                (false, _) => "not reloaded; the configuration before it stays in force",
            });
        }
        if done.accepted { Ok(()) } else { Err(Failure::no()) }
    }
}
