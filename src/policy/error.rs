//! What can be wrong with rules: each problem with its key and its remedy.

use ipnet::IpNet;

use super::{Rule, Subject};

/// One problem in the configuration's permissions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: {problem}; {}",
    Rule::under(&key.iter().map(String::as_str).collect::<Vec<_>>()),
    problem.remedy()
)]
pub struct RuleError {
    /// The way through the TOML document, outermost key first.
    pub key: Vec<String>,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong; [`Problem::remedy`] says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A list names a subject that no section describes.
    #[error("\"{subject}\" does not exist")]
    UnknownSubject {
        /// As it was written.
        subject: Subject,
        /// A name of the same kind that exists.
        nearest: Option<String>,
    },
    /// An account names a client module that no section describes.
    #[error("there is no client module {name:?}")]
    UnknownClientModule {
        /// As it was written.
        name: String,
        /// A name that exists.
        nearest: Option<String>,
    },
    /// There is no client module at all.
    #[error("there is no client module")]
    NoClientModule,
    /// A group or department contains itself.
    #[error("its members lead back to itself: {}", path(steps))]
    Cycle {
        /// From the group to itself, both ends included.
        steps: Vec<Subject>,
    },
    /// Two workstations have the same network.
    #[error("{network} belongs to workstation {other:?} already")]
    SameNetwork {
        /// The network, host bits cleared.
        network: IpNet,
        /// The workstation that had it first.
        other: String,
    },
    /// Two workstations have a certificate of the same name.
    #[error("certificate {name:?} belongs to workstation {other:?} already")]
    SameCertificate {
        /// As it was written.
        name: String,
        /// The workstation that had it first.
        other: String,
    },
    /// Two accounts differ only in case.
    #[error("this is the same account as {other:?}: case does not count")]
    SameAccount {
        /// The other one, as it was written.
        other: String,
    },
    /// An account that no login can name.
    #[error("no login can name this account")]
    NotAnAccount,
    /// A list holds an empty string, which would match nothing.
    #[error("an empty entry matches nothing")]
    EmptyEntry {
        /// What else the entry might have been meant to say.
        meant: Option<&'static str>,
    },
}

impl Problem {
    /// What to write instead, as one sentence without a full stop.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownSubject { nearest, .. } | Self::UnknownClientModule { nearest, .. } => {
                match nearest {
                    Some(name) => format!("did you mean {name:?}?"),
                    None => "correct the name, or add a table with it".into(),
                }
            }
            Self::NoClientModule => "write [client_modules.main] with a host".into(),
            Self::Cycle { .. } => "take one of these steps out".into(),
            Self::SameNetwork { .. } => "one of the two must change".into(),
            Self::SameCertificate { .. } => "one must change".into(),
            Self::SameAccount { .. } => "merge the two".into(),
            Self::NotAnAccount => "write the mail address alone, without \"#\", blanks around it \
                                   or control characters"
                .into(),
            Self::EmptyEntry { meant: Some(meant) } => format!("take it out; {meant}"),
            Self::EmptyEntry { meant: None } => "take it out".into(),
        }
    }
}

fn path(steps: &[Subject]) -> String {
    steps.iter().map(Subject::to_string).collect::<Vec<_>>().join(" > ")
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<RuleError>);

impl Problems {
    pub(super) fn add(&mut self, key: &[&str], problem: Problem) {
        self.0.push(RuleError { key: key.iter().map(|key| (*key).to_owned()).collect(), problem });
    }

    /// Whether there are so many that similar names are no longer looked for: that takes time, and
    /// a list this long is not read name by name.
    pub(super) fn are_many(&self) -> bool {
        self.0.len() >= 100
    }

    /// `value` if there was no problem.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, Vec<RuleError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
