//! `kimgate held`: the messages that came undecrypted and are held until somebody can read them.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::admin::{Admin, Answer, command, get, no_kimgate};
use super::amounts::duration;
use super::{Failure, Screen, table};
use crate::config::load;
use crate::held::{Register, Terms};
use crate::observe::{HeldList, HeldStatus, HeldSummary};
use crate::printable::printable;

/// Show or release messages that are held because they came undecrypted
///
/// kimgate refuses to delete them, from every workstation, until they came decrypted, were released
/// here, or `protection.hold_undecrypted` has passed. Neither subject nor sender is known. Without a
/// running gateway the state folder is read instead. Exit code 0: done. 1: no such message, or nothing
/// answers.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kimgate held\n  kimgate held --json\n  kimgate held release 4f1c09a2b7d3"
)]
pub(super) struct Held {
    #[arg(value_enum, default_value_t)]
    what: What,
    /// The message to release, as the list shows it
    #[arg(required_if_eq("what", "release"))]
    id: Option<String>,
    #[command(flatten)]
    admin: Admin,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum What {
    /// Show what is held: ID, age, account, workstation, reason
    #[default]
    List,
    /// Let a message go: from now on it may be deleted, whether anyone could read it or not
    Release,
}

/// A full register takes a moment to be put in order.
const PATIENCE: Duration = Duration::from_secs(30);

impl Held {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        match (self.what, &self.id) {
            (What::List, None) => self.list(screen),
            (What::Release, Some(id)) => self.release(id, screen),
            (What::List, Some(_)) => Err(Failure::usage("`held list` takes no ID")),
            (What::Release, None) => Err(Failure::usage("`held release` takes an ID")),
        }
    }

    fn list(&self, screen: &mut Screen) -> Result<(), Failure> {
        let asked = self.ask(|address| get(address, "/held"))?;
        let list = match asked {
            Asked::Gateway(address, body) => {
                serde_json::from_slice(&body).map_err(|_| no_kimgate(address))?
            }
            Asked::Nobody(folder) => {
                let register = folder.peek()?;
                let (count, oldest) = register.held(folder.terms);
                let messages = register.list(folder.terms, usize::MAX).into_iter();
                HeldList {
                    held: HeldSummary::new(count, oldest, None),
                    messages: messages.map(HeldStatus::from).collect(),
                }
            }
        };
        if self.json {
            screen.say_json(&serde_json::to_string_pretty(&list).map_err(Failure::error)?);
        } else {
            show(screen, &list);
        }
        Ok(())
    }

    fn release(&self, id: &str, screen: &mut Screen) -> Result<(), Failure> {
        let asked = self.ask(|address| command(address, "held release", id, PATIENCE))?;
        let released: HeldStatus = match asked {
            Asked::Gateway(address, Answer { code: 200, body }) => {
                serde_json::from_slice(&body).map_err(|_| no_kimgate(address))?
            }
            Asked::Gateway(_, Answer { code: 422, body }) => {
                return Err(Failure::error(printable(String::from_utf8_lossy(&body).trim())));
            }
            Asked::Gateway(address, _) => return Err(no_kimgate(address)),
            Asked::Nobody(folder) => folder.release(id)?,
        };
        if self.json {
            screen.say_json(&serde_json::to_string_pretty(&released).map_err(Failure::error)?);
        } else {
            let (id, account) = (printable(&released.id), printable(&released.account));
            screen.done(format_args!("{id} of {account} is released: it may be deleted now"));
        }
        Ok(())
    }

    /// Asks the gateway, and looks for its state folder where none answers.
    fn ask<T>(
        &self,
        question: impl FnOnce(SocketAddr) -> Result<T, Failure>,
    ) -> Result<Asked<T>, Failure> {
        let answer = self.admin.address().and_then(|address| Ok((address, question(address)?)));
        match (answer, self.folder()) {
            (Ok((address, answer)), _) => Ok(Asked::Gateway(address, answer)),
            (Err(_), Some(folder)) => Ok(Asked::Nobody(folder)),
            (Err(failure), None) => Err(failure),
        }
    }

    fn folder(&self) -> Option<StateFolder> {
        let path = self.admin.file().path().ok()?;
        let gateway = load(&path, std::env::vars()).ok()?.config.gateway;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let terms = Terms { hold: gateway.protection.hold_undecrypted, now };
        Some(StateFolder { path: gateway.state_dir, terms })
    }
}

enum Asked<T> {
    /// Where it is, and what it says.
    Gateway(SocketAddr, T),
    Nobody(StateFolder),
}

/// What a gateway has left that does not run.
struct StateFolder {
    path: std::path::PathBuf,
    terms: Terms,
}

impl StateFolder {
    fn peek(&self) -> Result<Register, Failure> {
        Register::peek(&self.path, self.terms.now).map_err(Failure::error)
    }

    fn release(&self, id: &str) -> Result<HeldStatus, Failure> {
        // Where nothing is held, no files are made.
        if self.peek()?.held(self.terms).0 == 0 {
            return Err(Failure::error("no message is held"));
        }
        let register = Register::open(&self.path, self.terms.now);
        if let Some(trouble) = register.trouble() {
            return Err(Failure::error(trouble));
        }
        register.release(id, self.terms).map(HeldStatus::from).map_err(Failure::error)
    }
}

fn show(screen: &mut Screen, list: &HeldList) {
    let count = list.held.messages;
    if count == 0 {
        screen.done("nothing is held");
    }
    if let Some(trouble) = &list.held.trouble {
        screen.failed(printable(trouble));
    }
    if list.messages.is_empty() {
        return;
    }
    let now = OffsetDateTime::now_utc();
    let heads = ["ID", "for", "account", "fetched at", "reason"].map(str::to_owned).to_vec();
    let rows = list.messages.iter().map(|message| {
        let age = OffsetDateTime::parse(&message.since, &Rfc3339);
        vec![
            printable(&message.id).into_owned(),
            age.map_or_else(|_| "?".into(), |since| duration((now - since).as_seconds_f64())),
            printable(&message.account).into_owned(),
            printable(&message.workstation).into_owned(),
            printable(&message.cause).into_owned(),
        ]
    });
    let rows: Vec<_> = std::iter::once(heads).chain(rows).collect();
    for line in table::fitting(&rows, screen.width()) {
        screen.say(&line);
    }
    if count > list.messages.len() {
        screen.say(&format!("and {} more, which came later", count - list.messages.len()));
    }
}
