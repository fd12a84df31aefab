//! An audit line as a row that a person reads.

use serde_json::Value;

use super::filter::{AuditLine, kind_of, time_of};
use super::when;
use crate::cli::amounts::{bytes_text, duration};
use crate::observe::EventKind;
use crate::printable::printable;

pub(super) fn heads() -> Vec<String> {
    ["time", "event", "workstation", "account", "what"].map(String::from).to_vec()
}

/// The columns of [`heads`]. The file may come from elsewhere, so its text is escaped again.
pub(super) fn row(line: &AuditLine) -> Vec<String> {
    let view = LineView(line);
    let time = time_of(line).map_or_else(|| view.text("time").unwrap_or_default(), when::shown);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    vec![
        time,
        or_dash(view.text("event")),
        or_dash(view.text("workstation").or_else(|| view.text("peer"))),
        or_dash(view.text("account")),
        view.what(),
    ]
}

/// Shown elsewhere in the row, or of use to programs only.
const KNOWN: &[&str] = &[
    "time",
    "event",
    "session",
    "protocol",
    "listener",
    "peer",
    "workstation",
    "users",
    "account",
    "mandant_id",
    "clientsystem_id",
    "workplace_id",
    "optional_fields",
    "client_module",
    "action",
    "accepted",
    "reload",
];

struct LineView<'a>(&'a AuditLine);

impl LineView<'_> {
    fn what(&self) -> String {
        let parts = match kind_of(self.0) {
            Some(EventKind::Connected) => vec![self.word("{} from", "protocol"), self.text("peer")],
            Some(EventKind::Login) => vec![
                self.word("{}", "protocol"),
                Some(if self.is("accepted") { "accepted" } else { "refused" }.into()),
                self.word("by {}", "client_module"),
                self.took("in", "seconds"),
                self.refusal(),
                self.reply(),
            ],
            Some(EventKind::Denied) => vec![self.word("{}:", "action"), self.refusal()],
            Some(EventKind::ContextConflict) => vec![
                self.refusal(),
                self.word("{} has it", "holder"),
                self.word("(WorkplaceId {})", "workplace_id"),
            ],
            Some(EventKind::MessageSent) => vec![
                Some(if self.is("accepted") { "accepted:" } else { "refused:" }.into()),
                self.message(),
                match self.0.get("recipients").and_then(Value::as_u64) {
                    Some(1) => Some("to 1 recipient".into()),
                    _ => self.word("to {} recipients", "recipients"),
                },
                self.took("answered after", "seconds"),
                self.reply(),
            ],
            Some(EventKind::MessageReceived) => {
                vec![
                    self.is("top").then(|| "preview".into()),
                    self.message(),
                    self.took("came after", "wait"),
                    (self.0.get("complete") == Some(&Value::Bool(false)))
                        .then(|| "broke off".into()),
                    self.checks(),
                ]
            }
            Some(EventKind::MessageDeleted) => vec![self.word("number {}", "number")],
            Some(EventKind::DeleteHeld) => {
                vec![self.word("number {} came undecrypted, and stays", "number")]
            }
            Some(EventKind::MessageHeld) => vec![
                self.word("number {} is held", "number"),
                self.word("as {}", "held"),
                self.word("({})", "cause"),
                self.word("in its {} only", "place").filter(|_| self.0.contains_key("problem")),
                self.word("because of {}", "problem"),
            ],
            Some(EventKind::MessageReleased) => vec![
                self.word("{} is not held any longer", "held"),
                self.word("({})", "by"),
                self.word("since {}", "since"),
            ],
            Some(EventKind::Certificate) => vec![
                self.word("{}:", "client_module"),
                self.text("verdict"),
                Some(if self.is("accepted") { "accepted" } else { "refused" }.into()),
                self.word("({})", "sentence"),
            ],
            Some(EventKind::ConfigLoaded) => vec![match self.is("accepted") {
                true => self.word("in force: {}", "config"),
                false => self.word("rejected for {} errors", "problems"),
            }],
            Some(EventKind::Unlocked) => vec![self.word("ended login pauses: {}", "ended")],
            Some(EventKind::Closed) => vec![
                self.text("reason"),
                self.took("after", "seconds"),
                self.size("bytes_to_client").map(|size| format!("↓ {size}")),
                self.size("bytes_to_module").map(|size| format!("↑ {size}")),
            ],
            None => vec![Some(self.everything_else())],
        };
        let times = self.word("({} times in a minute)", "count");
        parts.into_iter().flatten().chain(times).collect::<Vec<_>>().join(" ")
    }

    /// Why not, and which rule said so.
    fn refusal(&self) -> Option<String> {
        let rule = self.word(" by {}", "rule").unwrap_or_default();
        match (self.text("reason"), self.text("would_deny")) {
            (Some(reason), _) => Some(format!("{reason}{rule}")),
            (None, Some(word)) => Some(format!("passed, enforcing would say {word}{rule}")),
            (None, None) => None,
        }
    }

    fn message(&self) -> Option<String> {
        let size = self.size("bytes")?;
        Some(match self.text("service") {
            Some(service) => format!("{service} {size}"),
            None => size,
        })
    }

    /// What decryption and signature came to, where it is not well.
    fn checks(&self) -> Option<String> {
        let odd = |name: &str, good: &str| {
            let codes = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
            let codes: Vec<_> = codes.filter_map(Value::as_str).filter(|c| *c != good).collect();
            (!codes.is_empty()).then(|| format!("{name} {}", printable(&codes.join(" "))))
        };
        let both = [odd("decryption", "00"), odd("integrity", "01")];
        let both: Vec<_> = both.into_iter().flatten().collect();
        (!both.is_empty()).then(|| both.join(" "))
    }

    /// Nothing but a code, where it says more than yes.
    fn reply(&self) -> Option<String> {
        self.text("reply").filter(|reply| !reply.starts_with(['2', '+'])).map(|r| format!("({r})"))
    }

    fn everything_else(&self) -> String {
        let rest = self.0.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
        rest.map(|(name, value)| printable(&format!("{name}={value}")).into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn text(&self, name: &str) -> Option<String> {
        let value = self.0.get(name)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(printable(&text).into_owned())
    }

    /// The text in this frame.
    fn word(&self, frame: &str, name: &str) -> Option<String> {
        self.text(name).map(|text| frame.replace("{}", &text))
    }

    fn is(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn size(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(Value::as_u64).map(bytes_text)
    }

    fn took(&self, frame: &str, name: &str) -> Option<String> {
        let seconds = self.0.get(name).and_then(Value::as_f64)?;
        Some(match seconds {
            ..0.1 => format!("{frame} {:.0} ms", seconds * 1000.0),
            ..10.0 => format!("{frame} {seconds:.1} s"),
            _ => format!("{frame} {}", duration(seconds)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_like_a_sentence() {
        let table = [
            (
                r#"{"event":"connected","protocol":"pop3","peer":"192.168.0.31:50000"}"#,
                "pop3 from 192.168.0.31:50000",
            ),
            (
                r#"{"event":"login","protocol":"pop3","accepted":true,"client_module":"main",
                    "seconds":1.25,"reply":"+OK"}"#,
                "pop3 accepted by main in 1.2 s",
            ),
            (
                r#"{"event":"login","protocol":"smtp","accepted":false,"client_module":"main",
                    "seconds":75,"reason":"rejected-by-client-module","reply":"535"}"#,
                "smtp refused by main in 1 min 15 s rejected-by-client-module (535)",
            ),
            (
                r#"{"event":"denied","action":"receive","reason":"not-allowed",
                    "rule":"accounts.\"a@b\".allow"}"#,
                "receive: not-allowed by accounts.\"a@b\".allow",
            ),
            (
                r#"{"event":"denied","action":"login","reason":"not-allowed","count":57}"#,
                "login: not-allowed (57 times in a minute)",
            ),
            (
                r#"{"event":"denied","action":"send","would_deny":"service-not-allowed"}"#,
                "send: passed, enforcing would say service-not-allowed",
            ),
            (
                r#"{"event":"message-sent","accepted":true,"service":"eAU;Lieferung;V1.2",
                    "bytes":2048,"recipients":2,"seconds":6.5,"reply":"250"}"#,
                "accepted: eAU;Lieferung;V1.2 2.0 KiB to 2 recipients answered after 6.5 s",
            ),
            (
                r#"{"event":"message-received","bytes":10,"wait":0.1,"decryption":["00","03"],
                    "integrity":["01"]}"#,
                "10 B came after 0.1 s decryption 03",
            ),
            (
                r#"{"event":"closed","reason":"ok","seconds":9,"bytes_to_client":0,
                    "bytes_to_module":60}"#,
                "ok after 9.0 s ↓ 0 B ↑ 60 B",
            ),
            (
                r#"{"event":"message-received","bytes":10,"complete":false,"top":true,"wait":0.1}"#,
                "preview 10 B came after 0.1 s broke off",
            ),
            (
                r#"{"event":"new","session":"1","colour":"\u001b[31mred"}"#,
                r#"colour="\u001b[31mred""#,
            ),
            ("{}", ""),
        ];
        for (line, what) in table {
            assert_eq!(LineView(&serde_json::from_str(line).unwrap()).what(), what, "{line}");
        }
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let line =
            "{\"event\":\"denied\",\"account\":\"a\\r\\n\\u001b[2Jb\",\"reason\":\"\\u202e\"}";
        let row = row(&serde_json::from_str(line).unwrap()).join(" ");
        assert!(!row.contains(['\r', '\n', '\u{1b}', '\u{202e}']), "{row}");
    }
}
