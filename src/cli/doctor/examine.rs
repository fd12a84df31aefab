//! One client module by one protocol: each step only where the one before it went well.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::texts::Texts;
use super::{Credential, Outcome, Step, capabilities};
use crate::cli::Screen;
use crate::cli::dial::{self, Dialogue, PATIENCE, Pause, Trouble};
use crate::gateway::ClientModuleConfig;
use crate::printable::printable;
use crate::proto::ProtocolError;
use crate::proto::back::Answer;
use crate::proto::sasl::Credentials;
use crate::secret::Secret;
use crate::trust::{Class, KnownCertificates, UpstreamTls, Verdict, verdict_of};
use crate::words::{Protocol, Security};

/// A certificate that expires within so many days is mentioned.
const SOON: i64 = 30;

/// The steps of one client module by one protocol.
pub(super) struct Examination<'a> {
    /// Where steps are shown as they are taken.
    pub(super) screen: Option<&'a mut Screen>,
    pub(super) texts: Texts,
    pub(super) own_name: &'a str,
    pub(super) name: &'a str,
    pub(super) module: &'a ClientModuleConfig,
    pub(super) protocol: Protocol,
    /// What `kimgate run` has met.
    pub(super) known: &'a KnownCertificates,
    /// How long a login may take.
    pub(super) login_timeout: Duration,
    pub(super) steps: Vec<Step>,
    /// A login with this password was refused; another try might lock the account.
    pub(super) password_is_wrong: bool,
}

/// A step failed. It is recorded, and the steps after it are left out.
struct Stopped;

impl Examination<'_> {
    /// Takes every step there is.
    pub(super) async fn walk(
        &mut self,
        credential: &Credential<'_>,
        password: Option<&Secret<String>>,
    ) {
        // Where it stops, the steps say why.
        let _ = self.all_steps(credential, password).await;
    }

    async fn all_steps(
        &mut self,
        credential: &Credential<'_>,
        password: Option<&Secret<String>>,
    ) -> Result<(), Stopped> {
        let tls = self.material()?;
        let addresses = self.resolve().await?;
        let tcp = self.connect(&addresses).await?;
        let mut dialogue = self.reach(tcp, tls.as_ref()).await?;
        self.capabilities(&dialogue);
        let outcome = match (credential, password) {
            (Credential::Login(login), Some(password)) => {
                self.log_in(&mut dialogue, login, password).await
            }
            (Credential::OtherProtocol(port), Some(_)) => {
                let text = self.texts.login_of_other_protocol(port, self.protocol);
                self.note("login", Instant::now(), text, None);
                Ok(())
            }
            (Credential::None, _) | (_, None) => Ok(()),
        };
        dialogue.quit();
        // Everything has been learnt; whether QUIT is answered changes nothing.
        let _ = dialogue.talk(PATIENCE).await;
        outcome
    }

    fn material(&mut self) -> Result<Option<UpstreamTls>, Stopped> {
        if self.module.security == Security::None {
            return Ok(None);
        }
        let started = Instant::now();
        match UpstreamTls::load(&self.module.trust, &self.module.host) {
            Ok(tls) => Ok(Some(tls)),
            Err(error) => self.fail("certificate", started, error.to_string(), None),
        }
    }

    async fn resolve(&mut self) -> Result<Vec<SocketAddr>, Stopped> {
        let started = Instant::now();
        let host = self.module.host.as_str();
        let port = self.module.port(self.protocol);
        let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
        let found = looked_up.unwrap_or_else(|late| Err(late.into()));
        let addresses: Vec<SocketAddr> = match found {
            Ok(found) => found.collect(),
            Err(error) => {
                let advice = self.texts.advice_resolve(self.name);
                return self.fail("resolve", started, error.to_string(), Some(advice));
            }
        };
        let shown: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
        self.pass("resolve", started, shown.join(", "));
        Ok(addresses)
    }

    async fn connect(&mut self, addresses: &[SocketAddr]) -> Result<TcpStream, Stopped> {
        let started = Instant::now();
        match dial::connect(addresses).await {
            Ok(tcp) => {
                let peer = tcp.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
                self.pass("connect", started, peer);
                Ok(tcp)
            }
            Err(error) => {
                let port = self.module.port(self.protocol);
                let advice = match error.kind() == io::ErrorKind::ConnectionRefused {
                    true => self.texts.advice_refused(self.protocol, port),
                    false => self.texts.advice_unreachable(&self.module.host, port),
                };
                self.fail("connect", started, self.texts.connect_error(&error), Some(advice))
            }
        }
    }

    /// TLS, certificate and greeting, in the order that the port has them.
    async fn reach(
        &mut self,
        tcp: TcpStream,
        tls: Option<&UpstreamTls>,
    ) -> Result<Dialogue, Stopped> {
        let implicit = self.module.security == Security::Implicit;
        if let (true, Some(tls)) = (implicit, tls) {
            let started = Instant::now();
            let secured = match dial::handshake(tcp, tls).await {
                Ok(secured) => secured,
                Err(error) => return self.handshake_failed(started, &error),
            };
            self.pass("tls", started, dial::described(secured.get_ref().1));
            self.certificate(Verdict::clone(
                &tls.verdict(secured.get_ref().1.peer_certificates().unwrap_or_default()),
            ))?;
            let mut dialogue = Dialogue::secured(secured, self.protocol, self.own_name);
            self.greeting(&mut dialogue).await?;
            return Ok(dialogue);
        }
        let mut dialogue = Dialogue::plain(tcp, self.protocol, self.own_name, tls.is_some());
        self.greeting(&mut dialogue).await?;
        if let Some(tls) = tls {
            let started = Instant::now();
            if let Err(error) = dialogue.secure(tls).await {
                return self.handshake_failed(started, &error);
            }
            if let Some(secured) = dialogue.tls() {
                let chain = secured.peer_certificates().unwrap_or_default();
                let (spoken, verdict) = (dial::described(secured), tls.verdict(chain));
                self.pass("tls", started, spoken);
                self.certificate(Verdict::clone(&verdict))?;
            }
            let started = Instant::now();
            match dialogue.talk(PATIENCE).await {
                Ok(Pause::Ready) => {}
                Ok(_) => return self.fail("greeting", started, self.texts.out_of_order(), None),
                Err(trouble) => return self.trouble("greeting", started, &trouble),
            }
        }
        Ok(dialogue)
    }

    fn handshake_failed<T>(&mut self, started: Instant, error: &io::Error) -> Result<T, Stopped> {
        match verdict_of(error) {
            // It speaks TLS, and what it shows is not what the configuration accepts.
            Some(verdict) if verdict.certificate.is_some() => {
                self.pass("tls", started, self.texts.spoken());
                self.certificate(verdict)?;
                Err(Stopped)
            }
            Some(verdict) => self.refuse("tls", started, &verdict),
            None => {
                let advice = self.texts.advice_tls_silent();
                self.fail("tls", started, self.texts.connect_error(error), Some(advice))
            }
        }
    }

    fn certificate(&mut self, mut verdict: Verdict) -> Result<(), Stopped> {
        let started = Instant::now();
        self.known.compare(&self.module.place(self.protocol), &mut verdict);
        if !verdict.accepted {
            return self.refuse("certificate", started, &verdict);
        }
        let text = self.texts.accepted_certificate(&verdict);
        let days = verdict
            .certificate
            .as_ref()
            .map_or(SOON, |facts| (facts.not_after - OffsetDateTime::now_utc()).whole_days());
        if days < SOON {
            let advice = self.texts.advice_certificate_ends(days);
            self.note("certificate", started, text, Some(advice));
        } else if let Some(change) = verdict.change(self.texts.0) {
            let advice =
                self.placed(&format!("{change} {}", self.texts.advice_certificate_changed()));
            self.note("certificate", started, text, Some(advice));
        } else if matches!(verdict.class, Class::Ok | Class::Pinned) {
            self.pass("certificate", started, text);
        } else {
            let advice = verdict.advice(self.texts.0);
            self.note("certificate", started, text, Some(advice));
        }
        Ok(())
    }

    fn refuse<T>(
        &mut self,
        step: &'static str,
        started: Instant,
        verdict: &Verdict,
    ) -> Result<T, Stopped> {
        let text = self.texts.refused_certificate(verdict);
        let advice = verdict.advice(self.texts.0);
        let advice = match verdict.change(self.texts.0) {
            Some(change) => format!("{change} {advice}"),
            None => advice,
        };
        let advice = self.placed(&advice);
        self.fail(step, started, text, Some(advice))
    }

    /// The advice with this client module's name and port in it.
    fn placed(&self, advice: &str) -> String {
        let port = self.module.port(self.protocol);
        let starttls = match self.module.security {
            Security::StartTls => format!(" --starttls {}", self.protocol),
            Security::Implicit | Security::None => String::new(),
        };
        advice
            .replace("client_modules.NAME", &format!("client_modules.{}", self.name))
            .replace("localhost:PORT", &format!("localhost:{port}{starttls}"))
    }

    async fn greeting(&mut self, dialogue: &mut Dialogue) -> Result<(), Stopped> {
        let started = Instant::now();
        match dialogue.talk(PATIENCE).await {
            Ok(Pause::Ready | Pause::StartTls) => {
                let greeting = first_line(dialogue.greeting());
                self.pass("greeting", started, greeting);
                Ok(())
            }
            Ok(Pause::Refused(answer)) => {
                let text = self.texts.greeted_with_refusal(&printable(answer.first_line()));
                let advice = self.texts.advice_busy();
                self.fail("greeting", started, text, Some(advice))
            }
            Ok(Pause::LoggedIn(_) | Pause::Done) => {
                self.fail("greeting", started, self.texts.out_of_order(), None)
            }
            Err(trouble) => self.trouble("greeting", started, &trouble),
        }
    }

    /// What it answered to EHLO or CAPA.
    fn capabilities(&mut self, dialogue: &Dialogue) {
        let started = Instant::now();
        let offered = capabilities::offered(self.protocol, dialogue.last_answer());
        let missing = capabilities::missing(self.protocol, &offered);
        let shown: Vec<String> = offered.iter().map(|line| printable(line).into_owned()).collect();
        let text = match shown.is_empty() {
            true => self.texts.nothing_offered(self.protocol),
            false => shown.join(", "),
        };
        if missing.is_empty() {
            self.pass("capabilities", started, text);
        } else {
            let advice = missing.iter().map(|missing| self.texts.missing(*missing));
            let advice: Vec<String> = advice.collect();
            self.note("capabilities", started, text, Some(advice.join(" ")));
        }
    }

    /// One login, and never a second one: the KIM mail service locks accounts.
    async fn log_in(
        &mut self,
        dialogue: &mut Dialogue,
        login: &str,
        password: &Secret<String>,
    ) -> Result<(), Stopped> {
        let started = Instant::now();
        if self.password_is_wrong {
            let text = self.texts.not_tried_again();
            self.note("login", started, text, None);
            return Ok(());
        }
        let offers = capabilities::offered(self.protocol, dialogue.last_answer());
        let Some(credentials) = credentials(self.protocol, &offers, login, password) else {
            let text = self.texts.unfit_password();
            return self.fail("login", started, text, None);
        };
        dialogue.log_in(&credentials);
        match dialogue.talk(self.login_timeout).await {
            Ok(Pause::LoggedIn(answer)) => {
                let words = hidden(&printable(answer.first_line()), login, password);
                self.pass("login", started, words);
                Ok(())
            }
            Ok(Pause::Refused(answer)) => {
                self.password_is_wrong = true;
                let words = hidden(&printable(answer.first_line()), login, password);
                let advice = self.advice_login(&answer, login);
                self.fail("login", started, words, Some(advice))
            }
            Ok(Pause::Ready | Pause::StartTls | Pause::Done) => {
                self.fail("login", started, self.texts.out_of_order(), None)
            }
            Err(trouble) => {
                // It is not known whether this counted as a failed login.
                self.password_is_wrong = true;
                self.trouble("login", started, &trouble)
            }
        }
    }

    fn advice_login(&self, answer: &Answer, login: &str) -> String {
        let line = answer.first_line().to_ascii_uppercase();
        match (self.protocol, answer.code()) {
            (Protocol::Smtp, 501) => self.texts.advice_context(login.contains('#')),
            (Protocol::Smtp, 535) => self.texts.advice_password(),
            (Protocol::Smtp, 421 | 451 | 454) => self.texts.advice_mail_service(),
            (Protocol::Pop3, _) if line.contains("[AUTH]") => self.texts.advice_password(),
            (Protocol::Pop3, _) if line.contains("[IN-USE]") => self.texts.advice_in_use(),
            (Protocol::Pop3, _) if line.contains("[SYS/") => self.texts.advice_mail_service(),
            (_, _) => self.texts.advice_any_login(),
        }
    }

    fn trouble<T>(
        &mut self,
        step: &'static str,
        started: Instant,
        trouble: &Trouble,
    ) -> Result<T, Stopped> {
        let (text, advice) = match trouble {
            Trouble::Gone => (self.texts.gone(), self.texts.advice_gone()),
            Trouble::Silent if step == "greeting" && self.module.security != Security::Implicit => {
                (self.texts.silent(), self.texts.advice_silent_in_clear())
            }
            Trouble::Silent => (self.texts.silent(), self.texts.advice_log()),
            Trouble::Tls => {
                let verdict = Verdict::of_handshake(Class::TlsOnPlaintextPort);
                return self.refuse(step, started, &verdict);
            }
            Trouble::Certificate(verdict) => return self.refuse(step, started, verdict),
            Trouble::Protocol(error) => {
                // After a password its words may hold that password.
                let error = match step {
                    "login" => error.clone().without_excerpt(),
                    _ => error.clone(),
                };
                let advice = match error {
                    ProtocolError::NotOffered(_) | ProtocolError::TlsRefused { .. } => {
                        self.texts.advice_no_starttls()
                    }
                    ProtocolError::LineTooLong(_)
                    | ProtocolError::AnswerTooLong
                    | ProtocolError::Faulty(_)
                    | ProtocolError::NotAnAnswer(_)
                    | ProtocolError::CodesDiffer
                    | ProtocolError::Unasked(_)
                    | ProtocolError::OutOfStep
                    | ProtocolError::AcceptedTooEarly
                    | ProtocolError::AskedForMore
                    | ProtocolError::OutOfOrder(_) => self.texts.advice_protocol(self.protocol),
                };
                (self.texts.protocol_error(&error), advice)
            }
        };
        self.fail(step, started, text, Some(advice))
    }

    fn pass(&mut self, step: &'static str, started: Instant, text: String) {
        self.write(step, started, Outcome::Good, text, None);
    }

    fn note(&mut self, step: &'static str, started: Instant, text: String, advice: Option<String>) {
        self.write(step, started, Outcome::Noted, text, advice);
    }

    fn fail<T>(
        &mut self,
        step: &'static str,
        started: Instant,
        text: String,
        advice: Option<String>,
    ) -> Result<T, Stopped> {
        self.write(step, started, Outcome::Failed, text, advice);
        Err(Stopped)
    }

    fn write(
        &mut self,
        name: &'static str,
        started: Instant,
        outcome: Outcome,
        text: String,
        advice: Option<String>,
    ) {
        let millis = started.elapsed().as_millis();
        let label = self.texts.label(name);
        let step = Step { step: name, label, outcome, millis, text, advice };
        if let Some(screen) = &mut self.screen {
            show(screen, &step);
        }
        self.steps.push(step);
    }
}

fn show(screen: &mut Screen, step: &Step) {
    let line = format!("{:<14} {:>6} ms  {}", step.label, step.millis, step.text);
    match step.outcome {
        Outcome::Good => screen.done(line),
        Outcome::Noted => screen.noted(line),
        Outcome::Failed => screen.failed(line),
    }
    if let Some(advice) = &step.advice {
        screen.say(&format!("      → {advice}"));
    }
}

/// The mechanism that every client module has, with what it offers; `None` where the password has
/// line ends in it.
fn credentials(
    protocol: Protocol,
    offered: &[String],
    login: &str,
    password: &Secret<String>,
) -> Option<Credentials> {
    let password = password.expose();
    match protocol {
        Protocol::Pop3 => Credentials::user_pass(login.as_bytes(), password.as_bytes()).ok(),
        Protocol::Smtp if capabilities::has_mechanism(offered, "PLAIN") => {
            let message = Zeroizing::new(format!("\0{login}\0{password}"));
            let line = Zeroizing::new(STANDARD.encode(message.as_bytes()));
            Credentials::plain(line.as_bytes(), true).ok()
        }
        Protocol::Smtp => {
            let user = STANDARD.encode(login);
            let password = Zeroizing::new(STANDARD.encode(password));
            Credentials::two_lines(user.as_bytes(), password.as_bytes(), false).ok()
        }
    }
}

fn first_line(answer: &[u8]) -> String {
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    printable(line.trim_end()).into_owned()
}

/// A server's words without the password and without the login, should it repeat them.
fn hidden(words: &str, login: &str, password: &Secret<String>) -> String {
    let words = words.replace(password.expose().as_str(), "[...]");
    if login.contains('#') { words.replace(login, "[...]") } else { words }
}
