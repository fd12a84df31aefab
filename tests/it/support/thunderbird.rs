//! A real Thunderbird without a screen, driven over Marionette: what its user sees when it fetches or
//! sends. <https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html>

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::tools;

/// For its first start on a machine that is busy with other tests, and for each thing it is told to do.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// A Thunderbird with a profile of its own. It ends with this value.
pub(crate) struct Thunderbird {
    _child: Child,
    marionette: TcpStream,
    asked: u64,
    _profile: TempDir,
}

/// A dialog that its user saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialog {
    /// `alert` says something. Anything else asks, here for another password.
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Thunderbird {
    /// `None` where it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        if !tools::have(&["thunderbird"]) {
            return None;
        }
        let profile = TempDir::new().unwrap();
        fs::write(profile.path().join("user.js"), PREFERENCES).unwrap();
        let child = tools::command("thunderbird")
            .args(["--headless", "--marionette", "--remote-allow-system-access", "--no-remote"])
            .arg("--profile")
            .arg(profile.path())
            .env("HOME", profile.path())
            .env("MOZ_HEADLESS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let port = profile.path().join("MarionetteActivePort");
        let started = Instant::now();
        let marionette = loop {
            let port = fs::read_to_string(&port).ok().and_then(|port| port.trim().parse().ok());
            let port: Option<u16> = port;
            if let Some(port) = port
                && let Ok(tcp) = TcpStream::connect(("127.0.0.1", port)).await
            {
                break tcp;
            }
            assert!(started.elapsed() < PATIENCE, "Thunderbird does not start");
            sleep(LOOK).await;
        };
        let mut thunderbird = Self { _child: child, marionette, asked: 0, _profile: profile };
        thunderbird.packet().await; // Its greeting.
        let ignore = json!({"alwaysMatch": {"unhandledPromptBehavior": "ignore"}});
        thunderbird.command("WebDriver:NewSession", json!({"capabilities": ignore})).await.unwrap();
        let chrome = json!({"value": "chrome"});
        thunderbird.command("Marionette:SetContext", chrome).await.unwrap();
        thunderbird.run(include_str!("thunderbird.js"), json!([])).await;
        Some(thunderbird)
    }

    /// Fetches from a POP3 listener without TLS; the dialogs that came.
    pub(crate) async fn fetch(&mut self, from: SocketAddr, login: &str) -> Vec<Dialog> {
        self.perform(json!(["fetchMail", from.port(), login])).await
    }

    /// Sends a message to an SMTP listener without TLS; the dialogs that came.
    pub(crate) async fn send(&mut self, to: SocketAddr, login: &str) -> Vec<Dialog> {
        self.perform(json!(["sendMail", to.port(), login])).await
    }

    async fn perform(&mut self, what: Value) -> Vec<Dialog> {
        self.run("begin(...arguments)", what.clone()).await;
        let started = Instant::now();
        loop {
            let result = self.run("return globalThis.result", json!([])).await;
            if let Some(dialogs) = result["dialogs"].as_array() {
                assert_eq!(result["error"], Value::Null, "{what}");
                return dialogs.iter().map(dialog).collect();
            }
            assert!(started.elapsed() < PATIENCE, "{what} does not end");
            sleep(LOOK).await;
        }
    }

    /// Runs a script. While a dialog is open Marionette refuses to, so this tries until it is closed.
    async fn run(&mut self, script: &str, arguments: Value) -> Value {
        let started = Instant::now();
        loop {
            let script = json!({
                "script": script, "args": arguments, "newSandbox": false, "sandbox": "system",
            });
            match self.command("WebDriver:ExecuteScript", script).await {
                Ok(result) => return result["value"].clone(),
                Err(error) if error["error"] == "unexpected alert open" => {}
                Err(error) => panic!("{error}"),
            }
            assert!(started.elapsed() < PATIENCE, "a dialog does not close");
            sleep(LOOK).await;
        }
    }

    /// A packet is its length, a colon and JSON: `[0, id, name, parameters]` towards Thunderbird,
    /// `[1, id, error, result]` back.
    async fn command(&mut self, name: &str, parameters: Value) -> Result<Value, Value> {
        self.asked += 1;
        let packet = json!([0, self.asked, name, parameters]).to_string();
        let packet = format!("{}:{packet}", packet.len());
        self.marionette.write_all(packet.as_bytes()).await.unwrap();
        let answer = self.packet().await;
        assert_eq!(answer[1], self.asked);
        if answer[2].is_null() { Ok(answer[3].clone()) } else { Err(answer[2].clone()) }
    }

    async fn packet(&mut self) -> Value {
        let read = async {
            let mut length = 0;
            loop {
                match self.marionette.read_u8().await.unwrap() {
                    b':' => break,
                    digit => length = length * 10 + usize::from(digit - b'0'),
                }
            }
            let mut packet = vec![0; length];
            self.marionette.read_exact(&mut packet).await.unwrap();
            serde_json::from_slice(&packet).unwrap()
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("Thunderbird does not answer"))
    }
}

fn dialog(seen: &Value) -> Dialog {
    let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
    Dialog { kind: text("kind"), text: format!("{} {}", text("text"), text("buttons")) }
}

/// It asks the network nothing and shows no welcome.
const PREFERENCES: &str = r#"
user_pref("marionette.port", 0);
user_pref("app.donation.eoy.version.viewed", 999);
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("mail.accounthub.enabled", false);
user_pref("mail.inappnotifications.enabled", false);
user_pref("mail.provider.enabled", false);
user_pref("mail.rights.version", 1);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mail.spotlight.firstRunDone", true);
user_pref("mailnews.start_page.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "");
user_pref("toolkit.telemetry.enabled", false);
"#;
