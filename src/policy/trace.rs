//! The record of the steps that a decision takes: kept for `explain`, dropped for `decide`.

use super::explain::{Outcome, Step, StepName};
use super::{Denial, Rule};
use crate::words::Action;

/// Takes the steps of a decision.
pub(super) trait Trace {
    /// Records the answer to a question. `rule` makes the rule's name and is called only where the
    /// name is kept.
    fn record(&mut self, name: StepName, outcome: Outcome, rule: &dyn Fn() -> Rule);

    /// Records the answer and turns a refusal into a denial.
    fn answer(
        &mut self,
        name: StepName,
        outcome: Outcome,
        action: Action,
        rule: impl Fn() -> Rule,
    ) -> Result<(), Denial> {
        self.record(name, outcome, &rule);
        match outcome {
            Outcome::Pass | Outcome::NoRule => Ok(()),
            Outcome::Refuse(reason) => Err(Denial { reason, rule: rule(), action }),
        }
    }
}

/// Keeps no steps, as a login needs none.
pub(super) struct NoTrace;

impl Trace for NoTrace {
    fn record(&mut self, _: StepName, _: Outcome, _: &dyn Fn() -> Rule) {}
}

impl Trace for Vec<Step> {
    fn record(&mut self, name: StepName, outcome: Outcome, rule: &dyn Fn() -> Rule) {
        self.push(Step { name, outcome, rule: rule() });
    }
}
