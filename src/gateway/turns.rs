//! What sessions hold and wait for, for people who look.

use std::time::Instant;

use super::shared::Shared;
use crate::kim::Account;
use crate::observe::{ContextStatus, MailboxStatus, PauseStatus, Turns};
use crate::printable::printable;

/// At this moment.
pub(crate) fn now(shared: &Shared) -> Turns {
    let account = |account: &Account| shared.observer.shown_account(account);
    let contexts =
        shared.contexts.taken().into_iter().map(|((client_module, context), by, count)| {
            // UserId and KonnektorId, which follow, are nobody's business here.
            let mut fields = context.split('#');
            let mut field = || printable(fields.next().unwrap_or_default()).into_owned();
            ContextStatus {
                client_module: client_module.to_string(),
                mandant_id: field(),
                clientsystem_id: field(),
                workplace_id: field(),
                workstation: printable(&by).into_owned(),
                sessions: count,
            }
        });
    let mailboxes = shared.mailboxes.taken().into_iter();
    let mailboxes = mailboxes.map(|(client_module, mailbox, waiting)| MailboxStatus {
        client_module: client_module.to_string(),
        account: account(&Account::new(&mailbox)),
        waiting,
    });
    let mut pauses = shared.pauses();
    let paused_logins =
        pauses.logins().paused(Instant::now()).map(|(whose, remaining)| PauseStatus {
            workstation: whose.map(|whose| printable(&whose.workstation).into_owned()),
            account: whose.map(|whose| account(&whose.account)),
            seconds: remaining.as_secs(),
        });
    let mut turns = Turns {
        contexts: contexts.collect(),
        mailboxes: mailboxes.collect(),
        paused_logins: paused_logins.take(PAUSES).collect(),
    };
    turns.contexts.sort();
    turns.mailboxes.sort();
    turns.paused_logins.sort();
    turns
}

/// Ten thousand may be remembered; nobody reads so many.
const PAUSES: usize = 100;
