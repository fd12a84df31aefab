//! An event as it may be shown: escaped, cut, pseudonymised where asked for. Audit line, log line
//! and the console's list of refusals are all made from this, so none of them can say more.

use std::borrow::Cow;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::pseudonym::Pseudonyms;
use super::{Event, SessionFacts, labels};
use crate::kim::Account;
use crate::printable::{printable, printable_within};
use crate::words::{Action, Reason};

/// The fields of an audit line, in its order; what is absent is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Record<'a> {
    pub(super) time: String,
    pub(super) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_module: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<&'static str>,
    /// Whether it was let through; absent where nothing was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) would_deny: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Cow<'a, str>>,
    /// A keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_to_client: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_to_module: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
    /// How long the workstation waited for the answer, where it left before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_after: Option<f64>,
    /// From RETR to the first octet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<Cow<'a, str>>,
    /// A count, never who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recipients: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) added: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) decryption: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) integrity: Vec<&'static str>,
    /// The message's number in its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u32>,
    /// The workstation that has the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sentence: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_after: Option<String>,
    /// The fingerprint of the certificate that was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reload: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problems: Option<u32>,
}

impl<'a> Record<'a> {
    pub(super) fn new(event: &Event<'a>, now: OffsetDateTime, names: &Pseudonyms) -> Self {
        let about = event.session().map(|session| Self::about(session, names)).unwrap_or_default();
        let base = Self { time: rfc3339(now), event: event.name(), ..about };
        match *event {
            Event::Connected(_) => base,
            Event::Login { action, result, seconds, rule, reply, would_deny, .. } => Self {
                action: Some(action.as_str()),
                accepted: Some(result.is_ok()),
                reason: result.err().map(Reason::as_str),
                would_deny: would_deny.map(Reason::as_str),
                rule: rule.map(|rule| names.in_rule(rule)),
                seconds: Some(milliseconds(seconds)),
                reply: Some(printable(reply)),
                ..base
            },
            Event::Denied { action, reason, rule, enforced, .. } => Self {
                action: Some(action.as_str()),
                rule: rule.map(|rule| names.in_rule(rule)),
                ..base.judged(reason, enforced)
            },
            Event::MessageSent {
                bytes,
                seconds,
                service,
                recipients,
                accepted,
                left_after,
                reply,
                added,
                ..
            } => Self {
                action: Some(Action::Send.as_str()),
                accepted: accepted.ok(),
                reason: accepted.err().map(Reason::as_str),
                left_after: left_after.map(milliseconds),
                service: service.map(printable),
                bytes: Some(bytes),
                seconds: Some(milliseconds(seconds)),
                reply: (!reply.is_empty()).then(|| printable(reply)),
                recipients: Some(recipients),
                added: added.iter().map(|name| printable(name)).collect(),
                ..base
            },
            Event::MessageReceived {
                bytes, seconds, wait, service, decryption, integrity, ..
            } => Self {
                action: Some(Action::Receive.as_str()),
                service: service.map(printable),
                bytes: Some(bytes),
                seconds: Some(milliseconds(seconds)),
                wait: Some(milliseconds(wait)),
                decryption: codes(decryption, labels::decryption),
                integrity: codes(integrity, labels::integrity),
                ..base
            },
            Event::MessageDeleted { number, .. } => {
                Self { action: Some(Action::Delete.as_str()), number: Some(number), ..base }
            }
            Event::DeleteHeld { number, .. } => Self {
                action: Some(Action::Delete.as_str()),
                number: Some(number),
                ..base.judged(Reason::DeleteHeld, true)
            },
            Event::ContextConflict { holder, enforced, .. } => Self {
                holder: Some(printable(holder)),
                ..base.judged(Reason::ContextInUse, enforced)
            },
            Event::Certificate {
                client_module,
                class,
                accepted,
                sentence: words,
                fingerprint,
                not_after,
                replaces,
            } => Self {
                client_module: Some(printable(client_module)),
                accepted: Some(accepted),
                verdict: Some(class),
                sentence: Some(printable_sentence(words)),
                fingerprint: fingerprint.map(printable),
                not_after: not_after.and_then(from_unix).map(rfc3339),
                replaces: replaces.map(printable),
                ..base
            },
            Event::ConfigLoaded { reload, accepted, hash, problems } => Self {
                accepted: Some(accepted),
                reload: Some(reload),
                config: Some(printable(hash)),
                problems: Some(problems),
                ..base
            },
            Event::Closed { session, close, bytes_to_client, bytes_to_module, seconds } => Self {
                reason: Some(close.as_str()),
                sentence: session.tls_fault.as_deref().map(printable_sentence),
                bytes: Some(bytes_to_client.saturating_add(bytes_to_module)),
                bytes_to_client: Some(bytes_to_client),
                bytes_to_module: Some(bytes_to_module),
                seconds: Some(milliseconds(seconds)),
                ..base
            },
        }
    }

    /// Why something was refused, or would have been.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.event == "closed" { None } else { self.reason.or(self.would_deny) }
    }

    /// What is known of a session, and no event.
    pub(super) fn about(session: &'a SessionFacts, names: &Pseudonyms) -> Self {
        let field = |value: &'a str| (!value.is_empty()).then(|| printable(value));
        let login = session.login.as_ref();
        Self {
            session: Some(session.id.to_string()),
            protocol: Some(session.protocol.as_str()),
            listener: Some(printable(&session.listener)),
            peer: Some(session.peer.to_string()),
            workstation: session.workstation.as_deref().map(printable),
            users: session.users.iter().map(|user| printable(user)).collect(),
            account: session.account.as_ref().map(|account| {
                match showable(account, session.known_account) {
                    Some(address) => names.of(address),
                    None => Cow::Borrowed(NOT_AN_ADDRESS),
                }
            }),
            mandant_id: login.and_then(|login| field(login.mandant_id())),
            clientsystem_id: login.and_then(|login| field(login.clientsystem_id())),
            workplace_id: login.and_then(|login| field(login.workplace_id())),
            client_module: session.client_module.as_deref().map(printable),
            ..Self::default()
        }
    }

    fn judged(self, reason: Reason, enforced: bool) -> Self {
        let word = Some(reason.as_str());
        let (reason, would_deny) = if enforced { (word, None) } else { (None, word) };
        Self { accepted: Some(!enforced), reason, would_deny, ..self }
    }
}

/// Stands for an account that is not configured and does not look like one.
pub(super) const NOT_AN_ADDRESS: &str = "(not an address)";

/// The account, if it may be shown. People type their password where the user name belongs; so an
/// account that nobody configured is shown only where it has the form of a KIM address (gematik FAQ:
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

/// UTC with milliseconds, as RFC 3339 writes it.
pub(super) fn rfc3339(at: OffsetDateTime) -> String {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(FORM).unwrap_or_default()
}

pub(super) fn from_unix(seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()
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
