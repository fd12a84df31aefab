//! The second SMTP upstream: mailin-embedded, a server that we did not write.
//!
//! It speaks STARTTLS only, knows neither SIZE nor DSN nor the null sender, and forgets the login at
//! RSET; what it is sent lands in the maildrops of a [`Sim`], so that it can be fetched there. Its
//! log target `mailin` prints credentials at TRACE: a program that installs a logger for the `log` crate
//! must cap it at DEBUG.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::thread;

use mailin_embedded::response::{AUTH_OK, INVALID_CREDENTIALS, NO_SERVICE, OK, START_DATA};
use mailin_embedded::{AuthMechanism, Handler, Response, Server, SslConfig};

use crate::secret::Secret;
use crate::words::Protocol;

use super::Sim;
use super::certificate::Material;
use super::data::{self, Body};
use super::journal::Mechanism;
use super::sasl::Credentials;
use super::session::World;
use super::smtp::Envelope;

/// A running mailin server beside a [`Sim`], with the same certificate and accounts.
///
/// It cannot be stopped: its threads last as long as the process. Without its `Sim` it refuses
/// everybody.
#[derive(Debug)]
pub struct Mailin {
    addr: SocketAddr,
}

impl Mailin {
    /// Serves SMTP on a free port of the loopback address, in threads of its own.
    pub fn start(sim: &Sim) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let files = PemFiles::write(&sim.world.material())?;
        let world = Arc::downgrade(&sim.world);
        let (report, ready) = mpsc::channel();
        // Neither its server nor its error may cross threads once made, so all happens in there.
        thread::Builder::new().name("mailin".to_owned()).spawn(move || {
            let mut server = Server::new(Witness { world, mail: None });
            server.with_name("mailin").with_tcp_listener(listener).with_num_threads(16);
            server.with_auth(AuthMechanism::Plain).with_auth(AuthMechanism::Login);
            let tls = server.with_ssl(files.config()).map(drop).map_err(|e| e.to_string());
            // They were read; a key has no business on the disk any longer.
            drop(files);
            let works = tls.is_ok();
            let _ = report.send(tls);
            if works {
                let _ = server.serve();
            }
        })?;
        match ready.recv() {
            Ok(Ok(())) => Ok(Self { addr }),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Where SMTP with STARTTLS is served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Certificate and key as files, which is the only way in; they go when this is dropped.
struct PemFiles {
    folder: PathBuf,
}

impl PemFiles {
    fn write(material: &Material) -> io::Result<Self> {
        let name = format!("kimgate-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        private_folder(&folder)?;
        let files = Self { folder };
        fs::write(files.folder.join("certificate.pem"), &material.chain_pem)?;
        fs::write(files.folder.join("key.pem"), &material.key_pem)?;
        Ok(files)
    }

    fn config(&self) -> SslConfig {
        let path = |name| self.folder.join(name).to_string_lossy().into_owned();
        // It only means that there is no further chain file.
        SslConfig::SelfSigned { cert_path: path("certificate.pem"), key_path: path("key.pem") }
    }
}

impl Drop for PemFiles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Made, never taken over: another user's folder of that name is an error.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// What mailin asks about one connection.
///
/// Refusals are 421: after any other one at the end of a message mailin takes the commands that
/// follow for more of it.
struct Witness {
    world: Weak<World>,
    mail: Option<Mail>,
}

/// What was said since EHLO.
struct Mail {
    connection: u64,
    envelope: Option<Envelope>,
    body: Option<Body>,
}

impl Clone for Witness {
    /// For the next connection: nothing was said on it.
    fn clone(&self) -> Self {
        Self { world: self.world.clone(), mail: None }
    }
}

impl Witness {
    fn log_in(&mut self, login: &str, password: &str) -> Response {
        let Some((world, mail)) = self.world.upgrade().zip(self.mail.as_ref()) else {
            return INVALID_CREDENTIALS;
        };
        let credentials = Credentials {
            mechanism: Mechanism::Mailin,
            login: login.as_bytes().to_vec(),
            password: Secret::new(password.as_bytes().to_vec()),
            lines: Vec::new(),
        };
        if world.note_login(mail.connection, Protocol::Smtp, credentials) {
            AUTH_OK
        } else {
            INVALID_CREDENTIALS
        }
    }

    fn note(&self, complete: bool) {
        let Some(world) = self.world.upgrade() else { return };
        let Some(Mail { connection, envelope: Some(envelope), body: Some(body) }) = &self.mail
        else {
            return;
        };
        data::note(&world, *connection, envelope, body, complete);
    }
}

impl Handler for Witness {
    fn helo(&mut self, _ip: IpAddr, _domain: &str) -> Response {
        let Some(world) = self.world.upgrade() else { return NO_SERVICE };
        let connection =
            self.mail.as_ref().map_or_else(|| world.next_connection(), |mail| mail.connection);
        self.mail = Some(Mail { connection, envelope: None, body: None });
        OK
    }

    fn auth_plain(&mut self, _authorization: &str, login: &str, password: &str) -> Response {
        self.log_in(login, password)
    }

    fn auth_login(&mut self, login: &str, password: &str) -> Response {
        self.log_in(login, password)
    }

    fn data_start(&mut self, _domain: &str, from: &str, _is8bit: bool, to: &[String]) -> Response {
        let Some((world, mail)) = self.world.upgrade().zip(self.mail.as_mut()) else {
            return NO_SERVICE;
        };
        mail.envelope = Some(Envelope { sender: from.to_owned(), recipients: to.to_vec() });
        mail.body = Some(Body::new(&world));
        START_DATA
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(body) = self.mail.as_mut().and_then(|mail| mail.body.as_mut()) {
            body.push(bytes);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        self.note(true);
        let Some((world, mail)) = self.world.upgrade().zip(self.mail.as_mut()) else {
            return NO_SERVICE;
        };
        let message = mail.envelope.take().zip(mail.body.take());
        match message.map(|(envelope, body)| data::deliver(&world, &envelope, body)) {
            Some(true) => OK,
            Some(false) | None => NO_SERVICE,
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.note(false);
    }
}
