//! Exim as an upstream: an independent SMTP server.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::clients::{Endpoint, Tls};
use super::daemon::{Daemon, give_to, running_as_root};
use super::{certificates, tools};

/// A running Exim that keeps every message of these logins.
pub(crate) struct Exim {
    daemon: Daemon,
}

impl Exim {
    /// Starts it for these logins and passwords; `None` where it cannot run: Exim lets root alone
    /// start a daemon with a configuration of its own.
    pub(crate) async fn start(accounts: &[(&str, &str)]) -> Option<Exim> {
        if !tools::have(&["exim4", "openssl"])
            || !running_as_root() && !tools::skip("Exim as a daemon needs root")
        {
            return None;
        }
        let daemon = Daemon::start(2, async |folder, ports| {
            certificates::write(folder).await;
            let mut users = String::new();
            for (login, password) in accounts {
                let login = certificates::sha256(login.as_bytes()).await;
                let password = certificates::sha256(password.as_bytes()).await;
                users.push_str(&format!("{login}: {password}\n").to_uppercase());
            }
            fs::write(folder.join("users"), users).unwrap();
            let owned = ["spool", "mail", "cert.pem", "key.pem"].map(|name| folder.join(name));
            for folder in &owned[..2] {
                fs::create_dir(folder).unwrap();
            }
            let mut private = owned.to_vec();
            private.push(folder.to_owned());
            give_to("Debian-exim", &private);
            // Exim reads a configuration only where root owns it.
            fs::write(folder.join("exim.conf"), configuration(folder, ports)).unwrap();
            give_to("root", &[folder.join("exim.conf")]);
            let mut command = Command::new(tools::find("exim4").unwrap());
            command.arg("-C").arg(folder.join("exim.conf")).arg("-bdf");
            command
        })
        .await;
        Some(Exim { daemon })
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self, tls: Tls) -> Endpoint {
        let port = match tls {
            Tls::StartTls => self.daemon.ports[0],
            Tls::Implicit => self.daemon.ports[1],
        };
        Endpoint { host: "localhost".into(), port, tls, ca: self.daemon.folder().join("ca.pem") }
    }

    /// The messages it took, oldest first, with LF as line end as Exim keeps them.
    pub(crate) async fn messages(&self) -> Vec<Vec<u8>> {
        let mut queue = tools::command("exim4");
        queue.arg("-C").arg(self.daemon.folder().join("exim.conf")).arg("-qff");
        let done = tools::run(&mut queue, b"").await;
        assert!(done.ok, "{}{}", done.said, self.log());
        let Ok(entries) = fs::read_dir(self.daemon.folder().join("mail/new")) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// What the server says about itself; its lines name sender and recipients.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }
}

fn configuration(folder: &Path, ports: &[u16]) -> String {
    include_str!("exim.conf")
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@SMTP@", &ports[0].to_string())
        .replace("@SMTPS@", &ports[1].to_string())
}
