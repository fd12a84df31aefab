//! Ports for who cannot be given port 0.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::dialogue::within;

/// Ports to listen on. They lie below those that Linux hands out (32768 on), which a connection of
/// another test may take at any moment, at both ends.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    std::iter::repeat_with(|| {
        // Every process begins elsewhere; within one, no port comes twice.
        let next = std::process::id().wrapping_mul(97) + TAKEN.fetch_add(1, Relaxed);
        u16::try_from(FIRST + next % COUNT).unwrap()
    })
    .filter(|&port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
    .take(count)
    .collect()
}

/// Whether no connection to this address is served. A program that another test starts at this moment may
/// hold a copy of a socket that was closed, until it runs: a connection can come about then, and ends
/// without a byte.
pub(crate) async fn nobody_answers(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(mut tcp) => within(tcp.read(&mut [0])).await.unwrap_or(0) == 0,
        Err(_) => true,
    }
}
