//! From a login to a client module that has accepted it: decide, take turns, dial, log in.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use std::time::Instant;

use super::config::ContextMode;
use super::contexts::Hold;
use super::doubts::Spelling;
use super::live::Live;
use super::mailboxes::Turn;
use super::reply::{About, refusal};
use super::session::Session;
use super::upstream::{DialError, Dialled, Upstream, dial};
use super::wire::Wire;
use crate::kim::{Doubt, Login};
use crate::observe::{Event, Phase};
use crate::policy::limits::{Attempt, Whose};
use crate::policy::{Permit, Request, Rule};
use crate::proto::back::Answer;
use crate::proto::relay::PeerEof;
use crate::proto::sasl::Credentials;
use crate::words::{Action, Protocol, Reason};

/// A login that the client module has accepted.
pub(crate) struct Admitted {
    pub(crate) upstream: Upstream,
    pub(crate) permit: Permit,
    pub(crate) context: Option<Hold>,
    pub(crate) turn: Option<Turn>,
    /// The client module's words.
    pub(crate) answer: Answer,
}

/// A login that came to nothing.
pub(crate) enum Rejection {
    /// With this reply; the workstation may try again.
    Refused(Refused),
    /// The workstation did not wait for the answer.
    ClientLeft,
}

/// A refusal and what the audit wants to know of it.
pub(crate) struct Refused {
    pub(crate) action: Action,
    pub(crate) reason: Reason,
    pub(crate) rule: Option<Rule>,
    pub(crate) reply: Vec<u8>,
}

impl Session {
    /// Everything between a login and its answer. The workstation is watched meanwhile: if it
    /// vanishes, the login is not wanted any more.
    pub(crate) async fn admit(
        &mut self,
        credentials: &Credentials,
        client: &mut Wire,
    ) -> Result<Admitted, Rejection> {
        let decided = self.decide(credentials);
        let spelling = self.look_at_login(credentials.login());
        let permit = decided.map_err(Rejection::Refused)?;
        let attempt = self.check_pause(credentials).map_err(Rejection::Refused)?;
        let Prepared { context, turn, mut upstream } = tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => {
                return Err(Rejection::Refused(self.refused(Reason::ShuttingDown, "")));
            }
            prepared = self.prepare(&permit, client) => prepared?,
        };
        // From here on the client module knows the login, and its answer is waited for.
        let answered = upstream.log_in(credentials, &self.shared.observer);
        let verdict = while_client_stays(client, answered).await?;
        self.facts.client_module = Some(upstream.module.name.clone());
        match verdict.map_err(|error| Rejection::Refused(self.dial_failed(&error)))? {
            Ok(answer) => {
                self.shared.pauses().accepted(attempt);
                self.shared.doubts.accepted(spelling);
                Ok(Admitted { upstream, permit, context, turn, answer })
            }
            Err(answer) => {
                if is_the_logins_fault(&answer) {
                    let mut pauses = self.shared.pauses();
                    pauses.refused(attempt, answer.first_line(), Instant::now());
                    if let Some(account) = self.facts.account.clone() {
                        let workstation = self.facts.workstation_or_address();
                        pauses.logins().belongs_to(attempt.login, Whose { workstation, account });
                    }
                }
                Err(Rejection::Refused(rejected(answer)))
            }
        }
    }

    /// Waits for everything that a login needs. Others may need minutes to give it free.
    async fn prepare(&self, permit: &Permit, client: &mut Wire) -> Result<Prepared, Rejection> {
        self.tracked.phase(Phase::Waiting);
        let context = while_client_stays(client, self.take_context(permit)).await??;
        let turn = while_client_stays(client, self.take_turn(permit)).await??;
        self.tracked.phase(Phase::Dialling);
        let upstream = while_client_stays(client, self.dial(permit)).await??;
        Ok(Prepared { context, turn, upstream })
    }

    fn decide(&mut self, credentials: &Credentials) -> Result<Permit, Refused> {
        self.live = self.shared.live.load_full();
        let login = Login::parse(credentials.login());
        self.facts.account = Some(login.account().clone());
        // What an earlier login on this connection came to says nothing about this one.
        (self.facts.users, self.facts.known_account) = (Vec::new(), false);
        self.facts.client_module = None;
        let station = self.station();
        let request = Request { station: &station, login: &login, protocol: self.facts.protocol };
        let decided = self.live.policy.decide(&request);
        self.facts.login = Some(login);
        match decided {
            Ok(permit) => {
                self.facts.users = permit.users().to_vec();
                self.facts.known_account = permit.known_account();
                self.facts.client_module = Some(permit.client_module().into());
                self.tracked.learn(&self.facts);
                Ok(permit)
            }
            Err(denial) => {
                self.tracked.learn(&self.facts);
                let refused = self.refused(denial.reason, "");
                Err(Refused { action: denial.action, rule: Some(denial.rule), ..refused })
            }
        }
    }

    /// Says what looks wrong about the login, if it was not said before; it goes on as it came.
    fn look_at_login(&self, login: &[u8]) -> Spelling {
        let fingerprints = &self.shared.fingerprints;
        let spelling = Spelling {
            exact: fingerprints.of(&[login]),
            without_case: fingerprints.of(&[&login.to_ascii_lowercase()]),
        };
        let Some(parsed) = &self.facts.login else { return spelling };
        let configured = self.live.policy.configured(parsed.account());
        let mut doubts = Doubt::all(parsed, Some(self.facts.protocol), configured);
        doubts.extend(self.shared.doubts.about_case(spelling));
        let workstation = self.facts.workstation_or_address();
        for doubt in doubts {
            let said = format!("{doubt:?}");
            let said = fingerprints.of(&[workstation.as_bytes(), login, said.as_bytes()]);
            if self.shared.doubts.is_news(said) {
                self.shared.observer.doubt(&self.facts, doubt);
            }
        }
        spelling
    }

    fn check_pause(&self, credentials: &Credentials) -> Result<Attempt, Refused> {
        let workstation = self.facts.workstation_or_address();
        let fingerprints = &self.shared.fingerprints;
        let account = self.facts.account.as_ref().map_or("", |account| account.as_str());
        let attempt = Attempt {
            login: fingerprints.of(&[workstation.as_bytes(), credentials.login()]),
            // Three parts, so that it is nobody's login.
            account: fingerprints.of(&[workstation.as_bytes(), account.as_bytes(), b""]),
            password: fingerprints.of(&[credentials.password().expose()]),
        };
        let checked = self.shared.pauses().check(attempt, Instant::now());
        match checked {
            Ok(()) => Ok(attempt),
            Err(paused) => Err(self.refused(Reason::LoginPaused, &paused.last_reply)),
        }
    }

    async fn take_context(&self, permit: &Permit) -> Result<Option<Hold>, Rejection> {
        let config = &self.live.config.contexts;
        let context = self.facts.login.as_ref().map_or("", Login::context);
        if context.is_empty() || config.mode == ContextMode::Off {
            return Ok(None);
        }
        let key = (permit.client_module().into(), context.to_owned());
        let workstation = self.facts.workstation_or_address();
        let contexts = &self.shared.contexts;
        let enforced = config.mode == ContextMode::Enforce;
        let taken = match enforced {
            true => contexts.take(&key, &workstation, config).await,
            false => contexts.try_take(&key, &workstation, config),
        };
        self.shared.observer.contexts_active(contexts.active());
        match taken {
            Ok(hold) => Ok(Some(hold)),
            Err(conflict) => {
                let holder = &conflict.holder;
                let session = &self.facts;
                self.shared.observer.emit(Event::ContextConflict { session, holder, enforced });
                match enforced {
                    true => Err(Rejection::Refused(self.refused(Reason::ContextInUse, holder))),
                    false => Ok(None),
                }
            }
        }
    }

    async fn take_turn(&self, permit: &Permit) -> Result<Option<Turn>, Rejection> {
        let wait = self.live.config.mailbox_wait;
        if self.facts.protocol == Protocol::Smtp || wait.is_zero() {
            return Ok(None);
        }
        let asked = Instant::now();
        let module = permit.client_module().into();
        let turn = self.shared.mailboxes.take(module, permit.account().as_str(), wait).await;
        self.shared.observer.mailbox_wait(asked.elapsed().as_secs_f64());
        match turn {
            Some(turn) => Ok(Some(turn)),
            None => Err(Rejection::Refused(self.refused(Reason::MailboxInUse, ""))),
        }
    }

    async fn dial(&self, permit: &Permit) -> Result<Upstream, Rejection> {
        let Self { live, shared, facts, .. } = self;
        match dial(permit, &live.modules, facts.protocol, &shared.observer).await {
            Ok(Dialled::Ready(upstream)) => Ok(*upstream),
            Ok(Dialled::Refused(answer)) => Err(Rejection::Refused(rejected(answer))),
            Err(error) => Err(Rejection::Refused(self.dial_failed(&error))),
        }
    }

    fn dial_failed(&self, error: &DialError) -> Refused {
        self.refused(error.reason, &error.detail)
    }

    /// A refusal of kimgate's own.
    fn refused(&self, reason: Reason, detail: &str) -> Refused {
        let Self { facts, live, .. } = self;
        let workstation = facts.workstation_or_address();
        let about = About {
            workstation: &workstation,
            account: facts.account.as_ref().map_or("", |account| account.as_str()),
            action: Some(match facts.protocol {
                Protocol::Pop3 => Action::Receive,
                Protocol::Smtp => Action::Send,
            }),
            detail,
        };
        let reply = refusal(facts.protocol, live.config.language, reason, about);
        Refused { action: Action::Login, reason, rule: None, reply }
    }
}

/// What a permitted login has to have before it goes to the client module.
struct Prepared {
    context: Option<Hold>,
    turn: Option<Turn>,
    upstream: Upstream,
}

/// The client module's own refusal, word for word.
fn rejected(answer: Answer) -> Refused {
    Refused {
        action: Action::Login,
        reason: Reason::RejectedByClientModule,
        rule: None,
        reply: answer.bytes,
    }
}

/// Whether a refusal may be about the login or its password, so that repeating it could lock the
/// account. SMTP says so with 535 and 501; POP3's codes name what is no fault of the login
/// (RFC 2449 section 8, RFC 3206), and everything without a code may be one.
fn is_the_logins_fault(answer: &Answer) -> bool {
    let line = answer.first_line().to_ascii_uppercase();
    match line.strip_prefix("-ERR") {
        Some(text) => {
            let passing = ["[IN-USE]", "[SYS/TEMP]", "[SYS/PERM]", "[LOGIN-DELAY]"];
            !passing.iter().any(|code| text.trim_start().starts_with(code))
        }
        None => answer.code() / 100 == 5,
    }
}

/// Runs a future, but not longer than the workstation stays. What it sends meanwhile is kept, as
/// far as the buffer has room.
async fn while_client_stays<T>(
    client: &mut Wire,
    future: impl Future<Output = T>,
) -> Result<T, Rejection> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        while client.end().is_none() && client.has_room() {
            if client.poll_fill(cx).is_pending() {
                break;
            }
        }
        match client.end() {
            Some(PeerEof::Cut) => Poll::Ready(Err(Rejection::ClientLeft)),
            // It closed its sending half properly and may still read.
            Some(PeerEof::Clean) | None => Poll::Pending,
        }
    })
    .await
}

impl Live {
    /// The reply of a listener that takes nobody else.
    pub(crate) fn full(&self, protocol: Protocol, workstation: &str) -> Vec<u8> {
        let about = About { workstation, ..About::default() };
        super::reply::goodbye(protocol, self.config.language, Reason::TooManyConnections, about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_that_can_mean_a_wrong_password_count_towards_a_pause() {
        for (reply, counts) in [
            ("535 5.7.8 no\r\n", true),
            ("535-5.7.8 no\r\n535 5.7.8 really\r\n", true),
            ("501 5.5.4 no\r\n", true),
            ("454 4.7.0 later\r\n", false),
            ("421 4.3.2 later\r\n", false),
            ("-ERR Der Nutzer konnte nicht authentifiziert werden\r\n", true),
            ("-ERR [AUTH] no\r\n", true),
            ("-ERR [IN-USE] busy\r\n", false),
            ("-ERR [sys/temp] later\r\n", false),
            ("-ERR\r\n", true),
        ] {
            let answer = Answer { bytes: reply.into() };
            assert_eq!(is_the_logins_fault(&answer), counts, "{reply}");
        }
    }
}
