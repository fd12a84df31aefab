//! `kimgate trust`: the certificate that a server shows, and what would accept it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::dial::{self, Dialogue, PATIENCE, Pause, Trouble};
use super::{ConfigFile, Failure, Screen, block_on};
use crate::config::load;
use crate::trust::{
    CertificateFacts, Class, ClientModuleTrust, KnownCertificate, KnownCertificates, Pin,
    UpstreamTls, Verdict, refused_chain, verdict_of,
};
use crate::words::{Language, Protocol};

/// Show the certificate of a client module, and the lines of configuration that would accept it
///
/// Nothing is sent but the handshake. Where there is a configuration, it is told whether the
/// certificate is the one of the gateway's last good connection. Exit code 0: a certificate was shown. 1: it could not be had.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kimgate trust 192.168.0.22:995\n  \
    kimgate trust kim-server:110 --starttls pop3")]
pub(super) struct Trust {
    /// Host name or address, and port; the host as it stands in [client_modules.NAME]
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// Ask for TLS first, where the port begins in clear
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    starttls: Option<Speaks>,
    /// A PEM file with an authority to judge by, as in trust.ca; may be given several times
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Speaks {
    Pop3,
    Smtp,
}

#[derive(Clone, Debug)]
struct Target {
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write host and port, as in 192.168.0.22:995 or [fd00::22]:995".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) if address.parse::<IpAddr>().is_ok() => address,
            None if !host.contains(':') => host,
            Some(_) | None => return Err(wrong()),
        };
        ServerName::try_from(host).map_err(|_| wrong())?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What the configuration and the gateway know of the target.
struct Place {
    /// The client module's name as a TOML key; `NAME` where none has this host and port.
    key: String,
    known: Option<KnownCertificate>,
}

/// What a server shows.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    facts: CertificateFacts,
    /// How a handshake went that takes this certificate by its pin: version and cipher suite, or
    /// why it failed all the same. `None` where no pin may outweigh what is wrong.
    handshake: Option<Result<String, String>>,
}

impl Trust {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let place = self.place()?;
        let shown = block_on(self.look())??;
        let judged = self.judge_all(&shown, &place)?;
        if self.json {
            let told = self.told(&shown, &place, &judged);
            let text = serde_json::to_string_pretty(&told).map_err(Failure::error)?;
            screen.say(&text);
        } else {
            self.show(screen, &shown, &place, &judged);
        }
        Ok(())
    }

    /// Fetches the certificate, and then tries whether a handshake that takes it goes through: only
    /// that shows that the other side owns the key.
    async fn look(&self) -> Result<Shown, Failure> {
        let strict = self.tls(ClientModuleTrust::default())?;
        let chain = match self.shake(&strict).await {
            Ok(secured) => peer_chain(&secured),
            Err(Fault::Handshake(error)) => match refused_chain(&error) {
                Some(chain) => chain.to_vec(),
                None => return Err(Failure::error(self.explained(&error))),
            },
            Err(Fault::Before(why)) => return Err(Failure::error(why)),
        };
        let leaf = chain.first().ok_or_else(|| Failure::error("no certificate was shown"))?;
        let facts = CertificateFacts::read(leaf).ok_or_else(|| {
            let malformed = Verdict::of_handshake(Class::Malformed);
            Failure::error(format!("{}: {}", self.target, malformed.sentence(Language::En)))
        })?;
        let pinned = self.tls(self.pinned(&facts)?)?;
        let handshake = match pinned.judge(&chain, UnixTime::now()).accepted {
            false => None,
            true => Some(match self.shake(&pinned).await {
                Ok(secured) => Ok(dial::described(&secured)),
                Err(Fault::Handshake(error)) => Err(self.explained(&error)),
                Err(Fault::Before(why)) => Err(why),
            }),
        };
        Ok(Shown { chain, facts, handshake })
    }

    /// Who this is by the configuration, and what `kimgate run` has kept of it. A configuration that
    /// nobody named need not be there, nor be good.
    fn place(&self) -> Result<Place, Failure> {
        let nowhere = Place { key: "NAME".into(), known: None };
        let Ok(path) = self.file.path() else { return Ok(nowhere) };
        let config = match load(&path, std::env::vars()) {
            Ok(loaded) => loaded.config,
            Err(_) if self.file.config.is_none() => return Ok(nowhere),
            Err(_) => {
                let why = "has errors; `kimgate check` names them";
                return Err(Failure::error(format!("{}: {why}", path.display())));
            }
        };
        let Target { host, port } = &self.target;
        let mut modules = config.gateway.client_modules.iter();
        let module = modules.find(|(_, module)| {
            module.host.eq_ignore_ascii_case(host)
                && [module.pop3_port, module.smtp_port].contains(port)
        });
        let known = KnownCertificates::open(&config.state_dir).of(&self.target.to_string());
        Ok(Place { key: module.map_or(nowhere.key, |(name, _)| toml_key(name)), known })
    }

    async fn shake(&self, tls: &UpstreamTls) -> Result<rustls::ClientConnection, Fault> {
        let target = &self.target;
        let before = |why: &dyn std::fmt::Display| Fault::Before(format!("{target}: {why}"));
        let looked_up = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Vec<_> = looked_up.map_err(|error| before(&error))?.collect();
        let tcp = dial::connect(&addresses).await.map_err(|error| before(&error))?;
        let Some(speaks) = self.starttls else {
            let secured = dial::handshake(tcp, tls).await.map_err(Fault::Handshake)?;
            return Ok(secured.into_inner().1);
        };
        let protocol = match speaks {
            Speaks::Pop3 => Protocol::Pop3,
            Speaks::Smtp => Protocol::Smtp,
        };
        let mut dialogue = Dialogue::plain(tcp, protocol, "kimgate.invalid", true);
        match dialogue.talk(PATIENCE).await {
            Ok(Pause::StartTls) => {}
            Ok(Pause::Refused(answer)) => {
                let words = crate::printable::printable(answer.first_line()).into_owned();
                return Err(before(&format!("it refused us: {words}")));
            }
            Ok(_) => return Err(before(&"it went on without TLS")),
            Err(Trouble::Gone | Trouble::Certificate(_)) => {
                return Err(before(&"it closed the connection"));
            }
            Err(Trouble::Silent) => {
                return Err(before(&"no greeting in time; try it without --starttls"));
            }
            Err(Trouble::Tls) => {
                return Err(before(&"the port speaks TLS at once; leave --starttls out"));
            }
            Err(Trouble::Protocol(error)) => return Err(before(&error)),
        }
        dialogue.secure(tls).await.map_err(Fault::Handshake)?;
        dialogue.into_tls().ok_or_else(|| before(&"it went on without TLS"))
    }

    fn tls(&self, trust: ClientModuleTrust) -> Result<UpstreamTls, Failure> {
        let trust = ClientModuleTrust { ca: self.ca.clone(), ..trust };
        UpstreamTls::load(&trust, &self.target.host).map_err(Failure::error)
    }

    fn pinned(&self, facts: &CertificateFacts) -> Result<ClientModuleTrust, Failure> {
        let pin: Pin = facts.fingerprint.parse().map_err(Failure::error)?;
        Ok(ClientModuleTrust { pins: vec![pin], ..ClientModuleTrust::default() })
    }

    /// The verdict under each kind of policy, with the policy as it is written.
    fn judge_all(
        &self,
        shown: &Shown,
        place: &Place,
    ) -> Result<Vec<(&'static str, Verdict)>, Failure> {
        let known = place.known.as_ref();
        let replaces = known.filter(|known| known.fingerprint != shown.facts.fingerprint);
        let ignoring = |self_signed, name_mismatch| ClientModuleTrust {
            ignore_self_signed: self_signed,
            ignore_name_mismatch: name_mismatch,
            ..ClientModuleTrust::default()
        };
        let policies = [
            (
                if self.ca.is_empty() { "no line at all" } else { "ca alone" },
                ignoring(false, false),
            ),
            ("ignore = [\"self-signed\"]", ignoring(true, false)),
            ("ignore = [\"name-mismatch\"]", ignoring(false, true)),
            ("ignore = [\"self-signed\", \"name-mismatch\"]", ignoring(true, true)),
            ("pins = [its fingerprint]", self.pinned(&shown.facts)?),
        ];
        let now = UnixTime::now();
        policies
            .into_iter()
            .map(|(written, trust)| {
                let verdict = self.tls(trust)?.judge(&shown.chain, now);
                Ok((written, Verdict { replaces: replaces.cloned(), ..verdict }))
            })
            .collect()
    }

    fn show(
        &self,
        screen: &mut Screen,
        shown: &Shown,
        place: &Place,
        judged: &[(&'static str, Verdict)],
    ) {
        let facts = &shown.facts;
        screen.headline(&self.target.to_string());
        let own = if facts.subject == facts.issuer { " (itself)" } else { "" };
        let names = match facts.names.as_slice() {
            [] => "none (no subjectAltName)".into(),
            names => names.join(", "),
        };
        let rows = [
            ("subject", facts.subject.clone()),
            ("issuer", format!("{}{own}", facts.issuer)),
            ("names", names),
            ("valid", validity(facts)),
            ("key", format!("{}, signed with {}", facts.key, facts.signature)),
            ("serial", facts.serial.clone()),
            ("fingerprint", facts.fingerprint.clone()),
        ];
        for (name, value) in rows {
            screen.say(&format!("  {name:<12} {value}"));
        }
        for above in shown.chain.iter().skip(1).filter_map(|der| CertificateFacts::read(der)) {
            screen.say(&format!(
                "  {:<12} {}, until {}",
                "sent with it",
                above.subject,
                above.not_after.date()
            ));
        }
        if let Some(known) = &place.known {
            let since = OffsetDateTime::from_unix_timestamp(known.since).map(|at| at.date());
            let since = since.map_or(String::new(), |day| format!(" since {day}"));
            let told = match known.fingerprint == facts.fingerprint {
                true => format!("the gateway has met it{since}"),
                false => format!("CHANGED: the gateway has met {}{since}", known.fingerprint),
            };
            screen.say(&format!("  {:<12} {told}", "known"));
        }
        match &shown.handshake {
            Some(Ok(spoken)) => screen.say(&format!("  {:<12} {spoken}", "handshake")),
            Some(Err(why)) => screen.say(&format!("  {:<12} failed: {why}", "handshake")),
            None => {}
        }
        screen.say("");
        let width = judged.iter().map(|(written, _)| written.len()).max().unwrap_or(0);
        for (written, verdict) in judged {
            let line = format!("{written:<width$}  {}", verdict.class);
            if verdict.accepted { screen.done(line) } else { screen.failed(line) }
        }
        screen.say("");
        self.conclude(screen, shown, place, judged);
    }

    fn conclude(
        &self,
        screen: &mut Screen,
        shown: &Shown,
        place: &Place,
        judged: &[(&'static str, Verdict)],
    ) {
        let Some((_, strict)) = judged.first() else { return };
        let table = format!("[client_modules.{}.trust]", place.key);
        screen.say(&format!("{}.", strict.finding(Language::En)));
        if let Some(change) = strict.change(Language::En) {
            screen.say(&change);
        }
        if strict.accepted {
            let files = self.ca.iter().map(|path| path.to_string_lossy().into_owned());
            screen.say("It is accepted with:");
            screen.say("");
            screen.say(&table);
            screen.say(&format!("ca = {}", files.collect::<toml_edit::Array>()));
            return;
        }
        let lines = strict.accepting_lines();
        let [best, rest @ ..] = lines.as_slice() else {
            screen.say(&strict.advice(Language::En));
            return;
        };
        if strict.class == Class::UnknownIssuer {
            screen.say(
                "`ignore` does not help here: it tolerates \"self-signed\" and \"name-mismatch\", and \
                 no unknown issuer.",
            );
        }
        self.say_how_to_compare(screen, shown);
        screen.say(&table);
        screen.say(best);
        for line in rest {
            let why = match line.starts_with("ca") {
                true => "or, where you have its issuer's certificate",
                false => "or, which accepts any other such certificate too",
            };
            screen.say(&format!("# {why}: {line}"));
        }
        if matches!(shown.handshake, Some(Err(_))) {
            screen.say("");
            screen.say("That alone will not do, since the handshake fails for another reason.");
        }
    }

    /// Only there it is certain that the client module answers, and no other machine.
    fn say_how_to_compare(&self, screen: &mut Screen, shown: &Shown) {
        let port = self.target.port;
        let (kimgate, openssl) = match self.starttls {
            None => ("", ""),
            Some(Speaks::Pop3) => (" --starttls pop3", " -starttls pop3"),
            Some(Speaks::Smtp) => (" --starttls smtp", " -starttls smtp"),
        };
        screen.say(
            "Compare the fingerprint at the client module's own PC, with kimgate or with openssl:",
        );
        screen.say("");
        screen.say(&format!("  kimgate trust localhost:{port}{kimgate}"));
        screen.say(&format!(
            "  openssl s_client -connect localhost:{port}{openssl} </dev/null | openssl x509 \
             -noout -fingerprint -sha256"
        ));
        screen.say("");
        screen.say(&format!("If it is another one than {}, write", shown.facts.fingerprint));
        screen.say("nothing: another machine answers here. If it is the same, write:");
        screen.say("");
    }

    fn told(&self, shown: &Shown, place: &Place, judged: &[(&'static str, Verdict)]) -> Value {
        let policies: Vec<Value> = judged
            .iter()
            .map(|(written, verdict)| {
                json!({
                    "policy": written,
                    "accepted": verdict.accepted,
                    "class": verdict.class.as_str(),
                })
            })
            .collect();
        let strict = judged.first().map(|(_, verdict)| verdict);
        let above = shown.chain.iter().skip(1).filter_map(|der| CertificateFacts::read(der));
        json!({
            "target": self.target.to_string(),
            "certificate": described(&shown.facts),
            "sent_with_it": above.map(|facts| described(&facts)).collect::<Vec<_>>(),
            "handshake": shown.handshake.as_ref().and_then(|outcome| outcome.as_ref().ok()),
            "handshake_error": shown.handshake.as_ref().and_then(|outcome| outcome.as_ref().err()),
            "verdict": strict.map(|verdict| verdict.class.as_str()),
            "sentence": strict.map(|verdict| verdict.sentence(Language::En)),
            "known_fingerprint": place.known.as_ref().map(|known| &known.fingerprint),
            "table": format!("client_modules.{}.trust", place.key),
            "policies": policies,
            "accepting_lines": strict.map(Verdict::accepting_lines).unwrap_or_default(),
        })
    }

    fn explained(&self, error: &std::io::Error) -> String {
        match verdict_of(error) {
            Some(verdict) if verdict.class == Class::PlaintextOnTlsPort => format!(
                "{}: {}; add --starttls pop3 or --starttls smtp",
                self.target,
                verdict.finding(Language::En)
            ),
            Some(verdict) => format!("{}: {}", self.target, verdict.sentence(Language::En)),
            None => format!("{}: {error}", self.target),
        }
    }
}

/// A name as it stands between the dots of a table's name.
fn toml_key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => toml_edit::Value::from(name).to_string(),
    }
}

/// Why there was no handshake, or none that went through.
enum Fault {
    Before(String),
    Handshake(std::io::Error),
}

fn peer_chain(secured: &rustls::ClientConnection) -> Vec<CertificateDer<'static>> {
    let chain = secured.peer_certificates().unwrap_or_default();
    chain.iter().map(|der| der.clone().into_owned()).collect()
}

fn validity(facts: &CertificateFacts) -> String {
    let now = OffsetDateTime::now_utc();
    let state = if now > facts.not_after {
        "over".into()
    } else if now < facts.not_before {
        "not yet".into()
    } else {
        match (facts.not_after - now).whole_days() {
            1 => "1 more day".into(),
            days => format!("{days} more days"),
        }
    };
    format!("{} to {} ({state})", facts.not_before.date(), facts.not_after.date())
}

fn described(facts: &CertificateFacts) -> Value {
    json!({
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": facts.names,
        "not_before": facts.not_before.date().to_string(),
        "not_after": facts.not_after.date().to_string(),
        "key": facts.key,
        "signature": facts.signature,
        "serial": facts.serial,
        "fingerprint": facts.fingerprint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_host_and_a_port() {
        for (text, shown) in [
            ("192.168.0.22:995", "192.168.0.22:995"),
            ("[fd00::22]:995", "[fd00::22]:995"),
            ("kim-server:110", "kim-server:110"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        for bad in ["", "kim", "kim:", ":995", "kim:99999", "fd00::22:995", "[kim]:1", "a b:1"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
