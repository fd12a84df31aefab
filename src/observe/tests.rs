//! What goes in, and what comes out: the whole observer at once.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::kim::{Account, Login};
use crate::words::{Action, CloseReason, RequiredField, Security};

/// What no output may contain as it stands: line ends, an escape sequence, a reversed text.
const HOSTILE: &str = "x\r\n{\"event\":\"login\"}\u{1b}[2J\u{202e}\u{85}\u{2028}\u{200b}\u{feff}\u{e0041}\" 1\nkimgate_fake 1\n";
const LOGIN: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#ivoris#PC1#PRAXIS";
const ACCOUNT: &str = "prx@praxis.kim.telematik";

fn names() -> KnownNames {
    KnownNames {
        accounts: vec![Account::new(ACCOUNT)],
        services: vec!["eAU;*".into()],
        client_modules: vec!["main".into()],
    }
}

fn quiet() -> Observer {
    let audit = AuditConfig { off: true, ..AuditConfig::default() };
    Observer::new(ObserveConfig { audit, names: names() }).unwrap()
}

fn auditing(folder: &Path, pseudonymize: bool) -> Observer {
    let audit = AuditConfig {
        file: Some(folder.join("audit.jsonl")),
        state_dir: folder.join("state"),
        pseudonymize,
        ..AuditConfig::default()
    };
    Observer::new(ObserveConfig { audit, names: names() }).unwrap()
}

fn audited(observer: &Observer, folder: &Path) -> (String, Vec<Value>) {
    assert!(observer.flush());
    let text = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (text, lines)
}

fn session(protocol: Protocol, login: &str) -> SessionFacts {
    let login = Login::parse(login.as_bytes());
    let peer = SocketAddr::from(([192, 168, 0, 31], 50_000));
    SessionFacts {
        workstation: Some("PC1".into()),
        users: vec!["dr.mueller".into()],
        account: Some(login.account().clone()),
        known_account: login.account().is(ACCOUNT),
        login: Some(login),
        client_module: Some("main".into()),
        ..SessionFacts::new(protocol, "pop3s".into(), peer)
    }
}

/// Says every event there is, with `text` wherever something from outside may stand.
fn say_everything(observer: &Observer, session: &SessionFacts, text: &str) {
    let (rule, many) = (Some(text), vec![text.to_owned(); 20]);
    let certificate = |class, accepted| Event::Certificate {
        client_module: "main",
        class,
        accepted,
        sentence: text,
        fingerprint: Some(text),
        not_after: Some(1_800_000_000),
        replaces: Some(text),
    };
    let login = |action, result, would_deny| Event::Login {
        session,
        action,
        result,
        seconds: 1.25,
        rule,
        reply: text,
        would_deny,
    };
    let denied = |enforced| Event::Denied {
        session,
        action: Action::Send,
        reason: Reason::ServiceNotAllowed,
        rule,
        enforced,
    };
    let sent = |accepted| Event::MessageSent {
        session,
        bytes: 1000,
        seconds: 6.5,
        service: Some(text),
        message_id: Some(text),
        missing: &[RequiredField::UserAgent],
        recipients: 2,
        accepted: Ok(accepted),
        left_after: None,
        reply: text,
        added: &["X-KIM-Middleware"],
    };
    let loaded =
        |reload, accepted| Event::ConfigLoaded { reload, accepted, hash: text, problems: 3 };
    let unlocked = Account::new(text);
    let events = [
        Event::Connected(session),
        login(Action::Login, Ok(()), None),
        login(Action::Login, Ok(()), Some(Reason::Denied)),
        login(Action::Login, Err(Reason::RejectedByClientModule), None),
        login(Action::Receive, Err(Reason::NotAllowed), None),
        denied(true),
        denied(false),
        sent(true),
        sent(false),
        Event::MessageReceived {
            session,
            bytes: 5000,
            complete: true,
            top: false,
            seconds: 7.0,
            wait: f64::NAN,
            service: Some(text),
            decryption: &many,
            integrity: &many,
        },
        Event::MessageDeleted { session, number: 1 },
        Event::DeleteHeld { session, number: 2 },
        Event::ContextConflict { session, holder: text, enforced: false },
        certificate("self-signed", true),
        certificate("expired", false),
        Event::Certificate {
            client_module: text,
            class: "ok",
            accepted: true,
            sentence: text,
            fingerprint: None,
            not_after: None,
            replaces: None,
        },
        loaded(false, true),
        loaded(true, false),
        Event::Unlocked {
            peer: session.peer.ip(),
            account: Some(&unlocked),
            workstation: Some(text),
            ended: 2,
        },
    ];
    for event in events {
        observer.emit(event);
    }
    let capabilities = vec![text.into(); 100];
    let state = ClientModuleState {
        up: true,
        capabilities: &capabilities,
        error: Some(text),
        connect_seconds: Some(f64::INFINITY),
    };
    observer.client_module_state("main", session.protocol, state);
    observer.client_module_state(text, session.protocol, state);
    observer.emit(Event::Closed {
        session,
        close: CloseReason::Ok,
        bytes_to_client: 5000,
        bytes_to_module: 60,
        seconds: 9.0,
    });
}

/// Everything that the log says while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let octets = lines.0.lock().unwrap().clone();
    String::from_utf8(octets).unwrap()
}

fn assert_harmless(name: &str, output: &str) {
    let bad = |c: char| c != '\n' && crate::printable::is_unsafe(c);
    assert!(!output.contains(bad), "{name}: {output}");
    assert!(!output.lines().any(|line| line.starts_with("kimgate_fake")), "{name}: {output}");
    assert!(!output.contains(LOGIN), "{name}: {output}");
    assert!(!output.contains("Mandant1#"), "{name}: {output}");
}

#[test]
fn hostile_text_is_harmless_in_every_output_and_the_login_is_in_none() {
    let dir = tempfile::tempdir().unwrap();
    let observer = auditing(dir.path(), false);
    let mut odd = session(Protocol::Smtp, &format!("{HOSTILE}@x#{HOSTILE}#{HOSTILE}#y#z"));
    odd.workstation = Some(HOSTILE.into());
    odd.listener = HOSTILE.into();
    odd.users = vec![HOSTILE.into()];
    let log = logged(|| {
        say_everything(&observer, &session(Protocol::Pop3, LOGIN), HOSTILE);
        say_everything(&observer, &odd, HOSTILE);
    });
    let live = observer.track(&odd);
    let (audit, lines) = audited(&observer, dir.path());
    assert_harmless("audit", &audit);
    assert_harmless("log", &log);
    assert_harmless("metrics", &observer.encode());
    assert_harmless("status", &serde_json::to_string_pretty(&observer.status()).unwrap());
    assert_eq!(lines.len(), 2 * 20, "{audit}");
    assert_eq!(log.lines().count(), lines.len(), "one line each");
    drop(live);
}

#[test]
fn a_password_in_the_user_name_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let observer = auditing(dir.path(), false);
    for typed in ["Geheim$12345", "Geheim$12345@", "Geheim$12345@praxis.kim.telematik"] {
        let facts = session(Protocol::Pop3, typed);
        let live = observer.track(&facts);
        let log = logged(|| {
            observer.emit(Event::Login {
                session: &facts,
                action: Action::Login,
                result: Err(Reason::AccountUnknown),
                seconds: 0.1,
                rule: None,
                reply: "-ERR [SYS/PERM]",
                would_deny: None,
            });
        });
        let status = serde_json::to_string(&observer.status()).unwrap();
        for output in [log, status, observer.encode(), audited(&observer, dir.path()).0] {
            assert!(!output.to_lowercase().contains("geheim"), "{output}");
        }
        drop(live);
    }
}

#[test]
fn an_audit_line_has_the_fields_of_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let observer = auditing(dir.path(), false);
    let facts = session(Protocol::Pop3, LOGIN);
    say_everything(&observer, &facts, "eAU;Lieferung;V1.2");
    let (_, lines) = audited(&observer, dir.path());
    let words: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert!(words.iter().all(|word| EventKind::parse(word).is_some()), "{words:?}");
    assert_eq!(EventKind::parse("message-lost"), None);
    assert_eq!(
        words,
        [
            "connected",
            "login",
            "login",
            "login",
            "denied",
            "denied",
            "denied",
            "message-sent",
            "message-sent",
            "message-received",
            "message-deleted",
            "delete-held",
            "context-conflict",
            "certificate",
            "certificate",
            "certificate",
            "config-loaded",
            "config-loaded",
            "unlocked",
            "closed",
        ]
    );
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert_eq!((time.len(), &time[10..11], &time[19..20], &time[23..]), (24, "T", ".", "Z"));
    }
    let refused = lines[4].as_object().unwrap();
    let expected = [
        ("session", Value::from(facts.id.to_string())),
        ("protocol", "pop3".into()),
        ("listener", "pop3s".into()),
        ("peer", "192.168.0.31:50000".into()),
        ("workstation", "PC1".into()),
        ("users", vec!["dr.mueller"].into()),
        ("account", ACCOUNT.into()),
        ("mandant_id", "Mandant1".into()),
        ("clientsystem_id", "ivoris".into()),
        ("workplace_id", "PC1".into()),
        ("client_module", "main".into()),
        ("action", "receive".into()),
        ("accepted", false.into()),
        ("reason", "not-allowed".into()),
        ("seconds", 1.25.into()),
    ];
    for (field, value) in expected {
        assert_eq!(refused[field], value, "{field}");
    }
    assert_eq!(refused["optional_fields"], Value::from(vec!["UserId"]), "the name, no value");
    assert!(!refused.contains_key("service") && !refused.contains_key("would_deny"));
    assert_eq!(lines[2]["would_deny"], "denied");
    assert_eq!(lines[3]["reason"], "rejected-by-client-module");
    assert_eq!(lines[7]["service"], "eAU;Lieferung;V1.2");
    assert_eq!((&lines[7]["bytes"], &lines[7]["recipients"]), (&1000.into(), &2.into()));
    assert_eq!(lines[9]["decryption"][0], "other");
    assert_eq!(lines[13]["not_after"], "2027-01-15T08:00:00.000Z");
    assert_eq!(lines[19]["reason"], "ok");
}

#[test]
fn a_certificate_is_audited_when_it_changes_and_counted_always() {
    let dir = tempfile::tempdir().unwrap();
    let observer = auditing(dir.path(), false);
    for fingerprint in ["sha256:aa", "sha256:aa", "sha256:bb", "sha256:bb"] {
        observer.emit(Event::Certificate {
            client_module: "main",
            class: "self-signed",
            accepted: true,
            sentence: "selbst signiert",
            fingerprint: Some(fingerprint),
            not_after: Some(1_800_000_000),
            replaces: None,
        });
    }
    assert_eq!(audited(&observer, dir.path()).1.len(), 2);
    let metrics = observer.encode();
    for line in [
        "kimgate_certificate_verdicts_total{client_module=\"main\",verdict=\"self-signed\"} 4",
        "kimgate_certificate_not_after_seconds{role=\"client-module/main\"} 1800000000",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn pseudonyms_hide_the_address_in_audit_and_log_and_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _restart in 0..2 {
        let observer = auditing(dir.path(), true);
        let log = logged(|| {
            for (protocol, peer) in [(Protocol::Pop3, 1), (Protocol::Smtp, 2)] {
                let mut facts = session(protocol, LOGIN);
                facts.peer = SocketAddr::from(([10, 0, 0, peer], 1));
                let rule = format!("accounts.\"{ACCOUNT}\".send.allow");
                observer.emit(Event::Denied {
                    session: &facts,
                    action: Action::Send,
                    reason: Reason::NotAllowed,
                    rule: Some(&rule),
                    enforced: true,
                });
            }
        });
        let (audit, lines) = audited(&observer, dir.path());
        for output in [&audit, &log, &serde_json::to_string(&observer.status().refusals).unwrap()] {
            assert!(!output.contains("prx@"), "{output}");
        }
        for line in lines {
            let account = line["account"].as_str().unwrap().to_owned();
            assert_eq!(line["rule"], format!("accounts.\"{account}\".send.allow"));
            seen.insert(account);
        }
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn no_label_holds_what_a_stranger_typed() {
    let observer = quiet();
    let facts = session(Protocol::Pop3, LOGIN);
    say_everything(&observer, &facts, "warm up");
    let before = observer.encode().lines().count();
    for number in 0..500 {
        let typed = format!("evil{number};evil{number}");
        let mut stranger = session(Protocol::Pop3, &format!("evil{number}@x.y#h:1#evil"));
        stranger.workstation = Some(typed.as_str().into());
        stranger.listener = typed.as_str().into();
        stranger.client_module = Some(typed.as_str().into());
        say_everything(&observer, &stranger, &typed);
    }
    let metrics = observer.encode();
    assert!(!metrics.contains("evil"), "{metrics}");
    assert_eq!(metrics.lines().count(), before);
    let status = observer.status();
    assert_eq!(status.refusals.len(), 50);
    assert_eq!(status.client_modules.len(), 1);
    assert!(status.client_modules[0].pop3.as_ref().unwrap().capabilities.len() <= 32);
}

#[test]
fn events_move_the_metrics_of_the_contract() {
    let observer = quiet();
    let facts = session(Protocol::Pop3, LOGIN);
    let live = observer.track(&facts);
    assert!(observer.encode().contains("kimgate_sessions_active{protocol=\"pop3\"} 1"));
    live.relayed(Direction::ToClient, 700);
    say_everything(&observer, &facts, "eAU;Lieferung;V1.2");
    observer.contexts_active(3);
    observer.mailbox_wait(2.0);
    observer.panicked();
    observer.connection_refused(Reason::TooManyConnections);
    observer.certificates_in_use(&[("listener".into(), 1_900_000_000)]);
    let metrics = observer.encode();
    for line in [
        concat!("kimgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "kimgate_sessions_active{protocol=\"pop3\"} 0",
        "kimgate_sessions_total{protocol=\"pop3\",reason=\"ok\"} 1",
        "kimgate_logins_total{protocol=\"pop3\",result=\"accepted\"} 2",
        "kimgate_logins_total{protocol=\"pop3\",result=\"not-allowed\"} 1",
        "kimgate_logins_total{protocol=\"pop3\",result=\"rejected-by-client-module\"} 1",
        "kimgate_would_deny_total{reason=\"denied\"} 1",
        "kimgate_would_deny_total{reason=\"service-not-allowed\"} 1",
        "kimgate_denied_total{action=\"send\",reason=\"service-not-allowed\"} 1",
        "kimgate_login_seconds_count{protocol=\"pop3\"} 4",
        "kimgate_client_module_up{client_module=\"main\",protocol=\"pop3\"} 1",
        "kimgate_client_module_connect_seconds_count 1",
        "kimgate_certificate_not_after_seconds{role=\"listener\"} 1900000000",
        "kimgate_messages_total{direction=\"sent\",service=\"eAU;Lieferung\"} 1",
        "kimgate_messages_total{direction=\"received\",service=\"eAU;Lieferung\"} 1",
        "kimgate_messages_rejected_total 1",
        "kimgate_message_bytes_total{direction=\"received\"} 5000",
        "kimgate_relay_bytes_total{direction=\"to-workstation\",protocol=\"pop3\"} 700",
        "kimgate_end_of_data_seconds_sum 13",
        "kimgate_retrieve_wait_seconds_sum 0",
        "kimgate_decryption_results_total{code=\"other\"} 20",
        "kimgate_integrity_results_total{code=\"01\"} 0",
        "kimgate_deletes_held_total 1",
        "kimgate_messages_deleted_total 1",
        "kimgate_contexts_active 3",
        "kimgate_context_conflicts_total{mode=\"observe\"} 1",
        "kimgate_mailbox_wait_seconds_count 1",
        "kimgate_config_reloads_total{result=\"rejected\"} 1",
        "kimgate_config_problems 3",
        "kimgate_panics_total 1",
        "kimgate_audit_lost_total 0",
        "kimgate_connections_refused_total{reason=\"too-many-connections\"} 1",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line}\n{metrics}");
    }
    for start in
        ["kimgate_mailbox_last_fetch_seconds{account=\"prx@", "kimgate_config_loaded_seconds 1"]
    {
        assert!(metrics.lines().any(|there| there.starts_with(start)), "{start}\n{metrics}");
    }
    #[cfg(target_os = "linux")]
    assert!(metrics.contains("process_open_fds"), "{metrics}");
}

#[test]
fn a_reload_takes_the_series_of_what_it_removed() {
    let observer = quiet();
    say_everything(&observer, &session(Protocol::Pop3, LOGIN), "x");
    observer.rename(KnownNames::default());
    let metrics = observer.encode();
    for gone in ["prx@", "client_module=\"main\"", "role=\"client-module/main\""] {
        assert!(!metrics.contains(gone), "{gone}\n{metrics}");
    }
    assert!(observer.status().client_modules.is_empty());
}

#[test]
fn a_session_whose_task_died_is_closed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let observer = auditing(dir.path(), false);
    let facts = session(Protocol::Smtp, LOGIN);
    observer.emit(Event::Connected(&facts));
    let live = observer.track(&facts);
    let died = std::thread::spawn(move || {
        live.relayed(Direction::ToModule, 42);
        panic!("a bug");
    });
    assert!(died.join().is_err());
    drop(observer.track(&session(Protocol::Smtp, LOGIN)));
    let (_, lines) = audited(&observer, dir.path());
    assert_eq!(
        (&lines[1]["event"], &lines[1]["reason"]),
        (&"closed".into(), &"internal-error".into())
    );
    assert_eq!(lines[1]["bytes_to_module"], 42);
    assert_eq!(lines[2]["reason"], "shutting-down");
    assert!(observer.status().sessions.is_empty());
}

#[test]
fn a_live_session_is_shown_with_what_it_does() {
    let observer = quiet();
    let mut facts = session(Protocol::Pop3, LOGIN);
    facts.login = None;
    let live = observer.track(&facts);
    live.phase(Phase::Retrieving);
    live.relayed(Direction::ToClient, 10);
    live.relayed(Direction::ToClient, 5);
    live.learn(&session(Protocol::Pop3, LOGIN));
    let [shown] = &observer.status().sessions[..] else { panic!("one session") };
    assert_eq!((shown.phase.as_str(), shown.bytes_to_client), ("retr", 15));
    assert_eq!(shown.workplace_id.as_deref(), Some("PC1"));
    assert_eq!((live.octets(Direction::ToClient), live.octets(Direction::ToModule)), (15, 0));
}

#[test]
fn ready_needs_listeners_and_a_client_module_for_each_protocol_that_they_speak() {
    let observer = quiet();
    let here = SocketAddr::from(([127, 0, 0, 1], 995));
    let up = |up| ClientModuleState { up, ..ClientModuleState::default() };
    let missing = || observer.readiness().missing;
    assert_eq!(missing(), [Missing::Listeners]);
    observer.listeners(vec![listener("pop3s", Protocol::Pop3, here)]);
    observer.ready(true);
    assert_eq!(missing(), [Missing::ClientModulePop3]);
    observer.client_module_state("main", Protocol::Pop3, up(true));
    assert!(observer.readiness().ready);
    let pop3s = listener("pop3s", Protocol::Pop3, here);
    observer.listeners(vec![pop3s, listener("smtps", Protocol::Smtp, here)]);
    assert_eq!(missing(), [Missing::ClientModuleSmtp]);
    observer.client_module_state("main", Protocol::Smtp, up(true));
    assert!(observer.readiness().ready);
    observer.client_module_state("main", Protocol::Pop3, up(false));
    observer.ready(false);
    assert_eq!(missing(), [Missing::Listeners, Missing::ClientModulePop3]);
}

#[test]
fn certificates_that_are_no_longer_in_use_are_forgotten() {
    let observer = quiet();
    let has = |role: &str| {
        let series = format!("kimgate_certificate_not_after_seconds{{role=\"{role}\"}}");
        let listed = observer.status().certificates.iter().any(|known| known.role == role);
        assert_eq!(observer.encode().contains(&series), listed, "{role}");
        listed
    };
    let ends = |roles: &[&str]| -> Vec<(String, i64)> {
        roles.iter().map(|role| ((*role).to_owned(), 1_900_000_000)).collect()
    };
    observer.certificates_in_use(&ends(&["listener", "ca/main"]));
    observer.certificate_met("PC1", 1_900_000_000);
    assert!(has("listener") && has("ca/main") && has("workstation/PC1"));
    observer.certificates_in_use(&ends(&["listener", "client-ca"]));
    assert!(has("listener") && has("client-ca") && has("workstation/PC1") && !has("ca/main"));
}

#[test]
fn the_status_comes_back_from_its_json() {
    let observer = quiet();
    let facts = session(Protocol::Pop3, LOGIN);
    say_everything(&observer, &facts, "x");
    let _live = observer.track(&facts);
    let here = SocketAddr::from(([127, 0, 0, 1], 995));
    observer.listeners(vec![listener("pop3s", Protocol::Pop3, here)]);
    observer.certificates_in_use(&[("listener".into(), 1_900_000_000)]);
    let status = observer.status();
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    assert_eq!(status.counts.logins_accepted, 2);
    assert_eq!((status.counts.logins_refused, status.counts.would_deny), (2, 2));
    assert_eq!((status.counts.messages_sent, status.counts.messages_received), (1, 1));
    assert_eq!(status.config.problems, 3);
}

#[test]
fn promtool_has_nothing_to_say() {
    let observer = quiet();
    let facts = session(Protocol::Pop3, LOGIN);
    let _live = observer.track(&facts);
    say_everything(&observer, &facts, "eAU;Lieferung;V1.2");
    observer.certificates_in_use(&[("listener".into(), 1_900_000_000)]);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => {
            assert_ne!(std::env::var("KIMGATE_REQUIRE_INTEROP").as_deref(), Ok("1"), "{error}");
            println!("skipped: promtool is not installed ({error})");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(observer.encode().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

fn listener(name: &str, protocol: Protocol, address: SocketAddr) -> ListenerStatus {
    ListenerStatus { name: name.into(), protocol, address, security: Security::Implicit }
}
