//! Who hears of the steps that a decision takes.

use super::explain::{Outcome, Step, StepName};
use super::{Denial, Rule};
use crate::words::Action;

/// Who is told the steps of a walk.
pub(super) trait Trace {
    /// Takes the answer to a question. The rule's name is only made where somebody wants it.
    fn tell(&mut self, name: StepName, outcome: Outcome, rule: &dyn Fn() -> Rule);

    /// Tells the answer and turns a refusal into a denial.
    fn answer(
        &mut self,
        name: StepName,
        outcome: Outcome,
        action: Action,
        rule: impl Fn() -> Rule,
    ) -> Result<(), Denial> {
        self.tell(name, outcome, &rule);
        match outcome {
            Outcome::Pass | Outcome::NoRule => Ok(()),
            Outcome::Refuse(reason) => Err(Denial { reason, rule: rule(), action }),
        }
    }
}

/// Nobody is told.
pub(super) struct Untold;

impl Trace for Untold {
    fn tell(&mut self, _: StepName, _: Outcome, _: &dyn Fn() -> Rule) {}
}

impl Trace for Vec<Step> {
    fn tell(&mut self, name: StepName, outcome: Outcome, rule: &dyn Fn() -> Rule) {
        self.push(Step { name, outcome, rule: rule() });
    }
}
