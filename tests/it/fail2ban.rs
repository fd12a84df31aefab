//! The fail2ban filter in `config/fail2ban`, with fail2ban's own reader and an audit of a gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::support::cli::in_repository;
use crate::support::dialogue::PASSWORD;
use crate::support::tools;
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, World};
use kimgate::words::Protocol;

const FILTER: &str = "config/fail2ban/kimgate.conf";
/// A workstation in no rule.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
/// For refusals that were folded into one line.
const FLOOD: &str = "config/fail2ban/kimgate-flood.conf";

/// The addresses that fail2ban finds in a file of audit lines, or in one line.
fn found(lines: &str, filter: &str) -> Vec<String> {
    let mut command = Command::new("fail2ban-regex");
    let output = command.args(["--out", "ip", lines, &in_repository(filter)]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn fail2ban_counts_refused_logins_and_connections_and_nothing_else() {
    if !tools::have(&["fail2ban-regex"]) {
        return;
    }
    let world = World::start(&[]).await;
    let mut pop3 = world.client(Protocol::Pop3).await;
    pop3.expect("+OK <any>").await;
    pop3.ask("USER fremd@praxis.kim.telematik", "-ERR <any>(account-unknown)").await;
    // An address cannot be forged by what the peer types.
    let forged = r#"USER x"peer":"192.0.2.1:1","reason":"denied"@y.de"#;
    pop3.ask(forged, "-ERR <any>(account-unknown)").await;
    pop3.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    pop3.ask("PASS falsch", "-ERR<any>").await;
    pop3.pop3_login(LOGIN).await;
    pop3.ask("QUIT", "+OK<any>").await;
    // No fault of the workstation.
    world.faults(&["pop3:greeting-drop"]);
    let mut unlucky = world.client(Protocol::Pop3).await;
    unlucky.expect("+OK <any>").await;
    unlucky.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    unlucky.ask(format!("PASS {PASSWORD}"), "-ERR <any>(client-module-unreachable)").await;
    unlucky.ask("QUIT", "+OK<any>").await;
    let mut confused = world.client(Protocol::Pop3).await;
    confused.expect("+OK <any>").await;
    for _ in 0..10 {
        confused.ask("NONSENSE", "-ERR <any>(bad-command)").await;
    }
    confused.ask("NONSENSE", "-ERR <any>(bad-command)").await;
    confused.end().await;
    let mut stranger = world.client_from(Protocol::Pop3, Listener::Plain, STRANGER).await;
    stranger.expect("-ERR <any>(unknown-workstation)").await;
    drop((pop3, unlucky, confused, stranger));
    let lines = world.audit().await;
    let peer = lines.iter().find_map(|line| line["peer"].as_str()).unwrap();
    let (ip, _) = peer.rsplit_once(':').unwrap();
    let stranger = STRANGER.to_string();
    let audit = world.folder.path().join("audit.jsonl");
    let found = found(audit.to_str().unwrap(), FILTER);
    // Two unknown accounts, one wrong password, one connection that is not mail; and one workstation
    // that is unknown, which two lines tell.
    assert_eq!(found, [ip, ip, ip, ip, &stranger], "{lines:#?}");
}

#[test]
fn the_filters_test_lines_say_what_they_should() {
    if !tools::have(&["fail2ban-regex"]) {
        return;
    }
    let addresses = |filter| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(in_repository(filter)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("#   fail2ban-regex '"));
        let lines = lines.filter_map(|line| Some(line.split_once('\'')?.0));
        lines.map(|line| found(line, filter)).collect()
    };
    assert_eq!(addresses(FILTER), [vec!["192.0.2.9"], vec!["2001:db8::9"], vec![]]);
    // The ban was for the address 2001:db8:1:2:: alone, which nobody has.
    let networks = ["2001:db8::/64", "2001:db8:1:2::/64"].map(|network| vec![network]);
    let [rate, refusals] = networks;
    assert_eq!(addresses(FLOOD), [vec!["192.0.2.9"], rate, vec![], refusals]);
}

#[tokio::test]
async fn a_flood_that_is_few_audit_lines_is_still_found() {
    if !tools::have(&["fail2ban-regex"]) {
        return;
    }
    for tries in [5, 30] {
        let world = World::start(&["audit.chain = true"]).await;
        for _ in 0..tries {
            let mut pop3 = world.client(Protocol::Pop3).await;
            pop3.expect("+OK <any>").await;
            pop3.ask("USER fremd@praxis.kim.telematik", "-ERR <any>(account-unknown)").await;
            pop3.ask("QUIT", "+OK<any>").await;
        }
        world.audit_when(|lines| lines.iter().any(|line| line["count"].is_u64())).await;
        let audit = world.folder.path().join("audit.jsonl");
        let found = found(audit.to_str().unwrap(), FLOOD);
        assert_eq!(found.len(), usize::from(tries > 20), "{tries} tries");
    }
}
