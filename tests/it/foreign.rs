//! Stock clients and servers from outside Rust, which read the RFCs without us: with each other, so
//! that it is known what they can do, and then with `kimgate run` between them.

use crate::support::clients::{Fetcher, Sender, Tls, User};
use crate::support::dovecot::Dovecot;
use crate::support::exim::Exim;
use crate::support::kimgate::{ADDRESS, Kimgate, Left, client_module, module_at};
use crate::support::thunderbird::{Dialog, Thunderbird};
use crate::support::tools;
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, World};
use kimgate::secret::Secret;
use kimgate::sim::{Accounts, Mechanism, Seen, Sim, SimConfig};
use kimgate::words::Protocol;

/// With what KIM passwords may hold.
const PASSWORD: &str = "geheim $%+_-#1";

const SEED: &str =
    "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#Mandant1#ivorisortho#PC1#PRAXIS";

const RECIPIENT: &str = "arzt@praxis.kim.telematik";

/// Bytes of the logins that are tried: one as printed by a client module, two around common
/// buffer sizes, the longest that one byte counts, the longest that KIM's own limits allow for
/// (about 840), and one beyond all of them.
const LENGTHS: [usize; 6] = [85, 128, 184, 255, 900, 8000];

const MESSAGE: &[u8] =
    b"Subject: Befund\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n.a line with a dot\r\n..\r\n \r\nend\r\n";

#[tokio::test]
async fn stock_fetchers_read_from_dovecot_directly() {
    let logins = LENGTHS.map(login_of);
    let Some(dovecot) = Dovecot::start(&accounts(&logins)).await else { return };
    for fetcher in Fetcher::ALL.into_iter().filter(|f| tools::have(&[f.program()])) {
        for tls in [Tls::Implicit, Tls::StartTls] {
            for login in logins.iter().filter(|login| login.len() <= Dovecot::LONGEST_LOGIN) {
                if dovecot.count(login).await == 0 {
                    dovecot.deliver(login, MESSAGE).await;
                }
                let user = User { login, password: PASSWORD };
                let fetched = fetcher.fetch(&dovecot.endpoint(tls), user).await;
                let case = format!("{fetcher:?} {tls:?} {} bytes", login.len());
                assert!(fetched.ok, "{case}: {}\n{}", fetched.said, dovecot.log());
                assert_eq!(fetched.messages.len(), 1, "{case}");
                assert_eq!(with_lf(&fetched.messages[0]), with_lf(MESSAGE), "{case}");
                let left = dovecot.count(login).await;
                assert_eq!(left, usize::from(!fetcher.deletes()), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn stock_senders_deliver_to_exim_directly() {
    let logins = LENGTHS.map(login_of);
    let Some(exim) = Exim::start(&accounts(&logins)).await else { return };
    let mut sent = 0;
    for sender in Sender::ALL.into_iter().filter(|s| tools::have(&[s.program()])) {
        let logins = logins.iter().filter(|login| login.len() <= sender.longest_login());
        for (login, tls) in logins.zip([Tls::Implicit, Tls::StartTls].into_iter().cycle()) {
            let user = User { login, password: PASSWORD };
            let envelope = (ADDRESS, RECIPIENT);
            let done = sender.send(&exim.endpoint(tls), user, envelope, MESSAGE).await;
            assert!(
                done.ok,
                "{sender:?} {tls:?} {} bytes: {}{}",
                login.len(),
                done.said,
                exim.log()
            );
            sent += 1;
        }
    }
    let messages = exim.messages().await;
    assert_eq!(messages.len(), sent);
    assert!(messages.iter().all(|message| *message == with_lf(MESSAGE)), "{}", exim.log());
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_from_a_right_one() {
    let accounts = [(SEED, PASSWORD)];
    let user = User { login: SEED, password: "falsch" };
    let Some(dovecot) = Dovecot::start(&accounts).await else { return };
    for fetcher in Fetcher::ALL.into_iter().filter(|f| tools::have(&[f.program()])) {
        let fetched = fetcher.fetch(&dovecot.endpoint(Tls::Implicit), user).await;
        assert!(!fetched.ok && fetched.messages.is_empty(), "{fetcher:?}: {}", fetched.said);
    }
    let Some(exim) = Exim::start(&accounts).await else { return };
    for sender in Sender::ALL.into_iter().filter(|s| tools::have(&[s.program()])) {
        let envelope = ("a@praxis.kim.telematik", "b@praxis.kim.telematik");
        let done = sender.send(&exim.endpoint(Tls::Implicit), user, envelope, MESSAGE).await;
        assert!(!done.ok, "{sender:?}: {}", done.said);
    }
    assert!(exim.messages().await.is_empty());
}

#[tokio::test]
async fn stock_fetchers_read_through_kimgate() {
    let labs = [Lab::start(Tls::Implicit).await, Lab::start(Tls::StartTls).await];
    let logins = LENGTHS.map(login_of);
    let mut runs = [0; 2];
    for fetcher in Fetcher::ALL.into_iter().filter(|f| tools::have(&[f.program()])) {
        for (turn, tls) in [Tls::Implicit, Tls::StartTls].into_iter().enumerate() {
            for (at, login) in logins.iter().enumerate() {
                let lab = &labs[(turn + at) % 2];
                runs[(turn + at) % 2] += 1;
                if lab.sim.maildrop(ADDRESS).is_empty() {
                    lab.sim.deliver(ADDRESS, MESSAGE);
                }
                let user = User { login, password: PASSWORD };
                let fetched = fetcher.fetch(&lab.kimgate.endpoint(Protocol::Pop3, tls), user).await;
                let case = format!("{fetcher:?} {tls:?} {} bytes", login.len());
                assert!(fetched.ok, "{case}: {}\n{}", fetched.said, lab.kimgate.log());
                let whole = if fetcher.keeps_line_ends() { MESSAGE } else { &with_lf(MESSAGE) };
                assert_eq!(fetched.messages, [whole], "{case}");
                let left = lab.sim.maildrop(ADDRESS).len();
                assert_eq!(left, usize::from(!fetcher.deletes()), "{case}");
                assert_eq!(lab.last_login(), (login.clone(), fetcher.mechanism(user)), "{case}");
            }
        }
    }
    for (lab, runs) in labs.into_iter().zip(runs) {
        let left = lab.stop().await;
        assert!(accepted_logins(&left) >= runs, "{}", left.audit);
    }
}

#[tokio::test]
async fn stock_senders_deliver_through_kimgate() {
    let labs = [Lab::start(Tls::Implicit).await, Lab::start(Tls::StartTls).await];
    let logins = LENGTHS.map(login_of);
    let mut sent = [0; 2];
    for sender in Sender::ALL.into_iter().filter(|s| tools::have(&[s.program()])) {
        let logins = logins.iter().filter(|login| login.len() <= sender.longest_login());
        for (at, login) in logins.enumerate() {
            for (turn, tls) in [Tls::Implicit, Tls::StartTls].into_iter().enumerate() {
                let lab = &labs[(turn + at) % 2];
                sent[(turn + at) % 2] += 1;
                let user = User { login, password: PASSWORD };
                let envelope = (ADDRESS, RECIPIENT);
                let to = lab.kimgate.endpoint(Protocol::Smtp, tls);
                let done = sender.send(&to, user, envelope, MESSAGE).await;
                let case = format!("{sender:?} {tls:?} {} bytes", login.len());
                assert!(done.ok, "{case}: {}\n{}", done.said, lab.kimgate.log());
                let kept = lab.sim.maildrop(RECIPIENT);
                assert_eq!(kept.len(), sent[(turn + at) % 2], "{case}");
                assert_eq!(kept.last().map(Vec::as_slice), Some(MESSAGE), "{case}");
                assert_eq!(lab.last_login(), (login.clone(), sender.mechanism(user)), "{case}");
            }
        }
    }
    for (lab, sent) in labs.into_iter().zip(sent) {
        let left = lab.stop().await;
        assert_eq!(accepted_logins(&left), sent, "{}", left.audit);
        assert_eq!(left.events("message-sent").len(), sent, "{}", left.audit);
    }
}

#[tokio::test]
async fn stock_fetchers_read_from_dovecot_through_kimgate() {
    let logins = LENGTHS.map(login_of);
    let Some(dovecot) = Dovecot::start(&accounts(&logins)).await else { return };
    let mut gateways = Vec::new();
    for tls in [Tls::Implicit, Tls::StartTls] {
        let upstream = dovecot.endpoint(tls);
        let trust = format!("ca = [\"{}\"]", upstream.ca.display());
        let module = module_at("main", upstream.port, 465, tls.security(), &trust);
        gateways.push(Kimgate::start(&[Protocol::Pop3], &module).await.ready().await);
    }
    for fetcher in Fetcher::ALL.into_iter().filter(|f| tools::have(&[f.program()])) {
        for (turn, tls) in [Tls::Implicit, Tls::StartTls].into_iter().enumerate() {
            let logins = logins.iter().filter(|login| login.len() <= Dovecot::LONGEST_LOGIN);
            for (at, login) in logins.enumerate() {
                let kimgate = &gateways[(turn + at) % 2];
                if dovecot.count(login).await == 0 {
                    dovecot.deliver(login, MESSAGE).await;
                }
                let user = User { login, password: PASSWORD };
                let fetched = fetcher.fetch(&kimgate.endpoint(Protocol::Pop3, tls), user).await;
                let case = format!("{fetcher:?} {tls:?} {} bytes", login.len());
                let logs = || format!("{}{}", kimgate.log(), dovecot.log());
                assert!(fetched.ok, "{case}: {}\n{}", fetched.said, logs());
                let whole = if fetcher.keeps_line_ends() { MESSAGE } else { &with_lf(MESSAGE) };
                assert_eq!(fetched.messages, [whole], "{case}");
                let left = dovecot.count(login).await;
                assert_eq!(left, usize::from(!fetcher.deletes()), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn stock_senders_deliver_to_exim_through_kimgate() {
    let logins = LENGTHS.map(login_of);
    let Some(exim) = Exim::start(&accounts(&logins)).await else { return };
    let mut gateways = Vec::new();
    for tls in [Tls::Implicit, Tls::StartTls] {
        let upstream = exim.endpoint(tls);
        let trust = format!("ca = [\"{}\"]", upstream.ca.display());
        let module = module_at("main", 995, upstream.port, tls.security(), &trust);
        gateways.push(Kimgate::start(&[Protocol::Smtp], &module).await.ready().await);
    }
    let mut sent = 0;
    for (turn, sender) in Sender::ALL.into_iter().enumerate() {
        if !tools::have(&[sender.program()]) {
            continue;
        }
        let logins = logins.iter().filter(|login| login.len() <= sender.longest_login());
        for (at, login) in logins.enumerate() {
            // Every pair of securities comes up with every sender.
            let tls = [Tls::Implicit, Tls::StartTls][at / 2 % 2];
            let kimgate = &gateways[(turn + at) % 2];
            let user = User { login, password: PASSWORD };
            let to = kimgate.endpoint(Protocol::Smtp, tls);
            let done = sender.send(&to, user, (ADDRESS, RECIPIENT), MESSAGE).await;
            let case = format!("{sender:?} {tls:?} {} bytes", login.len());
            assert!(done.ok, "{case}: {}\n{}{}", done.said, kimgate.log(), exim.log());
            sent += 1;
        }
    }
    let messages = exim.messages().await;
    assert_eq!(messages.len(), sent);
    assert!(messages.iter().all(|message| *message == with_lf(MESSAGE)), "{}", exim.log());
}

#[tokio::test]
async fn what_the_client_module_or_kimgate_refuses_fails_in_every_stock_program() {
    let more = "[protection]\nlogin_failures = 0\n\
                [accounts.\"alt@praxis.kim.telematik\"]\nretired = true\n";
    let lab = Lab::start_with(Tls::Implicit, more).await;
    lab.sim.deliver(ADDRESS, MESSAGE);
    let retired = SEED.replace(ADDRESS, "alt@praxis.kim.telematik");
    let wrong = User { login: SEED, password: "falsch" };
    let refused = User { login: &retired, password: PASSWORD };
    let fetch = lab.kimgate.endpoint(Protocol::Pop3, Tls::Implicit);
    let send = lab.kimgate.endpoint(Protocol::Smtp, Tls::Implicit);
    let mut tries = 0;
    for fetcher in Fetcher::ALL.into_iter().filter(|f| tools::have(&[f.program()])) {
        for user in [wrong, refused] {
            let fetched = fetcher.fetch(&fetch, user).await;
            assert!(!fetched.ok && fetched.messages.is_empty(), "{fetcher:?}: {}", fetched.said);
        }
        tries += 1;
    }
    for sender in Sender::ALL.into_iter().filter(|s| tools::have(&[s.program()])) {
        for user in [wrong, refused] {
            let done = sender.send(&send, user, (user.login, RECIPIENT), MESSAGE).await;
            assert!(!done.ok, "{sender:?}: {}", done.said);
        }
        tries += 1;
    }
    let seen = lab.sim.seen();
    let logins: Vec<_> = seen.iter().filter(|seen| matches!(seen, Seen::Login { .. })).collect();
    assert!(logins.len() >= tries, "{} of {tries}", logins.len());
    assert!(logins.iter().all(
        |seen| matches!(seen, Seen::Login { login, accepted: false, .. } if login == SEED.as_bytes())
    ));
    assert!(lab.sim.maildrop(RECIPIENT).is_empty());
    assert_eq!(lab.sim.maildrop(ADDRESS).len(), 1);
    let left = lab.stop().await;
    assert_eq!(accepted_logins(&left), 0, "{}", left.audit);
    for (event, reason) in [("login", "rejected-by-client-module"), ("denied", "account-retired")] {
        // Repetitions within a minute are one line with their count.
        let times = |line: &serde_json::Value| line["count"].as_u64().unwrap_or(1) as usize;
        let refused = left.events(event).into_iter().filter(|line| line["reason"] == reason);
        let refused: usize = refused.map(|line| times(&line)).sum();
        assert!(refused >= tries, "{reason}: {refused} of {tries}");
    }
}

/// It takes every refusal of PASS and of AUTH for a wrong password and shows no text of it.
#[tokio::test]
async fn thunderbird_shows_why_kimgate_refuses_and_asks_for_no_password() {
    let Some(mut thunderbird) = Thunderbird::start().await else { return };
    let retired = LOGIN.replace("prx@", "alt@");
    let sentence = "KIM-Gateway: Das Konto alt@praxis.kim.telematik ist stillgelegt; \
                    bitte aus dem Mailprogramm entfernen (account-retired); IT: 0371 1234";
    let shows = |dialogs: &[Dialog]| matches!(dialogs, [only] if only.kind == "alert" && only.text.contains(sentence));
    let contact = r#"gateway.contact = "IT: 0371 1234""#;
    let world = World::start(&[contact]).await;
    let pop3 = world.address(Protocol::Pop3, Listener::Plain);
    let smtp = world.address(Protocol::Smtp, Listener::Plain);

    // What it does when nothing is refused, so that silence means something.
    assert_eq!(thunderbird.fetch(pop3, LOGIN).await, []);
    assert_eq!(thunderbird.send(smtp, LOGIN).await, []);
    let seen = world.upstream_now();
    assert!(seen.iter().any(|fact| fact == "STAT"), "{seen:?}");
    assert!(seen.iter().any(|fact| fact == "message complete"), "{seen:?}");

    let dialogs = thunderbird.fetch(pop3, &retired).await;
    assert!(shows(&dialogs), "{dialogs:?}");
    // Should this fail with a newer one that asks for nothing, `refuse_sending` is of no use any more.
    let dialogs = thunderbird.send(smtp, &retired).await;
    assert!(dialogs.iter().any(|dialog| dialog.text.contains(sentence)), "{dialogs:?}");
    assert!(dialogs.iter().any(|dialog| dialog.text.contains("New Password")), "{dialogs:?}");

    let world = World::start(&[contact, r#"policy.refuse_sending = "at-mail""#]).await;
    let smtp = world.address(Protocol::Smtp, Listener::Plain);
    let dialogs = thunderbird.send(smtp, &retired).await;
    assert!(shows(&dialogs), "{dialogs:?}");
    assert!(world.upstream_now().is_empty());
}

/// kimgate before a simulated client module.
struct Lab {
    sim: Sim,
    kimgate: Kimgate,
}

impl Lab {
    /// With this security between the two.
    async fn start(upstream: Tls) -> Lab {
        Lab::start_with(upstream, "").await
    }

    async fn start_with(upstream: Tls, more: &str) -> Lab {
        let password = Some(Secret::new(PASSWORD.to_owned()));
        let security = upstream.security();
        let accounts = Accounts::AnyLogin { password };
        let config = SimConfig {
            security,
            accounts,
            raw_delivery: true,
            record: true,
            ..Default::default()
        };
        let sim = Sim::start(config).await.unwrap();
        let more = client_module("main", &sim, security) + more;
        let kimgate = Kimgate::start(&[Protocol::Pop3, Protocol::Smtp], &more).await.ready().await;
        Lab { sim, kimgate }
    }

    /// The login that the client module accepted last, and how it came.
    fn last_login(&self) -> (String, Mechanism) {
        let mut last = None;
        for seen in self.sim.seen() {
            if let Seen::Login { login, mechanism, accepted: true, .. } = seen {
                last = Some((String::from_utf8(login).unwrap(), mechanism));
            }
        }
        last.unwrap()
    }

    async fn stop(self) -> Left {
        let left = self.kimgate.stop().await;
        assert!(left.ok, "{}", left.log);
        left
    }
}

fn accepted_logins(left: &Left) -> usize {
    left.events("login").iter().filter(|line| line["accepted"] == true).count()
}

/// A login of this many bytes, with blanks and letters beyond ASCII where there is room.
fn login_of(octets: usize) -> String {
    if octets == SEED.len() {
        return SEED.to_owned();
    }
    let start = "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#Praxis Dr. Müller#ivoris#";
    let letters = ('a'..='z').cycle().take(octets - start.len());
    start.chars().chain(letters).collect()
}

fn accounts(logins: &[String]) -> Vec<(&str, &str)> {
    logins.iter().map(|login| (login.as_str(), PASSWORD)).collect()
}

/// Maildirs and some clients keep messages with LF as line end.
fn with_lf(message: &[u8]) -> Vec<u8> {
    message.iter().copied().filter(|&b| b != b'\r').collect()
}
