//! What both protocols share: the world around a session, its opening, and the answers at points
//! where faults may strike.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::words::{Protocol, Security};

use super::certificate::Material;
use super::config::{Accounts, Capabilities, SimConfig};
use super::fault::{Effect, Point};
use super::journal::{Ending, Journal, Seen};
use super::sasl::Credentials;
use super::script::{Changes, Script};
use super::store::Store;
use super::wire::{SimResult, SimWire};
use super::{pop3, smtp};

/// What all sessions of a simulator have in common.
pub(crate) struct World {
    pub(crate) security: Security,
    pub(crate) accounts: Accounts,
    pub(crate) strict_logins: bool,
    pub(crate) raw_delivery: bool,
    pub(crate) mailbox_in_use: Option<String>,
    pub(crate) store: Arc<Store>,
    pub(crate) script: Arc<Script>,
    pub(crate) journal: Journal,
    pub(crate) open: AtomicUsize,
    capabilities: Mutex<Capabilities>,
    material: Mutex<Arc<Material>>,
    last_connection: AtomicU64,
    /// Message-IDs under [`super::fault::Manner::StrictHeaders`].
    message_ids: Mutex<BTreeSet<String>>,
}

/// Message-IDs that are remembered; then the simulator begins anew.
const MESSAGE_IDS: usize = 10_000;

impl World {
    pub(crate) fn new(config: SimConfig, material: Material) -> Self {
        Self {
            security: config.security,
            accounts: config.accounts,
            strict_logins: config.strict_logins,
            raw_delivery: config.raw_delivery,
            mailbox_in_use: config.mailbox_in_use,
            store: Arc::new(Store::new(config.maildrop_limit, config.total_limit)),
            script: Arc::new(Script::new(&config.faults)),
            journal: Journal::new(config.record),
            open: AtomicUsize::new(0),
            capabilities: Mutex::new(config.capabilities),
            material: Mutex::new(Arc::new(material)),
            last_connection: AtomicU64::new(0),
            message_ids: Mutex::default(),
        }
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.last_connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes credentials and tells whether they are right.
    pub(crate) fn note_login(
        &self,
        connection: u64,
        protocol: Protocol,
        credentials: Credentials,
    ) -> bool {
        let Credentials { mechanism, login, password, lines } = credentials;
        let accepted = self.accounts.accept(&login, password.expose());
        let seen = || Seen::Login { connection, protocol, mechanism, login, lines, accepted };
        self.journal.write(seen);
        accepted
    }

    /// Remembers a Message-ID; false where it was known.
    pub(crate) fn remember(&self, message_id: String) -> bool {
        let mut known = self.message_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MESSAGE_IDS {
            known.clear();
        }
        known.insert(message_id)
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is shown in handshakes now.
    pub(crate) fn material(&self) -> Arc<Material> {
        self.material.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_material(&self, material: Material) {
        *self.material.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
    }

    pub(crate) fn set_capabilities(&self, capabilities: Capabilities) {
        *self.capabilities.lock().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }
}

/// Serves one connection from its first byte to its end.
pub(crate) async fn serve(
    world: Arc<World>,
    stream: TcpStream,
    protocol: Protocol,
    stop: CancellationToken,
) {
    let connection = world.next_connection();
    let Ok(peer) = stream.peer_addr() else { return };
    world.open.fetch_add(1, Ordering::Relaxed);
    world.journal.write(|| Seen::Opened { connection, protocol, peer });
    let wire = SimWire::new(stream, Arc::clone(&world.script), protocol);
    let changes = world.script.changes();
    let world_of_session = Arc::clone(&world);
    let session = SimSession {
        world: world_of_session,
        protocol,
        connection,
        secured: false,
        wire,
        changes,
        extras: Vec::new(),
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = stop.cancelled() => Err(Ending::Simulator),
    };
    let Err(ending) = ended;
    world.open.fetch_sub(1, Ordering::Relaxed);
    world.journal.write(|| Seen::Closed { connection, protocol, ending });
}

/// One connection.
pub(crate) struct SimSession {
    pub(crate) world: Arc<World>,
    pub(crate) protocol: Protocol,
    pub(crate) connection: u64,
    pub(crate) secured: bool,
    pub(crate) wire: SimWire,
    changes: Changes,
    /// Lines that follow the next reply, each so long after what came before it.
    extras: Vec<(Duration, String)>,
}

impl SimSession {
    async fn run(self) -> SimResult<Infallible> {
        let mut session = match self.world.security {
            Security::Implicit => self.secure().await?,
            Security::StartTls | Security::None => self,
        };
        let greeting = session.greeting();
        if !session.answer(Point::Greeting, greeting).await? {
            return Err(session.hang_up().await);
        }
        match session.protocol {
            Protocol::Pop3 => pop3::run(session).await,
            Protocol::Smtp => smtp::run(session).await,
        }
    }

    fn greeting(&self) -> &'static str {
        match self.protocol {
            Protocol::Pop3 => "+OK KOM-LE Clientmodul POP3",
            Protocol::Smtp => "220 KOM-LE-Clientmodul ESMTP",
        }
    }

    /// Makes the TLS handshake.
    pub(crate) async fn secure(mut self) -> SimResult<Self> {
        for effect in self.world.script.due(self.protocol, Point::Handshake) {
            if let Effect::Refuse(text) = effect {
                let text = text.unwrap_or_else(|| self.greeting().to_owned());
                self.wire.reply(text.as_bytes()).await?;
                return Err(self.hang_up().await);
            }
            self.suffer(&effect).await?;
        }
        let material = self.world.material();
        self.wire = self.wire.secure(&material.acceptor).await?;
        self.secured = true;
        self.world.journal.write(|| Seen::Secured { connection: self.connection });
        Ok(self)
    }

    /// Whether a login has to wait for STARTTLS or STLS.
    pub(crate) fn needs_tls(&self) -> bool {
        !self.secured && self.world.security == Security::StartTls
    }

    /// The next command line. What strikes between two commands of a session that is logged in does
    /// so here.
    pub(crate) async fn next_line(&mut self, logged_in: bool) -> SimResult<Vec<u8>> {
        loop {
            tokio::select! {
                line = self.wire.read_line() => return line,
                // The sender lives as long as the world, so this is a change.
                _ = self.changes.changed() => {}
            }
            if logged_in {
                self.strike().await?;
            }
        }
    }

    /// Lets the faults between two commands strike.
    pub(crate) async fn strike(&mut self) -> SimResult<()> {
        for effect in self.world.script.due(self.protocol, Point::Idle) {
            self.suffer(&effect).await?;
        }
        Ok(())
    }

    /// Answers, unless a fault does. False: what was asked must not be done.
    pub(crate) async fn answer(&mut self, point: Point, reply: &str) -> SimResult<bool> {
        let Some(reply) = self.prepare(point, reply).await? else { return Ok(false) };
        self.reply(&reply).await?;
        Ok(true)
    }

    /// Asks for a response to AUTH, and reads it. Where a fault refuses it, the connection ends.
    pub(crate) async fn prompt(&mut self, text: &str) -> SimResult<Vec<u8>> {
        match self.answer(Point::Prompt, text).await? {
            true => self.wire.read_line().await,
            false => Err(self.hang_up().await),
        }
    }

    /// Sends an answer that was prepared, and what faults let follow it.
    pub(crate) async fn reply(&mut self, reply: &[u8]) -> SimResult<()> {
        self.wire.reply(reply).await?;
        for (gap, line) in std::mem::take(&mut self.extras) {
            self.wire.pause(gap).await?;
            self.wire.reply(line.as_bytes()).await?;
        }
        Ok(())
    }

    /// Lets the faults at this point strike and gives the answer that is left to send. `None`: a
    /// fault has answered, and what was asked must not be done.
    pub(crate) async fn prepare(
        &mut self,
        point: Point,
        reply: &str,
    ) -> SimResult<Option<Vec<u8>>> {
        let mut reply = reply.as_bytes().to_vec();
        // `250 `, `+OK ` or `-ERR`: what an odd answer begins with all the same.
        let code = reply[..reply.len().min(4)].to_vec();
        for effect in self.world.script.due(self.protocol, point) {
            match effect {
                Effect::Refuse(text) => {
                    let text = text.unwrap_or_else(|| self.refusal().to_owned());
                    self.reply(text.as_bytes()).await?;
                    if text.starts_with("421") {
                        return Err(self.hang_up().await);
                    }
                    return Ok(None);
                }
                Effect::LongLine(bytes) => {
                    reply = code.clone();
                    reply.resize(bytes.max(code.len()), b'x');
                }
                Effect::Garbage => reply = [&code[..], b"\0\x07\x1b[31m\xff\xfe\xc3"].concat(),
                Effect::MultiLine => reply = self.multi_line(&reply),
                Effect::Double => reply = [&reply[..], b"\r\n", &reply].concat(),
                Effect::Unasked => {
                    reply = [&reply[..], b"\r\n", self.unasked().as_bytes()].concat();
                }
                Effect::Extra(gap, line) => {
                    let line = line.unwrap_or_else(|| self.unasked().to_owned());
                    self.extras.push((gap, line));
                }
                Effect::Goodbye => {
                    reply = [&reply[..], b"\r\n", self.goodbye().as_bytes()].concat();
                }
                Effect::Delay(_)
                | Effect::Close
                | Effect::Drop
                | Effect::Reset
                | Effect::HalfClose
                | Effect::Stall
                | Effect::Endless => self.suffer(&effect).await?,
            }
        }
        Ok(Some(reply))
    }

    /// What an effect does where no answer is due, such as within a message.
    pub(crate) async fn suffer(&mut self, effect: &Effect) -> SimResult<()> {
        match effect {
            Effect::Delay(delay) => self.wire.pause(*delay).await,
            Effect::Close => Err(self.hang_up().await),
            Effect::Drop => {
                self.wire.cut();
                Err(Ending::Simulator)
            }
            Effect::Reset => {
                self.wire.reset();
                Err(Ending::Simulator)
            }
            Effect::HalfClose => {
                self.wire.close().await;
                Err(self.wire.stall().await)
            }
            Effect::Stall => Err(self.wire.stall().await),
            Effect::Endless => self.talk_forever().await,
            Effect::Refuse(text) => {
                let text = text.clone().unwrap_or_else(|| self.refusal().to_owned());
                self.wire.reply(text.as_bytes()).await
            }
            Effect::LongLine(bytes) => self.wire.reply(&vec![b'x'; *bytes]).await,
            Effect::Garbage => self.wire.reply(b"\0\x07\x1b[31m\xff\xfe\xc3").await,
            Effect::MultiLine | Effect::Double | Effect::Unasked => {
                self.wire.reply(self.unasked().as_bytes()).await
            }
            Effect::Extra(gap, line) => {
                self.wire.pause(*gap).await?;
                let line = line.clone().unwrap_or_else(|| self.unasked().to_owned());
                self.wire.reply(line.as_bytes()).await
            }
            Effect::Goodbye => self.wire.reply(self.goodbye().as_bytes()).await,
        }
    }

    /// The answer as the first of several lines.
    fn multi_line(&self, reply: &[u8]) -> Vec<u8> {
        match (self.protocol, reply.split_at_checked(3)) {
            (Protocol::Smtp, Some((code, text))) => {
                let text = text.get(1..).unwrap_or_default();
                [code, b"-", text, b"\r\n", code, b" X-MORE"].concat()
            }
            _ => [reply, b"\r\nX-MORE\r\n."].concat(),
        }
    }

    async fn talk_forever(&mut self) -> SimResult<()> {
        let line: &[u8] = match self.protocol {
            Protocol::Pop3 => b"X-ENDLESS",
            Protocol::Smtp => b"250-X-ENDLESS",
        };
        if self.protocol == Protocol::Pop3 {
            self.wire.reply(b"+OK").await?;
        }
        loop {
            self.wire.reply(line).await?;
        }
    }

    /// Ends in order, on the simulator's own account.
    pub(crate) async fn hang_up(&mut self) -> Ending {
        self.wire.close().await;
        Ending::Simulator
    }

    /// Notes a command line; what may hold a login or a password comes as its verb only.
    pub(crate) fn note_command(&self, line: impl Into<String>) {
        let (connection, protocol) = (self.connection, self.protocol);
        self.world.journal.write(|| Seen::Command { connection, protocol, line: line.into() });
    }

    /// Notes credentials and tells whether they are right.
    pub(crate) fn note_login(&self, credentials: Credentials) -> bool {
        self.world.note_login(self.connection, self.protocol, credentials)
    }

    /// Whether a strict client module would turn this login down unseen.
    pub(crate) fn lacks_server(&self, login: &[u8]) -> bool {
        let server = login.split(|byte| *byte == b'#').nth(1).unwrap_or_default();
        self.world.strict_logins && !server.contains(&b':')
    }

    fn refusal(&self) -> &'static str {
        match self.protocol {
            Protocol::Pop3 => "-ERR Simulierter Fehler",
            Protocol::Smtp => "451 4.3.0 Simulierter Fehler",
        }
    }

    fn goodbye(&self) -> &'static str {
        match self.protocol {
            Protocol::Pop3 => "-ERR Auf Wiedersehen",
            Protocol::Smtp => "421 4.3.2 Auf Wiedersehen",
        }
    }

    fn unasked(&self) -> &'static str {
        match self.protocol {
            Protocol::Pop3 => "+OK ungefragt",
            Protocol::Smtp => "250 2.0.0 ungefragt",
        }
    }
}
