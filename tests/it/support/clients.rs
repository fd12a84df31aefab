//! Stock mail clients, each told where to connect, as whom, and what to send or fetch.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kimgate::sim::Mechanism;
use kimgate::words::Security;
use tempfile::TempDir;
use tokio::process::Command;

use super::tools::{self, Finished};

/// How a client secures its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// From the first byte.
    Implicit,
    /// After STARTTLS or STLS.
    StartTls,
}

impl Tls {
    /// The same on the server's side.
    pub(crate) fn security(self) -> Security {
        match self {
            Self::Implicit => Security::Implicit,
            Self::StartTls => Security::StartTls,
        }
    }
}

/// What a person types into a mail client as server, port and security, and whom to trust.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    /// PEM file with the authority of the server's certificate.
    pub(crate) ca: PathBuf,
}

/// As whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User<'a> {
    pub(crate) login: &'a str,
    pub(crate) password: &'a str,
}

impl User<'_> {
    /// Bytes of the two as PLAIN has them, a NUL before each.
    fn plain(self) -> usize {
        self.login.len() + self.password.len() + 2
    }
}

/// What curl sends as initial response at most, mechanism and base64 together: a command line as
/// RFC 5321 and RFC 2449 have it, less `AUTH`, two blanks and CRLF. Longer ones wait for the prompt.
const CURL_SMTP: usize = 512 - 8;
const CURL_POP3: usize = 255 - 8;

/// A program that sends over SMTP, and how it logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Takes PLAIN, and waits for the server's 334 before it says anything secret.
    Curl,
    /// PLAIN with initial response.
    CurlInitialResponse,
    /// LOGIN with the user on the same line.
    CurlLoginInitial,
    SwaksPlain,
    SwaksLogin,
    MsmtpPlain,
    MsmtpLogin,
    PythonPlain,
    PythonPlainChallenge,
    PythonLogin,
}

impl Sender {
    pub(crate) const ALL: [Self; 10] = [
        Self::Curl,
        Self::CurlInitialResponse,
        Self::CurlLoginInitial,
        Self::SwaksPlain,
        Self::SwaksLogin,
        Self::MsmtpPlain,
        Self::MsmtpLogin,
        Self::PythonPlain,
        Self::PythonPlainChallenge,
        Self::PythonLogin,
    ];

    /// The program behind it.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Curl | Self::CurlInitialResponse | Self::CurlLoginInitial => "curl",
            Self::SwaksPlain | Self::SwaksLogin => "swaks",
            Self::MsmtpPlain | Self::MsmtpLogin => "msmtp",
            Self::PythonPlain | Self::PythonPlainChallenge | Self::PythonLogin => "python3",
        }
    }

    /// How its login comes.
    pub(crate) fn mechanism(self, user: User<'_>) -> Mechanism {
        let fits = |octets| 4 * usize::div_ceil(octets, 3) + "PLAIN".len() <= CURL_SMTP;
        match self {
            Self::Curl | Self::PythonPlainChallenge => Mechanism::PlainPrompted,
            Self::CurlInitialResponse if !fits(user.plain()) => Mechanism::PlainPrompted,
            Self::CurlInitialResponse | Self::SwaksPlain | Self::MsmtpPlain | Self::PythonPlain => {
                Mechanism::PlainInitial
            }
            Self::CurlLoginInitial if !fits(user.login.len()) => Mechanism::LoginPrompted,
            Self::CurlLoginInitial => Mechanism::LoginInitial,
            Self::SwaksLogin | Self::MsmtpLogin | Self::PythonLogin => Mechanism::LoginPrompted,
        }
    }

    /// Bytes of the longest login that it can send. msmtp ends a command at 4,094 bytes, and
    /// base64 makes three bytes four.
    pub(crate) fn longest_login(self) -> usize {
        if self.program() == "msmtp" { 2_900 } else { usize::MAX }
    }

    /// Sends one message from one address to one other.
    pub(crate) async fn send(
        self,
        to: &Endpoint,
        user: User<'_>,
        envelope: (&str, &str),
        message: &[u8],
    ) -> Finished {
        let scratch = tempfile::tempdir().unwrap();
        let (from, recipient) = envelope;
        let mut command = tools::command(self.program());
        match self {
            Self::Curl | Self::CurlInitialResponse | Self::CurlLoginInitial => {
                let url = format!("{}/client.test", url("smtp", to, user));
                command.arg("--config").arg(curl_config(&scratch, to, &url));
                command.args(["--mail-from", from, "--mail-rcpt", recipient, "--upload-file", "-"]);
                if self != Self::Curl {
                    command.arg("--sasl-ir");
                }
                if self == Self::CurlLoginInitial {
                    command.args(["--login-options", "AUTH=LOGIN"]);
                }
            }
            Self::SwaksPlain | Self::SwaksLogin => {
                let mechanism = if self == Self::SwaksPlain { "PLAIN" } else { "LOGIN" };
                let file = write(&scratch, "message", &ended_by_a_dot(message));
                swaks(&mut command, to, user, mechanism);
                command.args(["--from", from, "--to", recipient, "--no-data-fixup", "--data"]);
                command.arg(format!("@{}", file.display()));
            }
            Self::MsmtpPlain | Self::MsmtpLogin => {
                let mechanism = if self == Self::MsmtpPlain { "plain" } else { "login" };
                command.arg("--file").arg(msmtp_config(&scratch, to, user, mechanism, from));
                command.args([&format!("--user={}", user.login), "--", recipient]);
            }
            Self::PythonPlain => {
                python(&mut command, "send", to, user, &["plain", from, recipient])
            }
            Self::PythonPlainChallenge => {
                python(&mut command, "send", to, user, &["plain-challenge", from, recipient]);
            }
            Self::PythonLogin => {
                python(&mut command, "send", to, user, &["login", from, recipient])
            }
        }
        tools::run(&mut command, message).await
    }
}

/// A program that fetches over POP3, and how it logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetcher {
    /// AUTH PLAIN, and the rest when it is asked for; leaves the messages where they are.
    Curl,
    /// AUTH PLAIN with initial response; leaves the messages where they are.
    CurlInitialResponse,
    /// USER and PASS; deletes what it has fetched.
    Fetchmail,
    /// USER and PASS; deletes what it has fetched.
    PythonUser,
    /// AUTH PLAIN with initial response; deletes what it has fetched.
    PythonPlain,
}

/// What a fetching client did.
pub(crate) struct Fetched {
    pub(crate) ok: bool,
    pub(crate) said: String,
    /// In the order of the maildrop.
    pub(crate) messages: Vec<Vec<u8>>,
}

impl Fetcher {
    pub(crate) const ALL: [Self; 5] = [
        Self::Curl,
        Self::CurlInitialResponse,
        Self::Fetchmail,
        Self::PythonUser,
        Self::PythonPlain,
    ];

    /// The program behind it.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Curl | Self::CurlInitialResponse => "curl",
            Self::Fetchmail => "fetchmail",
            Self::PythonUser | Self::PythonPlain => "python3",
        }
    }

    /// Whether it deletes what it has fetched.
    pub(crate) fn deletes(self) -> bool {
        self.program() != "curl"
    }

    /// How its login comes.
    pub(crate) fn mechanism(self, user: User<'_>) -> Mechanism {
        let fits = 4 * user.plain().div_ceil(3) + "PLAIN".len() <= CURL_POP3;
        match self {
            Self::Curl => Mechanism::PlainPrompted,
            Self::CurlInitialResponse if !fits => Mechanism::PlainPrompted,
            Self::CurlInitialResponse | Self::PythonPlain => Mechanism::PlainInitial,
            Self::Fetchmail | Self::PythonUser => Mechanism::UserPass,
        }
    }

    /// Whether it keeps the line ends that came over the wire.
    pub(crate) fn keeps_line_ends(self) -> bool {
        self != Self::Fetchmail
    }

    /// Fetches everything.
    pub(crate) async fn fetch(self, from: &Endpoint, user: User<'_>) -> Fetched {
        match self {
            Self::Curl => curl_fetch(from, user, &[]).await,
            Self::CurlInitialResponse => curl_fetch(from, user, &["--sasl-ir"]).await,
            Self::Fetchmail => fetchmail(from, user).await,
            Self::PythonUser => python_fetch(from, user, "user").await,
            Self::PythonPlain => python_fetch(from, user, "plain").await,
        }
    }
}

async fn curl_fetch(from: &Endpoint, user: User<'_>, options: &[&str]) -> Fetched {
    let scratch = tempfile::tempdir().unwrap();
    let mut fetched = Fetched { ok: true, said: String::new(), messages: Vec::new() };
    let base = url("pop3", from, user);
    let mut get = async |path: &str| {
        let config = curl_config(&scratch, from, &format!("{base}/{path}"));
        let mut command = tools::command("curl");
        let done = tools::run(command.args(options).arg("--config").arg(config), b"").await;
        fetched.ok &= done.ok;
        if !done.ok {
            fetched.said.push_str(&done.said);
        }
        done.stdout
    };
    let list = String::from_utf8_lossy(&get("").await).into_owned();
    let mut messages = Vec::new();
    for number in list.lines().filter_map(|line| line.split_whitespace().next()) {
        messages.push(get(number).await);
    }
    fetched.messages = messages;
    fetched
}

async fn fetchmail(from: &Endpoint, user: User<'_>) -> Fetched {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("fetched");
    fs::create_dir(&out).unwrap();
    let security = match from.tls {
        Tls::Implicit => "ssl sslproto \"TLS1.2+\"",
        Tls::StartTls => "sslproto \"TLS1.2+\"",
    };
    let rc = format!(
        "set invisible\n\
         poll {} service {} protocol POP3 uidl auth password\n\
         username {} password {} {security} sslcertck sslcertfile {}\n\
         fetchall nokeep norewrite nodropstatus nodropdelivered no mimedecode\n\
         mda \"cat > {}/$(ls {} | wc -l)\"\n",
        from.host,
        from.port,
        quoted(user.login),
        quoted(user.password),
        quoted(&from.ca.display().to_string()),
        out.display(),
        out.display(),
    );
    let rc = write(&scratch, "fetchmailrc", rc.as_bytes());
    let mut command = tools::command("fetchmail");
    command.env("HOME", scratch.path()).env("FETCHMAILHOME", scratch.path());
    command.arg("--fetchmailrc").arg(rc).args(["--nodetach", "--nosyslog", "-v"]);
    // Root's has one place for the whole machine, and a second fetchmail does not start.
    command.arg("--pidfile").arg(scratch.path().join("pid"));
    let done = tools::run(&mut command, b"").await;
    let mut files: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let messages = files.iter().map(|file| fs::read(file).unwrap()).collect();
    Fetched { ok: done.ok, said: done.said, messages }
}

async fn python_fetch(from: &Endpoint, user: User<'_>, mechanism: &str) -> Fetched {
    let mut command = tools::command("python3");
    python(&mut command, "fetch", from, user, &[mechanism, "delete"]);
    let done = tools::run(&mut command, b"").await;
    let lines = String::from_utf8_lossy(&done.stdout).into_owned();
    let messages = if done.ok { lines.lines().map(decoded).collect() } else { Vec::new() };
    Fetched { ok: done.ok, said: done.said, messages }
}

fn python(command: &mut Command, verb: &str, at: &Endpoint, user: User<'_>, rest: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/mail.py");
    let tls = match at.tls {
        Tls::Implicit => "implicit",
        Tls::StartTls => "starttls",
    };
    command.arg(script).args([verb, &at.host, &at.port.to_string(), tls]).arg(&at.ca).args(rest);
    command.env("MAIL_LOGIN", user.login).env("MAIL_PASSWORD", user.password);
}

fn swaks(command: &mut Command, to: &Endpoint, user: User<'_>, mechanism: &str) {
    let tls = match to.tls {
        Tls::Implicit => "--tls-on-connect",
        Tls::StartTls => "--tls",
    };
    command.args(["--server", &to.host, "--port", &to.port.to_string(), "--ehlo", "client.test"]);
    command.args([tls, "--tls-verify", "--tls-ca-path"]).arg(&to.ca);
    command.args(["--auth", mechanism, "--auth-user", user.login]);
    command.args(["--auth-password", user.password, "--auth-hide-password", "--timeout", "30"]);
}

/// The login is not in here: a line of this file ends at 500 characters.
fn msmtp_config(
    scratch: &TempDir,
    to: &Endpoint,
    user: User<'_>,
    mechanism: &str,
    from: &str,
) -> PathBuf {
    let starttls = if to.tls == Tls::StartTls { "on" } else { "off" };
    let text = format!(
        "account default\nhost {}\nport {}\ntls on\ntls_starttls {starttls}\ntls_trust_file {}\n\
         auth {mechanism}\npassword {}\nfrom {from}\nundisclosed_recipients off\n\
         set_date_header off\nset_from_header off\nset_msgid_header off\n",
        to.host,
        to.port,
        to.ca.display(),
        quoted(user.password),
    );
    write(scratch, "msmtprc", text.as_bytes())
}

/// The login has to stand in the URL, where it is percent-encoded: `--user` ends it at its first
/// colon, and every KIM login holds one.
fn url(scheme: &str, at: &Endpoint, user: User<'_>) -> String {
    let secure = if at.tls == Tls::Implicit { "s" } else { "" };
    let (login, password) = (percent(user.login), percent(user.password));
    format!("{scheme}{secure}://{login}:{password}@{}:{}", at.host, at.port)
}

fn curl_config(scratch: &TempDir, at: &Endpoint, url: &str) -> PathBuf {
    let text = format!(
        "url = \"{url}\"\ncacert = \"{}\"\nssl-reqd\nsilent\nshow-error\nmax-time = 50\n",
        at.ca.display()
    );
    write(scratch, "curlrc", text.as_bytes())
}

/// A file that only its owner reads, as clients demand of one with a password.
fn write(scratch: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    use std::io::Write;
    let path = scratch.path().join(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(content).unwrap();
    path
}

/// A message as it goes over the wire after DATA, without the line end after its last dot.
fn ended_by_a_dot(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in message.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.push(b'.');
    wire
}

fn percent(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric();
    text.bytes()
        .map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn decoded(line: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(line.trim()).unwrap()
}
