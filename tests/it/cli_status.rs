//! `kimgate status` at a running gateway.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::support::cli;
use crate::support::cli::{Ran, Running, command, kimgate, run, text, write};
use crate::support::ports::free_ports;

/// A gateway in front of a simulator, with the admin pages on a port that was free a moment ago.
struct World {
    _gateway: Running,
    _sim: Running,
    admin: String,
    config: String,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let ports = ["simulate", "--pop3", "127.0.0.1:0", "--smtp", "127.0.0.1:0"];
    let sim = Running::start(&ports, "Ctrl-C");
    let port = |word: &str| sim.value(word).rsplit_once(':').unwrap().1.to_owned();
    let folder = tempfile::tempdir().unwrap();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)[0]));
    let config = format!(
        "[listeners.pop3s]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n\
         [listeners.smtps]\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n\
         [client_modules.main]\nhost = \"127.0.0.1\"\npop3_port = {}\nsmtp_port = {}\n\
         trust.{}\n[workstations.PC1]\naddresses = [\"127.0.0.1\"]\n\
         [accounts.\"prx@praxis.kim.telematik\"]\n\
         [admin]\naddress = \"{free}\"\n[audit]\nfile = \"audit.jsonl\"\n",
        port("POP3"),
        port("SMTP"),
        sim.value("certificate"),
    );
    let config = text(&write(folder.path(), "gateway.toml", &config));
    let gateway = Running::start_logging(&["run", "--config", &config], "admin pages");
    World { _gateway: gateway, _sim: sim, admin: free.to_string(), config, _folder: folder }
}

/// Asks until the gateway has spoken to its client module, which it does right after its start.
fn when_ready(args: &[&str]) -> Ran {
    let mut ran = kimgate(args);
    for _ in 0..200 {
        if ran.code == 0 {
            break;
        }
        ran = kimgate(args);
    }
    ran
}

#[test]
fn a_running_gateway_is_shown_by_its_configuration_and_by_its_address() {
    let world = world();
    let said = when_ready(&["status", "--config", &world.config]).expect(0);
    for wanted in [
        "kimgate 0.",
        "✓ ready: mail can go through",
        "✓ configuration ",
        "pop3s  POP3  127.0.0.1:",
        "✓ main  POP3 answered in ",
        "✓ main  SMTP answered in ",
        "✓ main  certificate pinned, until ",
        "listener  2",
        "sessions: 0, contexts in use: 0",
        "logins: 0 accepted, 0 refused",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    let json = kimgate(&["status", "--address", &world.admin, "--json"]);
    assert_eq!(json.code, 0);
    let json = json.json();
    assert_eq!(json["readiness"]["ready"], true);
    assert_eq!(json["client_modules"][0]["certificate"]["class"], "pinned");
    // An address that is typed beats a configuration that only the environment names.
    let mut typed = command(&["status", "--address", &world.admin]);
    run(typed.env("KIMGATE_CONFIG", "/absent.toml")).expect(0);
}

#[test]
fn no_answer_and_a_foreign_answer_are_told_apart() {
    let unanswered = kimgate(&["status", "--address", "127.0.0.1:1"]);
    assert_eq!((unanswered.code, unanswered.stdout.as_str()), (1, ""));
    assert!(unanswered.stderr.contains("no gateway answers at 127.0.0.1:1"), "{unanswered:?}");
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        use std::io::{Read, Write};
        for answer in ["220 mail ESMTP\r\n", "HTTP/1.1 200 OK\r\n\r\n{}", "HTTP/1.1 403 No\r\n\r\n"]
        {
            let (mut stream, _) = stranger.accept().unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /status HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for said in ["is not kimgate", "is not kimgate", "not in admin.allow"] {
        let ran = kimgate(&["status", "--address", &address]);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    serving.join().unwrap();
}

#[test]
fn a_gateway_without_admin_pages_and_a_broken_file_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let practice = std::fs::read_to_string(cli::in_repository("config/practice.toml")).unwrap();
    let off = practice.clone() + "[admin]\naddress = \"off\"\n";
    let off = text(&write(folder.path(), "off.toml", &off));
    let ran = kimgate(&["status", "--config", &off]);
    assert!(ran.code == 1 && ran.stderr.contains("admin.address is \"off\""), "{ran:?}");
    let broken = text(&write(folder.path(), "broken.toml", &(practice + "[")));
    let ran = kimgate(&["status", "--config", &broken]);
    assert!(ran.code == 1 && ran.stderr.contains("--address ADDR asks without it"), "{ran:?}");
}

#[test]
fn a_support_bundle_holds_what_helps_and_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    when_ready(&["status", "--config", &world.config]).expect(0);
    let folder = tempfile::tempdir().unwrap();
    let output = text(&folder.path().join("bundle.tar.gz"));
    let arguments = ["support", "--config", &world.config, "--output", &output];
    let said = kimgate(&arguments).expect(0);
    assert!(said.contains("status.json") && said.contains("Look into it"), "{said}");
    let (_, left) = said.split_once("text that is left as it is:").expect(&said);
    for field in ["addresses", "host", "state_dir", "event", "fingerprint"] {
        assert!(left.split_whitespace().any(|word| word == field), "{field}: {said}");
    }
    assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
    let parts = unpack(&output);
    for (name, held) in [
        ("about.txt", concat!("kimgate ", env!("CARGO_PKG_VERSION"))),
        ("configuration.json", "\"account-1\""),
        ("configuration.json", "\"login_timeout\": \"3m\""),
        ("check.txt", "no findings"),
        ("status.json", "\"class\": \"pinned\""),
        ("status.json", "SIZE "),
        ("metrics.txt", "kimgate_client_module_up{"),
        ("metrics.txt", "account=\"account-1\""),
        ("faults.jsonl", "\"config-loaded\""),
    ] {
        assert!(parts[name].contains(held), "no {held} in {name}:\n{}", parts[name]);
    }
    assert!(parts.values().all(|text| !text.contains('@')), "{parts:#?}");
    let ran = kimgate(&arguments);
    assert!(ran.code == 1 && ran.stderr.contains("bundle.tar.gz"), "{ran:?}");
}

#[test]
fn a_support_bundle_needs_no_running_gateway_and_no_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let broken =
        text(&write(folder.path(), "broken.toml", "[accounts.\"a@b.de\"]\npassword = \"x\"\n"));
    let output = text(&folder.path().join("bundle.tar.gz"));
    kimgate(&["support", "--config", &broken, "--output", &output]).expect(0);
    let parts = unpack(&output);
    assert!(parts["check.txt"].contains("error: accounts.\"account-1\".password"), "{parts:#?}");
    assert!(parts["status.json"].contains("has errors"), "{parts:#?}");
    assert!(!parts["configuration.json"].contains("password"), "{parts:#?}");
}

/// The files of a bundle.
fn unpack(path: &str) -> std::collections::BTreeMap<String, String> {
    let packed = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let mut archive = tar::Archive::new(packed);
    let parts = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (name, text)
    });
    parts.collect()
}
