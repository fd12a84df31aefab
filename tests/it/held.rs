//! Messages that came undecrypted: held over sessions, workstations and restarts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kimgate::held::{Register, Terms, Undecrypted};
use kimgate::secret::Secret;
use kimgate::sim::{Accounts, Sim, SimConfig};
use kimgate::words::{Protocol, Security};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::cli::kimgate as command;
use crate::support::dialogue::{ADDRESS, Client, PASSWORD};
use crate::support::kimgate::{ADDRESS as OF_BINARY, Kimgate, client_module};
use crate::support::transcript::Listener;
use crate::support::world::{PC2, World, count, only};

const MESSAGE: &[u8] = b"Subject: Befund\r\nX-KIM-DecryptionResult: 00\r\n\r\nhello\r\n";
const AT_PC2: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC2";
const PC2_MAY: &str = r#"accounts."prx@praxis.kim.telematik".delete.allow = []"#;
const HELD: &str = "-ERR [SYS/PERM] <any>(delete-held)";
const HOLD: Duration = Duration::from_secs(30 * 86_400);

async fn fetch(client: &mut Client, number: u32) {
    client.ask(format!("RETR {number}"), "+OK<any>").await;
    client.expect_until(".").await;
}

async fn quit(mut client: Client) {
    client.ask("QUIT", "+OK<any>").await;
}

/// One session that fetches and leaves.
async fn fetched(world: &World) {
    let mut client = world.pop3().await;
    fetch(&mut client, 1).await;
    quit(client).await;
}

/// One session that fetches nothing and wants to delete.
async fn deleting(world: &World, expected: &str) {
    let mut client = world.pop3().await;
    client.ask("DELE 1", expected).await;
    quit(client).await;
}

async fn at_pc2(world: &World) -> Client {
    let mut client = world.client_from(Protocol::Pop3, Listener::Implicit, PC2).await;
    client.expect("+OK <any>").await;
    client.pop3_login(AT_PC2).await;
    client
}

async fn list(world: &World) -> Value {
    let (code, body) = world.get("/held").await;
    assert_eq!(code, 200);
    serde_json::from_str(&body).unwrap()
}

async fn release(world: &World, id: &str) -> String {
    let mut tcp = TcpStream::connect(world.admin).await.unwrap();
    let (host, length) = (world.admin, id.len());
    let request = format!(
        "POST /held/release HTTP/1.0\r\nHost: {host}\r\nkimgate-command: held release\r\n\
         Content-Length: {length}\r\n\r\n{id}"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A program that fetched at 8:00 and deletes at 8:30, or another PC, lost the only readable copy.
#[tokio::test]
async fn what_came_undecrypted_is_not_deleted_by_a_later_session_or_another_workstation() {
    let world = World::start(&[PC2_MAY]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["undecryptable"]);
    fetched(&world).await;
    deleting(&world, HELD).await;
    let mut other = at_pc2(&world).await;
    other.ask("DELE 1", HELD).await;
    quit(other).await;
    assert_eq!(world.metric("kimgate_messages_held"), 1.0);
    assert!(!world.upstream().await.iter().any(|fact| fact.starts_with("DELE")));
    // The card is unlocked, and another PC can read it.
    world.faults(&[""; 0]);
    let mut other = at_pc2(&world).await;
    fetch(&mut other, 1).await;
    quit(other).await;
    assert_eq!(world.metric("kimgate_messages_held"), 0.0);
    deleting(&world, "+OK<any>").await;
    let audit = world.audit().await;
    let held = only(&audit, "message-held");
    assert_eq!((&held["place"], &held["number"]), (&"register".into(), &1.into()));
    assert_eq!(held["cause"], "decryption-result 01");
    let released = only(&audit, "message-released");
    assert_eq!((&released["by"], &released["held"]), (&"fetch".into(), &held["held"]));
    assert_eq!(released["workstation"], "PC2");
    assert_eq!(count(&audit, "delete-held"), 2);
}

#[tokio::test]
async fn a_preview_and_an_error_mail_hold_a_message_for_the_next_session_too() {
    for message in [
        "X-KIM-DecryptionResult: 03\r\n\r\nhello\r\n",
        "X-KIM-Fehlermeldung: X99\r\nX-KIM-Fehlermeldung: 4013: KAS\r\n\r\nhello\r\n",
        "X-KIM-Fehlermeldung: X99\r\nSubject: Die Nachricht konnte nicht entschl\u{fc}sselt werden\r\n\r\n",
        &format!("X: {}\r\n\r\nhello\r\n", "x".repeat(300 << 10)),
    ] {
        for asked in ["RETR 1", "TOP 1 0"] {
            let world = World::start(&[]).await;
            world.sim.deliver(ADDRESS, message.as_bytes());
            let mut client = world.pop3().await;
            client.ask(asked, "+OK<any>").await;
            client.expect_until(".").await;
            quit(client).await;
            deleting(&world, HELD).await;
        }
    }
}

/// A preview is not what somebody could read, and neither is half a message.
#[tokio::test]
async fn only_a_whole_message_that_came_decrypted_releases_it() {
    let world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["undecryptable"]);
    fetched(&world).await;
    world.faults(&["in-retr-close@50"]);
    let mut client = world.pop3().await;
    client.ask("TOP 1 0", "+OK<any>").await;
    client.expect_until(".").await;
    client.send("RETR 1").await;
    drop(client.rest().await);
    world.faults(&[""; 0]);
    deleting(&world, HELD).await;
    let mut client = world.pop3().await;
    fetch(&mut client, 1).await;
    client.ask("DELE 1", "+OK<any>").await;
    quit(client).await;
}

#[tokio::test]
async fn a_message_that_came_decrypted_after_all_is_deleted_in_the_same_session() {
    let world = World::start(&[]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    let mut client = world.pop3().await;
    world.faults(&["undecryptable"]);
    fetch(&mut client, 1).await;
    client.ask("DELE 1", HELD).await;
    world.faults(&[""; 0]);
    fetch(&mut client, 1).await;
    client.ask("DELE 1", "+OK<any>").await;
    quit(client).await;
    assert_eq!(world.metric("kimgate_messages_held"), 0.0);
}

#[tokio::test]
async fn a_mailbox_of_which_nothing_is_held_costs_no_question() {
    let world = World::start(&[]).await;
    for _ in 0..3 {
        world.sim.deliver(ADDRESS, MESSAGE);
    }
    let mut client = world.pop3().await;
    for number in 1..=3 {
        fetch(&mut client, number).await;
        client.ask(format!("DELE {number}"), "+OK<any>").await;
    }
    quit(client).await;
    assert!(!world.upstream().await.iter().any(|fact| fact.starts_with("UIDL")));
}

#[tokio::test]
async fn beside_a_held_message_the_others_are_deleted() {
    let world = World::start(&[]).await;
    for _ in 0..3 {
        world.sim.deliver(ADDRESS, MESSAGE);
    }
    world.faults(&["undecryptable"]);
    fetched(&world).await;
    world.faults(&[""; 0]);
    let mut client = world.pop3().await;
    // Asked by the workstation too, its answer is its own.
    client.ask("UIDL 2", "+OK 2 sim-00000002").await;
    for (number, expected) in [(2, "+OK<any>"), (1, HELD), (3, "+OK<any>"), (1, HELD)] {
        client.ask(format!("DELE {number}"), expected).await;
    }
    client.ask("NOOP", "+OK").await;
    quit(client).await;
    let seen = world.upstream().await;
    for wanted in ["UIDL 1", "deleted 2", "deleted 3"] {
        assert!(seen.iter().any(|fact| fact == wanted), "{wanted}: {seen:?}");
    }
    assert!(!seen.iter().any(|fact| fact == "deleted 1"), "{seen:?}");
}

/// Nothing that came together with RETR overtakes the note.
#[tokio::test]
async fn of_two_sessions_at_once_the_second_knows_what_the_first_has_fetched() {
    let lines = [r#"mailboxes.wait = "0s""#, PC2_MAY];
    let world = World::with(&lines, |sim| sim.mailbox_in_use = None).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    let (mut first, mut second) = (world.pop3().await, at_pc2(&world).await);
    world.faults(&["undecryptable"]);
    fetch(&mut first, 1).await;
    second.ask("DELE 1", HELD).await;
    first.ask("DELE 1", HELD).await;
    world.faults(&[""; 0]);
    fetch(&mut second, 1).await;
    second.ask("DELE 1", "+OK<any>").await;
    quit(first).await;
    quit(second).await;
}

#[tokio::test]
async fn a_person_releases_a_message_and_fetching_it_again_does_not_hold_it_again() {
    let world = World::start(&[]).await;
    // A header that a sender has forged stays in each fetch.
    world.sim.deliver(ADDRESS, b"Subject: x\r\nX-KIM-DecryptionResult: X66\r\n\r\nhello\r\n");
    fetched(&world).await;
    let listed = list(&world).await;
    assert_eq!(listed["messages"], 1);
    let message = &listed["list"][0];
    assert_eq!((&message["account"], &message["workstation"]), (&ADDRESS.into(), &"PC1".into()));
    assert_eq!(message["cause"], "decryption-result X66");
    let id = message["id"].as_str().unwrap();
    assert!(release(&world, "000000000000").await.starts_with("HTTP/1.0 422 "));
    // A session that has fetched it may delete it from then on.
    let mut open = world.pop3().await;
    fetch(&mut open, 1).await;
    open.ask("DELE 1", HELD).await;
    assert!(release(&world, id).await.starts_with("HTTP/1.0 200 "));
    assert_eq!(list(&world).await["messages"], 0);
    open.ask("DELE 1", "+OK<any>").await;
    open.ask("RSET", "+OK<any>").await;
    quit(open).await;
    let mut client = world.pop3().await;
    fetch(&mut client, 1).await;
    client.ask("DELE 1", "+OK<any>").await;
    quit(client).await;
    let audit = world.audit().await;
    let released = only(&audit, "message-released");
    assert_eq!((&released["by"], &released["account"]), (&"person".into(), &ADDRESS.into()));
    assert_eq!(count(&audit, "message-held"), 1);
}

/// What a register had before the gateway started, so long ago.
fn held_before(state: &Path, age: Duration) {
    let now = time::OffsetDateTime::now_utc().unix_timestamp() - age.as_secs() as i64;
    let register = Register::open(state, now);
    let message = Undecrypted {
        maildrop: register.maildrop("main", ADDRESS),
        uid: "sim-00000001".into(),
        account: ADDRESS.into(),
        workstation: "PC1".into(),
        cause: "error 4009".into(),
    };
    register.hold(message, Terms { hold: HOLD, now });
    assert_eq!(register.trouble(), None);
}

#[tokio::test]
async fn a_message_is_held_for_as_long_as_the_configuration_says_and_no_longer() {
    let day = Duration::from_secs(86_400);
    for (age, hold, is_held) in [
        (29 * day, "30d", true),
        (31 * day, "30d", false),
        (31 * day, "60d", true),
        (day, "0s", false),
    ] {
        let state = tempfile::tempdir().unwrap();
        held_before(state.path(), age);
        let lines = [format!("protection.hold_undecrypted = \"{hold}\"")];
        let at = state.path().to_owned();
        let tune = |config: &mut kimgate::config::Config| config.gateway.state_dir = at;
        let world = World::tuned(&lines.each_ref().map(String::as_str), |_| {}, tune).await;
        world.sim.deliver(ADDRESS, b"X-KIM-DecryptionResult: 01\r\n\r\nhello\r\n");
        deleting(&world, if is_held { HELD } else { "+OK<any>" }).await;
        let audit = world.audit().await;
        let by_age = audit.iter().filter(|line| line["event"] == "message-released");
        assert_eq!(by_age.filter(|line| line["by"] == "age").count(), usize::from(!is_held));
    }
}

#[tokio::test]
async fn a_forged_header_delays_a_deletion_and_never_forbids_it() {
    let state = tempfile::tempdir().unwrap();
    held_before(state.path(), HOLD);
    let at = state.path().to_owned();
    let world = World::tuned(&[], |_| {}, |config| config.gateway.state_dir = at).await;
    world.sim.deliver(ADDRESS, b"X-KIM-DecryptionResult: 01\r\n\r\nhello\r\n");
    let mut client = world.pop3().await;
    fetch(&mut client, 1).await;
    client.ask("DELE 1", "+OK<any>").await;
    quit(client).await;
}

#[tokio::test]
async fn switched_off_nothing_is_held_and_nothing_is_asked() {
    let state = tempfile::tempdir().unwrap();
    held_before(state.path(), Duration::ZERO);
    let at = state.path().to_owned();
    let off = ["protection.hold_delete_on_failed_decryption = false"];
    let world = World::tuned(&off, |_| {}, |config| config.gateway.state_dir = at).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["undecryptable"]);
    let mut client = world.pop3().await;
    fetch(&mut client, 1).await;
    client.ask("DELE 1", "+OK<any>").await;
    quit(client).await;
    assert!(!world.upstream().await.iter().any(|fact| fact.starts_with("UIDL")));
}

#[tokio::test]
async fn with_pseudonyms_no_file_and_no_page_shows_the_account() {
    let world = World::start(&["audit.pseudonymize = true"]).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["undecryptable"]);
    fetched(&world).await;
    let listed = list(&world).await;
    let audit = world.audit().await;
    assert_eq!(listed["list"][0]["account"], only(&audit, "message-held")["account"]);
    let journal = world.folder.path().join("state/held.journal");
    let text = std::fs::read_to_string(journal).unwrap();
    assert!(!text.contains("prx") && !text.contains("sim-0"), "{text}");
    assert!(text.contains("hmac:"), "{text}");
}

/// Mail goes on, and the register works until kimgate ends.
#[tokio::test]
async fn without_a_usable_state_folder_messages_are_held_in_memory_and_status_says_so() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("held.lock")).unwrap();
    let at = state.path().to_owned();
    let world = World::tuned(&[], |_| {}, |config| config.gateway.state_dir = at).await;
    world.sim.deliver(ADDRESS, MESSAGE);
    world.faults(&["undecryptable"]);
    fetched(&world).await;
    deleting(&world, HELD).await;
    let trouble = world.observer.status().held.trouble.unwrap();
    assert!(trouble.contains("held until kimgate ends"), "{trouble}");
    let audit = world.audit().await;
    let held = only(&audit, "message-held");
    assert_eq!((&held["place"], &held["problem"]), (&"memory".into(), &"state-folder".into()));
    assert_eq!(world.metric("kimgate_holds_incomplete_total{problem=\"state-folder\"}"), 1.0);
}

/// A client module that answers UIDL as `uidl` says, once it is `true` with a refusal.
async fn world_before(uidl: &'static str) -> (World, Arc<AtomicBool>) {
    let world = World::start(&[]).await;
    let module = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = module.local_addr().unwrap().port();
    let refuses = Arc::new(AtomicBool::new(false));
    let seen = refuses.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = module.accept().await {
            tokio::spawn(serving(stream, uidl, seen.clone()));
        }
    });
    let lines = ["tls = \"none\"".to_owned(), format!("pop3_port = {port}")];
    let lines = lines.map(|line| format!("client_modules.main.{line}"));
    world.reload(&lines.each_ref().map(String::as_str)).unwrap();
    (world, refuses)
}

async fn serving(stream: TcpStream, uidl: &str, refuses: Arc<AtomicBool>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.write_all(b"+OK ready\r\n").await.unwrap();
    while matches!(stream.read_line(&mut line).await, Ok(1..)) {
        let said = match line.split_whitespace().next() {
            Some("CAPA") => "+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSASL PLAIN\r\n.\r\n",
            Some("RETR") if line.starts_with("RETR 2") => {
                "+OK\r\nX-KIM-DecryptionResult: 00\r\n\r\nhi\r\n.\r\n"
            }
            Some("RETR") => "+OK\r\nX-KIM-DecryptionResult: 02\r\n\r\nhi\r\n.\r\n",
            Some("UIDL") if refuses.load(Ordering::SeqCst) => "-ERR [SYS/TEMP] not now\r\n",
            Some("UIDL") => uidl,
            _ => "+OK\r\n",
        };
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
        line.clear();
    }
}

#[tokio::test]
async fn where_the_client_module_refuses_uidl_a_message_is_held_in_its_session_and_that_is_said() {
    for answer in ["-ERR what\r\n", "+OK\r\n", "+OK 7 other\r\n", "+OK 1 \u{7f}\r\n"] {
        let (world, _) = world_before(answer).await;
        let mut client = world.pop3().await;
        fetch(&mut client, 1).await;
        client.ask("DELE 1", HELD).await;
        client.ask("NOOP", "+OK").await;
        quit(client).await;
        deleting(&world, "+OK").await;
        let audit = world.audit().await;
        let held = only(&audit, "message-held");
        assert_eq!((&held["place"], &held["problem"]), (&"session".into(), &"uid-unknown".into()));
        assert_eq!(world.metric("kimgate_holds_incomplete_total{problem=\"uid-unknown\"}"), 1.0);
        assert_eq!(world.metric("kimgate_messages_held"), 0.0);
    }
}

/// It may be the held one. What this session could read is not.
#[tokio::test]
async fn a_message_that_cannot_be_told_apart_from_a_held_one_is_not_deleted() {
    let (world, refuses) = world_before("+OK 1 a\r\n").await;
    fetched(&world).await;
    assert_eq!(world.metric("kimgate_messages_held"), 1.0);
    refuses.store(true, Ordering::SeqCst);
    let mut client = world.pop3().await;
    client.ask("DELE 1", HELD).await;
    client.ask("DELE 2", HELD).await;
    fetch(&mut client, 2).await;
    client.ask("DELE 2", "+OK").await;
    quit(client).await;
}

/// The workstation has the end of a message only when the disk has its hold.
#[tokio::test]
async fn a_killed_gateway_knows_after_its_restart_what_is_held() {
    let sim = Sim::start(SimConfig {
        record: true,
        accounts: Accounts::AnyLogin { password: Some(Secret::new(PASSWORD.to_owned())) },
        ..SimConfig::default()
    })
    .await
    .unwrap();
    let state = tempfile::tempdir().unwrap();
    let start = async || {
        let module = client_module("main", &sim, Security::Implicit);
        let started = Kimgate::start_by(&[Protocol::Pop3], &module, |_, binary| {
            let mut command = std::process::Command::new(binary);
            command.env("KIMGATE_GATEWAY__STATE_DIR", state.path());
            command
        });
        started.await.ready().await
    };
    let session = async |gateway: &Kimgate| {
        let port = gateway.port(Protocol::Pop3, Security::None);
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut client = Client::new(Box::new(tcp));
        client.expect("+OK <any>").await;
        let login = format!("{OF_BINARY}#mail.tm.kim.telematik:995#M1#cs#PC1");
        client.pop3_login(&login).await;
        client
    };
    for number in 1..=5 {
        sim.deliver(OF_BINARY, b"X-KIM-DecryptionResult: 01\r\n\r\nhello\r\n");
        let gateway = start().await;
        let mut client = session(&gateway).await;
        fetch(&mut client, number).await;
        gateway.kill().await;
        let gateway = start().await;
        let mut client = session(&gateway).await;
        for held in 1..=number {
            client.ask(format!("DELE {held}"), HELD).await;
        }
        quit(client).await;
        gateway.kill().await;
    }
    // Without a gateway the command reads the state folder.
    let file = state.path().join("kimgate.toml");
    let config = "gateway.state_dir = \".\"\nadmin.address = \"off\"\n\
        listeners.pop3s = { protocol = \"pop3\", address = \"127.0.0.1:0\" }\n\
        client_modules.main = { host = \"127.0.0.1\" }\n";
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let listed = command(&["held", "--config", file, "--json"]).expect(0);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["messages"], 5);
    let id = listed["list"][0]["id"].as_str().unwrap().to_owned();
    let said = command(&["held", "release", &id, "--config", file]).expect(0);
    assert!(said.contains("released"), "{said}");
    command(&["held", "release", &id, "--config", file]).expect(1);
    let said = command(&["held", "list", "--config", file]).expect(0);
    assert!(!said.contains(&id) && said.contains("decryption-result 01"), "{said}");
    let gateway = start().await;
    let mut client = session(&gateway).await;
    let answers: Vec<String> = {
        let mut answers = Vec::new();
        for number in 1..=5 {
            answers.push(client.ask(format!("DELE {number}"), "<any>").await);
        }
        answers
    };
    let passed = answers.iter().filter(|answer| answer.starts_with("+OK")).count();
    assert_eq!(passed, 1, "{answers:?}");
    quit(client).await;
    gateway.kill().await;
}
