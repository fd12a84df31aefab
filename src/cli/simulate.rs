//! `kimgate simulate`: the simulated client module alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Failure, Screen, block_on, interrupted};
use crate::sim::{Fault, Sim, SimCertificate, SimConfig};
use crate::words::Security;

/// Run a simulated KIM client module, for trying and testing; it keeps mail in memory only
#[derive(Debug, Args)]
#[command(after_help = "Example: kimgate simulate --pop3 127.0.0.1:2995 --smtp 127.0.0.1:2465 \
    --fault login-delay=5s\n\n`kimgate simulate --faults` lists all faults.")]
pub(super) struct Simulate {
    /// Where POP3 is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2995")]
    pop3: SocketAddr,
    /// Where SMTP is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2465")]
    smtp: SocketAddr,
    /// How both are secured
    #[arg(long, value_enum, default_value = "implicit")]
    tls: Tls,
    /// The certificate that is made at start
    #[arg(long, value_enum, default_value = "self-signed")]
    certificate: Certificate,
    /// Ask for a client certificate, and take those of the authority in this PEM file
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Something that goes wrong, or a manner; may be given several times
    #[arg(long, value_name = "NAME")]
    fault: Vec<Fault>,
    /// List all faults and exit
    #[arg(long)]
    faults: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tls {
    Implicit,
    Starttls,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Certificate {
    SelfSigned,
    SelfSignedCa,
    PrivateCa,
    Expired,
    WrongName,
    SelfSignedWrongName,
    /// Of an issuer that nobody knows, with a cn that is no host: what client modules usually show
    OwnPki,
}

impl Simulate {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        if self.faults {
            for (name, meaning) in Fault::ALL {
                screen.say(&format!("{name:<32} {meaning}"));
            }
            return Ok(());
        }
        for address in [self.pop3, self.smtp] {
            if !address.ip().is_loopback() {
                return Err(Failure::usage(format!(
                    "{address} is not a loopback address; the simulator accepts any login and \
                     belongs on this machine only"
                )));
            }
        }
        block_on(self.serve(screen))?
    }

    async fn serve(self, screen: &mut Screen) -> Result<(), Failure> {
        let sim = Sim::start(SimConfig {
            pop3: self.pop3,
            smtp: self.smtp,
            security: match self.tls {
                Tls::Implicit => Security::Implicit,
                Tls::Starttls => Security::StartTls,
                Tls::None => Security::None,
            },
            certificate: match self.certificate {
                Certificate::SelfSigned => SimCertificate::SelfSigned,
                Certificate::SelfSignedCa => SimCertificate::SelfSignedCa,
                Certificate::PrivateCa => SimCertificate::PrivateCa,
                Certificate::Expired => SimCertificate::Expired,
                Certificate::WrongName => SimCertificate::WrongName,
                Certificate::OwnPki => SimCertificate::OwnPki,
                Certificate::SelfSignedWrongName => SimCertificate::SelfSignedWrongName,
            },
            client_ca: self.client_ca,
            faults: self.fault.into(),
            ..SimConfig::default()
        })
        .await
        .map_err(|error| Failure::error(format!("the simulator cannot start: {error}")))?;
        screen.headline("Simulated KIM client module; any login and password will do");
        screen.say(&format!("  POP3         {}", sim.pop3_addr()));
        screen.say(&format!("  SMTP         {}", sim.smtp_addr()));
        screen.say(&format!("  certificate  pins = [\"{}\"]", sim.fingerprint()));
        screen.say("  Ctrl-C ends it; nothing is kept.");
        interrupted().await;
        sim.stop().await;
        Ok(())
    }
}
