//! Rules that are learned from an audit admit what it tells, and nothing else.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use kimgate::words::Protocol;

use crate::support::cli;
use crate::support::dialogue::{ADDRESS, Client, PASSWORD, auth_plain};
use crate::support::tools;
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, PC2, World};

const PC9: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const NEW: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
const NEWER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 78));

fn login(account: &str, workplace: &str) -> String {
    format!("{account}@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#{workplace}")
}

#[tokio::test]
async fn learned_rules_admit_what_was_seen_and_refuse_the_rest() {
    if !tools::have(&["patch"]) {
        return;
    }
    let observing = [
        r#"policy.mode = "observe""#,
        r#"policy.unknown_workstations = "allow""#,
        r#"policy.unknown_accounts = "allow""#,
        r#"accounts."prx@praxis.kim.telematik".send.only."eAU;*" = ["workstation:PC2"]"#,
    ];
    let world = World::with(&observing, |sim| sim.mailbox_in_use = None).await;
    world.sim.deliver(ADDRESS, b"Subject: x\r\n\r\n");
    // PC1 fetches, deletes and sends; PC2 fetches; a PC that is in no list has its own account;
    // PC9 is on a deny list. One password is wrong.
    let mut client = fetch(&world, PC1, LOGIN, "+OK<any>").await;
    client.ask("DELE 1", "+OK<any>").await;
    client.ask("QUIT", "+OK<any>").await;
    send(&world, PC1, "eAU;Lieferung;V1.2", "250 <any>").await;
    fetch(&world, PC2, &login("prx", "PC2"), "+OK<any>").await;
    fetch(&world, NEW, &login("neu", "PC77"), "+OK<any>").await;
    fetch(&world, PC9, LOGIN, "+OK<any>").await;
    wrong_password(&world, NEWER).await;
    world.audit().await;

    let file = world.file();
    let before = fs::read_to_string(&file).unwrap();
    let audit = cli::text(&world.folder.path().join("audit.jsonl"));
    let ran = cli::kimgate(&["explain", "--config", &cli::text(&file), "--learn", &audit]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("still refused: prx@praxis.kim.telematik at PC9 (denied"),
        "{ran:?}"
    );
    let diff = cli::write(world.folder.path(), "learned.diff", &ran.stdout);
    let mut patch = tools::command("patch");
    patch.arg(&file).arg(&diff);
    let patched = tools::run(&mut patch, b"").await;
    assert!(patched.ok, "{}\n{}", patched.said, ran.stdout);
    assert!(
        before
            .lines()
            .filter(|l| l.starts_with('#'))
            .all(|l| { fs::read_to_string(&file).unwrap().contains(l) })
    );
    cli::kimgate(&["check", "--config", &cli::text(&file)]).expect(0);
    let again = cli::kimgate(&["explain", "--config", &cli::text(&file), "--learn", &audit]);
    assert!(again.stdout.is_empty() && again.stderr.contains("no change is needed"), "{again:?}");

    let learned = fs::read_to_string(&file).unwrap();
    fs::write(&file, learned.replace("\"observe\"", "\"enforce\"")).unwrap();
    world.reload_file().unwrap();
    let mut client = fetch(&world, PC1, LOGIN, "+OK<any>").await;
    client.ask("DELE 1", "<any>").await;
    send(&world, PC1, "eAU;Lieferung;V1.2", "250 <any>").await;
    let mut client = fetch(&world, PC2, &login("prx", "PC2"), "+OK<any>").await;
    client.ask("DELE 1", "-ERR [SYS/PERM] <any>(delete-not-allowed)").await;
    fetch(&world, NEW, &login("neu", "PC77"), "+OK<any>").await;

    send(&world, PC1, "eNachricht;Lieferung;V2.0", "550 5.7.1 <any>(service-not-allowed)").await;
    let mut newer = world.client_from(Protocol::Pop3, Listener::Implicit, NEWER).await;
    newer.expect("-ERR <any>(unknown-workstation)").await;
    fetch(&world, NEW, &login("neu", "PC1"), "-ERR <any>(workplace-not-assigned)").await;
    fetch(&world, NEW, &login("prx", "PC77"), "-ERR <any>(not-allowed)").await;
    fetch(&world, PC1, &login("neu", "PC1"), "-ERR <any>(not-allowed)").await;
    fetch(&world, PC1, &login("fremd", "PC1"), "-ERR <any>(account-unknown)").await;
    fetch(&world, PC9, LOGIN, "-ERR <any>(denied)").await;
    let mut smtp = greeted(&world, PC2).await;
    smtp.ask(auth_plain(&login("prx", "PC2"), PASSWORD), "550 5.7.1 <any>(not-allowed)").await;
}

#[test]
fn what_an_operator_has_written_stays_and_grows() {
    let folder = tempfile::tempdir().unwrap();
    let practice = fs::read_to_string(cli::in_repository("config/practice.toml")).unwrap();
    let config = cli::write(folder.path(), "kimgate.toml", &practice);
    let line = |event: &str, rest: &str| {
        format!(
            "{{\"event\":\"{event}\",\"protocol\":\"smtp\",\"peer\":\"192.168.0.31:99\",\
             \"workstation\":\"ZIMMER1\",\"workplace_id\":\"ZIMMER1\",\
             \"account\":\"kfo@praxis.kim.telematik\",\"accepted\":true{rest}}}\n"
        )
    };
    let text = line("login", "") + &line("message-sent", ",\"service\":\"eNachricht;x;V2.1\"");
    let audit = cli::text(&cli::write(folder.path(), "audit.jsonl", &text));
    let said = cli::kimgate(&["explain", "--config", &cli::text(&config), "--learn", &audit]);
    let changed: Vec<&str> = said
        .stdout
        .lines()
        .skip(2)
        .filter(|line| line.starts_with(['+', '-']) && line.len() > 1)
        .collect();
    assert_eq!(
        changed,
        [
            "-allow = [\"department:kieferorthopaedie\"]",
            "+allow = [\"department:kieferorthopaedie\", \"workstation:ZIMMER1\"]",
            "-services = [\"eAU;*\", \"EBZ;*\", \"Arztbrief;*\", \"KIM-Mail;*\"]",
            "+services = [\"eAU;*\", \"EBZ;*\", \"Arztbrief;*\", \"KIM-Mail;*\", \"eNachricht;x;V2.1\"]",
            "+[accounts.\"kfo@praxis.kim.telematik\".receive]",
            "+deny = [\"workstation:ZIMMER1\"]",
        ],
        "{said:?}"
    );
}

#[test]
fn an_audit_that_tells_nothing_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let config = cli::in_repository("config/practice.toml");
    let line = |account: &str| {
        format!(
            "{{\"event\":\"login\",\"protocol\":\"pop3\",\"peer\":\"192.168.0.11:99\",\
             \"account\":\"{account}\",\"accepted\":true}}\n"
        )
    };
    for (text, expected) in [
        (line("hmac:0123456789ab"), "pseudonymized"),
        (String::new(), "nothing to learn"),
        ("\u{1b}[2J nonsense\n".into(), "nothing to learn"),
        (line("a@b.c\\u001b[2J"), "nothing to learn"),
    ] {
        let audit = cli::text(&cli::write(folder.path(), "audit.jsonl", &text));
        let ran = cli::kimgate(&["explain", "--config", &config, "--learn", &audit]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains(expected) && !ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
    let both = ["explain", "--learn", "x", "--login", "y"];
    assert_eq!(cli::kimgate(&both).code, 2);
}

async fn fetch(world: &World, from: IpAddr, login: &str, answer: &str) -> Client {
    let mut client = world.client_from(Protocol::Pop3, Listener::Implicit, from).await;
    client.expect("+OK <any>").await;
    // A refusal comes before the password, and PASS gets it as well.
    client.send(format!("USER {login}\r\nPASS {PASSWORD}")).await;
    client.expect("<any>").await;
    client.expect(answer).await;
    client
}

async fn greeted(world: &World, from: IpAddr) -> Client {
    let mut client = world.client_from(Protocol::Smtp, Listener::Implicit, from).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    client
}

async fn send(world: &World, from: IpAddr, service: &str, answer: &str) {
    let mut client = greeted(world, from).await;
    client.ask(auth_plain(&LOGIN.replace("995", "465"), PASSWORD), "235 <any>").await;
    client.begin_message().await;
    client.send(format!("X-KIM-Dienstkennung: {service}\r\n\r\nhello\r\n.")).await;
    client.expect(answer).await;
    client.ask("QUIT", "221 <any>").await;
}

async fn wrong_password(world: &World, from: IpAddr) {
    let mut client = world.client_from(Protocol::Pop3, Listener::Implicit, from).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {}", login("geraten", "PC78")), "+OK<any>").await;
    client.ask("PASS falsch", "-ERR<any>").await;
}
