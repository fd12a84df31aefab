//! What can be wrong with rules, each problem with the key under which it stands.

use ipnet::IpNet;

use super::{Rule, Subject};

/// One problem in the configuration's permissions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", Rule::under(&key.iter().map(String::as_str).collect::<Vec<_>>()))]
pub struct RuleError {
    /// The way through the TOML document, outermost key first.
    pub key: Vec<String>,
    /// What is wrong there, and what to write instead.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A list names somebody whom no section describes.
    #[error("nobody is called \"{subject}\"{}", suggestion(nearest))]
    UnknownSubject {
        /// As it was written.
        subject: Subject,
        /// A name of the same kind that exists.
        nearest: Option<String>,
    },
    /// An account names a client module that no section describes.
    #[error("there is no client module {name:?}{}", suggestion(nearest))]
    UnknownClientModule {
        /// As it was written.
        name: String,
        /// A name that exists.
        nearest: Option<String>,
    },
    /// There is no client module at all.
    #[error("there is no client module: write [client_modules.main] with a host")]
    NoClientModule,
    /// A group or department contains itself.
    #[error("its members lead back to itself: {}; take one of these steps out", path(steps))]
    Cycle {
        /// From the group to itself, both ends included.
        steps: Vec<Subject>,
    },
    /// Two workstations have the same network.
    #[error("{network} belongs to workstation {other:?} already; one of the two must change")]
    SameNetwork {
        /// The network, host bits cleared.
        network: IpNet,
        /// The workstation that had it first.
        other: String,
    },
    /// Two workstations have a certificate of the same name.
    #[error("certificate {name:?} belongs to workstation {other:?} already; one must change")]
    SameCertificate {
        /// As it was written.
        name: String,
        /// The workstation that had it first.
        other: String,
    },
    /// Two accounts differ only in case.
    #[error("this is the same account as {other:?}: case does not count; merge the two")]
    SameAccount {
        /// The other one, as it was written.
        other: String,
    },
    /// An account that no login can name.
    #[error(
        "no login can name this account: write the mail address alone, without \"#\", blanks \
         around it or control characters"
    )]
    NotAnAccount,
    /// A list holds an empty string, which would match nothing.
    #[error("an empty entry matches nothing: take it out{hint}")]
    EmptyEntry {
        /// What else might have been meant.
        hint: &'static str,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

fn path(steps: &[Subject]) -> String {
    steps.iter().map(Subject::to_string).collect::<Vec<_>>().join(" > ")
}
