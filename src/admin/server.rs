//! Connections to the admin address: few, short, and from where the configuration says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::workstations::{Peer, Workstations};
use super::{routes, workstation_routes};
use crate::observe::{HeldList, HeldStatus, Observer};

/// Requests at the same time.
const CONNECTIONS: usize = 64;
/// Workstations that ask for their accounts.
const WORKSTATIONS: usize = 16;
/// Answers to peers outside `admin.allow`. They have places of their own, so they never take those of
/// peers that are allowed.
const STRANGERS: usize = 8;
/// For a request's header.
const HEADER: Duration = Duration::from_secs(10);
/// For a whole request and its answer.
const WHOLE: Duration = Duration::from_secs(30);
/// For answers under way when kimgate stops.
const DRAIN: Duration = Duration::from_secs(2);
/// After an accept that failed: out of file descriptors, most likely.
const BACK_OFF: Duration = Duration::from_millis(100);

/// As in `[admin]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it binds.
    pub address: SocketAddr,
    /// The networks that may see the pages.
    pub allow: Vec<IpNet>,
    /// The names that `Host` may hold, besides IP addresses, `localhost` and `gateway.name`.
    pub hosts: Vec<String>,
    /// Workstations may ask for their own accounts.
    pub autoconfig: bool,
}

/// What the pages are made from, and the peers that may see them.
#[derive(Clone)]
pub struct Pages {
    /// What they show.
    pub observer: Observer,
    /// Which peers may see them, and by which names; a reload replaces it.
    pub access: Arc<ArcSwap<Access>>,
    /// The workstations, which may ask for their own accounts.
    pub workstations: Arc<dyn Workstations>,
    /// Reads the configuration again; may block.
    pub reload: Arc<dyn Fn() -> Reloaded + Send + Sync>,
    /// Ends pauses of logins, for whoever asks from this address.
    pub unlock: Arc<Unlocker>,
    /// Messages that came undecrypted.
    pub held: Arc<dyn HeldMessages>,
}

/// Messages that are held because they came undecrypted.
pub trait HeldMessages: Send + Sync {
    /// All of them.
    fn list(&self) -> HeldList;

    /// Lets one go; may block. The error is a sentence.
    fn release(&self, id: &str) -> Result<HeldStatus, String>;
}

/// Ends pauses of logins, for whoever asks from this address.
pub type Unlocker = dyn Fn(&Unlock, IpAddr) -> Unlocked + Send + Sync;

/// Which peers may see the pages, and by which names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The networks that may see the pages.
    pub allow: Vec<IpNet>,
    /// The names that `Host` may hold, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// What became of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the new configuration is in force.
    pub accepted: bool,
    /// What it changed and for whom; or every problem, with file and line.
    pub lines: Vec<String>,
}

/// Which pauses to end. A misspelled key must not end all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    /// Those of this account; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Those of this workstation, by name, or by address where it has none; absent: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workstation: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlocked {
    /// How many pauses that ended.
    pub ended: usize,
}

/// Answers requests until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (access, workstations) = (pages.access.clone(), pages.workstations.clone());
    let observer = pages.observer.clone();
    let theirs = workstation_routes(workstations.clone());
    let all = routes(pages);
    let [guests, known, strangers] =
        [CONNECTIONS, WORKSTATIONS, STRANGERS].map(|count| Arc::new(Semaphore::new(count)));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin connection could not be accepted");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        let ip = peer.ip().to_canonical();
        let peer_may = access.load().allow.iter().any(|net| net.contains(&ip));
        let (routes, place) = match (peer_may, workstations.knows(ip)) {
            (true, _) => (Some(&all), &guests),
            (false, true) => (Some(&theirs), &known),
            (false, false) => (None, &strangers),
        };
        // No place: closed at once, by dropping the stream.
        let Ok(place) = Arc::clone(place).try_acquire_owned() else { continue };
        if let Some(routes) = routes {
            tasks.spawn(answer(stream, routes.clone().layer(Extension(Peer(ip))), place));
        } else {
            observer.admin_refused(ip);
            tasks.spawn(refuse(stream, place));
        }
    }
    let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn answer(stream: TcpStream, routes: Router, _place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // A peer that sends half a request, or does not read the answer, is not worth a log line.
    let _ = timeout(WHOLE, connection).await;
}

async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    const ANSWER: &[u8] = b"HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\n\
        connection: close\r\n\r\nthis address is not in admin.allow\n";
    let _ = timeout(HEADER, async {
        let _ = stream.write_all(ANSWER).await;
        let _ = stream.shutdown().await;
        // Closing with a request unread resets the connection, and the answer might be lost.
        let _ = copy(&mut stream.take(16 << 10), &mut sink()).await;
    })
    .await;
}
