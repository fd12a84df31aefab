//! POP3 as a client module serves it: gemSpec_CM_KOMLE 3.4 and RFC 1939.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;

use crate::secret::Secret;
use crate::words::Security;

use super::config::maildrop_of;
use super::fault::{Manner, Point};
use super::journal::{Ending, Mechanism, Seen};
use super::kim_2026;
use super::message::header_block;
use super::retrieve;
use super::sasl::{self, Credentials};
use super::session::SimSession;
use super::store::{Kept, Lock};
use super::wire::SimResult;

/// Serves commands until the connection ends.
pub(crate) async fn run(session: SimSession) -> SimResult<Infallible> {
    let mut pop3 = Pop3 { session, user: None, mailbox: None };
    loop {
        pop3 = pop3.command().await?;
    }
}

struct Pop3 {
    session: SimSession,
    /// USER's line and its argument, until PASS comes.
    user: Option<(Secret<Vec<u8>>, Vec<u8>)>,
    mailbox: Option<Mailbox>,
}

/// A maildrop as it was at login.
struct Mailbox {
    address: String,
    messages: Vec<Kept>,
    /// Numbers from 1.
    deleted: BTreeSet<usize>,
    _lock: Option<Lock>,
}

impl Pop3 {
    async fn command(mut self) -> SimResult<Self> {
        let line = self.session.next_line(self.mailbox.is_some()).await?;
        let (verb, argument) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], line[at + 1..].to_vec()),
            None => (&line[..], Vec::new()),
        };
        let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
        let text = String::from_utf8_lossy(&argument).into_owned();
        match verb.as_str() {
            "USER" | "PASS" => self.session.note_command(&*verb),
            "AUTH" => {
                let mechanism = text.split(' ').next().unwrap_or_default();
                self.session.note_command(format!("AUTH {mechanism}"));
            }
            _ => self.session.note_command(String::from_utf8_lossy(&line)),
        }
        match (verb.as_str(), self.mailbox.is_some()) {
            ("CAPA", _) => self.capabilities().await?,
            ("QUIT", _) => return Err(self.quit().await?),
            ("STLS", false) => return self.start_tls().await,
            ("USER" | "PASS" | "AUTH", false) if self.session.needs_tls() => {
                self.say("-ERR Bitte zuerst STLS").await?;
            }
            ("USER", false) => {
                if self.session.answer(Point::Prompt, "+OK").await? {
                    self.user = Some((Secret::new(line), argument));
                }
            }
            ("PASS", false) => self.pass(line, argument).await?,
            ("AUTH", false) => self.auth(&line, &text).await?,
            ("NOOP", true) => self.say("+OK").await?,
            ("STAT", true) => self.stat().await?,
            ("LIST", true) => self.list(&text).await?,
            ("UIDL", true) => self.uidl(&text).await?,
            ("TOP", true) => self.top(&text).await?,
            ("RETR", true) => self.retr(&text).await?,
            ("DELE", true) => self.dele(&text).await?,
            ("RSET", true) => {
                if let Some(mailbox) = &mut self.mailbox {
                    mailbox.deleted.clear();
                }
                self.say("+OK").await?;
            }
            _ => self.say("-ERR Unbekanntes Kommando").await?,
        }
        Ok(self)
    }

    async fn capabilities(&mut self) -> SimResult<()> {
        let mut reply = "+OK Capability list follows\r\n".to_owned();
        for line in self.session.world.capabilities().pop3 {
            let _ = write!(reply, "{line}\r\n");
        }
        if self.session.needs_tls() {
            reply.push_str("STLS\r\n");
        }
        self.session.answer(Point::Hello, &(reply + ".")).await.map(drop)
    }

    async fn start_tls(mut self) -> SimResult<Self> {
        if self.session.secured || self.session.world.security != Security::StartTls {
            self.say("-ERR Unbekanntes Kommando").await?;
            return Ok(self);
        }
        if self.session.answer(Point::StartTls, "+OK Begin TLS").await? {
            self.session = self.session.secure().await?;
            self.user = None;
        }
        Ok(self)
    }

    async fn pass(&mut self, line: Vec<u8>, password: Vec<u8>) -> SimResult<()> {
        let Some((user_line, login)) = self.user.take() else {
            return self.say("-ERR Bitte zuerst USER").await;
        };
        let lines = vec![user_line, Secret::new(line)];
        let (mechanism, password) = (Mechanism::UserPass, Secret::new(password));
        self.log_in(Credentials { mechanism, login, password, lines }).await
    }

    async fn auth(&mut self, line: &[u8], argument: &str) -> SimResult<()> {
        let (mechanism, initial) = match argument.split_once(' ') {
            Some((mechanism, initial)) => (mechanism, Some(initial.as_bytes().to_vec())),
            None => (argument, None),
        };
        let mut lines = vec![Secret::new(line.to_vec())];
        let initial = initial.filter(|_| !self.has(Manner::IgnoreInitial));
        let read = match (mechanism.to_ascii_uppercase().as_str(), initial) {
            ("", _) => {
                let login = if self.offers_login() { "LOGIN\r\n" } else { "" };
                return self.say(&format!("+OK\r\nPLAIN\r\n{login}.")).await;
            }
            ("PLAIN", Some(response)) => plain(Mechanism::PlainInitial, &response),
            ("PLAIN", None) => {
                let openkim = self.has(Manner::OpenKim);
                let prompt = if openkim { "+OK Continue authentication" } else { "+ " };
                let response = self.prompt(prompt, &mut lines).await?;
                plain(Mechanism::PlainPrompted, &response)
            }
            ("LOGIN", initial) if self.offers_login() => {
                let (mechanism, user) = match initial {
                    Some(user) => (Mechanism::LoginInitial, user),
                    None => {
                        let user = self.prompt("+ VXNlcm5hbWU6", &mut lines).await?;
                        (Mechanism::LoginPrompted, user)
                    }
                };
                let password = self.prompt("+ UGFzc3dvcmQ6", &mut lines).await?;
                let both = sasl::decode(&user).zip(sasl::decode(&password));
                both.map(|(login, password)| (mechanism, login, Secret::new(password)))
            }
            _ => return self.say("-ERR Unbekannter Mechanismus").await,
        };
        match read {
            Some((mechanism, login, password)) => {
                self.log_in(Credentials { mechanism, login, password, lines }).await
            }
            None => self.say("-ERR Nicht lesbar oder abgebrochen").await,
        }
    }

    async fn prompt(&mut self, text: &str, lines: &mut Vec<Secret<Vec<u8>>>) -> SimResult<Vec<u8>> {
        let line = self.session.prompt(text).await?;
        lines.push(Secret::new(line.clone()));
        Ok(line)
    }

    fn offers_login(&self) -> bool {
        let offered = self.session.world.capabilities().pop3;
        offered.iter().any(|line| line.starts_with("SASL ") && line.contains(" LOGIN"))
    }

    async fn log_in(&mut self, credentials: Credentials) -> SimResult<()> {
        if self.session.lacks_server(&credentials.login) {
            self.say("-ERR Invalid command arguments").await?;
            return Err(self.session.hang_up().await);
        }
        let address = maildrop_of(&credentials.login);
        let right = self.session.note_login(credentials);
        let reply = match right {
            true => "+OK",
            false => "-ERR Der Nutzer konnte nicht authentifiziert werden",
        };
        let Some(reply) = self.session.prepare(Point::Login, reply).await? else { return Ok(()) };
        if !right {
            return self.session.reply(&reply).await;
        }
        let world = &self.session.world;
        let lock = match world.mailbox_in_use.clone() {
            None => None,
            Some(in_use) => match world.store.lock(&address) {
                Some(lock) => Some(lock),
                None => return self.say(&in_use).await,
            },
        };
        let messages = world.store.maildrop(&address);
        self.mailbox = Some(Mailbox { address, messages, deleted: BTreeSet::new(), _lock: lock });
        self.session.reply(&reply).await?;
        self.session.strike().await
    }

    async fn stat(&mut self) -> SimResult<()> {
        let (count, bytes) = self
            .listed()
            .fold((0, 0), |(count, sum), (_, kept)| (count + 1, sum + kept.message.size()));
        let bytes = if self.has(Manner::OpenKim) { count } else { bytes };
        self.say(&format!("+OK {count} {bytes}")).await
    }

    async fn list(&mut self, argument: &str) -> SimResult<()> {
        let openkim = self.has(Manner::OpenKim);
        self.table(argument, |number, kept| match openkim {
            true => format!("net.sberg.Message@{:x}", kept.id),
            false => format!("{number} {}", kept.message.size()),
        })
        .await
    }

    async fn uidl(&mut self, argument: &str) -> SimResult<()> {
        self.table(argument, |number, kept| format!("{number} sim-{:08}", kept.id)).await
    }

    async fn table(
        &mut self,
        argument: &str,
        row: impl Fn(usize, &Kept) -> String,
    ) -> SimResult<()> {
        let reply = if argument.trim().is_empty() {
            let rows: String =
                self.listed().map(|(number, kept)| row(number, kept) + "\r\n").collect();
            format!("+OK {} Messages\r\n{rows}.", self.listed().count())
        } else {
            match self.find(argument) {
                Some((number, kept)) => format!("+OK {}", row(number, kept)),
                None => NO_SUCH_MESSAGE.to_owned(),
            }
        };
        self.say(&reply).await
    }

    /// The header alone, whatever number of lines is asked for (KOM-LE-A_2041).
    async fn top(&mut self, arguments: &str) -> SimResult<()> {
        let number = arguments.split_whitespace().next().unwrap_or_default();
        let Some((_, kept)) = self.find(number) else { return self.say(NO_SUCH_MESSAGE).await };
        let start = kept.message.pieces().next().unwrap_or_default();
        let header = match self.has(Manner::Kim2026) {
            true => retrieve::stuffed(&kim_2026::outer(&start)),
            false => retrieve::stuffed(header_block(&start)),
        };
        self.session.wire.reply(b"+OK").await?;
        self.session.wire.send(&header).await?;
        self.session.wire.reply(if header.ends_with(b"\r\n") { b"." } else { b"\r\n." }).await
    }

    async fn retr(&mut self, argument: &str) -> SimResult<()> {
        let Some((number, kept)) = self.find(argument) else {
            return self.say(NO_SUCH_MESSAGE).await;
        };
        let message = kept.message.clone();
        let reply = format!("+OK {} octets", message.size());
        if self.session.answer(Point::Retr, &reply).await? {
            retrieve::send(&mut self.session, number, &message).await?;
            for effect in self.session.world.script.due(self.session.protocol, Point::AfterRetr) {
                self.session.suffer(&effect).await?;
            }
        }
        Ok(())
    }

    async fn dele(&mut self, argument: &str) -> SimResult<()> {
        let Some((number, _)) = self.find(argument) else { return self.say(NO_SUCH_MESSAGE).await };
        if self.session.answer(Point::Dele, "+OK").await?
            && let Some(mailbox) = &mut self.mailbox
        {
            mailbox.deleted.insert(number);
        }
        Ok(())
    }

    /// Deletions are committed here and nowhere else (RFC 1939 section 6).
    async fn quit(mut self) -> SimResult<Ending> {
        if let Some(Mailbox { address, messages, deleted, .. }) = self.mailbox.take()
            && !deleted.is_empty()
        {
            let ids = deleted.iter().filter_map(|number| Some(messages.get(number - 1)?.id));
            self.session.world.store.delete(&address, &ids.collect());
            let (connection, numbers) = (self.session.connection, deleted.into_iter().collect());
            let deleted = || Seen::Deleted { connection, address, numbers };
            self.session.world.journal.write(deleted);
        }
        self.session.answer(Point::Quit, "+OK Auf Wiedersehen").await?;
        self.session.wire.close().await;
        Ok(Ending::Quit)
    }

    /// The messages that are not deleted, with their numbers.
    fn listed(&self) -> impl Iterator<Item = (usize, &Kept)> {
        self.mailbox.iter().flat_map(|mailbox| {
            let numbered = (1..).zip(&mailbox.messages);
            numbered.filter(|(number, _)| !mailbox.deleted.contains(number))
        })
    }

    fn find(&self, argument: &str) -> Option<(usize, &Kept)> {
        let wanted: usize = argument.trim().parse().ok()?;
        self.listed().find(|(number, _)| *number == wanted)
    }

    fn has(&self, manner: Manner) -> bool {
        self.session.world.script.has(self.session.protocol, manner)
    }

    async fn say(&mut self, reply: &str) -> SimResult<()> {
        self.session.wire.reply(reply.as_bytes()).await
    }
}

/// What the line of AUTH PLAIN holds.
fn plain(mechanism: Mechanism, response: &[u8]) -> Option<(Mechanism, Vec<u8>, Secret<Vec<u8>>)> {
    let (login, password) = sasl::plain(&sasl::decode(response)?)?;
    Some((mechanism, login, password))
}

const NO_SUCH_MESSAGE: &str = "-ERR Keine solche Nachricht";
