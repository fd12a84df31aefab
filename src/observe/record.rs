//! An event as it may be shown: escaped, cut, pseudonymised where asked for. Audit line, log line
//! and the console's list of refusals are all made from this, so none of them can say more.

use std::borrow::Cow;

use serde::Serialize;
use time::OffsetDateTime;

use super::pseudonym::Pseudonyms;
pub(super) use super::times::{from_unix, rfc3339};
use super::{Event, SessionFacts, labels};
use crate::kim::Account;
use crate::printable::{printable, printable_within};
use crate::words::{Action, Reason};

/// An audit line. Its fields stand in the order in which they are declared here; what is absent is
/// left out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Record<'a> {
    pub(super) time: String,
    #[serde(flatten)]
    pub(super) what: RecordedEvent<'a>,
}

/// What happened. The tag is the word of an [`EventKind`](super::EventKind).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum RecordedEvent<'a> {
    Connected(SessionRecord<'a>),
    Login(LoginRecord<'a>),
    Denied(DeniedRecord<'a>),
    MessageSent(MessageSentRecord<'a>),
    MessageReceived(MessageReceivedRecord<'a>),
    MessageDeleted(MessageDeletedRecord<'a>),
    DeleteHeld(DeleteHeldRecord<'a>),
    MessageHeld(MessageHeldRecord<'a>),
    MessageReleased(MessageReleasedRecord<'a>),
    ContextConflict(ContextConflictRecord<'a>),
    Certificate(CertificateRecord<'a>),
    ConfigLoaded(ConfigLoadedRecord<'a>),
    Unlocked(UnlockedRecord<'a>),
    Closed(ClosedRecord<'a>),
}

/// What is known of a session.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SessionRecord<'a> {
    /// Empty where a line stands for several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) session: String,
    pub(super) protocol: &'static str,
    pub(super) listener: Cow<'a, str>,
    /// Empty where a line stands for several sources.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workstation: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) users: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mandant_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clientsystem_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workplace_id: Option<Cow<'a, str>>,
    /// Names of the further fields that the login has, without their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) optional_fields: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_module: Option<Cow<'a, str>>,
}

/// Whether it was let through, and why not; in observe mode, what enforcing would have said.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Judged {
    pub(super) accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) would_deny: Option<&'static str>,
}

/// How a login was answered.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Answered<'a> {
    pub(super) seconds: f64,
    pub(super) reply: Cow<'a, str>,
}

/// A login that the client module answered.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LoginRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) action: &'static str,
    #[serde(flatten)]
    pub(super) judged: Judged,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Cow<'a, str>>,
    #[serde(flatten)]
    pub(super) answered: Answered<'a>,
}

/// Something that kimgate refused, or would have.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DeniedRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) action: &'static str,
    #[serde(flatten)]
    pub(super) judged: Judged,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Cow<'a, str>>,
    /// Where it was a login.
    #[serde(flatten)]
    pub(super) answered: Option<Answered<'a>>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MessageSentRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) action: &'static str,
    /// Absent where there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Cow<'a, str>>,
    /// A keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<Cow<'a, str>>,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// How long the workstation waited for the answer, where it left before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_after: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<Cow<'a, str>>,
    /// A count, never who.
    pub(super) recipients: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) added: Vec<Cow<'a, str>>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MessageReceivedRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Cow<'a, str>>,
    pub(super) bytes: u64,
    /// False where the session broke off in it; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) complete: Option<bool>,
    /// True where TOP asked for it; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top: Option<bool>,
    pub(super) seconds: f64,
    /// From RETR to the first byte.
    pub(super) wait: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) decryption: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) integrity: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MessageDeletedRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) action: &'static str,
    /// The message's number in its session.
    pub(super) number: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DeleteHeldRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) action: &'static str,
    #[serde(flatten)]
    pub(super) judged: Judged,
    /// The message's number in its session.
    pub(super) number: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MessageHeldRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    /// The message's number in its session.
    pub(super) number: u32,
    /// What people call it, where the register has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Cow<'a, str>>,
    pub(super) cause: Cow<'a, str>,
    /// Where it is held.
    pub(super) place: &'static str,
    /// Why that is not the register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MessageReleasedRecord<'a> {
    /// Where it came decrypted.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<SessionRecord<'a>>,
    /// Where there is no session that says whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Cow<'a, str>>,
    pub(super) held: Cow<'a, str>,
    pub(super) cause: Cow<'a, str>,
    pub(super) since: Cow<'a, str>,
    pub(super) by: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ContextConflictRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    #[serde(flatten)]
    pub(super) judged: Judged,
    /// The workstation that has the context.
    pub(super) holder: Cow<'a, str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct CertificateRecord<'a> {
    pub(super) client_module: Cow<'a, str>,
    pub(super) accepted: bool,
    pub(super) verdict: &'static str,
    pub(super) sentence: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_after: Option<String>,
    /// The fingerprint of the certificate that was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ConfigLoadedRecord<'a> {
    pub(super) accepted: bool,
    pub(super) reload: bool,
    pub(super) config: Cow<'a, str>,
    pub(super) problems: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct UnlockedRecord<'a> {
    /// Who asked.
    pub(super) peer: String,
    /// Absent: every workstation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workstation: Option<Cow<'a, str>>,
    /// Absent: every account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<Cow<'a, str>>,
    /// How many pauses that ended.
    pub(super) ended: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ClosedRecord<'a> {
    #[serde(flatten)]
    pub(super) about: SessionRecord<'a>,
    pub(super) reason: &'static str,
    pub(super) bytes: u64,
    pub(super) bytes_to_client: u64,
    pub(super) bytes_to_module: u64,
    pub(super) seconds: f64,
    /// Why the TLS handshake failed, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sentence: Option<Cow<'a, str>>,
}

/// A line that may repeat without end, and by what repetitions are known.
pub(super) struct Foldable<'r> {
    /// The word of its event.
    pub(super) event: &'static str,
    pub(super) reason: Cow<'static, str>,
    pub(super) action: &'static str,
    pub(super) account: Option<&'r str>,
    pub(super) rule: Option<&'r str>,
    /// What else has to be the same.
    pub(super) about: Cow<'r, str>,
    /// How many are written at once within a minute.
    pub(super) at_once: u32,
}

/// Connections that one source may make in a minute, each with a line of its own. Above what fifty
/// workstations behind one address do: each fetches once a minute.
const CONNECTIONS: u32 = 60;

/// What the console shows of a refusal.
pub(super) struct RefusalRecord<'r, 'a> {
    pub(super) about: &'r SessionRecord<'a>,
    pub(super) action: Option<&'static str>,
    pub(super) reason: &'static str,
    pub(super) rule: Option<&'r str>,
    pub(super) enforced: bool,
}

impl<'a> Record<'a> {
    /// `names` stands for the key of account addresses, `message_ids` for that of Message-IDs.
    pub(super) fn new(
        event: &Event<'a>,
        now: OffsetDateTime,
        names: &Pseudonyms,
        message_ids: &Pseudonyms,
    ) -> Self {
        Self { time: rfc3339(now), what: RecordedEvent::of(event, names, message_ids) }
    }

    /// Why something was refused, or would have been; `None` where nothing was.
    pub(super) fn refusal(&self) -> Option<RefusalRecord<'_, 'a>> {
        let (about, action, judged, rule) = match &self.what {
            RecordedEvent::Login(login) => {
                (&login.about, Some(login.action), login.judged, login.rule.as_deref())
            }
            RecordedEvent::Denied(denied) => {
                (&denied.about, Some(denied.action), denied.judged, denied.rule.as_deref())
            }
            RecordedEvent::MessageSent(sent) => {
                let judged = Judged { accepted: false, reason: sent.reason, would_deny: None };
                (&sent.about, Some(sent.action), judged, None)
            }
            RecordedEvent::DeleteHeld(held) => (&held.about, Some(held.action), held.judged, None),
            RecordedEvent::ContextConflict(conflict) => {
                (&conflict.about, None, conflict.judged, None)
            }
            RecordedEvent::Connected(_)
            | RecordedEvent::MessageReceived(_)
            | RecordedEvent::MessageDeleted(_)
            | RecordedEvent::MessageHeld(_)
            | RecordedEvent::MessageReleased(_)
            | RecordedEvent::Certificate(_)
            | RecordedEvent::ConfigLoaded(_)
            | RecordedEvent::Unlocked(_)
            | RecordedEvent::Closed(_) => return None,
        };
        let reason = judged.reason.or(judged.would_deny)?;
        Some(RefusalRecord { about, action, reason, rule, enforced: judged.would_deny.is_none() })
    }
}

impl<'a> RecordedEvent<'a> {
    fn of(event: &Event<'a>, names: &Pseudonyms, message_ids: &Pseudonyms) -> Self {
        let about = |session| SessionRecord::of(session, names);
        match *event {
            Event::Connected(session) => Self::Connected(about(session)),
            Event::Login { session, action, result, seconds, rule, reply, would_deny } => {
                let about = about(session);
                let action = action.as_str();
                let judged = Judged {
                    accepted: result.is_ok(),
                    reason: result.err().map(Reason::as_str),
                    would_deny: would_deny.map(Reason::as_str),
                };
                let rule = rule.map(|rule| names.in_rule(rule));
                let answered = Answered { seconds: milliseconds(seconds), reply: printable(reply) };
                match result {
                    Ok(()) | Err(Reason::RejectedByClientModule) => {
                        Self::Login(LoginRecord { about, action, judged, rule, answered })
                    }
                    Err(_) => Self::Denied(DeniedRecord {
                        about,
                        action,
                        judged,
                        rule,
                        answered: Some(answered),
                    }),
                }
            }
            Event::Denied { session, action, reason, rule, enforced } => {
                Self::Denied(DeniedRecord {
                    about: about(session),
                    action: action.as_str(),
                    judged: Judged::new(reason, enforced),
                    rule: rule.map(|rule| names.in_rule(rule)),
                    answered: None,
                })
            }
            Event::MessageSent {
                session,
                bytes,
                seconds,
                service,
                message_id,
                missing: _,
                recipients,
                accepted,
                left_after,
                reply,
                added,
            } => Self::MessageSent(MessageSentRecord {
                about: about(session),
                action: Action::Send.as_str(),
                accepted: accepted.ok(),
                reason: accepted.err().map(Reason::as_str),
                service: service.map(printable),
                message_id: message_id.map(|id| message_ids.of(id)),
                bytes,
                seconds: milliseconds(seconds),
                left_after: left_after.map(milliseconds),
                reply: (!reply.is_empty()).then(|| printable(reply)),
                recipients,
                added: added.iter().map(|name| printable(name)).collect(),
            }),
            Event::MessageReceived {
                session,
                bytes,
                complete,
                top,
                seconds,
                wait,
                service,
                decryption,
                integrity,
            } => Self::MessageReceived(MessageReceivedRecord {
                about: about(session),
                action: Action::Receive.as_str(),
                service: service.map(printable),
                bytes,
                complete: (!complete).then_some(false),
                top: top.then_some(true),
                seconds: milliseconds(seconds),
                wait: milliseconds(wait),
                decryption: codes(decryption, labels::decryption),
                integrity: codes(integrity, labels::integrity),
            }),
            Event::MessageDeleted { session, number } => {
                Self::MessageDeleted(MessageDeletedRecord {
                    about: about(session),
                    action: Action::Delete.as_str(),
                    number,
                })
            }
            Event::DeleteHeld { session, number } => Self::DeleteHeld(DeleteHeldRecord {
                about: about(session),
                action: Action::Delete.as_str(),
                judged: Judged::new(Reason::DeleteHeld, true),
                number,
            }),
            Event::MessageHeld { session, number, id, cause, how } => {
                Self::MessageHeld(MessageHeldRecord {
                    about: about(session),
                    number,
                    held: id.map(printable),
                    cause: printable(cause),
                    place: how.place(),
                    problem: how.problem(),
                })
            }
            Event::MessageReleased { session, message, by } => {
                Self::MessageReleased(MessageReleasedRecord {
                    about: session.map(about),
                    account: session.is_none().then(|| printable(&message.account)),
                    held: printable(&message.id),
                    cause: printable(&message.cause),
                    since: printable(&message.since),
                    by: by.as_str(),
                })
            }
            Event::ContextConflict { session, holder, enforced } => {
                Self::ContextConflict(ContextConflictRecord {
                    about: about(session),
                    judged: Judged::new(Reason::ContextInUse, enforced),
                    holder: printable(holder),
                })
            }
            Event::Certificate {
                client_module,
                class,
                accepted,
                sentence,
                fingerprint,
                not_after,
                replaces,
            } => Self::Certificate(CertificateRecord {
                client_module: printable(client_module),
                accepted,
                verdict: class,
                sentence: printable_sentence(sentence),
                fingerprint: fingerprint.map(printable),
                not_after: not_after.and_then(from_unix).map(rfc3339),
                replaces: replaces.map(printable),
            }),
            Event::ConfigLoaded { reload, accepted, hash, problems } => {
                Self::ConfigLoaded(ConfigLoadedRecord {
                    accepted,
                    reload,
                    config: printable(hash),
                    problems,
                })
            }
            Event::Unlocked { peer, account, workstation, ended } => {
                Self::Unlocked(UnlockedRecord {
                    peer: peer.to_string(),
                    workstation: workstation.map(printable),
                    // It was typed on a command line, and may be anything.
                    account: account.map(|account| account_name(account, false, names)),
                    ended,
                })
            }
            Event::Closed { session, close, bytes_to_client, bytes_to_module, seconds } => {
                Self::Closed(ClosedRecord {
                    about: about(session),
                    reason: close.as_str(),
                    bytes: bytes_to_client.saturating_add(bytes_to_module),
                    bytes_to_client,
                    bytes_to_module,
                    seconds: milliseconds(seconds),
                    sentence: session.tls_fault.as_deref().map(printable_sentence),
                })
            }
        }
    }
}

impl<'a> RecordedEvent<'a> {
    /// Whether repetitions are counted instead of written: refusals, and connections that come to
    /// nothing. Never a login that was accepted, or a message.
    /// `was_admitted`: of a connection that ends, whether a login was accepted on it.
    pub(super) fn foldable(&self, was_admitted: bool) -> Option<Foldable<'_>> {
        let (event, about, reason, at_once) = match self {
            Self::Login(LoginRecord { about, judged, .. }) if !judged.accepted => {
                ("login", about, judged.reason, 1)
            }
            Self::Denied(DeniedRecord { about, judged, .. }) if !judged.accepted => {
                ("denied", about, judged.reason, 1)
            }
            Self::DeleteHeld(DeleteHeldRecord { about, judged, .. }) => {
                ("delete-held", about, judged.reason, 1)
            }
            Self::ContextConflict(ContextConflictRecord { about, judged, .. })
                if !judged.accepted =>
            {
                ("context-conflict", about, judged.reason, 1)
            }
            Self::Connected(about) => ("connected", about, None, CONNECTIONS),
            Self::Closed(ClosedRecord { about, reason, sentence: Some(_), .. }) => {
                ("closed", about, Some(*reason), 1)
            }
            Self::Closed(ClosedRecord { about, reason, .. }) if !was_admitted => {
                ("closed", about, Some(*reason), CONNECTIONS)
            }
            Self::Login(_)
            | Self::Denied(_)
            | Self::ContextConflict(_)
            | Self::Closed(_)
            | Self::MessageSent(_)
            | Self::MessageReceived(_)
            | Self::MessageDeleted(_)
            | Self::MessageHeld(_)
            | Self::MessageReleased(_)
            | Self::Certificate(_)
            | Self::ConfigLoaded(_)
            | Self::Unlocked(_) => return None,
        };
        let (action, rule, also): (_, _, Cow<'_, str>) = match self {
            Self::Login(login) => (login.action, login.rule.as_deref(), "".into()),
            Self::Denied(denied) => (denied.action, denied.rule.as_deref(), "".into()),
            Self::DeleteHeld(held) => (held.action, None, held.number.to_string().into()),
            Self::ContextConflict(conflict) => ("", None, conflict.holder.as_ref().into()),
            Self::Closed(closed) => {
                ("", None, closed.sentence.as_deref().unwrap_or_default().into())
            }
            Self::Connected(_)
            | Self::MessageSent(_)
            | Self::MessageReceived(_)
            | Self::MessageDeleted(_)
            | Self::MessageHeld(_)
            | Self::MessageReleased(_)
            | Self::Certificate(_)
            | Self::ConfigLoaded(_)
            | Self::Unlocked(_) => ("", None, "".into()),
        };
        Some(Foldable {
            event,
            reason: reason.unwrap_or_default().into(),
            action,
            account: about.account.as_deref(),
            rule,
            about: also,
            at_once,
        })
    }

    pub(super) fn about_mut(&mut self) -> Option<&mut SessionRecord<'a>> {
        match self {
            Self::Connected(about) => Some(about),
            Self::Login(r) => Some(&mut r.about),
            Self::Denied(r) => Some(&mut r.about),
            Self::MessageSent(r) => Some(&mut r.about),
            Self::MessageReceived(r) => Some(&mut r.about),
            Self::MessageDeleted(r) => Some(&mut r.about),
            Self::DeleteHeld(r) => Some(&mut r.about),
            Self::MessageHeld(r) => Some(&mut r.about),
            Self::MessageReleased(r) => r.about.as_mut(),
            Self::ContextConflict(r) => Some(&mut r.about),
            Self::Closed(r) => Some(&mut r.about),
            Self::Certificate(_) | Self::ConfigLoaded(_) | Self::Unlocked(_) => None,
        }
    }

    /// Takes the rule out, where there is one.
    pub(super) fn forget_rule(&mut self) {
        match self {
            Self::Login(LoginRecord { rule, .. }) | Self::Denied(DeniedRecord { rule, .. }) => {
                *rule = None;
            }
            Self::Connected(_)
            | Self::MessageSent(_)
            | Self::MessageReceived(_)
            | Self::MessageDeleted(_)
            | Self::DeleteHeld(_)
            | Self::MessageHeld(_)
            | Self::MessageReleased(_)
            | Self::ContextConflict(_)
            | Self::Certificate(_)
            | Self::ConfigLoaded(_)
            | Self::Unlocked(_)
            | Self::Closed(_) => {}
        }
    }
}

impl<'a> SessionRecord<'a> {
    pub(super) fn of(session: &'a SessionFacts, names: &Pseudonyms) -> Self {
        let field = |value: &'a str| (!value.is_empty()).then(|| printable(value));
        let login = session.login.as_ref();
        Self {
            session: session.id.to_string(),
            protocol: session.protocol.as_str(),
            listener: printable(&session.listener),
            peer: session.peer.to_string(),
            workstation: session.workstation.as_deref().map(printable),
            users: session.users.iter().map(|user| printable(user)).collect(),
            account: account_of(session, names),
            mandant_id: login.and_then(|login| field(login.mandant_id())),
            clientsystem_id: login.and_then(|login| field(login.clientsystem_id())),
            workplace_id: login.and_then(|login| field(login.workplace_id())),
            optional_fields: optional_fields(session),
            client_module: session.client_module.as_deref().map(printable),
        }
    }
}

impl Judged {
    fn new(reason: Reason, enforced: bool) -> Self {
        let word = Some(reason.as_str());
        let (reason, would_deny) = if enforced { (word, None) } else { (None, word) };
        Self { accepted: !enforced, reason, would_deny }
    }
}

fn account_name<'a>(account: &'a Account, known: bool, names: &Pseudonyms) -> Cow<'a, str> {
    match showable(account, known) {
        Some(address) => names.of(address),
        None => Cow::Borrowed(NOT_AN_ADDRESS),
    }
}

/// Which fields the login has after its WorkplaceId, by their names in this protocol. Their values
/// are not shown: with them, the line would hold all of the login that is secret.
pub(super) fn optional_fields(session: &SessionFacts) -> Vec<&'static str> {
    let Some(login) = &session.login else { return Vec::new() };
    let fields = login.optional_fields(Some(session.protocol)).into_iter();
    fields.filter(|(_, value)| !value.is_empty()).map(|(field, _)| field.as_str()).collect()
}

/// The session's account, as audit and log show it.
pub(super) fn account_of<'a>(
    session: &'a SessionFacts,
    names: &Pseudonyms,
) -> Option<Cow<'a, str>> {
    let account = session.account.as_ref()?;
    Some(account_name(account, session.known_account, names))
}

/// Stands for an account that is not configured and does not look like one.
pub(super) const NOT_AN_ADDRESS: &str = "(not an address)";

/// The account, if it may be shown. People type their password where the user name belongs; so an
/// account that is not configured is shown only where it has the form of a KIM address (gematik FAQ:
/// `A-Z a-z 0-9 . - _` before the `@`).
pub(super) fn showable(account: &Account, known: bool) -> Option<&str> {
    let address = account.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_address = address.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && (local.chars().chain(domain.chars())).all(plain)
    });
    (known || is_address && address.len() <= 254).then_some(address)
}

/// Seconds to three places; JSON has no infinity.
pub(super) fn milliseconds(seconds: f64) -> f64 {
    if seconds.is_finite() { (seconds * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// Characters that are kept of a sentence of kimgate's own, which may quote several texts.
const SENTENCE: usize = 1500;

/// A sentence of kimgate's own, escaped and cut.
fn printable_sentence(sentence: &str) -> Cow<'_, str> {
    printable_within(SENTENCE, sentence)
}

/// The text escaped and cut, for a value that outlives the event.
pub(super) fn shown(text: &str) -> String {
    printable(text).into_owned()
}

/// The header may repeat; a hostile one may do so for ever.
fn codes(values: &[String], code: fn(&str) -> &'static str) -> Vec<&'static str> {
    values.iter().take(8).map(|value| code(value)).collect()
}

impl Pseudonyms {
    /// A rule names accounts in quoted keys: `accounts."a@b".send.allow`.
    fn in_rule<'a>(&self, rule: &'a str) -> Cow<'a, str> {
        if !rule.contains('@') {
            return printable(rule);
        }
        let parts = rule.split('"').map(|part| match part.contains('@') {
            true => self.of(part),
            false => Cow::Borrowed(part),
        });
        Cow::Owned(shown(&parts.collect::<Vec<_>>().join("\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Protocol;

    #[test]
    fn the_fields_of_a_line_keep_their_order() {
        let mut facts =
            SessionFacts::new(Protocol::Smtp, "smtps".into(), ([192, 0, 2, 1], 50_000).into());
        facts.workstation = Some("PC1".into());
        facts.users = vec!["anna".into()];
        facts.client_module = Some("main".into());
        let session = &facts;
        let refused = Event::Login {
            session,
            action: Action::Send,
            result: Err(Reason::NotAllowed),
            seconds: 1.25,
            rule: Some("policy.mode"),
            reply: "550",
            would_deny: None,
        };
        let sent = Event::MessageSent {
            session,
            bytes: 10,
            seconds: 0.5,
            service: Some("eAU;x"),
            message_id: None,
            missing: &[],
            recipients: 2,
            accepted: Ok(true),
            left_after: Some(0.25),
            reply: "250",
            added: &["X-KIM-Middleware"],
        };
        let loaded =
            Event::ConfigLoaded { reload: true, accepted: false, hash: "abc", problems: 3 };
        let about = format!(
            "\"session\":\"{}\",\"protocol\":\"smtp\",\"listener\":\"smtps\",\
             \"peer\":\"192.0.2.1:50000\",\"workstation\":\"PC1\",\"users\":[\"anna\"],\
             \"client_module\":\"main\",",
            facts.id
        );
        for (event, word, about, rest) in [
            (
                refused,
                "denied",
                about.as_str(),
                r#""action":"send","accepted":false,"reason":"not-allowed","rule":"policy.mode","seconds":1.25,"reply":"550""#,
            ),
            (
                sent,
                "message-sent",
                about.as_str(),
                r#""action":"send","accepted":true,"service":"eAU;x","bytes":10,"seconds":0.5,"left_after":0.25,"reply":"250","recipients":2,"added":["X-KIM-Middleware"]"#,
            ),
            (
                loaded,
                "config-loaded",
                "",
                r#""accepted":false,"reload":true,"config":"abc","problems":3"#,
            ),
        ] {
            let now = OffsetDateTime::UNIX_EPOCH;
            let record = Record::new(&event, now, &Pseudonyms::Off, &Pseudonyms::Off);
            assert_eq!(
                serde_json::to_string(&record).unwrap(),
                format!(
                    "{{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"{word}\",{about}{rest}}}"
                )
            );
        }
    }

    #[test]
    fn no_rule_shows_an_address_that_has_a_pseudonym() {
        let names = Pseudonyms::passing();
        for rule in ["accounts.\"prx@praxis.kim.telematik\".send.allow", "prx@praxis.kim.telematik"]
        {
            let shown = names.in_rule(rule);
            assert!(!shown.contains("prx@praxis"), "{shown}");
        }
        assert_eq!(names.in_rule("policy.unknown_workstations"), "policy.unknown_workstations");
    }
}
