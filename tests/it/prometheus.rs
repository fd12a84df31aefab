//! Metrics, alert rules and dashboard, as Prometheus reads them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::dialogue::{ADDRESS, auth_plain};
use crate::support::tools::{command, find, have, run};
use crate::support::world::{LOGIN, World};
use kimgate::words::Protocol;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MESSAGE: &[u8] = b"Subject: x\r\nX-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n\r\nhello\r\n";
const UNDECRYPTED: &[u8] = b"Subject: x\r\nX-KIM-DecryptionResult: 03\r\n\r\nhello\r\n";

/// Longer than Prometheus takes to start, to scrape twice and to evaluate its rules.
const PATIENCE: Duration = Duration::from_secs(60);

/// Section 6 of the contract.
const CONTRACT: &[&str] = &[
    "kimgate_build_info",
    "kimgate_sessions_active",
    "kimgate_sessions_total",
    "kimgate_logins_total",
    "kimgate_would_deny_total",
    "kimgate_login_seconds",
    "kimgate_client_module_up",
    "kimgate_client_module_connect_seconds",
    "kimgate_certificate_verdicts_total",
    "kimgate_certificate_not_after_seconds",
    "kimgate_messages_total",
    "kimgate_message_bytes_total",
    "kimgate_relay_bytes_total",
    "kimgate_end_of_data_seconds",
    "kimgate_retrieve_wait_seconds",
    "kimgate_decryption_results_total",
    "kimgate_integrity_results_total",
    "kimgate_deletes_held_total",
    "kimgate_messages_held",
    "kimgate_contexts_active",
    "kimgate_context_conflicts_total",
    "kimgate_mailbox_wait_seconds",
    "kimgate_mailbox_last_fetch_seconds",
    "kimgate_config_reloads_total",
    "kimgate_config_loaded_seconds",
];

/// A gateway that has sent, fetched and refused something.
async fn busy() -> World {
    let world = World::start(&[]).await;
    let mut smtp = world.smtp().await;
    smtp.begin_message().await;
    smtp.send_bytes(&[MESSAGE, b".\r\n"].concat()).await;
    smtp.expect("250 <any>").await;
    smtp.ask(format!("MAIL FROM:<{ADDRESS}>"), "250 <any>").await;
    smtp.ask("RCPT TO:<patient@example.org>", "550 <any>").await;
    smtp.ask("QUIT", "221 <any>").await;
    fetch(&world, MESSAGE).await;
    world
}

async fn fetch(world: &World, message: &[u8]) {
    world.sim.deliver(ADDRESS, message);
    let mut pop3 = world.pop3().await;
    pop3.ask("RETR 1", "+OK<any>").await;
    pop3.expect_until(".").await;
    // One that came undecrypted stays.
    pop3.ask("DELE 1", "<any>").await;
    pop3.ask("QUIT", "+OK<any>").await;
}

/// The families that `/metrics` shows, without those of the process.
fn families(metrics: &str) -> BTreeSet<String> {
    let helps = metrics.lines().filter_map(|line| line.strip_prefix("# HELP kimgate_"));
    helps.map(|rest| format!("kimgate_{}", rest.split(' ').next().unwrap())).collect()
}

fn in_repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every name of a metric in a text, without what Prometheus appends for histograms.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("kimgate_"));
    words
        .map(|word| {
            let ends = ["_bucket", "_sum", "_count"];
            ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_busy_gateway_exports_what_the_contract_and_the_manual_say() {
    let world = busy().await;
    let (status, metrics) = world.get("/metrics").await;
    assert_eq!(status, 200);
    let exported = families(&metrics);
    let missing: Vec<_> = CONTRACT.iter().filter(|name| !exported.contains(**name)).collect();
    assert!(missing.is_empty(), "the contract names {missing:?}");
    assert!(metrics.contains("process_cpu_seconds_total"), "{metrics}");
    let manual = in_repository("OPERATIONS.md");
    let rows: String = manual.lines().filter(|line| line.starts_with("| `kimgate_")).collect();
    let described = named(&rows);
    assert_eq!(exported, described, "OPERATIONS.md describes the right-hand side");
    if have(&["promtool"]) {
        let said = run(command("promtool").args(["check", "metrics"]), metrics.as_bytes()).await;
        assert!(said.ok && said.said.is_empty(), "{}", said.said);
    }
}

#[tokio::test]
async fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let exported = families(&busy().await.observer.encode());
    let rules = in_repository("config/prometheus/kimgate.rules.yml");
    let dashboard = in_repository("config/grafana/kimgate.json");
    for (file, text) in [("rules", &rules), ("dashboard", &dashboard)] {
        let asked = named(text);
        assert!(asked.len() > 10, "{file}: only {asked:?}");
        let unknown: Vec<_> = asked.difference(&exported).collect();
        assert!(unknown.is_empty(), "the {file} ask for {unknown:?}");
    }
}

#[tokio::test]
async fn the_alert_rules_pass_their_unit_tests() {
    if !have(&["promtool"]) {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus");
    for arguments in [
        &["check", "rules", "kimgate.rules.yml"][..],
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "kimgate.rules.test.yml", "working-days.test.yml"],
    ] {
        let said = run(command("promtool").args(arguments).current_dir(&folder), b"").await;
        assert!(said.ok, "{arguments:?}: {}", said.said);
    }
    // Each alert is fired by one of them.
    let rules = in_repository("config/prometheus/kimgate.rules.yml");
    let tests = in_repository("config/prometheus/kimgate.rules.test.yml")
        + &in_repository("config/prometheus/working-days.test.yml");
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(alert), "no test of {alert}");
    }
}

#[tokio::test]
async fn the_dashboards_queries_are_promql() {
    let dashboard: Value =
        serde_json::from_str(&in_repository("config/grafana/kimgate.json")).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    if !have(&["promtool"]) {
        return;
    }
    // Queries become recording rules, for promtool to read.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, query) in queries.iter().enumerate() {
        let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
        let query = Value::from(query);
        rules.push_str(&format!("      - record: query_{number}\n        expr: {query}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    fs::write(&file, rules).unwrap();
    let said = run(command("promtool").args(["check", "rules"]).arg(file), b"").await;
    assert!(said.ok, "{}", said.said);
}

/// Every `expr` below this value.
fn collect(value: &Value, queries: &mut Vec<String>) {
    if let Some(fields) = value.as_object() {
        queries.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
        fields.values().for_each(|inner| collect(inner, queries));
    }
    for inner in value.as_array().into_iter().flatten() {
        collect(inner, queries);
    }
}

#[tokio::test]
async fn a_real_prometheus_scrapes_the_gateway_and_its_alerts_fire() {
    if !have(&["prometheus"]) {
        return;
    }
    let world = busy().await;
    let prometheus = Prometheus::start(&world).await;
    prometheus
        .until("up{job=\"kimgate\"} == 1 and on (instance) kimgate_messages_total > 0", true)
        .await;
    prometheus.until("ALERTS", false).await;
    // The client module goes away over SMTP, a message comes undecrypted, and a file has an error.
    world.faults(&["smtp:greeting-drop"]);
    let mut client = world.client(Protocol::Smtp).await;
    client.expect("220 <any>").await;
    client.send("EHLO pc").await;
    client.expect_until("250 <any>").await;
    client.ask(auth_plain(LOGIN, "geheim"), "454 <any>(client-module-unreachable)").await;
    fetch(&world, UNDECRYPTED).await;
    world.reload(&["policy.mode = \"strict\""]).unwrap_err();
    for alert in ["KimClientModuleDown", "KimMailUndecrypted", "KimDeletesHeld", "KimReloadFailed"]
    {
        prometheus.until(&firing(alert), true).await;
    }
    // And they end with their cause.
    world.faults(&[""; 0]);
    client.ask(auth_plain(LOGIN, "geheim"), "235 <any>").await;
    world.reload(&[]).unwrap();
    for alert in ["KimClientModuleDown", "KimReloadFailed"] {
        prometheus.until(&firing(alert), false).await;
    }
}

fn firing(alert: &str) -> String {
    format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}")
}

/// A Prometheus of its own, quick, with the rules that do not wait.
struct Prometheus(Daemon);

impl Prometheus {
    async fn start(world: &World) -> Self {
        let rules = in_repository("config/prometheus/kimgate.rules.yml");
        let waits = |line: &&str| line.trim_start().starts_with("for: ");
        let at_once: Vec<_> = rules.lines().filter(|line| !waits(line)).collect();
        assert_ne!(at_once.len(), rules.lines().count(), "no rule waits");
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [kimgate.rules.yml]\nscrape_configs:\n  - job_name: kimgate\n    \
             static_configs: [{{targets: [\"{}\"]}}]\n",
            world.admin
        );
        let daemon = Daemon::start(1, async |folder, ports| {
            fs::write(folder.join("kimgate.rules.yml"), at_once.join("\n")).unwrap();
            fs::write(folder.join("prometheus.yml"), &config).unwrap();
            let mut command = std::process::Command::new(find("prometheus").unwrap());
            command
                .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{}", ports[0]));
            command
        })
        .await;
        Self(daemon)
    }

    /// Asks until the query has an answer, or has none any more.
    async fn until(&self, query: &str, there: bool) {
        let start = Instant::now();
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            let answer = self.ask(query).await;
            let result = answer["data"]["result"].as_array().map(Vec::len);
            if answer["status"] == "success" && result.is_some_and(|n| (n > 0) == there) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{query}: {answer}\n{}", self.0.log());
            pace.tick().await;
        }
    }

    /// One query, by HTTP/1.0 so that the answer comes whole.
    async fn ask(&self, query: &str) -> Value {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.0.ports[0])).await.unwrap();
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        tcp.read_to_string(&mut response).await.unwrap();
        let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }
}
