//! One request to the admin address of a running gateway, for the commands that need its answer.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

use super::{ConfigFile, Failure};
use crate::admin::COMMAND;
use crate::config::load;

/// Where the gateway's admin address is.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(flatten)]
    file: ConfigFile,
    /// The admin address, whatever the configuration says; default: admin.address, 127.0.0.1:9465
    #[arg(long, value_name = "ADDR")]
    address: Option<SocketAddr>,
}

/// Where the admin pages are unless the configuration says something else.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9465);

/// The gateway answers from memory; what takes longer is something else.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Thousands of sessions fit.
const LARGEST: u64 = 16 << 20;

/// What a gateway answered.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
}

impl Admin {
    /// Where the configuration is.
    pub(super) fn file(&self) -> &ConfigFile {
        &self.file
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        let path = match (self.address, self.file.path()) {
            (Some(address), _) => return Ok(address),
            (None, Ok(path)) => path,
            // A gateway without a file, as `demo` runs one, has its pages where they usually are.
            (None, Err(_)) => return Ok(USUAL),
        };
        let loaded = load(&path, std::env::vars()).map_err(|_| {
            Failure::error(format!(
                "{} has errors, which `kimgate check` names; --address ADDR asks without it",
                path.display()
            ))
        })?;
        let admin = loaded.config.admin.ok_or_else(|| {
            Failure::error("admin.address is \"off\": this gateway has no address to ask at")
        })?;
        Ok(reachable(admin.address))
    }
}

/// A gateway that listens on every address is asked at the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The page at this path.
pub(super) fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, Failure> {
    match ask(address, ("GET", path, "\r\n"), PATIENCE)? {
        Answer { code: 200, body } => Ok(body),
        Answer { .. } => Err(no_kimgate(address)),
    }
}

/// Has the gateway do something: the words of a command, and what it is about.
pub(super) fn command(
    address: SocketAddr,
    command: &str,
    about: &str,
    patience: Duration,
) -> Result<Answer, Failure> {
    let length = about.len();
    let rest = format!("{COMMAND}: {command}\r\nContent-Length: {length}\r\n\r\n{about}");
    let path = format!("/{}", command.replace(' ', "/"));
    ask(address, ("POST", &path, &rest), patience)
}

/// Asks by HTTP/1.0, so that the answer comes whole and the connection ends. `rest` is further header
/// lines, the empty line, and the body.
fn ask(
    address: SocketAddr,
    (method, path, rest): (&str, &str, &str),
    patience: Duration,
) -> Result<Answer, Failure> {
    let unreachable = |error: std::io::Error| {
        Failure::error(format!(
            "no gateway answers at {address}: {error}; does it run, and is this its admin.address?"
        ))
    };
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(unreachable)?;
    stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
    stream.set_write_timeout(Some(patience)).map_err(unreachable)?;
    let request =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{rest}");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).map_err(unreachable)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
    let (head, body) = answer.split_at(end.unwrap_or(answer.len()));
    let code = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let code = code.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    match code {
        Some(403) => Err(Failure::error(format!(
            "{address} does not answer to this machine: it is not in admin.allow"
        ))),
        Some(code) => Ok(Answer { code, body: body.to_vec() }),
        None => Err(no_kimgate(address)),
    }
}

/// Another program listens there.
pub(super) fn no_kimgate(address: SocketAddr) -> Failure {
    Failure::error(format!("{address} answers, but is not kimgate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_at_this_machine() {
        let table = [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.168.0.5:1", "192.168.0.5:1"),
        ];
        for (configured, asked) in table {
            assert_eq!(reachable(configured.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
