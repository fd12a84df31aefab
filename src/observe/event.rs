//! The closed list of facts about sessions, messages and client modules.
//!
//! The gateway says each of them once, to [`Observer::emit`](super::Observer::emit); audit line,
//! metrics, log line and session table are all drawn from it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;

use super::status::HeldStatus;
use crate::kim::{Account, Login};
use crate::words::{Action, CloseReason, Protocol, Reason, RequiredField};

/// Something that happened.
///
/// No variant can carry a password, a subject, a recipient or content. What it carries may still
/// have been typed by a stranger; everything drawn from it is escaped and cut on the way out.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A workstation connected.
    Connected(&'a SessionFacts),
    /// A login was answered, by the client module or by kimgate. One that kimgate refuses is called
    /// `denied` in the audit, as every refusal of its own, and is not [`Event::Denied`] as well.
    Login {
        /// Whose.
        session: &'a SessionFacts,
        /// What the rule is about that decided: who may not fetch is refused at a POP3 login.
        action: Action,
        /// Accepted, or why not.
        result: Result<(), Reason>,
        /// From PASS or AUTH to the answer; nearly none where the login was refused when it was named.
        seconds: f64,
        /// The rule that decided, as a dotted TOML key.
        rule: Option<&'a str>,
        /// What the workstation was told: an SMTP code, or `+OK`/`-ERR` with the response code; no
        /// free text.
        reply: &'a str,
        /// What enforcing would have said, in observe mode.
        would_deny: Option<Reason>,
    },
    /// A connection, sender, recipient, service or deletion was refused.
    Denied {
        /// Whose.
        session: &'a SessionFacts,
        /// What was wanted.
        action: Action,
        /// Why it was refused.
        reason: Reason,
        /// The rule that decided, as a dotted TOML key.
        rule: Option<&'a str>,
        /// False in observe mode: it passed all the same.
        enforced: bool,
    },
    /// The client module answered the end of a message, or was lost before it did.
    MessageSent {
        /// Whose.
        session: &'a SessionFacts,
        /// Bytes of the message as they went over the wire, without the line that ends it.
        bytes: u64,
        /// From the last byte sent to the answer.
        seconds: f64,
        /// The value of X-KIM-Dienstkennung.
        service: Option<&'a str>,
        /// The value of Message-ID, of which no more than a keyed hash is shown.
        message_id: Option<&'a str>,
        /// The fields that it lacks.
        missing: &'a [RequiredField],
        /// How many.
        recipients: u32,
        /// Whether the answer was a 2xx; `Err`: there was none, so it is unknown whether the message
        /// went out.
        accepted: Result<bool, Reason>,
        /// After how many seconds of waiting the workstation left, where it left before the answer.
        left_after: Option<f64>,
        /// Its code, no free text.
        reply: &'a str,
        /// Names of the header lines that kimgate added.
        added: &'a [&'a str],
    },
    /// A workstation got a message, or a part of one.
    MessageReceived {
        /// Whose.
        session: &'a SessionFacts,
        /// Bytes of the message as they went over the wire, without the line that ends it. Of a TOP:
        /// those after the header block.
        bytes: u64,
        /// False: the session broke off before everything that was asked for had been passed on.
        complete: bool,
        /// It was asked for with TOP, not with RETR.
        top: bool,
        /// From RETR or TOP to the last byte.
        seconds: f64,
        /// From RETR or TOP to the first byte of the message: the client module's own work.
        wait: f64,
        /// The value of X-KIM-Dienstkennung.
        service: Option<&'a str>,
        /// The values of X-KIM-DecryptionResult.
        decryption: &'a [String],
        /// The values of X-KIM-IntegrityCheckResult.
        integrity: &'a [String],
    },
    /// The client module accepted a DELE.
    MessageDeleted {
        /// Whose.
        session: &'a SessionFacts,
        /// The message's number in this session.
        number: u32,
    },
    /// A DELE was refused because the message came undecrypted.
    DeleteHeld {
        /// Whose.
        session: &'a SessionFacts,
        /// The message's number in this session.
        number: u32,
    },
    /// A message came undecrypted, and is held from now on.
    MessageHeld {
        /// Of the session that fetched it.
        session: &'a SessionFacts,
        /// The message's number in this session.
        number: u32,
        /// What people call it, where the register has it.
        id: Option<&'a str>,
        /// What told that it came undecrypted.
        cause: &'a str,
        /// How well it is held.
        how: HeldHow,
    },
    /// A message is not held any longer.
    MessageReleased {
        /// The session in which it came decrypted, if that is why.
        session: Option<&'a SessionFacts>,
        /// The message.
        message: &'a HeldStatus,
        /// Why.
        by: ReleasedBy,
    },
    /// Two workstations want the same card context.
    ContextConflict {
        /// The second one.
        session: &'a SessionFacts,
        /// The workstation that has it.
        holder: &'a str,
        /// False in observe mode: both went on.
        enforced: bool,
    },
    /// A client module's certificate was judged. Counted always, audited where the verdict or the
    /// certificate is another one than last time.
    Certificate {
        /// Its name in the configuration.
        client_module: &'a str,
        /// The verdict's class, from a closed list; the metric label.
        class: &'static str,
        /// Whether the connection went on.
        accepted: bool,
        /// The verdict in words.
        sentence: &'a str,
        /// `sha256:` and the certificate's hash.
        fingerprint: Option<&'a str>,
        /// When it expires, in Unix seconds.
        not_after: Option<i64>,
        /// The fingerprint of the one in the last good connection, where that was another.
        replaces: Option<&'a str>,
    },
    /// A configuration was read, at start or later.
    ConfigLoaded {
        /// False for the one that kimgate started with.
        reload: bool,
        /// Whether it is in force now; a bad one never replaces a good one.
        accepted: bool,
        /// A hash that differs between two configurations.
        hash: &'a str,
        /// How many errors it had.
        problems: u32,
    },
    /// Somebody ended pauses of logins over the admin address.
    Unlocked {
        /// Who asked.
        peer: IpAddr,
        /// Of which account; `None`: of all.
        account: Option<&'a Account>,
        /// Of which workstation; `None`: of all.
        workstation: Option<&'a str>,
        /// How many pauses that ended.
        ended: usize,
    },
    /// A session ended.
    Closed {
        /// Which.
        session: &'a SessionFacts,
        /// How.
        close: CloseReason,
        /// Bytes to the workstation.
        bytes_to_client: u64,
        /// Bytes to the client module.
        bytes_to_module: u64,
        /// From accept to close.
        seconds: f64,
    },
}

impl<'a> Event<'a> {
    /// The session it is about.
    pub fn session(&self) -> Option<&'a SessionFacts> {
        match self {
            Self::Connected(session)
            | Self::Login { session, .. }
            | Self::Denied { session, .. }
            | Self::MessageSent { session, .. }
            | Self::MessageReceived { session, .. }
            | Self::MessageDeleted { session, .. }
            | Self::DeleteHeld { session, .. }
            | Self::MessageHeld { session, .. }
            | Self::ContextConflict { session, .. }
            | Self::Closed { session, .. } => Some(session),
            Self::MessageReleased { session, .. } => *session,
            Self::Certificate { .. } | Self::ConfigLoaded { .. } | Self::Unlocked { .. } => None,
        }
    }
}

/// How well a message is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldHow {
    /// Over sessions and restarts.
    Stored,
    /// Until kimgate ends: the state folder does not take it.
    InMemory,
    /// In its session: the client module does not say what it calls the message.
    UidUnknown,
    /// In its session: the register has no room.
    RegisterFull,
}

impl HeldHow {
    /// Those that are less than they should be.
    pub(super) const INCOMPLETE: [Self; 3] = [Self::InMemory, Self::UidUnknown, Self::RegisterFull];

    /// Why it is not held as it should be; the label of a metric.
    pub(super) fn problem(self) -> Option<&'static str> {
        match self {
            Self::Stored => None,
            Self::InMemory => Some("state-folder"),
            Self::UidUnknown => Some("uid-unknown"),
            Self::RegisterFull => Some("register-full"),
        }
    }

    /// Where it is held.
    pub(super) fn place(self) -> &'static str {
        match self {
            Self::Stored => "register",
            Self::InMemory => "memory",
            Self::UidUnknown | Self::RegisterFull => "session",
        }
    }
}

/// Why a message is not held any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasedBy {
    /// It came decrypted.
    Fetch,
    /// Somebody said so.
    Person,
    /// It was held for `protection.hold_undecrypted`.
    Age,
}

impl ReleasedBy {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Person => "person",
            Self::Age => "age",
        }
    }
}

/// The word `event` of an audit line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A workstation connected.
    Connected,
    /// The client module answered a login.
    Login,
    /// kimgate refused a login, connection, sender, recipient, service or deletion, or would have.
    Denied,
    /// The client module answered the end of a message, or was lost before it did.
    MessageSent,
    /// A workstation got a message, or a part of one.
    MessageReceived,
    /// The client module accepted a DELE.
    MessageDeleted,
    /// A DELE was refused because the message came undecrypted.
    DeleteHeld,
    /// A message came undecrypted, and is held from now on.
    MessageHeld,
    /// A message is not held any longer.
    MessageReleased,
    /// Two workstations want the same card context.
    ContextConflict,
    /// A client module's certificate was judged.
    Certificate,
    /// A configuration was read.
    ConfigLoaded,
    /// Somebody ended pauses of logins.
    Unlocked,
    /// A session ended.
    Closed,
}

impl EventKind {
    /// The kind that an audit line calls by this word; `None` for a word that is none of ours, as a
    /// newer kimgate may write.
    pub fn parse(word: &str) -> Option<Self> {
        Self::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word))
            .ok()
    }
}

/// What is known of a session; grows as it goes on.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Tells sessions apart in audit and log.
    pub id: SessionId,
    /// What it speaks.
    pub protocol: Protocol,
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    /// Where it comes from; the address in the PROXY header where one was trusted.
    pub peer: SocketAddr,
    /// The workstation's name in the configuration.
    pub workstation: Option<Arc<str>>,
    /// Every user that a rule matched, sorted.
    pub users: Vec<Arc<str>>,
    /// From the login.
    pub account: Option<Account>,
    /// Whether the account is in the configuration; one that is not may be anything that was typed.
    pub known_account: bool,
    /// Read for its MandantId, ClientsystemId and WorkplaceId only.
    pub login: Option<Login>,
    /// The client module's name in the configuration.
    pub client_module: Option<Arc<str>>,
    /// Why its TLS handshake failed, in a sentence for people.
    pub tls_fault: Option<String>,
}

impl SessionFacts {
    /// What is known when the connection is there and nothing was said.
    pub fn new(protocol: Protocol, listener: Arc<str>, peer: SocketAddr) -> Self {
        Self {
            id: SessionId::random(),
            protocol,
            listener,
            peer,
            workstation: None,
            users: Vec::new(),
            account: None,
            known_account: false,
            login: None,
            client_module: None,
            tls_fault: None,
        }
    }

    /// The workstation's name, or its address where it has none.
    pub fn workstation_or_address(&self) -> Arc<str> {
        match &self.workstation {
            Some(name) => name.clone(),
            None => self.peer.ip().to_canonical().to_string().into(),
        }
    }
}

/// A random number that tells sessions apart, also across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How a client module answered the last login or health probe.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientModuleState<'a> {
    /// It greeted us.
    pub up: bool,
    /// What it announced, in its own words.
    pub capabilities: &'a [String],
    /// Why it is not up.
    pub error: Option<&'a str>,
    /// From dialling to its greeting.
    pub connect_seconds: Option<f64>,
}

/// Which way relayed bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the workstation to the client module.
    ToModule,
    /// From the client module to the workstation.
    ToClient,
}

impl Direction {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::ToModule, Self::ToClient];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToModule => "to-client-module",
            Self::ToClient => "to-workstation",
        }
    }
}

/// What a live session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The TLS handshake with the workstation.
    Handshake,
    /// Greeting and login dialogue.
    Login,
    /// The login waits for its context or mailbox to become free.
    Waiting,
    /// Connecting and logging in to the client module.
    Dialling,
    /// Logged in, between commands.
    Idle,
    /// A message is being fetched.
    Retrieving,
    /// A message is being sent.
    Sending,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Handshake,
        Self::Login,
        Self::Waiting,
        Self::Dialling,
        Self::Idle,
        Self::Retrieving,
        Self::Sending,
    ];

    /// The word in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "tls",
            Self::Login => "login",
            Self::Waiting => "waiting",
            Self::Dialling => "dialling",
            Self::Idle => "idle",
            Self::Retrieving => "retr",
            Self::Sending => "data",
        }
    }

    /// The phase with this number; [`Phase::Handshake`] for a number that none has.
    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Handshake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_sixteen_hexadecimal_digits() {
        assert_eq!(SessionId(0xabc).to_string(), "0000000000000abc");
        assert_ne!(SessionId::random(), SessionId::random());
    }

    #[test]
    fn every_phase_comes_back_from_its_number() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_number(phase as u8), phase);
        }
        assert_eq!(Phase::from_number(200), Phase::Handshake);
    }
}
