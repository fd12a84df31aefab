//! From rules as written to tables that answer fast.

use std::sync::Arc;

use super::Rule;
use super::pattern::Patterns;
use crate::kim::Account;

/// One account's rules.
#[derive(Debug)]
pub(super) struct AccountTable {
    /// The key as it was written; `None` for accounts without an entry.
    pub(super) written: Option<String>,
    pub(super) client_module: Arc<str>,
    pub(super) services: Option<Patterns>,
    pub(super) recipients: Option<Patterns>,
    pub(super) senders: Patterns,
    pub(super) null_sender: bool,
}

impl AccountTable {
    /// The rule under these keys of the account's section.
    pub(super) fn rule(&self, keys: &[&str]) -> Rule {
        match &self.written {
            Some(written) => Rule::under(&[&["accounts", written], keys].concat()),
            None => Rule::under(&["policy", "unknown_accounts"]),
        }
    }

    pub(super) fn admits_sender(&self, account: &Account, address: &str) -> bool {
        match address {
            "" => self.null_sender,
            _ => account.is(address) || self.senders.matches(address),
        }
    }
}
