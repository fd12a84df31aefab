//! Secrets go through every path that kimgate has, and none of them may be found in what it says:
//! log, audit, metrics, status, console, support bundle.
//!
//! Every secret here holds one word, which `support/hidden.rs` finds in any form.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::support::hidden::find;
use crate::support::kimgate::{ADDRESS, Kimgate, Left, client_module, module_at};
use crate::support::talk::Talk;
use crate::support::tools::run_alone;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kimgate::secret::Secret;
use kimgate::sim::{Accounts, Effect, Fault, Faults, Sim, SimCertificate, SimConfig, What};
use kimgate::words::{Protocol, Reason, Security};
use serde_json::Value;

const WORD: &str = "kanarie";

const PASSWORD: &str = "kanarie-kennwort";
const SUBJECT: &str = "kanarie-betreff";
const RECIPIENT: &str = "kanarie-empfaenger@praxis.kim.telematik";
const SENDER: &str = "kanarie-absender@praxis.kim.telematik";
const MESSAGE: &str = "From: kanarie-von\r\nTo: kanarie-an\r\nSubject: kanarie-betreff\r\n\
    X-KIM-Dienstkennung: eAU;Lieferung;V1.0\r\n\r\nkanarie-inhalt\r\n";

/// Longer than an answer takes that comes at all; some never do.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn no_secret_is_said_in_a_text_log_at_debug() {
    everything_happens("[log]\nformat = \"text\"\nlevel = \"debug\"\n").await;
}

#[tokio::test]
async fn no_secret_is_said_in_a_json_log_at_trace() {
    everything_happens("[log]\nformat = \"json\"\nlevel = \"trace\"\n").await;
}

/// The process has a hook that says where a panic was, so this test has a process for itself.
#[test]
fn a_panic_says_where_it_was_and_nothing_else() {
    if let Some(said) = run_alone("canary::a_panic_says_where_it_was_and_nothing_else") {
        assert!(said.contains("a task panicked") && said.contains("tests/it/canary.rs:"), "{said}");
        assert_eq!(leak(&said), None);
        return;
    }
    kimgate::app::start_log(kimgate::observe::LogConfig::default()).unwrap();
    kimgate::app::silence_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let task = runtime.spawn(async { assert_eq!(PASSWORD, SUBJECT, "{MESSAGE}") });
    assert!(runtime.block_on(task).unwrap_err().is_panic());
}

#[test]
fn a_secret_is_found_in_every_form() {
    let forms = [
        format!("user {PASSWORD} refused"),
        PASSWORD.to_uppercase(),
        format!("{:?}", PASSWORD.as_bytes()),
        STANDARD.encode(format!("\0{}\0x", login(1))),
        STANDARD.encode(PASSWORD),
        STANDARD.encode(format!("x{PASSWORD}")),
        STANDARD.encode(format!("xx{PASSWORD}")),
        PASSWORD.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];
    for form in forms {
        assert!(leak(&form).is_some(), "{form}");
    }
    assert_eq!(leak("level=DEBUG login refused account=prx@praxis.tm.kim.telematik"), None);
}

/// All of it against one `kimgate run`, and then a look at everything it has said.
async fn everything_happens(log: &str) {
    let lab = Lab::start(log).await;
    lab.logins_fail().await;
    lab.sessions_go_well().await;
    lab.policy_refuses().await;
    lab.strangers_talk().await;
    lab.messages_are_refused().await;
    lab.client_modules_fail().await;
    lab.workstations_meet().await;
    lab.configurations_change().await;
    lab.ends().await;
}

struct Lab {
    kimgate: Kimgate,
    sim: Sim,
    _expired: Sim,
    /// Every one that a workstation had.
    replies: Mutex<String>,
}

impl Lab {
    async fn start(log: &str) -> Lab {
        let password = Some(Secret::new(PASSWORD.to_owned()));
        let config =
            SimConfig { accounts: Accounts::AnyLogin { password }, ..SimConfig::default() };
        let sim = Sim::start(config.clone()).await.unwrap();
        let certificate = SimCertificate::Expired;
        let expired = Sim::start(SimConfig { certificate, ..config }).await.unwrap();
        let modules = [
            client_module("main", &sim, Security::Implicit),
            client_module("expired", &expired, Security::Implicit),
            // The discard port, where nothing listens.
            module_at("absent", 9, 9, Security::Implicit, "ignore = [\"self-signed\"]"),
        ];
        let accounts: String =
            (0..ACCOUNTS).map(|at| format!("[accounts.\"{}\"]\n", account(at))).collect();
        let more = [&modules.concat(), RULES, &accounts, log].concat();
        let protocols = [Protocol::Pop3, Protocol::Smtp];
        let kimgate = Kimgate::start(&protocols, &more).await.ready().await;
        Lab { kimgate, sim, _expired: expired, replies: Mutex::default() }
    }

    async fn logins_fail(&self) {
        // The fourth one is answered by kimgate itself.
        for _ in 0..4 {
            self.pop3(PC1, &login(1), "kanarie-falsch", &[]).await;
            self.smtp(PC1, &login(2), "kanarie-falsch", &[]).await;
        }
        let table = [
            "AUTH PLAIN",
            "AUTH PLAIN kanarie!",
            "AUTH PLAIN a2FuYXJpZQ==",
            "AUTH PLAIN AGthbmFyaWU=",
            "AUTH LOGIN a2FuYXJpZQ",
            "AUTH LOGIN kanarie",
            "AUTH kanarie a2FuYXJpZQ==",
            "AUTH kanarie",
            "USER kanarie",
            "USER ",
            "USER \u{1}kanarie#kanarie",
            "USER prx@praxis.tm.kim.telematik#kanarie\u{7}",
            "PASS kanarie",
            "kanarie",
            "APOP kanarie a2FuYXJpZQ==",
            "EHLO kanarie",
            "MAIL FROM:<kanarie@kanarie>",
        ];
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            for line in table {
                let mut talk = self.talk(PC1, protocol).await;
                self.say(&mut talk, &["EHLO kanarie-pc", line, "kanarie", "kanarie", "*"]).await;
                self.say(&mut talk, &[line, "PASS kanarie-kennwort", "a2FuYXJpZQ=="]).await;
            }
            let mut talk = self.talk(PC1, protocol).await;
            self.say(&mut talk, &[&"kanarie".repeat(10_000), "QUIT"]).await;
            let mut talk = self.talk(PC1, protocol).await;
            let long = STANDARD.encode("kanarie".repeat(10_000));
            self.say(&mut talk, &["EHLO kanarie-pc", &format!("AUTH PLAIN {long}")]).await;
            let mut talk = self.talk(PC1, protocol).await;
            let _ = talk.send(b"USER kanarie\nPASS kanarie\n\0kanarie\r\nkanarie\r\r\n").await;
            self.say(&mut talk, &["QUIT"]).await;
        }
    }

    async fn sessions_go_well(&self) {
        self.sim.deliver(ADDRESS, MESSAGE.as_bytes());
        let commands = [
            "STAT",
            "LIST",
            "UIDL",
            "RETR 1",
            "TOP 1 1",
            "RETR kanarie",
            "kanarie",
            "DELE 1",
            "RSET",
            "DELE 1",
            "QUIT",
        ];
        self.pop3(PC1, &login(3), PASSWORD, &commands).await;
        let (mail, rcpt) = (format!("MAIL FROM:<{ADDRESS}>"), format!("RCPT TO:<{RECIPIENT}>"));
        let message = format!("{MESSAGE}.");
        let commands = ["VRFY kanarie", &mail, &rcpt, "DATA", &message, "RSET", "NOOP", "QUIT"];
        self.smtp(PC1, &login(4), PASSWORD, &commands).await;
        self.smtp(PC1, &login(4), PASSWORD, &[&mail, &rcpt, "DATA", &message, "kanarie"]).await;
        // In every mechanism, and gone in the middle of it.
        for (protocol, lines) in [
            (Protocol::Smtp, vec![format!("AUTH PLAIN {}", plain(&login(5), PASSWORD))]),
            (Protocol::Smtp, vec!["AUTH PLAIN".into(), plain(&login(5), PASSWORD)]),
            (Protocol::Smtp, vec!["AUTH LOGIN".into(), encoded(&login(5)), encoded(PASSWORD)]),
            (Protocol::Smtp, vec![format!("AUTH LOGIN {}", encoded(&login(5))), encoded(PASSWORD)]),
            (Protocol::Pop3, vec![format!("AUTH PLAIN {}", plain(&login(5), PASSWORD))]),
            (Protocol::Pop3, vec!["AUTH PLAIN".into(), plain(&login(5), PASSWORD)]),
            (
                Protocol::Pop3,
                vec![format!("USER {}\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 1", login(5))],
            ),
        ] {
            let mut talk = self.talk(PC1, protocol).await;
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            self.say(&mut talk, &["EHLO kanarie-pc"]).await;
            self.say(&mut talk, &lines).await;
            self.look().await;
        }
    }

    async fn policy_refuses(&self) {
        let other = |account: &str| login(6).replace(ADDRESS, account);
        for (from, login) in [
            (PC1, other("fremd@praxis.kim.telematik")),
            (PC1, other("alt@praxis.kim.telematik")),
            (PC1, other("verboten@praxis.kim.telematik")),
            (PC1, other("arzt@praxis.kim.telematik")),
            (PC1, "\u{1}kanarie".into()),
            (PC1, "kanarie".into()),
            (PC1, login(6).replace("kanarie.kim.telematik", "kanarie.example")),
            (PC2, login(6)),
            (PC3, login(6)),
            (STRANGER, login(6)),
            (PC1, other("ablauf@praxis.kim.telematik")),
            (PC1, other("weg@praxis.kim.telematik")),
        ] {
            self.pop3(from, &login, PASSWORD, &["QUIT"]).await;
            self.smtp(from, &login, PASSWORD, &["QUIT"]).await;
        }
        let login = other("leser@praxis.kim.telematik");
        self.sim.deliver("leser@praxis.kim.telematik", MESSAGE.as_bytes());
        self.pop3(PC1, &login, PASSWORD, &["RETR 1", "DELE 1", "QUIT"]).await;
    }

    /// Who has not logged in, and who never will.
    async fn strangers_talk(&self) {
        for protocol in [Protocol::Pop3, Protocol::Smtp] {
            let port = self.kimgate.port(protocol, Security::Implicit);
            for bytes in [
                format!("USER {}\r\nPASS {PASSWORD}\r\n", login(7)),
                "GET /kanarie HTTP/1.1\r\nHost: kanarie\r\n\r\n".into(),
                "\u{16}\u{3}\u{1}kanarie kanarie kanarie".into(),
            ] {
                let mut talk = Talk::plain(port).await.unwrap().with_patience(PATIENCE);
                let _ = talk.send(bytes.as_bytes()).await;
                let _ = talk.answer().await;
            }
            let mut talk = Talk::tls(port, &self.kimgate.certificate()).await.unwrap();
            self.say(&mut talk, &["EHLO kanarie-pc", "USER kanarie"]).await;
            let port = self.kimgate.port(protocol, Security::StartTls);
            for lines in [
                format!("AUTH PLAIN {}", plain(&login(7), PASSWORD)),
                format!("USER {}\r\nPASS {PASSWORD}", login(7)),
                "STLS\r\nUSER kanarie".into(),
                "STARTTLS kanarie".into(),
                "STARTTLS\r\nMAIL FROM:<kanarie@kanarie>".into(),
            ] {
                let mut talk = Talk::plain(port).await.unwrap().with_patience(PATIENCE);
                self.say(&mut talk, &["EHLO kanarie-pc", &lines, "kanarie"]).await;
            }
        }
    }

    async fn messages_are_refused(&self) {
        let mail = format!("MAIL FROM:<{ADDRESS}>");
        let rcpt = format!("RCPT TO:<{RECIPIENT}>");
        let from = format!("MAIL FROM:<{SENDER}>");
        let to = "RCPT TO:<kanarie@example.de>";
        let other = MESSAGE.replace("eAU;", "anders;");
        let big = "kanarie ".repeat(8 << 10).replace("kanarie kanarie ", "kanarie\r\n");
        let header = format!("Subject: kanarie\r\n{}", "X-kanarie: kanarie\r\n".repeat(20_000));
        let size = format!("{mail} SIZE=99999999 ENVID=kanarie");
        for (at, commands) in [
            vec![&*from, &*mail, to, &*rcpt, "RCPT TO:kanarie", "DATA", &format!("{MESSAGE}.")],
            vec!["MAIL FROM:kanarie", &size, "RCPT TO:<kanarie", "DATA", "BDAT 7 LAST", "kanarie"],
            vec![&*mail, &*rcpt, "DATA", &format!("{other}.")],
            vec![&*mail, &*rcpt, "DATA", &format!("{MESSAGE}{}.", big.repeat(40))],
            vec![&*mail, &*rcpt, "DATA", &format!("{header}\r\nkanarie\r\n.")],
            vec![&*mail, &*rcpt, "DATA", &format!("{MESSAGE}\n.\nMAIL FROM:<kanarie@x>\r\n.")],
            vec![&*mail, &*rcpt, "DATA", &format!("{MESSAGE}\r\n.\nkanarie\r\n.")],
            vec![&*mail, &*rcpt, "DATA", &format!("\n.\r\n{MESSAGE}.")],
            vec![&*mail, &*rcpt, "DATA", &format!("X-kanarie\u{1}: kanarie\r\n{MESSAGE}.")],
            vec![&*mail, &*rcpt, "DATA", &format!("{MESSAGE}\0.\0kanarie\r\n.")],
            vec![&*mail, &*rcpt, "DATA", MESSAGE],
        ]
        .into_iter()
        .enumerate()
        {
            self.smtp(PC1, &login(100 + at), PASSWORD, &commands).await;
        }
    }

    /// What can go wrong there, and answers that repeat what they were told.
    async fn client_modules_fail(&self) {
        let known = Fault::ALL.iter().map(|(text, _)| text.parse::<Fault>().unwrap());
        let echoes = [
            format!("pop3:login-refuse=-ERR {} {PASSWORD}", login(8)),
            format!("smtp:login-refuse=535 5.7.8 {} {PASSWORD}", login(8)),
            format!("login-refuse={PASSWORD}"),
            format!("smtp:login-refuse=250-{PASSWORD}"),
            format!("smtp:login-refuse=334 {}", plain(&login(8), PASSWORD)),
            format!("pop3:login-refuse=+ {}", plain(&login(8), PASSWORD)),
            format!("mail-refuse=550 {ADDRESS} {SUBJECT}"),
            format!("rcpt-refuse={RECIPIENT}"),
            format!("rcpt-refuse=550 5.1.1 {RECIPIENT}"),
            format!("data-refuse={SUBJECT}"),
            format!("end-of-data-refuse=554 5.6.0 {SUBJECT} {RECIPIENT}"),
            format!("end-of-data-refuse={SUBJECT}"),
            format!("end-of-data-refuse=421 {SUBJECT}"),
            format!("retr-refuse=-ERR {SUBJECT}"),
            format!("retr-refuse={SUBJECT}"),
            format!("dele-refuse={SUBJECT}"),
            format!("quit-refuse={PASSWORD}"),
            "login-stall".to_owned(),
            "login-double".to_owned(),
            "end-of-data-reset".to_owned(),
            "in-data-unasked@20".to_owned(),
            "in-retr-reset@50".to_owned(),
        ];
        let echoes = echoes.iter().map(|text| text.parse::<Fault>().unwrap());
        for (at, fault) in known.chain(echoes).enumerate() {
            self.sim.set_faults(quick(fault));
            // Who hangs there keeps a mailbox busy.
            let account = account(at);
            self.sim.deliver(&account, MESSAGE.as_bytes());
            let login = login(200 + at).replace(ADDRESS, &account);
            let commands = ["STAT", "RETR 1", "DELE 1", "QUIT"];
            self.pop3(PC1, &login, PASSWORD, &commands).await;
            let (mail, rcpt) = (format!("MAIL FROM:<{account}>"), format!("RCPT TO:<{RECIPIENT}>"));
            let commands = [&mail, &rcpt, "DATA", &format!("{MESSAGE}."), "RSET", "QUIT"];
            self.smtp(PC1, &login, PASSWORD, &commands).await;
        }
        self.sim.set_faults(Faults::none());
    }

    /// One context and one mailbox for two, and more connections than one workstation may have.
    async fn workstations_meet(&self) {
        let mut first = self.talk(PC1, Protocol::Pop3).await;
        self.log_in(&mut first, Protocol::Pop3, &login(9), PASSWORD).await;
        self.pop3(PC4, &login(9), PASSWORD, &["QUIT"]).await;
        self.pop3(PC1, &login(9), PASSWORD, &["QUIT"]).await;
        let mut many = Vec::new();
        for _ in 0..=PER_WORKSTATION {
            many.push(self.talk(PC4, Protocol::Smtp).await);
        }
        self.look().await;
    }

    async fn configurations_change(&self) {
        let good = fs::read_to_string(self.kimgate.configuration()).unwrap();
        let list = format!("logins = [\"{}\"]", login(0));
        assert!(good.contains(&list));
        for bad in [
            format!("logins = \"{}\"", login(0)),
            format!("logins = [\"{}\"", login(0)),
            format!("logins = [\"{0}\" \"{0}\"]", login(0)),
            format!("logins = [\"{}\", 1]", login(0)),
            format!("login = [\"{}\"]", login(0)),
            format!("logins = {{ \"{}\" = 1 }}", login(0)),
            format!("workplaces = [\"PC9\"]\nlogins = [\"{0}\", \"{0}\", \" {0}\\t\"]", login(0)),
            format!("logins = [\"{}\\q\"]", login(0)),
        ] {
            self.kimgate.reload(&good.replace(&list, &bad)).await;
            self.look().await;
            self.support(&[]);
        }
        let observed = format!("{good}[policy]\nmode = \"observe\"\n");
        self.kimgate.reload(&observed).await;
        self.policy_refuses().await;
        self.messages_are_refused().await;
        self.kimgate.reload(&good).await;
    }

    /// kimgate stops while one workstation is silent and another is in the middle of something.
    async fn ends(self) {
        let mut silent = self.talk(PC1, Protocol::Smtp).await.with_patience(PATIENCE * 10);
        while silent.line().await.is_ok() {}
        let mut idle = self.talk(PC1, Protocol::Pop3).await;
        self.log_in(&mut idle, Protocol::Pop3, &login(10), PASSWORD).await;
        self.look().await;
        let bundle = self.support(&[]);
        for held in
            ["\"readiness\"", "kimgate_logins_total", "account-1", "workstations", "not-allowed"]
        {
            assert!(bundle.contains(held), "no {held} in the support bundle");
        }
        assert!(self.support(&["--with-addresses"]).contains(ADDRESS));
        let left = self.kimgate.stop().await;
        assert!(left.ok, "{}", left.log);
        assert_eq!(leak(&left.log), None, "in the log");
        assert_eq!(leak(&left.audit), None, "in the audit");
        assert!(left.log.contains("login refused") && left.log.contains("message sent"));
        // Whatever a workstation is refused for, it was tried.
        let (tried, replies) = (reasons(&left), self.replies.into_inner().unwrap());
        let mut missing: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        missing.retain(|word| !tried.contains(*word) && !replies.contains(&format!("({word})")));
        assert!(missing.is_empty(), "not everything was tried: {missing:?}");
    }

    /// Logs in over POP3 and says these lines; whatever comes is welcome.
    async fn pop3(&self, from: Ipv4Addr, login: &str, password: &str, lines: &[&str]) {
        let mut talk = self.talk(from, Protocol::Pop3).await;
        self.log_in(&mut talk, Protocol::Pop3, login, password).await;
        self.say(&mut talk, lines).await;
    }

    /// Logs in over SMTP and says these lines.
    async fn smtp(&self, from: Ipv4Addr, login: &str, password: &str, lines: &[&str]) {
        let mut talk = self.talk(from, Protocol::Smtp).await;
        self.log_in(&mut talk, Protocol::Smtp, login, password).await;
        self.say(&mut talk, lines).await;
    }

    async fn log_in(&self, talk: &mut Talk, protocol: Protocol, login: &str, password: &str) {
        match protocol {
            Protocol::Pop3 => {
                let (user, pass) = (format!("USER {login}"), format!("PASS {password}"));
                self.say(talk, &[&user, &pass]).await;
            }
            Protocol::Smtp => {
                let auth = format!("AUTH PLAIN {}", plain(login, password));
                self.say(talk, &["EHLO kanarie-pc", &auth]).await;
            }
        }
    }

    async fn talk(&self, from: Ipv4Addr, protocol: Protocol) -> Talk {
        let port = self.kimgate.port(protocol, Security::None);
        let talk = Talk::plain_from(IpAddr::from(from), port).await.unwrap();
        let mut talk = talk.with_patience(PATIENCE);
        let _ = talk.answer().await;
        talk
    }

    /// Says lines as long as there are answers, and looks at the pages after the last one, while
    /// the session is still there.
    async fn say(&self, talk: &mut Talk, lines: &[&str]) {
        for line in lines {
            let Ok(answer) = talk.ask(line).await else { break };
            // Its own words may name a recipient that it refused, and never a password.
            if answer.contains("KIM-Gateway") {
                assert_eq!(find("kennwort", &answer), None, "answering {line}");
            }
            self.replies.lock().unwrap().push_str(&answer);
            let has_text = ["LIST", "UIDL", "RETR 1", "TOP 1 1"].contains(line);
            if has_text && answer.starts_with("+OK") && talk.text(|_| {}).await.is_err() {
                break;
            }
        }
        self.look().await;
    }

    /// What `kimgate support` writes; without mail addresses unless they were asked for.
    fn support(&self, more: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("support.tar.gz");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kimgate"));
        command.arg("support").arg("--config").arg(self.kimgate.configuration());
        command.args(["--address", &self.kimgate.admin()]).arg("--output").arg(&file);
        let output = command.args(more).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        let packed = flate2::read::GzDecoder::new(fs::File::open(&file).unwrap());
        let mut bundle = said;
        for entry in tar::Archive::new(packed).entries().unwrap() {
            std::io::Read::read_to_string(&mut entry.unwrap(), &mut bundle).unwrap();
        }
        assert_eq!(leak(&bundle), None, "in the support bundle");
        if more.is_empty() {
            assert!(!bundle.contains('@'), "{bundle}");
        }
        bundle
    }

    async fn look(&self) {
        for page in ["/status", "/metrics", "/", "/ready", "/kanari"] {
            let (_, text) = self.kimgate.get(page).await;
            assert_eq!(leak(&text), None, "on {page}");
        }
    }
}

const PC1: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const PC2: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PC3: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const PC4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

const PER_WORKSTATION: usize = 100;

/// One for each fault, and some to spare.
const ACCOUNTS: usize = 80;

const RULES: &str = r#"
[workstations.PC2]
addresses = ["127.0.0.2"]
workplaces = ["PC2"]
[workstations.PC3]
addresses = ["127.0.0.3"]
logins = ["prx@praxis.tm.kim.telematik#kanarie.kim.telematik:995#M#C#PC1#kanarie0#kanarie"]
[workstations.PC4]
addresses = ["127.0.0.4"]

[accounts."prx@praxis.tm.kim.telematik".send]
recipients = ["*.kim.telematik"]
services = ["eAU;*"]
[accounts."alt@praxis.kim.telematik"]
retired = true
[accounts."verboten@praxis.kim.telematik"]
deny = ["workstation:PC1"]
[accounts."arzt@praxis.kim.telematik"]
allow = ["workstation:PC2"]
[accounts."leser@praxis.kim.telematik".delete]
deny = ["*"]
[accounts."ablauf@praxis.kim.telematik"]
client_module = "expired"
[accounts."weg@praxis.kim.telematik"]
client_module = "absent"

[contexts]
mode = "enforce"
wait = "0s"
linger = "0s"
[mailboxes]
wait = "100ms"
[limits]
connections_per_workstation = 100
login_timeout = "5s"
message = "1MiB"
drain = "1s"
"#;

/// A login that shows its account, MandantId, ClientsystemId and WorkplaceId, as the audit may, and
/// nothing else of it. Each number is another card context.
fn login(number: usize) -> String {
    format!("{ADDRESS}#kanarie.kim.telematik:995#M#C#PC1#kanarie{number}#kanarie")
}

/// Another account that anybody here may use.
fn account(number: usize) -> String {
    format!("konto{number}@praxis.kim.telematik")
}

fn plain(login: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{login}\0{password}"))
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// The same with short delays; no test here waits for a card.
fn quick(mut fault: Fault) -> Fault {
    if let What::At(_, Effect::Delay(delay)) = &mut fault.what {
        *delay = Duration::from_millis(20);
    }
    fault
}

/// Every reason that the audit names.
fn reasons(left: &Left) -> BTreeSet<String> {
    let lines = left.audit.lines().map(serde_json::from_str::<Value>);
    lines.filter_map(|line| line.unwrap()["reason"].as_str().map(str::to_owned)).collect()
}

/// Where a text holds a secret, with what stands around it.
fn leak(text: &str) -> Option<String> {
    find(WORD, text)
}
