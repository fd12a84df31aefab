//! What `/status` says: plain values, written by the gateway, read by the console and by
//! `kimgate status`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::times::{from_unix, rfc3339};
use crate::words::{Protocol, Security};

/// One look at a running gateway. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of kimgate.
    pub version: String,
    /// When this was written.
    pub time: String,
    /// Since when kimgate runs.
    pub started: String,
    /// Whether mail can go through.
    pub readiness: Readiness,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// In the order in which they were bound.
    pub listeners: Vec<ListenerStatus>,
    /// By name.
    pub client_modules: Vec<ClientModuleStatus>,
    /// Those of files, and those that workstations showed.
    pub certificates: Vec<CertificateStatus>,
    /// Since the start.
    pub counts: Counts,
    /// Card contexts that are taken.
    pub contexts_active: i64,
    /// What sessions hold and wait for.
    #[serde(flatten)]
    pub turns: TurnsStatus,
    /// How much is held because it came undecrypted.
    #[serde(default)]
    pub held: HeldSummary,
    /// The oldest first.
    pub sessions: Vec<SessionStatus>,
    /// The latest refusals, newest first; a few dozen at most.
    pub refusals: Vec<RefusalStatus>,
    /// Workstations whose sent messages lacked header fields, by name.
    #[serde(default)]
    pub sent_headers: Vec<SentHeadersStatus>,
}

/// What a workstation's sent messages lacked since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentHeadersStatus {
    /// Its name; its address where it has none.
    pub workstation: String,
    /// All that it has sent.
    pub messages: u64,
    /// How many of them lacked a field, by the field's name.
    pub missing: BTreeMap<String, u64>,
    /// How many had the Message-ID of an earlier message.
    pub reused_message_ids: u64,
    /// When the latest message of these came.
    pub last: String,
}

/// Whether mail can go through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Nothing is missing.
    pub ready: bool,
    /// What is.
    pub missing: Vec<Missing>,
}

/// What keeps mail from going through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Not every listener is bound, or kimgate is stopping.
    Listeners,
    /// No client module answers on its POP3 port.
    ClientModulePop3,
    /// No client module answers on its SMTP port.
    ClientModuleSmtp,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listeners => "listeners: not all are bound, or kimgate is stopping",
            Self::ClientModulePop3 => "client modules: none answers on its POP3 port",
            Self::ClientModuleSmtp => "client modules: none answers on its SMTP port",
        })
    }
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// A hash that differs between two configurations.
    pub hash: Option<String>,
    /// Since when it is in force.
    pub loaded: Option<String>,
    /// When a later one was rejected.
    pub rejected: Option<String>,
    /// How many errors that one had.
    pub problems: u32,
}

/// A listener that is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// In the configuration.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// How its connections are secured.
    pub security: Security,
}

/// What is known of a client module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientModuleStatus {
    /// In the configuration.
    pub name: String,
    /// Its POP3 side, once a login or a health probe has asked.
    pub pop3: Option<AnswerStatus>,
    /// Its SMTP side, once a login or a health probe has asked.
    pub smtp: Option<AnswerStatus>,
    /// How its certificate was judged the last time.
    pub certificate: Option<VerdictStatus>,
}

/// How a client module answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerStatus {
    /// It greeted.
    pub up: bool,
    /// When.
    pub at: String,
    /// What it announced.
    pub capabilities: Vec<String>,
    /// Why it is not up.
    pub error: Option<String>,
    /// The latest failure since kimgate runs, whether it is over or not.
    pub last_error: Option<ErrorStatus>,
    /// From dialling to its greeting.
    pub connect_seconds: Option<f64>,
}

/// A failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorStatus {
    /// When.
    pub at: String,
    /// What went wrong.
    pub error: String,
}

/// How a certificate was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictStatus {
    /// The verdict's word.
    pub class: String,
    /// Whether connections go on.
    pub accepted: bool,
    /// In words.
    pub sentence: String,
    /// `sha256:` and the certificate's hash.
    pub fingerprint: Option<String>,
    /// When it ends.
    pub not_after: Option<String>,
    /// The fingerprint of the one in the last good connection, where that was another.
    #[serde(default)]
    pub replaces: Option<String>,
}

/// When a certificate expires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// What it is for.
    pub role: String,
    /// When it ends.
    pub not_after: String,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Logins that the client module accepted.
    pub logins_accepted: u64,
    /// Logins that it, or kimgate, refused.
    pub logins_refused: u64,
    /// What enforcing would have refused.
    pub would_deny: u64,
    /// Messages accepted by the client module.
    pub messages_sent: u64,
    /// Messages fetched whole.
    pub messages_received: u64,
    /// Deletions refused because the message had come undecrypted.
    pub deletes_held: u64,
    /// Audit lines that could not be written.
    pub audit_lost: u64,
    /// Tasks that panicked.
    pub panics: u64,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// As in audit and log.
    pub id: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The listener's name.
    pub listener: String,
    /// Where it comes from.
    pub peer: String,
    /// The workstation's name.
    pub workstation: Option<String>,
    /// Every user that a rule matched.
    pub users: Vec<String>,
    /// From the login.
    pub account: Option<String>,
    /// From the login.
    pub mandant_id: Option<String>,
    /// From the login.
    pub clientsystem_id: Option<String>,
    /// From the login.
    pub workplace_id: Option<String>,
    /// Names of the further fields that the login has, without their values.
    #[serde(default)]
    pub optional_fields: Vec<String>,
    /// The client module's name.
    pub client_module: Option<String>,
    /// What it is doing.
    pub phase: String,
    /// Since it connected.
    pub seconds: f64,
    /// Bytes to the workstation.
    pub bytes_to_client: u64,
    /// Bytes to the client module.
    pub bytes_to_module: u64,
}

/// What sessions hold and wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnsStatus {
    /// Card contexts that are taken.
    pub contexts: Vec<ContextStatus>,
    /// Mailboxes that a session has.
    pub mailboxes: Vec<MailboxStatus>,
    /// Logins that are answered here for a while; the first hundred.
    pub paused_logins: Vec<PauseStatus>,
    /// How many there are besides.
    #[serde(default)]
    pub more_paused_logins: usize,
}

/// A card context that is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContextStatus {
    /// The client module's name.
    pub client_module: String,
    /// From the login.
    pub mandant_id: String,
    /// From the login.
    pub clientsystem_id: String,
    /// From the login.
    pub workplace_id: String,
    /// The workstation that has it; its address where it has no name.
    pub workstation: String,
    /// How many of its sessions use it; 0 while it stays taken after the last one.
    pub sessions: usize,
}

/// A mailbox that a session has.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MailboxStatus {
    /// The client module's name.
    pub client_module: String,
    /// Whose.
    pub account: String,
    /// How many other sessions wait for it.
    pub waiting: usize,
}

/// A login that is answered here because the client module refused it too often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// Where it comes from.
    pub workstation: Option<String>,
    /// Its account.
    pub account: Option<String>,
    /// What of it is answered here.
    #[serde(default)]
    pub scope: PauseScope,
    /// For how much longer.
    pub seconds: u64,
    /// For how much longer a password waits that the client module called wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_password_seconds: Option<u64>,
    /// How often the client module refused it.
    #[serde(default)]
    pub refusals: u32,
    /// Why, the last time.
    #[serde(default)]
    pub reason: PauseReason,
    /// The code of its last answer, no free text.
    #[serde(default)]
    pub reply: String,
}

/// What of a login is answered here. A password that was never tried goes through once a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseScope {
    /// The login.
    #[default]
    Login,
    /// Every login of the account at the workstation.
    Account,
    /// Only passwords that the client module called wrong: the pause is over.
    WrongPassword,
}

/// Why the client module refused a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseReason {
    /// It said `[AUTH]` or 535.
    WrongPassword,
    /// It did not say; a card may be locked.
    #[default]
    RejectedByClientModule,
}

/// How much is held because it came undecrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSummary {
    /// How many messages.
    pub messages: usize,
    /// Since when the oldest of them.
    pub oldest: Option<String>,
    /// What is wrong with the register's files.
    pub trouble: Option<String>,
}

impl HeldSummary {
    /// `oldest` is in Unix seconds.
    pub fn new(messages: usize, oldest: Option<i64>, trouble: Option<&str>) -> Self {
        let oldest = oldest.and_then(from_unix).map(rfc3339);
        Self { messages, oldest, trouble: trouble.map(str::to_owned) }
    }
}

/// What is held because it came undecrypted: nothing of the messages themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldList {
    /// How much.
    #[serde(flatten)]
    pub held: HeldSummary,
    /// The oldest first; a few thousand at most.
    #[serde(rename = "list")]
    pub messages: Vec<HeldStatus>,
}

/// A message that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// What people call it.
    pub id: String,
    /// When it first came undecrypted.
    pub since: String,
    /// Whose it is, as the audit shows it.
    pub account: String,
    /// The workstation that fetched it first.
    pub workstation: String,
    /// What told that it came undecrypted.
    pub cause: String,
}

impl HeldStatus {
    /// `since` is in Unix seconds.
    pub fn new(
        id: String,
        since: i64,
        account: String,
        workstation: String,
        cause: String,
    ) -> Self {
        let since = from_unix(since).map(rfc3339).unwrap_or_default();
        Self { id, since, account, workstation, cause }
    }
}

/// Something that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// When.
    pub time: String,
    /// Where from.
    pub peer: String,
    /// The workstation's name.
    pub workstation: Option<String>,
    /// The account; its pseudonym where the audit has that.
    pub account: Option<String>,
    /// What was wanted.
    pub action: Option<String>,
    /// Why not.
    pub reason: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// False where it passed, in observe mode.
    pub enforced: bool,
}
