//! The audit on disks that fail, and for people who search it; the log in systemd's journal.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli;
use crate::support::daemon::running_as_root;
use crate::support::dialogue::ADDRESS;
use crate::support::tools;
use crate::support::world::World;
use kimgate::words::Protocol;
use serde_json::Value;

const MESSAGE: &[u8] = b"Subject: x\r\nX-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n\r\nhello\r\n";
const LOST: &str = "kimgate_audit_lost_total";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message out, one in, and its deletion: eight audit lines and more.
async fn mail_goes_on(world: &World) {
    let mut smtp = world.smtp().await;
    smtp.begin_message().await;
    smtp.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
    smtp.expect("250 <any>").await;
    smtp.ask("QUIT", "221 <any>").await;
    world.sim.deliver(ADDRESS, MESSAGE);
    let mut pop3 = world.pop3().await;
    pop3.ask("RETR 1", "+OK<any>").await;
    pop3.expect_until(".").await;
    pop3.ask("DELE 1", "+OK<any>").await;
    pop3.ask("QUIT", "+OK<any>").await;
    // The sessions' last lines are said when they are over.
    let start = Instant::now();
    while !world.observer.status().sessions.is_empty() {
        assert!(start.elapsed() < PATIENCE, "sessions do not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(world.observer.flush());
}

#[tokio::test]
async fn a_full_disk_costs_audit_lines_and_no_mail() {
    let world = World::start(&[r#"audit.file = "/dev/full""#]).await;
    mail_goes_on(&world).await;
    let lost = world.metric(LOST);
    assert!(lost >= 8.0, "{lost}");
    assert_eq!(world.observer.status().counts.audit_lost as f64, lost);
    assert_eq!(world.get("/ready").await.0, 200, "mail can go through");
}

#[tokio::test]
async fn a_folder_that_vanishes_costs_audit_lines_until_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("log");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("audit.jsonl");
    let world = World::start(&[&format!("audit.file = {:?}", file.to_str().unwrap())]).await;
    mail_goes_on(&world).await;
    assert_eq!(world.metric(LOST), 0.0);
    // A file in its place: not even root can write below that.
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    mail_goes_on(&world).await;
    let lost = world.metric(LOST);
    assert!(lost >= 8.0, "{lost}");
    fs::remove_file(&folder).unwrap();
    mail_goes_on(&world).await;
    assert_eq!(world.metric(LOST), lost, "nothing more is lost");
    assert_eq!(events(&file)["message-sent"], 1);
}

#[tokio::test]
async fn a_disk_that_fills_up_and_is_emptied_leaves_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let file = disk.0.join("audit.jsonl");
    let world = World::start(&[&format!("audit.file = {:?}", file.to_str().unwrap())]).await;
    mail_goes_on(&world).await;
    let ballast = disk.0.join("ballast");
    // As many bytes as there is room for; the error at the end is wanted.
    let _ = fs::write(&ballast, vec![0; 1 << 20]);
    for _ in 0..20 {
        mail_goes_on(&world).await;
    }
    let lost = world.metric(LOST);
    assert!(lost > 0.0, "the disk was not full");
    fs::remove_file(&ballast).unwrap();
    mail_goes_on(&world).await;
    assert_eq!(world.metric(LOST), lost);
    // One line may have been cut where the room ended; the next begins on a line of its own.
    let text = fs::read_to_string(&file).unwrap();
    let whole = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
    let torn = text.lines().filter(|line| !whole(line)).count();
    assert!(torn <= 1, "{torn} torn lines in {text}");
    assert!(text.lines().next_back().as_ref().is_some_and(whole));
    drop(world);
}

/// A file system of 64 KiB, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(at).stderr(Stdio::null());
        let mounted = running_as_root() && mount.status().is_ok_and(|status| status.success());
        // In most containers not even root may mount; `/dev/full` stands in for that in the test above.
        (mounted || tools::skip("no file system can be mounted here")).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // `-l`: the audit's thread may hold its file for a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn an_account_is_found_under_its_pseudonym() {
    let lines = ["audit.pseudonymize = true", "gateway.state_dir = \"state\""];
    let world = World::start(&lines).await;
    mail_goes_on(&world).await;
    let folder = world.folder.path();
    let key = folder.join("state/audit.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let config = cli::text(&folder.join("kimgate.toml"));
    let search = ["audit", "--config", &config, "--account", "PRX@praxis.kim.telematik"];
    let found = cli::kimgate(&search).expect(0);
    assert!(found.contains("message-sent") && found.contains("hmac:"), "{found}");
    assert!(!found.to_lowercase().contains("prx@"), "{found}");
    let other = ["audit", "--config", &config, "--account", "arzt@praxis.kim.telematik"];
    assert_eq!(cli::kimgate(&other).code, 1);
    fs::remove_file(&key).unwrap();
    let ran = cli::kimgate(&search);
    assert!(ran.code == 1 && ran.stderr.contains("key was not found"), "{ran:?}");
    assert!(!key.exists(), "a search makes no key");
}

const MONDAY: &str = r#"{"time":"2026-11-23T09:00:00.000Z","event":"login","session":"aa","protocol":"pop3","workstation":"PC1","account":"prx@praxis.kim.telematik","accepted":true,"seconds":1.25,"reply":"+OK"}
{"time":"2026-11-23T09:05:00.000Z","event":"denied","session":"bb","protocol":"smtp","workstation":"PC9","account":"arzt@praxis.kim.telematik","action":"send","accepted":false,"reason":"service-not-allowed","rule":"accounts.\"arzt@praxis.kim.telematik\".send.services"}
"#;
const TUESDAY: &str = r#"{"time":"2026-11-24T09:00:00.000Z","event":"message-received","session":"cc","protocol":"pop3","workstation":"PC1","account":"prx@praxis.kim.telematik","bytes":2048,"wait":2.5,"decryption":["03"]}
{"time":"2026-11-24T09:01:00.000Z","event":"deni
{"time":"2026-11-24T09:02:00.000Z","event":"closed","session":"cc","protocol":"pop3","workstation":"PC1","account":"prx@praxis.kim.telematik","reason":"ok","seconds":9}
"#;

/// An audit of two days; `kimgate audit` with these arguments by the clock of Berlin.
fn search(arguments: &[&str]) -> cli::Ran {
    let folder = tempfile::tempdir().unwrap();
    cli::write(folder.path(), "audit.2026-11-24T000003Z.jsonl", MONDAY);
    let file = cli::text(&cli::write(folder.path(), "audit.jsonl", TUESDAY));
    let mut command = cli::command(&[&["audit", "--file", &file], arguments].concat());
    cli::run(command.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3"))
}

#[test]
fn rotated_parts_are_searched_by_every_field() {
    let json = |arguments: &[&str]| {
        let ran = search(&[arguments, &["--json"]].concat());
        let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.collect::<Vec<_>>().len()
    };
    for (arguments, lines) in [
        (&[][..], 4),
        (&["--account", "prx@praxis.kim.telematik"], 3),
        (&["--account", "*@praxis.kim.telematik"], 4),
        (&["--workstation", "pc9"], 1),
        (&["--reason", "service-not-allowed"], 1),
        (&["--event", "message-*"], 1),
        (&["--session", "cc"], 2),
        (&["--since", "2026-11-24"], 2),
        (&["--until", "2026-11-23"], 2),
        (&["--since", "2026-11-23 10:05", "--until", "2026-11-24 10:00"], 1),
        (&["--since", "2026-11-23T09:05:00Z"], 3),
        (&["--last", "1"], 1),
        (&["--since", "2h"], 0),
        (&["--workstation", "PC1", "--event", "denied"], 0),
    ] {
        assert_eq!(json(arguments), lines, "{arguments:?}");
    }
    assert_eq!(search(&["--account", "nobody"]).code, 1);
    let ran = search(&["--since", "soon"]);
    assert!(ran.code == 2 && ran.stderr.contains("2026-11-25 10:00"), "{ran:?}");
}

#[test]
fn the_table_tells_local_time_and_the_whole_story() {
    let ran = search(&[]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("1 lines are no audit lines"), "{}", ran.stderr);
    for line in [
        "time                 event             workstation  account                    what",
        "2026-11-23 10:00:00  login             PC1          prx@praxis.kim.telematik   pop3 accepted in 1.2 s",
        "2026-11-24 10:00:00  message-received  PC1          prx@praxis.kim.telematik   2.0 KiB came after 2.5 s decryption 03",
    ] {
        assert!(ran.stdout.lines().any(|there| there == line), "{line}\n{}", ran.stdout);
    }
    let last = search(&["--last", "2"]);
    assert_eq!(last.stdout.lines().count(), 3);
    assert!(last.stderr.contains("the newest 2 of 4"), "{}", last.stderr);
}

#[test]
fn standard_input_and_a_missing_file_are_understood() {
    let mut command = cli::command(&["audit", "--file", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), MONDAY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("service-not-allowed"));
    let ran = cli::kimgate(&["audit", "--file", "/absent/audit.jsonl"]);
    assert!(ran.code == 1 && ran.stderr.contains("/absent/audit.jsonl"), "{ran:?}");
}

#[test]
fn in_the_journal_every_line_has_its_priority_and_no_time() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[gateway]\nname = \"localhost\"\n[listeners.pop3]\nprotocol = \"pop3\"\ntls = \"none\"\n\
             address = \"127.0.0.1:0\"\n[client_modules.main]\nhost = \"127.0.0.1\"\npop3_port = 9\n\
             [audit]\nfile = \"audit.jsonl\"\n[admin]\naddress = \"off\"\n\
             [log]\nformat = \"{format}\"\n"
        );
        let config = cli::text(&cli::write(folder.path(), "kimgate.toml", &text));
        let log = folder.path().join("log");
        let stderr = fs::File::create(&log).unwrap();
        let stream = stderr.metadata().map(|m| format!("{}:{}", m.dev(), m.ino())).unwrap();
        let mut command = cli::command(&["run", "--config", &config]);
        let mut child = command
            .env("JOURNAL_STREAM", stream)
            .stderr(stderr)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let said = loop {
            let said = fs::read_to_string(&log).unwrap();
            let complete = said.ends_with('\n') && said.contains("does not answer properly");
            if complete || start.elapsed() > PATIENCE {
                break said;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        for line in said.lines() {
            let priority = if line.contains("WARN") { "<4>" } else { "<6>" };
            assert!(line.starts_with(priority), "{said}");
        }
        let warning = said.lines().find(|line| line.contains("does not answer properly")).unwrap();
        assert!(warning.starts_with("<4>"), "{warning}");
        match format {
            "json" => drop(serde_json::from_str::<Value>(&warning[3..]).unwrap()),
            _ => assert!(
                warning.trim_start_matches("<4>").trim_start().starts_with("WARN "),
                "{said}"
            ),
        }
    }
}

#[tokio::test]
async fn a_flood_of_refused_logins_is_a_few_audit_lines() {
    let world = World::start(&[]).await;
    for n in 0..100 {
        let mut client = world.client(Protocol::Pop3).await;
        client.expect("+OK <any>").await;
        client.ask(format!("USER fremd{n}@x.kim.telematik#a:1#M1#cs#PC1"), "-ERR<any>").await;
        client.ask("QUIT", "+OK<any>").await;
    }
    let lines = world
        .audit_when(|lines| {
            let ends = lines.iter().filter(|line| line["event"] == "closed").map(times);
            ends.sum::<u64>() == 100
        })
        .await;
    let refused: Vec<_> = lines.iter().filter(|line| line["event"] == "denied").collect();
    assert_eq!(refused.iter().map(|line| times(line)).sum::<u64>(), 100);
    assert!(refused.len() <= 30, "{} lines", refused.len());
    let folded = refused.iter().find(|line| line["count"].is_u64()).unwrap();
    assert!(folded.get("session").is_none() && folded["since"].is_string(), "{folded}");
    assert_eq!(folded["workstation"], "PC1");
    let reason = folded["reason"].as_str().unwrap();
    let series = format!("kimgate_logins_total{{protocol=\"pop3\",result=\"{reason}\"}}");
    assert_eq!(world.metric(&series), 100.0, "metrics count everything");
}

/// For how many events a line stands.
fn times(line: &Value) -> u64 {
    line["count"].as_u64().unwrap_or(1)
}

#[tokio::test]
async fn an_audit_that_was_tampered_with_is_found_and_the_line_is_named() {
    let world = World::start(&["audit.chain = true"]).await;
    mail_goes_on(&world).await;
    let file = world.folder.path().join("audit.jsonl");
    let config = cli::text(&world.folder.path().join("kimgate.toml"));
    let verify = || cli::kimgate(&["audit", "--config", &config, "--verify"]);
    let said = verify().expect(0);
    assert!(said.contains("the chain holds"), "{said}");
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().position(|line| line.contains("message-sent")).unwrap() + 1;
    fs::write(&file, text.replace("\"recipients\":1", "\"recipients\":7")).unwrap();
    let ran = verify();
    let named = format!("line {} does not follow {} line {line}:", line + 1, file.display());
    assert!(ran.code == 1 && ran.stderr.contains(&named), "{ran:?}");
    fs::write(&file, &text).unwrap();
    verify().expect(0);
}

/// How many lines of each event there are.
fn events(file: &Path) -> std::collections::BTreeMap<String, usize> {
    let text = fs::read_to_string(file).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        *counts.entry(line["event"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}
