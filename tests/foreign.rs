//! Stock clients and servers from outside Rust, which read the RFCs without us.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::clients::{Fetcher, Sender, Tls, User};
use support::dovecot::Dovecot;
use support::exim::Exim;
use support::tools;

/// With what KIM passwords may hold.
const PASSWORD: &str = "geheim $%+_-#1";

const SEED: &str =
    "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#Mandant1#ivorisortho#PC1#PRAXIS";

/// Octets of the logins that are tried: one as printed by a client module, two around common
/// buffer sizes, the longest that one octet counts, the longest that KIM's own limits allow for
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
                let case = format!("{fetcher:?} {tls:?} {} octets", login.len());
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
            let envelope = ("prx@praxis.tm.kim.telematik", "arzt@praxis.kim.telematik");
            let done = sender.send(&exim.endpoint(tls), user, envelope, MESSAGE).await;
            assert!(
                done.ok,
                "{sender:?} {tls:?} {} octets: {}{}",
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

/// A login of this many octets, with blanks and letters beyond ASCII where there is room.
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
