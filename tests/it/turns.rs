//! Who waits for whom, and for how long: login pauses that do not punish the innocent, and queues that no
//! workstation fills for the others.

use std::net::IpAddr;

use kimgate::words::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::cli::{Ran, kimgate, text};
use crate::support::dialogue::{ADDRESS, Client, PASSWORD, PATIENCE, auth_plain};
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, PC2, World};

const AT_PC2: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC2";

/// Sends a login and does not wait for its answer.
async fn begin(world: &World, from: IpAddr, login: &str, password: &str) -> Client {
    let mut client = world.client_from(Protocol::Pop3, Listener::Implicit, from).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {login}"), "+OK<any>").await;
    client.send(format!("PASS {password}")).await;
    client
}

/// The answer to a login from PC1.
async fn answer(world: &World, password: &str) -> String {
    begin(world, PC1, LOGIN, password).await.expect("<any>").await
}

fn logins(world: &World) -> usize {
    world.upstream_now().iter().filter(|fact| fact.starts_with("login ")).count()
}

/// What a command says that asks the gateway of this process.
async fn asked(arguments: &[&str]) -> Ran {
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    let ran = tokio::task::spawn_blocking(move || {
        kimgate(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    });
    ran.await.unwrap()
}

async fn status(world: &World) -> Value {
    serde_json::from_str(&world.get("/status").await.1).unwrap()
}

/// The right password, refused while a card is locked, was not sent again for an hour.
#[tokio::test]
async fn a_card_that_was_locked_keeps_the_right_password_out_until_the_end_of_the_pause() {
    let lines = [
        "protection.login_failures = 1",
        "protection.login_pause = \"1s\"",
        // It asks again and again.
        "limits.connection_rate = 0",
    ];
    let world = World::start(&lines).await;
    world.faults(&["2*login-refuse=-ERR Der Nutzer konnte nicht authentifiziert werden"]);
    let started = tokio::time::Instant::now();
    let mut paused = 0;
    loop {
        let said = answer(&world, PASSWORD).await;
        if said.starts_with("+OK") {
            break;
        }
        if said.contains("(login-paused)") {
            assert!(said.contains(" ruht noch 1 Sekunde; "), "{said}");
            paused += 1;
        }
        assert!(started.elapsed() < PATIENCE, "{said}");
    }
    assert!(paused > 0);
    assert_eq!(logins(&world), 3, "one try after each pause");
    assert!(started.elapsed().as_secs() < 10, "it waited until the refusals were forgotten");
}

#[tokio::test]
async fn answers_that_pass_pause_nothing() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    for words in [
        "-ERR timeout",
        "-ERR Der Konnektor ist vor\u{fc}bergehend nicht erreichbar",
        "-ERR [IN-USE] no",
        "-ERR 4.3.0 no",
    ] {
        world.faults(&[format!("2*login-refuse={words}")]);
        for _ in 0..2 {
            assert_eq!(answer(&world, PASSWORD).await, words);
        }
        assert!(answer(&world, PASSWORD).await.starts_with("+OK"), "{words}");
    }
}

/// No answer at all is no refusal either: the client module is at fault.
#[tokio::test]
async fn a_client_module_that_is_cut_off_in_the_login_pauses_nothing() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    world.faults(&["3*login-drop"]);
    for _ in 0..3 {
        let said = answer(&world, PASSWORD).await;
        assert!(said.starts_with("-ERR [SYS/TEMP] ") && !said.contains("paused"), "{said}");
    }
    assert_eq!(status(&world).await["paused_logins"], json!([]));
    assert!(answer(&world, PASSWORD).await.starts_with("+OK"));
}

#[tokio::test]
async fn a_corrected_password_is_tried_at_once_and_the_next_one_a_minute_later() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    assert!(answer(&world, "falsch").await.starts_with("-ERR Der Nutzer"));
    assert!(answer(&world, "falsch").await.contains("(login-paused)"));
    assert!(answer(&world, "wieder falsch").await.starts_with("-ERR Der Nutzer"));
    let said = answer(&world, PASSWORD).await;
    assert!(said.contains(" ruht noch 1 Minute; ") || said.contains(" Sekunden; "), "{said}");
    assert_eq!(logins(&world), 2);
    let world = World::start(&["protection.login_failures = 1"]).await;
    assert!(answer(&world, "falsch").await.starts_with("-ERR Der Nutzer"));
    assert!(answer(&world, PASSWORD).await.starts_with("+OK"));
    assert_eq!(status(&world).await["paused_logins"], json!([]));
}

#[tokio::test]
async fn the_status_lists_a_password_that_waits_although_the_pause_is_over() {
    let lines = ["protection.login_failures = 1", "protection.login_pause = \"1s\""];
    let world = World::start(&lines).await;
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    client.ask(auth_plain(LOGIN, "falsch"), "535 <any>").await;
    let started = tokio::time::Instant::now();
    let mut scopes = Vec::new();
    while scopes.last() != Some(&json!("wrong-password")) {
        let status = status(&world).await;
        let pause = &status["paused_logins"][0];
        assert_eq!((&pause["workstation"], &pause["account"]), (&json!("PC1"), &json!(ADDRESS)));
        assert_eq!((&pause["refusals"], &pause["reply"]), (&json!(1), &json!("535 5.7.8")));
        assert_eq!(pause["reason"], "wrong-password");
        assert!((1..=12).contains(&pause["wrong_password_seconds"].as_u64().unwrap()), "{pause}");
        scopes.push(pause["scope"].clone());
        assert!(started.elapsed() < PATIENCE, "{status:#}");
    }
    assert_eq!(scopes[0], "login");
    client.ask(auth_plain(LOGIN, "falsch"), "454 4.7.0 <any>(login-paused)").await;
    let shown = asked(&["status", "--address", &world.admin.to_string()]).await;
    assert!(shown.stdout.contains("the wrong password"), "{shown:?}");
    assert!(shown.stdout.contains("1 time, wrong password (535 5.7.8)"), "{shown:?}");
}

#[tokio::test]
async fn unlock_ends_the_pauses_that_were_named_and_leaves_an_audit_line() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    let wrong = async |from, login| {
        let said = begin(&world, from, login, "falsch").await.expect("<any>").await;
        said.contains("(login-paused)")
    };
    for _ in 0..2 {
        wrong(PC1, LOGIN).await;
        wrong(PC2, AT_PC2).await;
    }
    let admin = world.admin.to_string();
    let unlock =
        async |further: &[&str]| asked(&[&["unlock", "--address", &admin], further].concat()).await;
    let said = unlock(&["--workstation", "PC3"]).await.expect(0);
    assert!(said.contains("no login at PC3 is paused"), "{said}");
    let said = unlock(&["--account", "arzt@praxis.kim.telematik"]).await.expect(0);
    assert!(said.contains("no login of arzt@praxis.kim.telematik is paused"), "{said}");
    // A login that is pasted as a whole stands for its account.
    let said = unlock(&["--account", LOGIN, "--workstation", "pc1"]).await.expect(0);
    assert!(said.starts_with("1 login pause of "), "{said}");
    assert!(!wrong(PC1, LOGIN).await, "it goes to the client module again");
    assert!(wrong(PC2, AT_PC2).await, "it was not named");
    assert_eq!(unlock(&["--json"]).await.json(), json!({"ended": 2}));
    assert_eq!(status(&world).await["paused_logins"], json!([]));
    let ran = unlock(&["--workstation", ""]).await;
    assert!(ran.code == 2 && ran.stderr.contains("empty or too long"), "{ran:?}");
    let unlocked = |lines: &[Value]| -> Vec<Value> {
        lines.iter().filter(|line| line["event"] == "unlocked").cloned().collect()
    };
    let lines = unlocked(&world.audit_when(|lines| unlocked(lines).len() == 4).await);
    assert_eq!((&lines[2]["account"], &lines[2]["ended"]), (&json!(ADDRESS), &json!(1)));
    assert_eq!((&lines[3]["peer"], &lines[3]["ended"]), (&json!("127.0.0.1"), &json!(2)));
    let file = text(&world.file());
    let audit = kimgate(&["audit", "--config", &file, "--event", "unlocked"]).expect(0);
    assert!(audit.contains("ended login pauses: 2"), "{audit}");
}

#[tokio::test]
async fn a_page_from_another_site_ends_no_pause() {
    let world = World::start(&["protection.login_failures = 1"]).await;
    answer(&world, "falsch").await;
    for headers in ["", "kimgate-command: unlock\r\nOrigin: http://evil.example\r\n"] {
        let mut tcp = TcpStream::connect(world.admin).await.unwrap();
        let host = world.admin;
        let request = format!(
            "POST /unlock HTTP/1.0\r\nHost: {host}\r\nContent-Length: 2\r\n{headers}\r\n{{}}"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        tcp.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.0 403 "), "{said}");
    }
    assert!(answer(&world, "falsch").await.contains("(login-paused)"));
}

/// PC1 had its logins in the queue, and PC2 waited for all of them.
#[tokio::test]
async fn the_queue_of_one_workstation_keeps_no_other_from_the_mailbox() {
    let world = World::start(&["mailboxes.wait = \"60s\""]).await;
    let mut first = world.pop3().await;
    let mut queued = Vec::new();
    for count in 1..=8 {
        queued.push(begin(&world, PC1, LOGIN, "falsch").await);
        world.waiting(count).await;
    }
    let mut other = begin(&world, PC2, AT_PC2, PASSWORD).await;
    world.waiting(9).await;
    first.ask("QUIT", "+OK<any>").await;
    other.expect("+OK<any>").await;
    let next: Vec<String> =
        world.upstream_now().into_iter().filter(|fact| fact.starts_with("login ")).collect();
    assert_eq!(next, [format!("login {LOGIN}"), format!("login {AT_PC2}")]);
    other.ask("QUIT", "+OK<any>").await;
    for client in &mut queued {
        client.expect("-ERR<any>").await;
    }
    assert_eq!(logins(&world), 5, "the queued ones were checked again after they had waited");
}

#[tokio::test]
async fn a_login_whose_workstation_left_while_it_waited_leaves_nothing() {
    let lines = ["mailboxes.wait = \"60s\"", "protection.login_failures = 1"];
    let world = World::start(&lines).await;
    let mut first = world.pop3().await;
    let gone = begin(&world, PC1, LOGIN, "falsch").await;
    world.waiting(1).await;
    assert_eq!(status(&world).await["mailboxes"][0]["waiting"], 1);
    drop(gone);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while status(&world).await["mailboxes"][0]["waiting"] != 0 {
        assert!(tokio::time::Instant::now() < deadline, "it still waits");
    }
    first.ask("QUIT", "+OK<any>").await;
    assert!(answer(&world, PASSWORD).await.starts_with("+OK"), "nothing was counted");
    assert_eq!(logins(&world), 2, "the client module was asked about no password that had left");
    world.nobody_left().await;
    assert_eq!(status(&world).await["mailboxes"], json!([]));
}

/// Wrong logins of PC1, each sent before the last one was refused, kept the context from PC2.
#[tokio::test]
async fn wrong_logins_in_a_row_do_not_keep_a_context() {
    let world = World::start(&[
        "contexts.mode = \"enforce\"",
        "contexts.wait = \"60s\"",
        "workstations.PC2.workplaces = []",
    ])
    .await;
    world.faults(&["login-delay=300ms"]);
    let mut wrong = begin(&world, PC1, LOGIN, "falsch").await;
    world.upstream_saw("login <any>").await;
    let mut other = begin(&world, PC2, LOGIN, PASSWORD).await;
    world.waiting(1).await;
    let mut next_wrong = begin(&world, PC1, LOGIN, "wieder falsch").await;
    world.waiting(2).await;
    wrong.expect("-ERR<any>").await;
    other.expect("+OK<any>").await;
    other.ask("QUIT", "+OK<any>").await;
    next_wrong.expect("-ERR<any>").await;
}
