//! What may come before TLS and mail: a PROXY header from a load balancer, or plain text by mistake.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::reply::{Wording, hinted};
use crate::proto::Hint;
use crate::words::Protocol;

/// Bytes of the longest v1 header, CRLF included (PROXY protocol, section 2.1).
const V1: usize = 107;
/// Bytes after the fixed part of the longest v2 header that is read: addresses and some extensions.
const V2: usize = 2048;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whether a connection of this peer starts with a PROXY header.
pub(crate) fn is_expected(peer: SocketAddr, networks: &[IpNet]) -> bool {
    let from = peer.ip().to_canonical();
    networks.iter().any(|network| network.contains(&from))
}

/// The workstation's address. If the connection comes from one of these networks, it starts with a
/// PROXY header, which must be complete within `patience` and gives the address; otherwise it is
/// `peer`.
pub(crate) async fn read(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    networks: &[IpNet],
    patience: Duration,
) -> io::Result<SocketAddr> {
    if !is_expected(peer, networks) {
        return Ok(canonical(peer));
    }
    let header = timeout(patience, header(tcp)).await??;
    Ok(proxied_address(&header)?.unwrap_or(canonical(peer)))
}

/// An IPv4 address that came as an IPv6 one (`::ffff:192.0.2.1`), as IPv4: load balancers and sockets on
/// `[::]` write it so, and rules, audit and metrics know the workstation by one address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads the header and no byte after it, because that is TLS or mail.
async fn header(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut header = vec![0; 12];
    tcp.read_exact(&mut header).await?;
    if header == V2_SIGNATURE {
        let mut fixed = [0; 4];
        tcp.read_exact(&mut fixed).await?;
        let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if rest > V2 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.extend_from_slice(&fixed);
        let start = header.len();
        header.resize(start + rest, 0);
        tcp.read_exact(&mut header[start..]).await?;
        return Ok(header);
    }
    while !header.ends_with(b"\r\n") && header.len() < V1 {
        header.push(tcp.read_u8().await?);
    }
    Ok(header)
}

/// The workstation's address in a whole PROXY header of version 1 or 2. `None` if the connection is the
/// load balancer's own (LOCAL, UNKNOWN), such as a health check. An error if it is not such a header.
pub fn proxied_address(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    use ppp::HeaderResult;
    let address = match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            ppp::v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
            ppp::v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
            ppp::v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (ppp::v2::Command::Local, _) => None,
            (ppp::v2::Command::Proxy, ppp::v2::Addresses::IPv4(a)) => {
                Some((a.source_address, a.source_port).into())
            }
            (ppp::v2::Command::Proxy, ppp::v2::Addresses::IPv6(a)) => {
                Some((a.source_address, a.source_port).into())
            }
            (ppp::v2::Command::Proxy, _) => None,
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a PROXY header"));
        }
    };
    Ok(address.map(canonical))
}

/// Sends a mail program that talks in clear to a TLS port one line that says so, in this `wording`,
/// and fails. A failed handshake alone would tell its user nothing.
pub(crate) async fn answer_plaintext(
    tcp: &TcpStream,
    protocol: Protocol,
    wording: Wording<'_>,
) -> io::Result<()> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // The first record of a TLS client, even an alert, has one of these types (RFC 8446 section 5.1).
    if (0x14..=0x17).contains(&first[0]) {
        return Ok(());
    }
    let line = hinted(protocol, wording, Hint::PortWithTls);
    // What came is read first: a close with unread bytes is a reset, and on Windows a reset takes
    // the line away again. The connection ends, whether the line arrives or not.
    let _ = tcp.try_read(&mut [0; 4096]);
    let _ = tcp.try_write(&line);
    Err(io::Error::new(io::ErrorKind::InvalidData, "plaintext on a TLS port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_to_its_end_is_not_waited_for() {
        let networks = ["127.0.0.0/8".parse().unwrap()];
        for begun in
            [&b""[..], b"PROXY TCP4 1", V2_SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"]
        {
            let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut client, begun).await.unwrap();
            let (mut tcp, peer) = socket.accept().await.unwrap();
            let patience = Duration::from_secs(30);
            let error = read(&mut tcp, peer, &networks, patience).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{}", begun.escape_ascii());
        }
    }

    #[test]
    fn headers_of_both_versions_give_the_workstations_address() {
        let v2 = |command: u8, family: u8, rest: &[u8]| {
            let len = (rest.len() as u16).to_be_bytes();
            [&V2_SIGNATURE[..], &[0x20 | command, family], &len, rest].concat()
        };
        let ipv4 = [192, 168, 0, 31, 10, 0, 0, 1, 0x30, 0x39, 0x03, 0xe3];
        let address: SocketAddr = "192.168.0.31:12345".parse().unwrap();
        let mapped = "::ffff:192.168.0.31".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let mapped = [&mapped[..], &mapped, &[0x30, 0x39, 0x03, 0xe3]].concat();
        let table: [(&[u8], Option<SocketAddr>); 9] = [
            (b"PROXY TCP6 ::ffff:192.168.0.31 ::ffff:10.0.0.1 12345 995\r\n", Some(address)),
            (b"PROXY TCP6 ::ffff:c0a8:1f ::1 12345 995\r\n", Some(address)),
            (&v2(1, 0x21, &mapped), Some(address)),
            (b"PROXY TCP4 192.168.0.31 10.0.0.1 12345 995\r\n", Some(address)),
            (b"PROXY TCP6 ::1 ::1 12345 995\r\n", Some("[::1]:12345".parse().unwrap())),
            (b"PROXY UNKNOWN\r\n", None),
            (&v2(1, 0x11, &ipv4), Some(address)),
            (&v2(0, 0x00, &[]), None),
            (&v2(1, 0x11, &[&ipv4[..], &[4, 0, 1, 0]].concat()), Some(address)),
        ];
        for (header, expected) in table {
            assert_eq!(proxied_address(header).unwrap(), expected, "{}", header.escape_ascii());
        }
        for bad in [&b"PROXY TCP4 1.2.3.4\r\n"[..], b"EHLO there\r\n", b"", &v2(1, 0x11, &[1])] {
            assert!(proxied_address(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
