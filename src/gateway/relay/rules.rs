//! What the machine asks: the permit and the configuration in force answer.

use std::sync::Arc;

use super::Driver;
use crate::gateway::reply::{About, hinted, refusal};
use crate::observe::{Event, Phase};
use crate::policy::{Denial, Judgement, Request};
use crate::proto::relay::{Question, Refusal, Service, StepReport, Uid, Verdict};
use crate::words::{Action, Protocol};

impl Driver {
    /// After a reload the session goes on only if it would be let in now.
    fn check_permission(&mut self) -> Verdict {
        let pair = &mut self.pair;
        // The command may have come together with the one before, without a wait.
        pair.tracked.phase(Phase::Idle);
        let current = pair.shared.loaded.load();
        if Arc::ptr_eq(&pair.loaded, &current) {
            return Verdict::Pass;
        }
        let current = current.clone();
        let Some(login) = &pair.facts.login else { return Verdict::Pass };
        // The address may belong to another workstation now, or to none.
        let station = current.policy.station(pair.facts.peer.ip(), &pair.certificate_names);
        let request = Request { station: &station, login, protocol: pair.facts.protocol };
        match current.policy.decide(&request) {
            Ok(permit) => {
                (pair.permit, pair.loaded) = (permit, current);
                Verdict::Pass
            }
            Err(denial) => {
                self.report_denial(&denial, true);
                Verdict::Refuse(denial.reason)
            }
        }
    }

    pub(super) async fn answer(&mut self, question: Question<'_>) -> StepReport {
        match question {
            Question::Fetched { number, is_whole, header, uid } => {
                self.fetched(number, is_whole, header, uid).await
            }
            Question::Delete { number, uid } => match self.judge(question) {
                Verdict::Pass => self.judge_held(number, uid),
                refused @ Verdict::Refuse(_) => StepReport::Verdict(refused),
            },
            Question::Command
            | Question::Sender(_)
            | Question::Recipient(_)
            | Question::Service(_)
            | Question::Author(_) => StepReport::Verdict(self.judge(question)),
        }
    }

    fn judge(&mut self, question: Question<'_>) -> Verdict {
        let permit = &self.pair.permit;
        let judgement = match question {
            Question::Command => return self.check_permission(),
            // Not a question about a rule.
            Question::Fetched { .. } => return Verdict::Pass,
            Question::Sender(address) => permit.judge_sender(address),
            Question::Recipient(address) => permit.judge_recipient(address),
            Question::Service(Service::Named(service)) => permit.judge_service(Some(service)),
            Question::Service(Service::Missing) => permit.judge_service(None),
            Question::Service(Service::Unread) => permit.judge_unread_service(),
            Question::Service(Service::Malformed) => permit.judge_malformed_header(),
            Question::Author(author) => permit.judge_author(author.address),
            // Asked again with its UID, it was judged before.
            Question::Delete { uid: Uid::Is(_) | Uid::Unknown, .. } => return Verdict::Pass,
            Question::Delete { uid: Uid::Unasked, .. } => permit.judge_delete(),
        };
        self.judged(judgement)
    }

    /// Reports a judgement, and gives what has to be carried out of it.
    fn judged(&self, judgement: Judgement) -> Verdict {
        match judgement {
            Judgement::Pass => Verdict::Pass,
            Judgement::Observe(denial) => {
                self.report_denial(&denial, false);
                Verdict::Pass
            }
            Judgement::Refuse(denial) => {
                self.report_denial(&denial, true);
                Verdict::Refuse(denial.reason)
            }
        }
    }

    fn report_denial(&self, denial: &Denial, enforced: bool) {
        self.pair.shared.observer.emit(Event::Denied {
            session: &self.pair.facts,
            action: denial.action,
            reason: denial.reason,
            rule: Some(denial.rule.as_str()),
            enforced,
        });
    }

    /// The reply to a command that is refused here.
    pub(super) fn refusal(&self, why: Refusal<'_>) -> Vec<u8> {
        let (protocol, wording) = (self.pair.facts.protocol, self.pair.loaded.config.wording());
        match why {
            Refusal::Command(hint) => hinted(protocol, wording, hint),
            Refusal::Rule { reason, about } => {
                self.with_about(about, |about| refusal(protocol, wording, reason, about))
            }
        }
    }

    pub(super) fn with_about<T>(&self, detail: &str, then: impl FnOnce(About<'_>) -> T) -> T {
        let workstation = self.pair.facts.workstation_or_address();
        let account = self.pair.permit.account().as_str();
        let action = match self.pair.facts.protocol {
            Protocol::Pop3 => Action::Receive,
            Protocol::Smtp => Action::Send,
        };
        let action = Some(action);
        then(About { workstation: &workstation, account, action, detail, ..About::default() })
    }
}
