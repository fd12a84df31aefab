//! The login at a client module. Only a login that policy has permitted can be sent.
//!
//! [`SentLogin`] is what a workstation sent. [`SentLogin::decide`] asks policy about it and makes a
//! [`PermittedLogin`], which keeps the permit and the bytes that it was given for together.
//! [`Upstream::log_in`] takes nothing else, and gives the permit back when the client module has
//! accepted the login.

use tokio::time::timeout;

use super::back::{self, BackError};
use super::dial::Upstream;
use super::error::DialError;
use crate::gateway::wire::Wire;
use crate::kim::Login;
use crate::observe::Observer;
use crate::policy::{Denial, Permit, Policy, Request, Station};
use crate::proto::back::{Answer, BackStep};
use crate::proto::sasl::Credentials;
use crate::words::{Protocol, Reason};

/// A login as a workstation sent it, with its fields.
pub(crate) struct SentLogin<'a> {
    login: Login,
    credentials: &'a Credentials,
}

/// A login that policy has permitted.
pub(crate) struct PermittedLogin<'a> {
    permit: Box<Permit>,
    credentials: UpstreamCredentials<'a>,
}

/// What a client module is sent for a login.
enum UpstreamCredentials<'a> {
    /// What the workstation sent, byte for byte and with its mechanism.
    PassThrough(&'a Credentials),
}

/// What a client module answered to a login.
pub(crate) enum LoginAnswer {
    Accepted(LoggedIn),
    Refused(Answer),
}

/// A connection to a client module that has accepted a login.
pub(crate) struct LoggedIn {
    pub(crate) wire: Wire,
    /// What the login was permitted by, for the decisions that follow.
    pub(crate) permit: Box<Permit>,
    /// The client module's words.
    pub(crate) answer: Answer,
}

impl<'a> SentLogin<'a> {
    pub(crate) fn new(credentials: &'a Credentials) -> Self {
        Self { login: Login::parse(credentials.login()), credentials }
    }

    pub(crate) fn into_login(self) -> Login {
        self.login
    }

    /// Asks policy whether the login may go to its client module.
    pub(crate) fn decide(
        &self,
        policy: &Policy,
        station: &Station,
        protocol: Protocol,
    ) -> Result<PermittedLogin<'a>, Denial> {
        let permit = policy.decide(&Request { station, login: &self.login, protocol })?;
        let credentials = UpstreamCredentials::PassThrough(self.credentials);
        Ok(PermittedLogin { permit: Box::new(permit), credentials })
    }
}

impl PermittedLogin<'_> {
    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }
}

impl Upstream {
    /// Sends the login, waits for the answer, and sees that the answer belongs to the login. A client
    /// module that has to ask a card may take long, so this waits as long as `limits.login_timeout`.
    pub(crate) async fn log_in(
        mut self: Box<Self>,
        login: PermittedLogin<'_>,
        observer: &Observer,
    ) -> Result<LoginAnswer, DialError> {
        let PermittedLogin { permit, credentials } = login;
        match credentials {
            UpstreamCredentials::PassThrough(credentials) => self.back.log_in(credentials),
        }
        let protocol = self.protocol();
        let answered = back::drive(&mut *self.back, &mut self.wire, None);
        match timeout(self.module.patience, answered).await {
            Ok(Ok(BackStep::LoggedIn(answer))) => {
                Ok(LoginAnswer::Accepted(LoggedIn { wire: self.wire, permit, answer }))
            }
            Ok(Ok(BackStep::Refused(answer))) => Ok(LoginAnswer::Refused(answer)),
            Ok(Ok(_)) => Err(DialError::new(Reason::ClientModuleProtocolError, "")),
            // The answer may repeat the password, so the error must not quote it.
            Ok(Err(BackError::Protocol(error))) => {
                let error = BackError::Protocol(error.without_excerpt());
                Err(self.module.failed(error, protocol, observer))
            }
            Ok(Err(error)) => Err(self.module.failed(error, protocol, observer)),
            Err(_) => Err(DialError::new(
                Reason::ClientModuleUnreachable,
                format!("{}: the login was not answered in time", self.module.name),
            )),
        }
    }
}
