//! What the configuration says about permissions, as plain data.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Subject;

/// The service of a message without X-KIM-Dienstkennung: what a client module writes in
/// (gemSpec_CM_KOMLE A_19488).
pub const WITHOUT_SERVICE: &str = "KIM-Mail;Default;V1.0";

/// Everything that a [`Policy`](super::Policy) is made of; `config` fills it. Maps are by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// What happens to a workstation that no entry describes.
    pub unknown_workstations: Otherwise,
    /// What happens to an account that has no entry.
    pub unknown_accounts: Otherwise,
    /// What happens to a login that is only an address.
    pub logins_without_context: Otherwise,
    /// `[workstations.NAME]`.
    pub workstations: BTreeMap<String, Workstation>,
    /// `[users.NAME]`.
    pub users: BTreeMap<String, User>,
    /// The members of `[groups.NAME]`.
    pub groups: BTreeMap<String, Vec<Subject>>,
    /// The members of `[departments.NAME]`.
    pub departments: BTreeMap<String, Vec<Subject>>,
    /// `[accounts."ADDRESS"]`, the address as it was written.
    pub accounts: BTreeMap<String, AccountRules>,
    /// The names that exist. Accounts that name none get the only one, else `main`, else the first.
    pub client_modules: Vec<String>,
}

impl Default for Rules {
    /// No workstation and no account is known; the switches have the configuration's defaults.
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            unknown_workstations: Otherwise::Deny,
            unknown_accounts: Otherwise::Deny,
            logins_without_context: Otherwise::Allow,
            workstations: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            departments: BTreeMap::new(),
            accounts: BTreeMap::new(),
            client_modules: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether a workstation that no entry describes can get a permit.
    pub fn lets_strangers_in(&self) -> bool {
        self.unknown_workstations == Otherwise::Allow || self.mode == Mode::Observe
    }
}

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are recorded, and every login passes.
    Observe,
}

/// Whom From and Sender of a message may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authors {
    /// Anyone.
    #[default]
    Any,
    /// The account and its further senders.
    Account,
}

/// What happens where no entry says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// It is refused.
    #[default]
    Deny,
    /// It passes on to the next question.
    Allow,
}

/// A PC: how it is recognised and what it may put into a login.
///
/// An empty list restricts nothing, as an absent one: the same as with `allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workstation {
    /// Addresses and networks.
    pub addresses: Vec<IpNet>,
    /// Common names or DNS names of its certificate, compared without ASCII case.
    pub certificates: Vec<String>,
    /// The WorkplaceIds that it may use.
    pub workplaces: Option<Vec<String>>,
    /// The exact logins that it may use.
    pub logins: Option<Vec<String>>,
}

/// A person, found by any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Common names or DNS names of a certificate, compared without ASCII case.
    pub certificates: Vec<String>,
    /// Names of workstations.
    pub workstations: Vec<String>,
    /// UserIds in the login; the login only claims them and proves nothing.
    pub user_ids: Vec<String>,
}

/// Which sessions may; `deny` beats `allow`, and an empty `allow` admits everyone known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRules {
    /// Sessions that are one of these may.
    pub allow: Vec<Subject>,
    /// Sessions that are one of these may not.
    pub deny: Vec<Subject>,
}

/// A mail address, and who may do what with it.
///
/// An empty list of services or recipients restricts nothing, as an absent one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRules {
    /// The client module that serves it.
    pub client_module: Option<String>,
    /// It is no longer in use.
    pub retired: bool,
    /// For every action.
    pub access: AccessRules,
    /// For fetching, on top of `access`.
    pub receive: AccessRules,
    /// For deleting, on top of `access` and `receive`.
    pub delete: AccessRules,
    /// For sending, on top of `access`.
    pub send: AccessRules,
    /// Patterns for X-KIM-Dienstkennung, `*` and `?`, without case.
    pub services: Option<Vec<String>>,
    /// Patterns for whole recipient addresses, `*` and `?`, without case.
    pub recipients: Option<Vec<String>>,
    /// Patterns for senders besides the account itself; `<>` is the null sender.
    pub senders: Vec<String>,
    /// Whom From and Sender may name.
    pub from: Authors,
}
