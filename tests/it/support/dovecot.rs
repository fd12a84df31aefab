//! Dovecot as an upstream: an independent POP3 server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::clients::{Endpoint, Tls};
use super::daemon::{Daemon, give_to, own, running_as_root};
use super::{certificates, tools};

/// A running Dovecot with one maildrop for each login.
pub(crate) struct Dovecot {
    daemon: Daemon,
}

impl Dovecot {
    /// Dovecot 2.3 reads lines of up to 1,024 bytes before the login, and its processes hand a
    /// login on in a buffer that is hardly larger.
    pub(crate) const LONGEST_LOGIN: usize = 900;

    /// Starts it for these logins and passwords; `None` where it is not installed.
    pub(crate) async fn start(accounts: &[(&str, &str)]) -> Option<Dovecot> {
        if !tools::have(&["dovecot", "openssl"]) {
            return None;
        }
        let daemon = Daemon::start(2, async |folder, ports| {
            certificates::write(folder).await;
            let mut users = String::new();
            for (login, password) in accounts {
                let login = certificates::sha256(login.as_bytes()).await;
                let password = certificates::sha256(password.as_bytes()).await;
                users.push_str(&format!("{login}:{password}::::::\n"));
                make_maildir(&folder.join("mail").join(login));
            }
            fs::write(folder.join("users"), users).unwrap();
            fs::write(folder.join("dovecot.conf"), configuration(folder, ports)).unwrap();
            give_to("nobody", &[folder.join("mail")]);
            let mut command = Command::new(tools::find("dovecot").unwrap());
            command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
            command
        })
        .await;
        Some(Dovecot { daemon })
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self, tls: Tls) -> Endpoint {
        let port = match tls {
            Tls::StartTls => self.daemon.ports[0],
            Tls::Implicit => self.daemon.ports[1],
        };
        Endpoint { host: "localhost".into(), port, tls, ca: self.daemon.folder().join("ca.pem") }
    }

    /// Puts a message into a login's maildrop.
    pub(crate) async fn deliver(&self, login: &str, message: &[u8]) {
        let maildir = self.maildir(login).await;
        let number = fs::read_dir(maildir.join("new")).unwrap().count();
        fs::write(maildir.join(format!("new/{number}.kimgate")), message).unwrap();
        give_to("nobody", &[maildir]);
    }

    /// How many messages a login's maildrop holds.
    pub(crate) async fn count(&self, login: &str) -> usize {
        let maildir = self.maildir(login).await;
        let folders = ["new", "cur"].map(|folder| maildir.join(folder));
        folders.iter().map(|folder| fs::read_dir(folder).unwrap().count()).sum()
    }

    /// What the server says about itself, for a test that failed.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }

    async fn maildir(&self, login: &str) -> PathBuf {
        self.daemon.folder().join("mail").join(certificates::sha256(login.as_bytes()).await)
    }
}

fn make_maildir(at: &Path) {
    for folder in ["new", "cur", "tmp"] {
        fs::create_dir_all(at.join(folder)).unwrap();
    }
}

/// Started by root, Dovecot changes to users of its own; started by a person, it stays that person.
fn configuration(folder: &Path, ports: &[u16]) -> String {
    let (me, group) = (own("-un"), own("-gn"));
    let [internal, internal_group, login, owner, owner_group, auth] = if running_as_root() {
        ["dovecot", "dovecot", "dovenull", "nobody", "nogroup", "root"]
    } else {
        [&me, &group, &me, &me, &group, &me].map(String::as_str)
    };
    include_str!("dovecot.conf")
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@POP3@", &ports[0].to_string())
        .replace("@POP3S@", &ports[1].to_string())
        .replace("@INTERNAL@", internal)
        .replace("@GROUP@", internal_group)
        .replace("@LOGIN@", login)
        .replace("@OWNER@", owner)
        .replace("@OWNERGROUP@", owner_group)
        .replace("@AUTH@", auth)
}
