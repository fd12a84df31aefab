//! From the first command of a workstation to a login that the client module has accepted.

mod admit;
mod front;
mod refusal;

pub(crate) use admit::Admitted;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::reply::code_of;
use super::wire::Wire;
use super::workstation::Session;
use crate::observe::{Event, Phase};
use crate::proto::front::{Front, Setup, Stage};
use crate::proto::sasl::Credentials;
use crate::words::{Action, CloseReason, Protocol, Reason, Security};
use admit::{Refused, Rejection};
use front::FrontEvent;

/// Logins that one connection may try.
const TRIES: u32 = 10;

/// How long a workstation may take to accept the reply to its last try.
const LAST_REPLY: Duration = Duration::from_secs(5);

impl Session {
    /// Talks to the workstation until the client module has accepted a login. What the workstation
    /// sent after its login is unread again then.
    pub(crate) async fn log_in(
        &mut self,
        client: &mut Wire,
        security: Security,
    ) -> Result<Admitted, CloseReason> {
        let stage = match security {
            Security::StartTls => Stage::BeforeTls,
            Security::Implicit | Security::None => Stage::Open,
        };
        let mut front = self.front(stage, true);
        for _ in 0..TRIES {
            self.tracked.phase(Phase::Login);
            let wanted = self.next_login(&mut front, client).await?;
            let asked = Instant::now();
            let admitted = match wanted {
                Ok(credentials) => self.admit(&credentials, client).await,
                Err(refused) => Err(refused.into()),
            };
            match admitted {
                Ok(admitted) => {
                    self.report_login(Ok(&admitted), asked);
                    // The session holds the mailbox already, so it must not wait here for long.
                    let limit = self.loaded.config.limits.login_timeout;
                    let sent = timeout(limit, client.send(&admitted.upstream.answer.bytes)).await;
                    sent.map_err(|_| CloseReason::ClientLeft)?
                        .map_err(|_| CloseReason::ClientLeft)?;
                    client.unread(&front.accept());
                    return Ok(admitted);
                }
                Err(Rejection::Refused(refused)) => {
                    self.report_login(Err(&refused), asked);
                    // A source may be refused as often as it may connect, or a loop of logins would
                    // be the cheaper flood.
                    if !self.shared.rate.admits(self.facts.peer.ip(), std::time::Instant::now()) {
                        let _ = timeout(LAST_REPLY, client.send(&refused.reply)).await;
                        return Err(CloseReason::Because(Reason::TooManyConnections));
                    }
                    match self.is_told_at_mail() && refused.is_our_own() {
                        true => front.refuse_later(&refused.reply),
                        false => front.refuse(&refused.reply),
                    }
                }
                Err(Rejection::ClientLeft) => return Err(CloseReason::ClientLeft),
            }
        }
        // The front still has to send the last refusal.
        let _ = timeout(LAST_REPLY, self.drive(&mut *front, client)).await;
        Err(CloseReason::Because(Reason::BadCommand))
    }

    /// Waits for the next login, or for the name of one that is refused before its password. Replaces
    /// the front after STARTTLS, so that nothing that was sent in clear counts any more.
    async fn next_login(
        &mut self,
        front: &mut Box<dyn Front>,
        client: &mut Wire,
    ) -> Result<Result<Credentials, Refused>, CloseReason> {
        loop {
            match self.next_event(&mut **front, client).await? {
                // Asked for its password, the workstation waits for the answer to its login.
                FrontEvent::Named(_) if self.is_told_at_mail() => front.ask_password(),
                FrontEvent::Named(login) => match self.judge_name(login.expose()) {
                    Ok(()) => front.ask_password(),
                    Err(refused) => return Ok(Err(refused)),
                },
                FrontEvent::Login(credentials) => return Ok(Ok(credentials)),
                FrontEvent::Quit => return Err(CloseReason::Ok),
                FrontEvent::StartTls => {
                    let limit = self.loaded.config.limits.login_timeout;
                    let secured = timeout(limit, self.secure(client)).await;
                    secured.map_err(|_| CloseReason::Because(Reason::Timeout))??;
                    self.recognise(client);
                    *front = self.front(Stage::Open, false);
                }
            }
        }
    }

    /// Whether a login that kimgate refuses is told so at MAIL.
    fn is_told_at_mail(&self) -> bool {
        self.facts.protocol == Protocol::Smtp && self.loaded.config.refuse_sending_at_mail
    }

    async fn next_event(
        &self,
        front: &mut dyn Front,
        client: &mut Wire,
    ) -> Result<FrontEvent, CloseReason> {
        let limit = self.loaded.config.limits.login_timeout;
        tokio::select! {
            biased;
            event = timeout(limit, self.drive(front, client)) => {
                event.map_err(|_| CloseReason::Because(Reason::Timeout))?
            }
            () = self.shared.stop.cancelled() => Err(CloseReason::Because(Reason::ShuttingDown)),
        }
    }

    async fn drive(
        &self,
        front: &mut dyn Front,
        client: &mut Wire,
    ) -> Result<FrontEvent, CloseReason> {
        front::drive(front, client, self.facts.protocol, self.loaded.config.wording()).await
    }

    fn front(&self, stage: Stage, greet: bool) -> Box<dyn Front> {
        let config = &self.loaded.config;
        let setup = Setup {
            name: config.name.clone(),
            stage,
            login_line: config.limits.login_line,
            command_line: config.limits.command_line,
        };
        front::new(self.facts.protocol, setup, self.loaded.capabilities(), greet)
    }

    fn report_login(&self, outcome: Result<&Admitted, &Refused>, asked: Instant) {
        let (action, result, rule, reply, would_deny) = match outcome {
            Ok(Admitted { upstream, .. }) => (
                Action::Login,
                Ok(()),
                Some(upstream.permit.rule()),
                upstream.answer.bytes.as_slice(),
                upstream.permit.would_deny().map(|denial| denial.reason),
            ),
            Err(Refused { action, reason, rule, reply }) => {
                (*action, Err(*reason), rule.as_ref(), reply.as_slice(), None)
            }
        };
        self.shared.observer.emit(Event::Login {
            session: &self.facts,
            action,
            result,
            seconds: asked.elapsed().as_secs_f64(),
            rule: rule.map(|rule| rule.as_str()),
            reply: code_of(reply),
            would_deny,
        });
    }
}
