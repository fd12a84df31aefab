//! The simulated client module: POP3 and SMTP as gemSpec_CM_KOMLE describes them, with a witness's
//! memory and faults on demand.
//!
//! It serves the demo and the tests. It reads its peers with code of its own, not with `proto`'s, so
//! that a mistake there cannot hide here a second time.

mod certificate;
mod config;
mod data;
mod digest;
mod fault;
mod fault_text;
mod journal;
mod kim_2026;
mod mailin;
mod message;
mod pop3;
mod retrieve;
mod sasl;
mod script;
mod session;
mod smtp;
mod store;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::words::Protocol;

use self::certificate::Material;
use self::message::Message;
use self::session::World;

pub use certificate::SimCertificate;
pub use config::{Accounts, Capabilities, SimConfig};
pub use fault::{Effect, Fault, FaultError, Faults, Manner, Point, What};
pub use journal::{Ending, Mechanism, Seen};
pub use mailin::Mailin;

/// A running simulated client module; it stops when it is dropped.
pub struct Sim {
    world: Arc<World>,
    pop3: SocketAddr,
    smtp: SocketAddr,
    names: Vec<String>,
    client_ca: Option<PathBuf>,
    listening: CancellationToken,
    accepting: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sim {
    /// Binds both ports and serves them.
    pub async fn start(config: SimConfig) -> io::Result<Self> {
        let material =
            Material::new(&config.certificate, &config.names, config.client_ca.as_deref())?;
        let pop3_listener = TcpListener::bind(config.pop3).await?;
        let smtp_listener = TcpListener::bind(config.smtp).await?;
        let (pop3, smtp) = (pop3_listener.local_addr()?, smtp_listener.local_addr()?);
        let stop = CancellationToken::new();
        let mut sim = Self {
            names: config.names.clone(),
            client_ca: config.client_ca.clone(),
            world: Arc::new(World::new(config, material)),
            pop3,
            smtp,
            listening: stop.child_token(),
            accepting: Vec::new(),
            stop,
            tasks: TaskTracker::new(),
        };
        sim.listen(pop3_listener, Protocol::Pop3);
        sim.listen(smtp_listener, Protocol::Smtp);
        Ok(sim)
    }

    /// Where POP3 is served.
    pub fn pop3_addr(&self) -> SocketAddr {
        self.pop3
    }

    /// Where SMTP is served.
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    /// The root that a client must trust, as PEM: the certificate itself, or its authority.
    pub fn ca_pem(&self) -> String {
        self.world.material().root_pem.clone()
    }

    /// `sha256:<hex>` of the certificate.
    pub fn fingerprint(&self) -> String {
        self.world.material().fingerprint.clone()
    }

    /// Puts exactly these bytes into a maildrop, or a stand-in where there is no room for them.
    pub fn deliver(&self, address: &str, message: &[u8]) {
        let message = Message::whole(message.to_vec());
        self.world.store.deliver(&address.to_ascii_lowercase(), message);
    }

    /// Puts a message of so many bytes into a maildrop; it is made while it is fetched and takes no
    /// memory.
    pub fn deliver_synthetic(&self, address: &str, bytes: u64) {
        let message = Message::Synthetic(bytes);
        self.world.store.deliver(&address.to_ascii_lowercase(), message);
    }

    /// The messages of a maildrop as RETR gives them, without dot-stuffing; synthetic ones are left
    /// out.
    pub fn maildrop(&self, address: &str) -> Vec<Vec<u8>> {
        let kept = self.world.store.maildrop(&address.to_ascii_lowercase());
        kept.iter().filter_map(|kept| kept.message.bytes()).map(|bytes| bytes.to_vec()).collect()
    }

    /// What happened so far, where the configuration says `record`.
    pub fn seen(&self) -> Vec<Seen> {
        self.world.journal.read()
    }

    /// Waits until what happened satisfies the predicate; false after ten seconds.
    pub async fn wait_for(&self, predicate: impl Fn(&[Seen]) -> bool) -> bool {
        self.world.journal.wait_for(predicate).await
    }

    /// From now on these go wrong, and nothing else, on open connections as well.
    pub fn set_faults(&self, faults: impl Into<Faults>) {
        self.world.script.set(&faults.into());
    }

    /// Shows a new certificate from now on, signed by itself; open connections keep theirs.
    pub fn renew_certificate(&self) -> io::Result<()> {
        let material =
            Material::new(&SimCertificate::SelfSigned, &self.names, self.client_ca.as_deref())?;
        self.world.set_material(material);
        Ok(())
    }

    /// Closes both ports and waits until they are; open connections go on.
    pub async fn refuse_connections(&mut self) {
        self.listening.cancel();
        for accepting in self.accepting.drain(..) {
            // It ended, which is all that is wanted.
            let _ = accepting.await;
        }
    }

    /// From now on these are announced.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.world.set_capabilities(capabilities);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.world.open.load(Ordering::Relaxed)
    }

    /// Closes both ports, ends all connections, and waits until that is done.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn listen(&mut self, listener: TcpListener, protocol: Protocol) {
        let (world, stop, tasks) = (self.world.clone(), self.stop.clone(), self.tasks.clone());
        let listening = self.listening.clone();
        self.accepting.push(self.tasks.spawn(async move {
            let accepting = accept(listener, protocol, world, &tasks, &stop);
            listening.run_until_cancelled(accepting).await;
        }));
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// More connections than these are closed unheard, so that memory stays bounded.
const CONNECTIONS: usize = 4_096;

async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    world: Arc<World>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if world.open.load(Ordering::Relaxed) < CONNECTIONS => {
                tasks.spawn(session::serve(world.clone(), stream, protocol, stop.clone()));
            }
            Ok(_) => {}
            // Out of file descriptors, most likely; at once it would only fail again.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
