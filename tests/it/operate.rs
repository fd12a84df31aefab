//! What an operator does to a running gateway, and what a service manager hears of it: reload,
//! listeners that come and go, the second signal, sockets that are handed over.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::cli::{Running, text, write};
use crate::support::dialogue::{ADDRESS, Client, PATIENCE, within};
use crate::support::ports::{free_ports, nobody_answers};
use crate::support::world::{LOGIN, World};
use tokio::net::TcpStream;

use crate::support::cli;

#[tokio::test]
async fn a_reload_says_what_changes_for_whom() {
    let world = World::start(&[]).await;
    let said = world.reload(&[]).unwrap();
    assert!(said.is_empty(), "{said:?}");
    let said = world
        .reload(&[
            r#"accounts."prx@praxis.kim.telematik".deny = ["workstation:PC1", "workstation:PC2"]"#,
            "log.level = \"debug\"",
            "audit.keep = \"10d\"",
        ])
        .unwrap();
    assert_eq!(
        said,
        [
            "2 workstations lose access to prx@praxis.kim.telematik: PC1, PC2",
            "1 workstation may now receive and send for prx@praxis.kim.telematik: PC9",
            "log.level: applied",
            "audit: waits for a restart",
        ]
    );
    let bad = world.reload(&["policy.mode = \"strict\""]).unwrap_err();
    assert!(bad.len() == 1 && bad[0].contains("kimgate.toml:"), "{bad:?}");
    assert_eq!(world.metric("kimgate_config_reloads_total{result=\"accepted\"}"), 2.0);
    assert_eq!(world.metric("kimgate_config_reloads_total{result=\"rejected\"}"), 1.0);
}

/// Of another account that PC1 may use.
const OTHER_MAILBOX: &str = "arzt@praxis.kim.telematik#mail.kim.telematik:995#M1#cs#PC1";

/// A TOML line for one more listener.
fn listener(name: &str, address: SocketAddr, tls: &str) -> String {
    format!(
        "listeners.{name} = {{ protocol = \"pop3\", address = \"{address}\", tls = \"{tls}\" }}"
    )
}

fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)[0]))
}

async fn greeted(address: SocketAddr) -> Client {
    let mut client = Client::new(Box::new(TcpStream::connect(address).await.unwrap()));
    client.expect("+OK <any>").await;
    client
}

#[tokio::test]
async fn listeners_come_move_change_and_go_and_sessions_stay() {
    let world = World::start(&[]).await;
    let mut old = world.pop3().await;
    let (first, second) = (free_address(), free_address());
    let said = world.reload(&[&listener("extra", first, "none")]).unwrap();
    assert_eq!(said, [format!("listener extra: opened at {first}")]);
    let mut at_first = greeted(first).await;
    at_first.pop3_login(OTHER_MAILBOX).await;
    assert!(world.get("/status").await.1.contains(&format!("\"{first}\"")));

    // Somebody else's address: nothing changes, the listener that should go included.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bad = world.reload(&[&listener("extra", address, "none")]).unwrap_err();
    assert!(bad[0].contains("listener extra cannot use"), "{bad:?}");
    greeted(first).await;

    let said = world.reload(&[&listener("extra", second, "none")]).unwrap();
    assert_eq!(said, [format!("listener extra: moved from {first} to {second}")]);
    assert!(nobody_answers(first).await);
    greeted(second).await;

    let said = world.reload(&[&listener("extra", second, "starttls")]).unwrap();
    assert_eq!(said, ["listener extra: changed for new connections"]);
    let mut changed = greeted(second).await;
    changed.ask("USER x", "-ERR <any>").await;

    let said = world.reload(&[]).unwrap();
    assert_eq!(said, ["listener extra: closed; its sessions go on"]);
    assert!(nobody_answers(second).await);
    // Both came before all of that, and one through a listener that is gone.
    for session in [&mut old, &mut at_first] {
        session.ask("STAT", "+OK<any>").await;
    }
}

#[tokio::test]
async fn a_listener_moves_to_another_address_of_its_own_port() {
    let port = free_address().port();
    let at = |ip: [u8; 4]| SocketAddr::from((Ipv4Addr::from(ip), port));
    // Whatever addresses the machine has that runs this test.
    let meant = "gateway.public = true";
    let world = World::start(&[meant, &listener("extra", at([127, 0, 0, 1]), "starttls")]).await;
    greeted(at([127, 0, 0, 1])).await;
    world.reload(&[meant, &listener("extra", at([0, 0, 0, 0]), "starttls")]).unwrap();
    greeted(at([127, 0, 0, 1])).await;
    // The port is held by the listener that goes, and another process holds one of those that are wanted.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = listener("more", other.local_addr().unwrap(), "starttls");
    let back = listener("extra", at([127, 0, 0, 1]), "starttls");
    assert!(world.reload(&[meant, &back, &more]).is_err());
    greeted(at([127, 0, 0, 1])).await;
    world.reload(&[meant, &back]).unwrap();
    greeted(at([127, 0, 0, 1])).await;
}

#[tokio::test]
async fn the_command_reloads_and_tells() {
    let world = World::start(&[]).await;
    let admin = world.admin.to_string();
    let reload = async || {
        let mut command =
            tokio::process::Command::from(cli::command(&["reload", "--address", &admin]));
        let output = within(command.output()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = reload().await;
    assert_eq!((code, said.as_str()), (Some(0), "reloaded; nothing changes for workstations\n"));
    let file = world.folder.path().join("kimgate.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.clone() + "[nonsense]\n").unwrap();
    let (code, lines, said) = reload().await;
    assert_eq!(code, Some(1));
    assert!(lines.contains("kimgate.toml:") && lines.contains("nonsense"), "{lines}");
    assert!(said.contains("the configuration before it stays in force"), "{said}");
    let retired = good.replace("retired = true", "retired = false");
    std::fs::write(&file, retired).unwrap();
    let (code, lines, _) = reload().await;
    assert_eq!(code, Some(0));
    assert!(lines.contains("may now") && lines.contains("alt@praxis.kim.telematik"), "{lines}");
}

/// A gateway as a service manager starts it.
struct Service {
    child: Child,
    notices: UnixDatagram,
}

impl Service {
    /// Starts it with these sockets and variables, and waits until it is ready.
    fn start(
        folder: &Path,
        config: &str,
        sockets: &[(&str, &TcpListener)],
        more: &[(&str, &str)],
    ) -> Self {
        let address = folder.join("notify");
        let _ = std::fs::remove_file(&address);
        let notices = UnixDatagram::bind(&address).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        // systemd hands sockets over as the numbers from 3 on; this shell puts them there.
        let mut shell = String::new();
        for (number, (_, socket)) in (3..).zip(sockets) {
            let socket = socket2::SockRef::from(*socket);
            socket.set_cloexec(false).unwrap();
            shell += &format!("exec {number}<&{}; ", socket.as_raw_fd());
        }
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        if !names.is_empty() {
            let (count, names) = (names.len(), names.join(":"));
            shell += &format!("export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}; ");
        }
        shell += "exec \"$0\" run --config \"$1\"";
        let child = Command::new("bash")
            .args(["-c", &shell, env!("CARGO_BIN_EXE_kimgate"), config])
            .env("NOTIFY_SOCKET", &address)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut service = Self { child, notices };
        service.notice("READY=1");
        service
    }

    /// The next notice that holds this line.
    fn notice(&mut self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let read = self.notices.recv(&mut buffer).unwrap_or_else(|e| panic!("no {line}: {e}"));
            let notice = String::from_utf8(buffer[..read].to_vec()).unwrap();
            if notice.lines().any(|said| said.starts_with(line)) {
                return notice;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    async fn ended(mut self) -> std::process::ExitStatus {
        let waited = within(tokio::task::spawn_blocking(move || {
            let status = self.child.wait();
            (self, status)
        }));
        let (_, status) = waited.await.unwrap();
        status.unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service manager that wants a sign of life every 600 ms.
const OFTEN: [(&str, &str); 1] = [("WATCHDOG_USEC", "600000")];

/// Tests run side by side, and the usual address of the pages is one.
const NO_PAGES: &str = "[admin]\naddress = \"off\"\n";

/// A client module, and a configuration in front of it with one plain POP3 listener.
fn practice(folder: &Path, address: SocketAddr, more: &str) -> (Running, String) {
    let sim =
        Running::start(&["simulate", "--pop3", "127.0.0.1:0", "--smtp", "127.0.0.1:0"], "Ctrl-C");
    let port = |word: &str| sim.value(word).rsplit_once(':').unwrap().1.to_owned();
    let config = format!(
        "[listeners.pop3]\nprotocol = \"pop3\"\naddress = \"{address}\"\ntls = \"none\"\n\
         [client_modules.main]\nhost = \"127.0.0.1\"\npop3_port = {}\nsmtp_port = {}\n\
         trust.{}\n[workstations.PC1]\naddresses = [\"127.0.0.1\"]\n\
         [accounts.\"{ADDRESS}\"]\n[audit]\nfile = \"audit.jsonl\"\n{more}\n",
        port("POP3"),
        port("SMTP"),
        sim.value("certificate"),
    );
    let config = text(&write(folder, "kimgate.toml", &config));
    (sim, config)
}

#[tokio::test]
async fn a_service_manager_hears_of_start_reload_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let (_sim, config) = practice(folder.path(), free_address(), NO_PAGES);
    let mut service = Service::start(folder.path(), &config, &[], &OFTEN);
    let alive = service.notice("WATCHDOG=1");
    assert!(alive.contains("STATUS=0 sessions; "), "{alive}");
    // Once it has asked, it says so.
    while !service.notice("STATUS=").contains("client modules answer") {}
    service.signal("HUP");
    let reloading = service.notice("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    service.notice("READY=1");
    service.signal("TERM");
    service.notice("STOPPING=1");
    assert!(service.ended().await.success());
}

#[tokio::test]
async fn a_restart_by_socket_activation_loses_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    // The service manager holds the sockets for as long as it runs.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let pages = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (_sim, config) = practice(folder.path(), address, "[admin]\naddress = \"127.0.0.1:1\"");
    let sockets = [("admin", &pages), ("pop3", &socket)];
    let first = Service::start(folder.path(), &config, &sockets, &[]);
    let mut before = greeted(address).await;
    before.ask("CAPA", "+OK<any>").await;
    cli::kimgate(&["reload", "--address", &pages.local_addr().unwrap().to_string()]).expect(0);
    first.signal("TERM");
    before.expect_until("-ERR [SYS/TEMP] <any>(shutting-down)").await;
    assert!(first.ended().await.success());
    // No session is open, and none is refused.
    let mut between = Vec::new();
    for _ in 0..20 {
        between.push(Client::new(Box::new(TcpStream::connect(address).await.unwrap())));
    }
    let second = Service::start(folder.path(), &config, &sockets, &[]);
    for client in &mut between {
        client.expect("+OK <any>").await;
        client.ask("QUIT", "+OK<any>").await;
    }
    second.signal("TERM");
    assert!(second.ended().await.success());
}

#[tokio::test]
async fn a_socket_that_no_listener_is_called_after_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_sim, config) = practice(folder.path(), free_address(), NO_PAGES);
    let fd = socket2::SockRef::from(&socket);
    fd.set_cloexec(false).unwrap();
    let shell = format!(
        "exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=kimgate.socket exec \"$0\" run --config \"$1\"",
        fd.as_raw_fd()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &shell, env!("CARGO_BIN_EXE_kimgate"), &config]);
    let ran = cli::run(&mut command);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("FileDescriptorName="), "{ran:?}");
}

#[tokio::test]
async fn a_second_signal_ends_what_the_first_lets_finish() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let more = format!(
        "{NO_PAGES}[limits]\ndrain = \"1h\"\n\
         [listeners.smtp]\nprotocol = \"smtp\"\naddress = \"{address}\"\ntls = \"none\"\n"
    );
    let (_sim, config) = practice(folder.path(), free_address(), &more);
    let mut service = Service::start(folder.path(), &config, &[], &OFTEN);
    let mut client = Client::new(Box::new(TcpStream::connect(address).await.unwrap()));
    client.expect("220 <any>").await;
    client.smtp_login(LOGIN).await;
    client.begin_message().await;
    client.send_bytes(b"Subject: x\r\n\r\nhalf").await;
    service.signal("TERM");
    service.notice("STOPPING=1");
    service.notice("STATUS=stopping: 1 session;");
    service.signal("TERM");
    assert!(service.ended().await.success());
    assert!(client.rest().await.0.is_empty());
}

/// A certificate moves to a folder that was not named when kimgate started: the reload fails and
/// says why and what to do, and a start with the same configuration works.
#[tokio::test]
async fn a_reload_that_names_a_file_outside_the_sandbox_asks_for_a_restart() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (admin, listener) = (free_address(), free_address());
    let pages = format!("[admin]\naddress = \"{admin}\"\n");
    let (_sim, config) = practice(folder.path(), listener, &pages);
    let run = ["run", "--config", &config];
    let running = Running::start_logging(&run, "listening");
    let has_sandbox = !running.said.iter().any(|line| line.contains("no sandbox"));
    let certs = text(elsewhere.path());
    cli::kimgate(&["certs", "ca", "--dir", &certs]).expect(0);
    cli::kimgate(&["certs", "server", "localhost", "--dir", &certs]).expect(0);
    let moved = std::fs::read_to_string(&config).unwrap()
        + &format!(
            "[tls]\ncertificate = \"{certs}/gateway.pem\"\nprivate_key = \"{certs}/gateway.key\"\n"
        );
    write(folder.path(), "kimgate.toml", &moved);
    let reload = ["reload", "--address", &admin.to_string()];
    if has_sandbox || crate::support::tools::skip("this kernel has no landlock") {
        let ran = cli::kimgate(&reload);
        let said = ran.stdout + &ran.stderr;
        assert_eq!(ran.code, 1, "{said}");
        let told =
            format!("{certs}/gateway.pem is in a folder that the configuration did not name");
        assert!(said.contains(&told) && said.contains("restart kimgate to use it"), "{said}");
        greeted(listener).await;
    }
    drop(running);
    let _running = Running::start_logging(&run, "listening");
    cli::kimgate(&reload).expect(0);
    greeted(listener).await;
}
