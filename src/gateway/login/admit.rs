//! From a login to a client module that has accepted it: decide, take the leases, dial, log in.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::refusal;
use crate::gateway::client_module::{
    DialError, LoggedIn, LoginAnswer, PermittedLogin, SentLogin, Upstream, dial,
};
use crate::gateway::config::ContextMode;
use crate::gateway::login_warnings::Spelling;
use crate::gateway::turns::{
    Attempt, ContextKey, ContextLease, LoginVerdict, MailboxLease, Paused, Whose,
};
use crate::gateway::wire::Wire;
use crate::gateway::workstation::Session;
use crate::kim::{Login, LoginWarning};
use crate::observe::{Event, Phase};
use crate::policy::{Denial, Permit, Request, Rule};
use crate::proto::back::Answer;
use crate::proto::relay::PeerEof;
use crate::proto::sasl::Credentials;
use crate::words::{Action, Protocol, Reason};

/// A login that the client module has accepted, and what the session holds from now on.
pub(crate) struct Admitted {
    pub(crate) upstream: LoggedIn,
    pub(crate) context: Option<ContextLease>,
    pub(crate) mailbox: Option<MailboxLease>,
}

/// Why a login was not accepted.
pub(crate) enum Rejection {
    /// With this reply; the workstation may try again.
    Refused(Refused),
    /// The workstation did not wait for the answer.
    ClientLeft,
}

/// A refusal, with what the audit records about it.
pub(crate) struct Refused {
    pub(crate) action: Action,
    pub(crate) reason: Reason,
    /// The rule that refused it, if it was one.
    pub(crate) rule: Option<Rule>,
    pub(crate) reply: Vec<u8>,
}

/// What a permitted login needs before it is sent to the client module.
struct Prepared {
    context: Option<ContextLease>,
    mailbox: Option<MailboxLease>,
    upstream: Box<Upstream>,
}

impl Session {
    /// Everything between a login and its answer. If the workstation vanishes before the login is sent
    /// to the client module, the login is given up.
    pub(crate) async fn admit(
        &mut self,
        credentials: &Credentials,
        client: &mut Wire,
    ) -> Result<Admitted, Rejection> {
        let decided = self.decide(credentials);
        let spelling = self.warn_about_login(credentials.login());
        let login = decided?;
        let attempt = self.check_pause(login.permit(), credentials)?;
        let shared = Arc::clone(&self.shared);
        let prepared = async {
            let prepared = self.prepare(login.permit(), &attempt, client).await?;
            // While this login waited, others may have used up the limit.
            let begun = while_client_stays(client, shared.turns.begin(attempt)).await?;
            let in_flight = begun.map_err(|paused| self.paused(&paused))?;
            Ok::<_, Rejection>((prepared, in_flight))
        };
        let (prepared, in_flight) = tokio::select! {
            biased;
            () = shared.stop.cancelled() => {
                return Err(self.refused(Reason::ShuttingDown, "").into());
            }
            prepared = prepared => prepared?,
        };
        let Prepared { mut context, mailbox, upstream } = prepared;
        // From here on the client module knows the login, so its answer is waited for and counted,
        // even if the gateway stops or the workstation vanishes. It comes within
        // `limits.login_timeout`, and the session keeps its places until then. If none comes, nothing is
        // counted: a client module that is cut off or too slow is no login's fault.
        let dialled = upstream.client_module().clone();
        let answered = upstream.log_in(login, &shared.observer).await;
        self.facts.client_module = Some(dialled);
        match answered.map_err(|error| self.dial_failed(&error))? {
            LoginAnswer::Accepted(upstream) => {
                in_flight.verdict(LoginVerdict::Accepted, Instant::now());
                shared.login_warnings.accepted(spelling);
                if let Some(context) = &mut context {
                    context.accepted();
                }
                Ok(Admitted { upstream, context, mailbox })
            }
            LoginAnswer::Refused(answer) => {
                if let Some(cause) = refusal::cause(&answer, credentials.login()) {
                    let verdict = LoginVerdict::Refused(cause, answer.first_line());
                    in_flight.verdict(verdict, Instant::now());
                }
                Err(rejected(answer).into())
            }
        }
    }

    /// Asks policy about a login that is named, before its password is asked for: policy needs none.
    /// The login is decided about again with its password, maybe by newer rules.
    pub(super) fn judge_name(&mut self, name: &[u8]) -> Result<(), Refused> {
        self.loaded = self.shared.loaded.load_full();
        let login = Login::parse(name);
        let station = self.station();
        let request = Request { station: &station, login: &login, protocol: self.facts.protocol };
        let Err(denial) = self.loaded.policy.decide(&request) else { return Ok(()) };
        self.learn(login, None);
        self.warn_about_login(name);
        Err(self.denied(denial))
    }

    /// Asks policy about a login with its password.
    fn decide<'a>(&mut self, credentials: &'a Credentials) -> Result<PermittedLogin<'a>, Refused> {
        self.loaded = self.shared.loaded.load_full();
        let sent = SentLogin::new(credentials);
        let decided = sent.decide(&self.loaded.policy, &self.station(), self.facts.protocol);
        self.learn(sent.into_login(), decided.as_ref().ok().map(PermittedLogin::permit));
        decided.map_err(|denial| self.denied(denial))
    }

    /// What is known about the session from now on is about this login.
    fn learn(&mut self, login: Login, permit: Option<&Permit>) {
        self.facts.account = Some(login.account().clone());
        self.facts.login = Some(login);
        // An earlier login on this connection may have set these.
        (self.facts.users, self.facts.known_account) = (Vec::new(), false);
        self.facts.client_module = None;
        if let Some(permit) = permit {
            self.facts.users = permit.users().to_vec();
            self.facts.known_account = permit.known_account();
            self.facts.client_module = Some(permit.client_module().into());
        }
        self.tracked.learn(&self.facts);
    }

    fn denied(&self, denial: Denial) -> Refused {
        let refused = self.refused(denial.reason, "");
        Refused { action: denial.action, rule: Some(denial.rule), ..refused }
    }

    /// Logs what looks wrong about the login, unless it was logged before.
    fn warn_about_login(&self, login: &[u8]) -> Spelling {
        let logged = &self.shared.login_warnings;
        let spelling = logged.spelling(login);
        let Some(parsed) = &self.facts.login else { return spelling };
        let configured = self.loaded.policy.configured(parsed.account());
        let mut warnings = LoginWarning::all(parsed, Some(self.facts.protocol), configured);
        warnings.extend(logged.about_case(spelling));
        let workstation = self.facts.workstation_or_address();
        for warning in warnings {
            if logged.is_news(&workstation, login, warning) {
                self.shared.observer.login_warning(&self.facts, warning);
            }
        }
        spelling
    }

    /// Refuses a login that the client module has refused too often of late.
    fn check_pause(&self, permit: &Permit, credentials: &Credentials) -> Result<Attempt, Refused> {
        let workstation = self.facts.workstation_or_address();
        let whose = Whose { workstation, account: permit.account().clone() };
        let (login, password) = (credentials.login(), credentials.password().expose());
        let attempt = self.shared.turns.attempt(whose, login, password, Instant::now());
        attempt.map_err(|paused| self.paused(&paused))
    }

    fn paused(&self, paused: &Paused) -> Refused {
        let reply = self.paused_reply(&paused.last_reply, paused.remaining);
        Refused { action: Action::Login, reason: Reason::LoginPaused, rule: None, reply }
    }

    /// Waits for everything that a login needs. Other sessions may keep it waiting for minutes.
    async fn prepare(
        &self,
        permit: &Permit,
        attempt: &Attempt,
        client: &mut Wire,
    ) -> Result<Prepared, Rejection> {
        self.tracked.phase(Phase::Waiting);
        let context = while_client_stays(client, self.take_context(permit)).await??;
        let mailbox = while_client_stays(client, self.take_mailbox(permit)).await??;
        // A login that was paused while it waited must not keep the mailbox for as long as a dial takes.
        let still_may = self.shared.turns.still_may(attempt, Instant::now());
        still_may.map_err(|paused| self.paused(&paused))?;
        self.tracked.phase(Phase::Dialling);
        let upstream = while_client_stays(client, self.dial(permit)).await??;
        Ok(Prepared { context, mailbox, upstream })
    }

    async fn take_context(&self, permit: &Permit) -> Result<Option<ContextLease>, Refused> {
        let config = &self.loaded.config.contexts;
        let context = self.facts.login.as_ref().map_or("", Login::context);
        if context.is_empty() || config.mode == ContextMode::Off {
            return Ok(None);
        }
        let client_module = permit.client_module().into();
        let key = ContextKey { client_module, context: context.to_owned() };
        let workstation = self.facts.workstation_or_address();
        let turns = &self.shared.turns;
        let enforced = config.mode == ContextMode::Enforce;
        let taken = turns.take_context(&key, &workstation, config).await;
        self.shared.observer.contexts_active(turns.contexts_active());
        match taken {
            Ok(lease) => Ok(Some(lease)),
            Err(conflict) => {
                let holder = &conflict.holder;
                let session = &self.facts;
                self.shared.observer.emit(Event::ContextConflict { session, holder, enforced });
                match enforced {
                    true => Err(self.refused(Reason::ContextInUse, holder)),
                    false => Ok(None),
                }
            }
        }
    }

    async fn take_mailbox(&self, permit: &Permit) -> Result<Option<MailboxLease>, Refused> {
        let wait = self.loaded.config.mailbox_wait;
        if self.facts.protocol == Protocol::Smtp || wait.is_zero() {
            return Ok(None);
        }
        let asked = Instant::now();
        let module = permit.client_module();
        let (turns, workstation) = (&self.shared.turns, self.facts.workstation_or_address());
        let lease = turns.take_mailbox(module, permit.account(), &workstation, wait).await;
        self.shared.observer.mailbox_wait(asked.elapsed().as_secs_f64());
        match lease {
            Some(lease) => Ok(Some(lease)),
            None => Err(self.refused(Reason::MailboxInUse, "")),
        }
    }

    async fn dial(&self, permit: &Permit) -> Result<Box<Upstream>, Refused> {
        let Self { loaded, shared, facts, .. } = self;
        let dialled = dial(permit, &loaded.modules, facts.protocol, &shared.observer).await;
        dialled.map_err(|error| self.dial_failed(&error))
    }

    fn dial_failed(&self, error: &DialError) -> Refused {
        self.refused(error.reason, error.told())
    }

    /// A refusal of kimgate's own.
    fn refused(&self, reason: Reason, detail: &str) -> Refused {
        let reply = self.refusal(reason, detail);
        Refused { action: Action::Login, reason, rule: None, reply }
    }
}

impl Refused {
    /// Whether kimgate refused, and not the client module.
    pub(super) fn is_our_own(&self) -> bool {
        self.reason != Reason::RejectedByClientModule
    }
}

impl From<Refused> for Rejection {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
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

/// Runs a future until it is done or the workstation has vanished. What the workstation sends
/// meanwhile is kept while the buffer has room.
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
            // A workstation that closed its sending half properly still waits for its answer.
            Some(PeerEof::Clean) | None => Poll::Pending,
        }
    })
    .await
}
