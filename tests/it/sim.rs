//! The simulated client module as others see it: raw dialogues, Python's mail clients, and faults.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kimgate::secret::Secret;
use kimgate::sim::{
    Accounts, Ending, Fault, Faults, Mailin, Mechanism, Seen, Sim, SimCertificate, SimConfig,
};
use kimgate::words::Security;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::ports::nobody_answers;
use crate::support::tools;

const LOGIN: &str = "prx@praxis.kim.telematik#mail.tm.kim.telematik:995#Mandant1#ivoris#PC1";
const ADDRESS: &str = "prx@praxis.kim.telematik";

async fn start(change: impl FnOnce(&mut SimConfig)) -> Sim {
    let mut config = SimConfig { record: true, security: Security::None, ..SimConfig::default() };
    change(&mut config);
    Sim::start(config).await.unwrap()
}

fn faults(names: &[&str]) -> Faults {
    names.iter().map(|name| name.parse::<Fault>().unwrap()).collect()
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A client that knows no protocol.
struct Client {
    stream: Box<dyn Io>,
    read: Vec<u8>,
}

impl Client {
    async fn plain(addr: SocketAddr) -> Self {
        Self { stream: Box::new(TcpStream::connect(addr).await.unwrap()), read: Vec::new() }
    }

    async fn tls(addr: SocketAddr, sim: &Sim, name: &str) -> io::Result<Self> {
        let stream = handshake(TcpStream::connect(addr).await?, sim, name).await?;
        Ok(Self { stream: Box::new(stream), read: Vec::new() })
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                return String::from_utf8_lossy(&line).into_owned();
            }
            let read = self.stream.read_buf(&mut self.read).await.unwrap();
            assert_ne!(read, 0, "the end came instead of a line");
        }
    }

    /// Sends a line, and reads one that starts like this.
    async fn ask(&mut self, line: &str, expected: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.expect(expected).await
    }

    async fn expect(&mut self, expected: &str) -> String {
        let line = self.line().await;
        assert!(line.starts_with(expected), "{line:?} instead of {expected:?}");
        line
    }

    /// Everything up to the dot on a line of its own.
    async fn until_dot(&mut self) -> String {
        let mut text = String::new();
        loop {
            let line = self.line().await;
            if line == ".\r\n" {
                return text;
            }
            text.push_str(&line);
        }
    }

    /// What is left until the end, and whether it was an orderly one.
    async fn rest(&mut self) -> (String, bool) {
        let ended = self.stream.read_to_end(&mut self.read).await;
        (String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned(), ended.is_ok())
    }
}

async fn handshake(
    stream: TcpStream,
    sim: &Sim,
    name: &str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sim.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn plain_token() -> String {
    BASE64_STANDARD.encode(format!("\0{LOGIN}\0geheim"))
}

async fn smtp_login(sim: &Sim) -> Client {
    let mut client = Client::plain(sim.smtp_addr()).await;
    client.expect("220 ").await;
    client.ask(&format!("AUTH PLAIN {}", plain_token()), "235 2.7.0").await;
    client
}

async fn pop3_login(sim: &Sim) -> Client {
    let mut client = Client::plain(sim.pop3_addr()).await;
    client.expect("+OK KOM-LE Clientmodul POP3").await;
    client.ask(&format!("USER {LOGIN}"), "+OK").await;
    client.ask("PASS geheim", "+OK").await;
    client
}

async fn submit(client: &mut Client, message: &str) {
    client.ask(&format!("MAIL FROM:<{ADDRESS}> SIZE=1"), "250 2.1.0").await;
    client.ask(&format!("RCPT TO:<{ADDRESS}> NOTIFY=SUCCESS"), "250 2.1.5").await;
    client.ask("DATA", "354").await;
    client.send(message).await;
    client.ask(".", "250 2.0.0").await;
}

fn closed(seen: &[Seen], wanted: Ending) -> bool {
    seen.iter().any(|seen| matches!(seen, Seen::Closed { ending, .. } if *ending == wanted))
}

#[tokio::test]
async fn smtp_before_the_login_answers_as_the_specification_lists() {
    let sim = start(|_| {}).await;
    let mut client = Client::plain(sim.smtp_addr()).await;
    client.expect("220 KOM-LE-Clientmodul ESMTP\r\n").await;
    client.ask("HELO pc", "250 ").await;
    client.ask("MAIL FROM:<a@b>", "530 5.7.0").await;
    client.ask("DATA", "530 5.7.0").await;
    client.ask("VRFY a", "502 5.5.1").await;
    client.ask("STARTTLS", "502 5.5.1").await;
    client.ask("AUTH GSSAPI", "504 5.7.4").await;
    client.ask("AUTH PLAIN !", "501 5.5.2").await;
    client.ask("AUTH LOGIN", "334 ").await;
    client.ask("*", "501 ").await;
    client.ask("EHLO pc", "250-").await;
    for keyword in ["SIZE 35882577", "AUTH LOGIN PLAIN", "8BITMIME", "ENCHANCEDSTATUSCODES"] {
        client.expect(&format!("250-{keyword}\r\n")).await;
    }
    client.expect("250 DSN\r\n").await;
    client.ask("QUIT", "221 ").await;
    assert!(sim.wait_for(|seen| closed(seen, Ending::Quit)).await);
    assert_eq!(sim.connections(), 0);
}

#[tokio::test]
async fn every_mechanism_is_recorded_as_it_came() {
    let sim = start(|config| {
        let logins = [(LOGIN.into(), Secret::new("geheim".to_owned()))];
        config.accounts = Accounts::Known(logins.into());
    })
    .await;
    let [user, password] = [LOGIN, "geheim"].map(|text| BASE64_STANDARD.encode(text));
    let wrong = BASE64_STANDARD.encode(format!("\0{LOGIN}\0falsch"));
    let mut client = Client::plain(sim.smtp_addr()).await;
    client.expect("220 ").await;
    client.ask(&format!("AUTH PLAIN {wrong}"), "535 5.7.8").await;
    client.ask("AUTH PLAIN", "334 ").await;
    client.ask(&plain_token(), "235 2.7.0").await;
    client.ask("AUTH PLAIN", "503 5.5.1").await;
    for initial in [true, false] {
        let mut client = Client::plain(sim.smtp_addr()).await;
        client.expect("220 ").await;
        match initial {
            true => client.ask(&format!("AUTH LOGIN {user}"), "334 UGFz").await,
            false => {
                client.ask("AUTH LOGIN", "334 VXNl").await;
                client.ask(&user, "334 UGFz").await
            }
        };
        client.ask(&password, "235 ").await;
    }
    let mut client = Client::plain(sim.pop3_addr()).await;
    client.expect("+OK").await;
    client.ask(&format!("USER {LOGIN}"), "+OK").await;
    client.ask("PASS falsch", "-ERR").await;
    client.ask("AUTH PLAIN", "+ ").await;
    client.ask(&plain_token(), "+OK").await;

    let logins: Vec<(Mechanism, usize, bool)> = sim
        .seen()
        .iter()
        .filter_map(|seen| {
            let Seen::Login { mechanism, login, lines, accepted, .. } = seen else { return None };
            assert_eq!(login, LOGIN.as_bytes());
            Some((*mechanism, lines.len(), *accepted))
        })
        .collect();
    let expected = [
        (Mechanism::PlainInitial, 1, false),
        (Mechanism::PlainPrompted, 2, true),
        (Mechanism::LoginInitial, 2, true),
        (Mechanism::LoginPrompted, 3, true),
        (Mechanism::UserPass, 2, false),
        (Mechanism::PlainPrompted, 2, true),
    ];
    assert_eq!(logins, expected);
    let shown = format!("{:?}", sim.seen());
    for secret in ["geheim", "falsch", &plain_token(), &user] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn strict_logins_need_a_server() {
    let sim = start(|config| config.strict_logins = true).await;
    let mut client = Client::plain(sim.smtp_addr()).await;
    client.expect("220 ").await;
    let token = BASE64_STANDARD.encode("\0a@b\0x");
    client.ask(&format!("AUTH PLAIN {token}"), "501 5.5.4").await;
    assert_eq!(client.rest().await, (String::new(), true));
    drop(smtp_login(&sim).await);
}

#[tokio::test]
async fn a_sent_message_is_fetched_byte_for_byte_after_the_added_lines() {
    let sim = start(|_| {}).await;
    let mut client = smtp_login(&sim).await;
    submit(&mut client, "Subject: x\r\n\r\n..\r\n...a\r\nb\n.\nc\r\n").await;
    let sent = "Subject: x\r\n\r\n.\r\n..a\r\nb\n.\nc\r\n";
    let [kept] = sim.maildrop(ADDRESS).try_into().unwrap();
    assert!(kept.ends_with(sent.as_bytes()));

    let mut client = pop3_login(&sim).await;
    client.ask("STAT", &format!("+OK 1 {}\r\n", kept.len())).await;
    client.ask("LIST", "+OK").await;
    assert_eq!(client.until_dot().await, format!("1 {}\r\n", kept.len()));
    client.ask("UIDL 1", "+OK 1 sim-").await;
    client.ask("TOP 1 9", "+OK").await;
    assert!(client.until_dot().await.ends_with("Subject: x\r\n\r\n"));
    client.ask("RETR 1", &format!("+OK {} octets\r\n", kept.len())).await;
    let fetched = client.until_dot().await;
    assert!(fetched.starts_with("X-KIM-DecryptionResult: 00\r\n"), "{fetched}");
    assert!(fetched.ends_with("\r\n..\r\n...a\r\nb\n.\nc\r\n"), "{fetched}");
    client.ask("RETR 2", "-ERR").await;
}

#[tokio::test]
async fn deletions_are_committed_at_quit_and_only_there() {
    let sim = start(|_| {}).await;
    sim.deliver(ADDRESS, b"Subject: x\r\n\r\nText\r\n");
    let mut client = pop3_login(&sim).await;
    client.ask("DELE 1", "+OK").await;
    client.ask("STAT", "+OK 0 0").await;
    drop(client);
    assert!(sim.wait_for(|seen| closed(seen, Ending::Eof)).await);
    assert_eq!(sim.maildrop(ADDRESS).len(), 1);

    let mut client = pop3_login(&sim).await;
    client.ask("DELE 1", "+OK").await;
    client.ask("RSET", "+OK").await;
    client.ask("DELE 1", "+OK").await;
    client.ask("QUIT", "+OK").await;
    assert!(sim.wait_for(|seen| closed(seen, Ending::Quit)).await);
    assert_eq!(sim.maildrop(ADDRESS).len(), 0);
    assert!(sim.seen().iter().any(
        |seen| matches!(seen, Seen::Deleted { address, numbers, .. } if address == ADDRESS && numbers == &[1])
    ));
}

#[tokio::test]
async fn a_mailbox_has_one_session_at_a_time() {
    let sim = start(|_| {}).await;
    let mut first = pop3_login(&sim).await;
    let mut second = Client::plain(sim.pop3_addr()).await;
    second.expect("+OK").await;
    second.ask(&format!("USER {LOGIN}"), "+OK").await;
    second.ask("PASS geheim", "-ERR [IN-USE]").await;
    first.ask("QUIT", "+OK").await;
    assert!(sim.wait_for(|seen| closed(seen, Ending::Quit)).await);
    second.ask(&format!("USER {LOGIN}"), "+OK").await;
    second.ask("PASS geheim", "+OK").await;
}

#[tokio::test]
async fn mail_to_unknown_recipients_comes_back() {
    let sim = start(|config| {
        let logins = [(LOGIN.into(), Secret::new("geheim".to_owned()))];
        config.accounts = Accounts::Known(logins.into());
    })
    .await;
    let mut client = smtp_login(&sim).await;
    client.ask(&format!("MAIL FROM:<{ADDRESS}>"), "250").await;
    client.ask("RCPT TO:<nobody@x.kim.telematik>", "250").await;
    client.ask("DATA", "354").await;
    client.ask("Message-ID: <1@x>\r\n\r\nx\r\n.", "250").await;
    let [report] = sim.maildrop(ADDRESS).try_into().unwrap();
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("Final-Recipient: rfc822; nobody@x.kim.telematik"), "{report}");
    assert!(report.contains("In-Reply-To: <1@x>"), "{report}");
}

#[tokio::test]
async fn certificates_are_what_they_are_said_to_be() {
    for (certificate, works) in [
        (SimCertificate::SelfSigned, true),
        (SimCertificate::PrivateCa, true),
        (SimCertificate::SelfSignedCa, false),
        (SimCertificate::WrongName, false),
        (SimCertificate::SelfSignedWrongName, false),
        (SimCertificate::Expired, false),
    ] {
        let sim = start(|config| {
            config.security = Security::Implicit;
            config.certificate = certificate.clone();
        })
        .await;
        let client = Client::tls(sim.pop3_addr(), &sim, "localhost").await;
        assert_eq!(client.is_ok(), works, "{certificate:?}");
        if let Ok(mut client) = client {
            client.expect("+OK").await;
            client.stream.shutdown().await.unwrap();
            assert!(sim.wait_for(|seen| closed(seen, Ending::CloseNotify)).await);
        } else {
            assert!(sim.wait_for(|seen| closed(seen, Ending::Handshake)).await);
        }
    }
}

#[tokio::test]
async fn bytes_sent_with_starttls_never_act_after_the_handshake() {
    let sim = start(|config| config.security = Security::StartTls).await;
    let mut client = Client::plain(sim.smtp_addr()).await;
    client.expect("220").await;
    client.ask(&format!("AUTH PLAIN {}", plain_token()), "530 5.7.0 Must").await;
    client.send("STARTTLS\r\nNOOP\r\n").await;
    client.expect("220").await;
    assert_eq!(client.rest().await, (String::new(), true));
}

#[tokio::test]
async fn faults_at_answers_do_what_their_names_say() {
    let sim = start(|_| {}).await;
    let table: [(&[&str], &str, bool); 10] = [
        (&["login-refuse=454 4.7.0 Nein"], "454 4.7.0 Nein\r\n", true),
        (&["login-refuse=421 4.3.2 Ende"], "421 4.3.2 Ende\r\n", true),
        (&["login-close"], "", true),
        (&["login-drop"], "", true),
        (&["login-reset"], "", false),
        (&["login-half-close"], "", true),
        (
            &["login-double", "login-unasked"],
            "235 2.7.0 Authentication successful\r\n\
            235 2.7.0 Authentication successful\r\n250 2.0.0 ungefragt\r\n",
            true,
        ),
        (&["login-long-line=9"], "235 xxxxx\r\n", true),
        (&["one-byte", "login-garbage"], "235 \0\x07\x1b[31m\u{fffd}\u{fffd}\u{fffd}\r\n", true),
        (
            &["bare-lf", "split-crlf", "pop3:login-drop"],
            "235 2.7.0 Authentication successful\n",
            true,
        ),
    ];
    for (names, expected, orderly) in table {
        sim.set_faults(Faults::none());
        let mut client = Client::plain(sim.smtp_addr()).await;
        client.expect("220").await;
        sim.set_faults(faults(names));
        client.send(format!("AUTH PLAIN {}\r\n", plain_token())).await;
        if !expected.is_empty() {
            let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
            while lines(&client.read) < lines(expected.as_bytes()) {
                client.stream.read_buf(&mut client.read).await.unwrap();
            }
            client.stream.shutdown().await.unwrap();
        }
        let (rest, ended) = client.rest().await;
        assert_eq!((rest.as_str(), ended), (expected, orderly), "{names:?}");
    }
}

#[tokio::test]
async fn faults_within_messages_strike_at_their_place() {
    let sim = start(|_| {}).await;
    sim.deliver(ADDRESS, &[b'x'; 1_000]);
    for (name, octets) in
        [("in-retr-close@0", 0), ("in-retr-drop@50", 500), ("in-retr-close@99", 990)]
    {
        let mut client = pop3_login(&sim).await;
        sim.set_faults(faults(&[name]));
        client.ask("RETR 1", "+OK 1000 octets").await;
        assert_eq!(client.rest().await, ("x".repeat(octets), true), "{name}");
        sim.set_faults(Faults::none());
        assert!(sim.wait_for(|seen| matches!(seen.last(), Some(Seen::Closed { .. }))).await);
    }
    let mut client = smtp_login(&sim).await;
    sim.set_faults(faults(&["in-data-reset@100"]));
    client.ask(&format!("MAIL FROM:<{ADDRESS}>"), "250").await;
    client.ask(&format!("RCPT TO:<{ADDRESS}>"), "250").await;
    client.ask("DATA", "354").await;
    client.send([b'x'; 99]).await;
    client.send([b'x'; 99]).await;
    assert!(!client.rest().await.1);
    let incomplete =
        |seen: &Seen| matches!(seen, Seen::Received { complete: false, bytes: 100.., .. });
    assert!(sim.wait_for(|seen| seen.iter().any(incomplete)).await);
    assert_eq!(sim.maildrop(ADDRESS).len(), 1);
}

#[tokio::test]
async fn faults_before_and_after_the_login_strike_too() {
    let sim = start(|_| {}).await;
    let table = [
        (
            "1*greeting-double",
            "",
            "220 KOM-LE-Clientmodul ESMTP\r\n220 KOM-LE-Clientmodul ESMTP\r\n",
        ),
        ("1*greeting-refuse=421 4.3.2 Wartung", "", "421 4.3.2 Wartung\r\n"),
        ("1*hello-refuse", "EHLO a\r\n", "220 KOM-LE-Clientmodul ESMTP\r\n451 4.3.0 "),
        (
            "1*hello-endless",
            "EHLO a\r\n",
            "220 KOM-LE-Clientmodul ESMTP\r\n250-X-ENDLESS\r\n250-X-",
        ),
        (
            "packed",
            "NOOP\r\nRSET\r\nQUIT\r\n",
            "220 KOM-LE-Clientmodul ESMTP\r\n250 2.0.0 OK\r\n250 2",
        ),
    ];
    for (name, lines, expected) in table {
        sim.set_faults(faults(&[name]));
        let mut client = Client::plain(sim.smtp_addr()).await;
        client.send(lines).await;
        while client.read.len() < expected.len() {
            assert_ne!(client.stream.read_buf(&mut client.read).await.unwrap(), 0, "{name}");
        }
        let read = String::from_utf8_lossy(&client.read).into_owned();
        assert!(read.starts_with(expected), "{name}: {read:?}");
    }
    sim.set_faults(faults(&["idle-unasked", "openkim"]));
    sim.deliver(ADDRESS, b"x");
    let mut client = pop3_login(&sim).await;
    client.expect("+OK ungefragt").await;
    client.ask("STAT", "+OK 1 1\r\n").await;
    client.ask("LIST", "+OK").await;
    assert!(client.until_dot().await.starts_with("net.sberg."));
    sim.set_faults(faults(&["forgetful-rset", "lenient-dot"]));
    let mut client = smtp_login(&sim).await;
    client.ask("RSET", "250").await;
    client.ask(&format!("MAIL FROM:<{ADDRESS}>"), "530").await;
    client.ask(&format!("AUTH PLAIN {}", plain_token()), "235").await;
    client.ask(&format!("MAIL FROM:<{ADDRESS}>"), "250").await;
    client.ask(&format!("RCPT TO:<{ADDRESS}>"), "250").await;
    client.ask("DATA", "354").await;
    client.send("x\n.\nNOOP\r\n").await;
    client.expect("250 2.0.0 OK").await;
    client.expect("250 2.0.0 OK").await;
}

#[tokio::test]
async fn faults_around_the_handshake_strike_in_clear() {
    let sim = start(|config| config.security = Security::StartTls).await;
    sim.set_faults(faults(&["starttls-unasked"]));
    let mut client = Client::plain(sim.smtp_addr()).await;
    client.expect("220").await;
    client.ask("STARTTLS", "220 2.0.0").await;
    client.expect("250 2.0.0 ungefragt").await;

    let sim = start(|config| config.security = Security::Implicit).await;
    for (name, expected) in
        [("handshake-refuse", "220 KOM-LE-Clientmodul ESMTP\r\n"), ("handshake-drop", "")]
    {
        sim.set_faults(faults(&[name]));
        let mut client = Client::plain(sim.smtp_addr()).await;
        assert_eq!(client.rest().await, (expected.to_owned(), true), "{name}");
    }
}

#[tokio::test]
async fn a_peer_that_leaves_during_a_delay_is_noticed_and_its_message_is_not_delivered() {
    let sim = start(|config| config.faults = faults(&["end-of-data-delay=60m"])).await;
    let mut client = smtp_login(&sim).await;
    client.ask(&format!("MAIL FROM:<{ADDRESS}>"), "250").await;
    client.ask(&format!("RCPT TO:<{ADDRESS}>"), "250").await;
    client.ask("DATA", "354").await;
    client.send("x\r\n.\r\n").await;
    assert!(
        sim.wait_for(|seen| matches!(seen.last(), Some(Seen::Received { complete: true, .. })))
            .await
    );
    drop(client);
    assert!(sim.wait_for(|seen| closed(seen, Ending::Eof)).await);
    assert!(sim.maildrop(ADDRESS).is_empty());
}

#[tokio::test]
async fn an_undecryptable_message_comes_as_the_error_mail() {
    let sim = start(|config| config.faults = faults(&["undecryptable"])).await;
    sim.deliver(ADDRESS, b"From: a@b\r\n\r\nText\r\n");
    let mut client = pop3_login(&sim).await;
    client.ask("RETR 1", "+OK").await;
    let mail = client.until_dot().await;
    assert!(mail.contains("X-KIM-Fehlermeldung: 4009\r\n"), "{mail}");
}

#[tokio::test]
async fn a_stopped_simulator_ends_its_connections_and_frees_its_ports() {
    let sim = start(|_| {}).await;
    let (addr, mut client) = (sim.smtp_addr(), smtp_login(&sim).await);
    sim.stop().await;
    assert_eq!(client.rest().await.0, "");
    assert!(nobody_answers(addr).await);
}

/// Measures the peak memory of its process, so it has one for itself.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_pass_in_constant_memory() {
    const OCTETS: u64 = 64 << 20;
    if tools::run_alone("sim::large_messages_pass_in_constant_memory").is_some() {
        return;
    }
    let sim = start(|config| {
        config.security = Security::Implicit;
        config.maildrop_limit = 1 << 20;
    })
    .await;
    sim.deliver_synthetic(ADDRESS, OCTETS);
    let before = peak_memory();
    let mut client = Client::tls(sim.pop3_addr(), &sim, "127.0.0.1").await.unwrap();
    client.expect("+OK").await;
    client.ask(&format!("USER {LOGIN}"), "+OK").await;
    client.ask("PASS geheim", "+OK").await;
    client.ask("RETR 1", &format!("+OK {OCTETS} octets")).await;
    let mut buffer = vec![0; 64 << 10];
    let mut last = client.read.split_off(0);
    let mut octets = last.len() as u64;
    while !last.ends_with(b"\r\n.\r\n") {
        let read = client.stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0);
        octets += read as u64;
        last.extend_from_slice(&buffer[..read]);
        last.drain(..last.len().saturating_sub(5));
    }
    assert!(octets > OCTETS);
    let whole = |seen: &Seen| matches!(seen, Seen::Fetched { bytes: OCTETS, complete: true, .. });
    assert!(sim.wait_for(|seen| seen.iter().any(whole)).await);

    let mut client = Client::tls(sim.smtp_addr(), &sim, "127.0.0.1").await.unwrap();
    client.expect("220").await;
    client.ask(&format!("AUTH PLAIN {}", plain_token()), "235").await;
    client.ask(&format!("MAIL FROM:<{ADDRESS}>"), "250").await;
    client.ask(&format!("RCPT TO:<{ADDRESS}>"), "250").await;
    client.ask("DATA", "354").await;
    let lines = "x".repeat(1_022) + "\r\n";
    let block = lines.repeat(64);
    for _ in 0..OCTETS / block.len() as u64 {
        client.stream.write_all(block.as_bytes()).await.unwrap();
    }
    client.ask(".", "250").await;
    let whole = |seen: &Seen| matches!(seen, Seen::Received { bytes: OCTETS, complete: true, .. });
    assert!(sim.wait_for(|seen| seen.iter().any(whole)).await);
    let [stand_in] = sim.maildrop(ADDRESS).try_into().unwrap();
    assert!(String::from_utf8(stand_in).unwrap().contains("X-Simulator-Octets: 67108864"));
    match (before, peak_memory()) {
        (Some(before), Some(after)) => {
            let grown = after - before;
            assert!(grown < 40 << 10, "{grown} KiB");
        }
        unknown => {
            tools::skip(&format!("the system does not tell the peak memory: {unknown:?}"));
        }
    }
}

/// Of this process, in KiB; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Sends one message with smtplib and fetches it with poplib.
const PYTHON: &str = r#"
import poplib, smtplib, ssl, sys
mode, smtp_port, pop3_port, ca, login, address = sys.argv[1:]
tls = ssl.create_default_context(cadata=ca)
message = "From: {0}\r\nTo: {0}\r\nSubject: Probe\r\n\r\n.\r\n..Punkte\r\nText\r\n".format(address)
if mode == "implicit":
    smtp = smtplib.SMTP_SSL("localhost", int(smtp_port), context=tls)
    pop3 = poplib.POP3_SSL("localhost", int(pop3_port), context=tls)
else:
    smtp = smtplib.SMTP("localhost", int(smtp_port))
    smtp.starttls(context=tls)
    pop3 = poplib.POP3("localhost", int(pop3_port))
    pop3.stls(context=tls)
smtp.login(login, "geheim")
assert not smtp.sendmail(address, [address], message)
smtp.quit()
pop3.user(login)
pop3.pass_("geheim")
assert pop3.stat()[0] == 1
fetched = b"\r\n".join(pop3.retr(1)[1]) + b"\r\n"
assert fetched.endswith(message.encode()), fetched
pop3.dele(1)
pop3.quit()
"#;

async fn python_sends_and_fetches(sim: &Sim, mode: &str, smtp: SocketAddr) {
    if !tools::have(&["python3"]) {
        return;
    }
    let arguments = [
        mode,
        &smtp.port().to_string(),
        &sim.pop3_addr().port().to_string(),
        &sim.ca_pem(),
        LOGIN,
        ADDRESS,
    ]
    .map(String::from);
    let mut python = tools::command("python3");
    let ran = tools::run(python.args(["-c", PYTHON]).args(arguments), b"").await;
    assert!(ran.ok, "{}", ran.said);
    assert!(sim.maildrop(ADDRESS).is_empty());
}

#[tokio::test]
async fn python_sends_and_fetches_over_implicit_tls() {
    let sim = start(|config| config.security = Security::Implicit).await;
    python_sends_and_fetches(&sim, "implicit", sim.smtp_addr()).await;
}

#[tokio::test]
async fn python_sends_and_fetches_over_starttls() {
    let sim = start(|config| config.security = Security::StartTls).await;
    python_sends_and_fetches(&sim, "starttls", sim.smtp_addr()).await;
}

#[tokio::test]
async fn python_sends_through_mailin_and_fetches_here() {
    let sim = start(|config| config.security = Security::StartTls).await;
    let mailin = Mailin::start(&sim).unwrap();
    python_sends_and_fetches(&sim, "starttls", mailin.addr()).await;
    let seen = sim.seen();
    let login = |seen: &Seen| matches!(seen, Seen::Login { mechanism: Mechanism::Mailin, login, .. } if login == LOGIN.as_bytes());
    assert!(seen.iter().any(login));
    assert!(seen.iter().any(|seen| matches!(seen, Seen::Received { complete: true, .. })));
}
