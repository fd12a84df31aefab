//! `kimgate unlock`: ends login pauses of a running gateway.

use clap::Args;

use super::admin::{Admin, PATIENCE, command, no_kimgate};
use super::{Failure, Screen};
use crate::admin::{Unlock, Unlocked};
use crate::printable::printable;

/// End login pauses of a running gateway
///
/// A login is paused after several refusals by the client module; `kimgate status` lists those that
/// are. Without options all pauses end. Exit code 0: no such login is paused any more. 1: no gateway
/// answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kimgate unlock\n  \
                  kimgate unlock --account prx@praxis.kim.telematik --workstation PC1")]
pub(super) struct UnlockCommand {
    #[command(flatten)]
    admin: Admin,
    /// Only logins of this account
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Only logins at this workstation: its name, or its address where it has none
    #[arg(long, value_name = "NAME")]
    workstation: Option<String>,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
}

impl UnlockCommand {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let address = self.admin.address()?;
        let these = Unlock { account: self.account, workstation: self.workstation };
        let question = serde_json::to_string(&these).map_err(Failure::error)?;
        let answer = command(address, "unlock", &question, PATIENCE)?;
        let done: Unlocked = match answer.code {
            200 => serde_json::from_slice(&answer.body).map_err(|_| no_kimgate(address))?,
            400 | 413 => {
                let why = String::from_utf8_lossy(&answer.body);
                return Err(Failure::usage(printable(why.trim())));
            }
            _ => return Err(no_kimgate(address)),
        };
        if self.json {
            screen.say_json(&serde_json::to_string_pretty(&done).map_err(Failure::error)?);
        } else {
            screen.say(&sentence(&these, done.ended));
        }
        Ok(())
    }
}

fn sentence(these: &Unlock, ended: usize) -> String {
    let whose = |word: &str, name: &Option<String>| {
        name.as_deref().map(|name| format!(" {word} {}", printable(name))).unwrap_or_default()
    };
    let whose = whose("of", &these.account) + &whose("at", &these.workstation);
    match ended {
        0 => format!("no login{whose} is paused; `kimgate status` lists those that are"),
        1 => format!("1 login pause{whose} ended"),
        _ => format!("{ended} login pauses{whose} ended"),
    }
}
