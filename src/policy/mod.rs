//! Who may do what: pure decisions, without sockets and without a clock.
//!
//! [`Rules`] is what the configuration says; [`Policy::compile`] turns it into tables or into every
//! [`RuleError`] at once. [`Policy::decide`] answers a login with a [`Permit`] or a [`Denial`]; a
//! client module is dialled only with a permit. [`Policy::explain`] asks the same questions and
//! returns each step.

mod account;
mod changes;
mod compile;
mod decide;
mod error;
mod explain;
mod facts;
mod login_servers;
mod membership;
mod networks;
mod pattern;
mod permit;
mod rule;
mod rules;
mod subject;
mod trace;

#[cfg(test)]
mod tests;

pub use changes::{AccessChange, AccountAspect, AccountChange, Changes, Effect};
pub use decide::{Policy, Request, Station};
pub use error::{Problem, RuleError};
pub use explain::{Explanation, Outcome, Step, StepName, Wish};
pub use login_servers::LoginServers;
pub use permit::{Denial, Judgement, Permit};
pub use rule::Rule;
pub use rules::{
    AccessRules, AccountRules, Authors, LOGIN_SERVERS, Mode, Otherwise, Rules, User,
    WITHOUT_SERVICE, Workstation,
};
pub use subject::{Subject, SubjectError};
