//! `kimgate certs`: a certificate authority for the practice, and what it signs.

mod files;
mod pkcs12;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, Screen};
use crate::secret::Secret;
use crate::trust::{Authority, AuthorityError, CertificateFacts, Issued};
use files::NewFiles;

/// Make certificates: an authority for the practice, the gateway's, and one for each workstation
///
/// Keys are written for their owner alone, and no file is ever overwritten but the list of what was
/// revoked.
#[derive(Debug, Args)]
#[command(after_help = "Example, in this order:\n  \
    kimgate certs ca --name 'Praxis Dr. Müller'\n  \
    kimgate certs server kim.praxis.local 192.168.0.5\n  \
    kimgate certs client PC1")]
pub(super) struct Certs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Ca(Ca),
    Server(Server),
    Client(Client),
    Revoke(Revoke),
}

/// Make the authority: ca.pem, which every PC is to trust, and ca.key, which you keep to yourself
#[derive(Debug, Args)]
struct Ca {
    /// What people see when they look at who signed
    #[arg(long, default_value = "kimgate")]
    name: String,
    #[command(flatten)]
    folder: Folder,
}

/// Make the gateway's certificate: gateway.pem and gateway.key
#[derive(Debug, Args)]
struct Server {
    /// Every name and address that mail clients have as their server; gateway.name first
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    authority: Signer,
}

/// Make a workstation's or person's certificate: NAME.pem and NAME.key, and both in NAME.p12
///
/// NAME.p12 is for mail clients, Windows and macOS. Its password is printed once;
/// KIMGATE_PKCS12_PASSWORD in the environment sets another one.
#[derive(Debug, Args)]
struct Client {
    /// What `certificates` of a workstation or user names
    name: String,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    authority: Signer,
}

/// Take certificates back, as that of a stolen PC: writes ca.crl, with all that it named before
#[derive(Debug, Args)]
struct Revoke {
    /// Certificates that this authority signed, as certs/PC1.pem; none: the list is made anew
    files: Vec<PathBuf>,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    authority: Signer,
}

#[derive(Debug, Args)]
struct Folder {
    /// Where the files are written
    #[arg(long = "dir", value_name = "DIR", default_value = "certs")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct Signer {
    /// The authority's certificate; default: ca.pem in --dir
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca: Option<PathBuf>,
    /// The authority's key; default: ca.key in --dir
    #[arg(long, value_name = "FILE", requires = "ca")]
    ca_key: Option<PathBuf>,
}

impl Certs {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        match self.what {
            What::Ca(ca) => ca.execute(screen),
            What::Server(server) => server.execute(screen),
            What::Client(client) => client.execute(screen),
            What::Revoke(revoke) => revoke.execute(screen),
        }
    }
}

impl Ca {
    fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let mut files = NewFiles::in_folder(&self.folder.path, &["ca.pem", "ca.key"])?;
        let authority = Authority::new(&self.name).map_err(Failure::error)?;
        files.write_public("ca.pem", authority.certificate().as_bytes())?;
        files.write_secret("ca.key", authority.private_key().expose().as_bytes())?;
        let written = files.keep();
        show(screen, &written, authority.certificate());
        screen.say("");
        screen.say(
            "Import ca.pem on every PC as a trusted authority for web sites; it is not secret.",
        );
        screen.say("Whoever has ca.key can make trusted certificates: keep it, and a copy, where only you can read it.");
        screen.say("Next: kimgate certs server NAME-OF-THE-GATEWAY");
        Ok(())
    }
}

impl Server {
    fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let (authority, _) = self.authority.load(&self.folder.path)?;
        let mut files = NewFiles::in_folder(&self.folder.path, &["gateway.pem", "gateway.key"])?;
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let issued = authority.server(&names).map_err(|error| refusal(&error))?;
        write_pair(&mut files, "gateway", &issued)?;
        let written = files.keep();
        show(screen, &written, &issued.certificate);
        screen.say("");
        screen.say("Write this into the configuration, then reload or restart kimgate:");
        screen.say("");
        screen.say("[tls]");
        screen.say(&format!("certificate = {}", quoted(&written[0])));
        screen.say(&format!("private_key = {}", quoted(&written[1])));
        screen.say("");
        screen
            .say("gateway.key can be read by you alone; give it to the user that kimgate runs as.");
        Ok(())
    }
}

impl Client {
    fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let (authority, ca) = self.authority.load(&self.folder.path)?;
        let stem = files::stem(&self.name);
        let names = [format!("{stem}.pem"), format!("{stem}.key"), format!("{stem}.p12")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut files = NewFiles::in_folder(&self.folder.path, &names)?;
        let issued = authority.client(&self.name).map_err(|error| refusal(&error))?;
        let (password, is_new) = password()?;
        let p12 = pkcs12::bundle(&self.name, &issued, authority.certificate(), &password)
            .map_err(Failure::error)?;
        write_pair(&mut files, &stem, &issued)?;
        files.write_secret(names[2], &p12)?;
        let written = files.keep();
        show(screen, &written, &issued.certificate);
        if is_new {
            screen.say(&format!("  password of {}: {}", names[2], password.expose()));
            screen.say("  It is shown this once and kept nowhere.");
        }
        screen.say("");
        screen.say(&format!("Import {} on the PC and choose it in the mail client.", names[2]));
        screen.say("Write this into the configuration, with the name of the workstation:");
        screen.say("");
        screen.say("[tls]");
        screen.say("client_certificates = \"optional\"   # \"required\": no session without one");
        screen.say(&format!("client_ca = {}", quoted(&ca)));
        screen.say("");
        screen.say(&format!("[workstations.{}]", toml_edit::Key::new(&self.name)));
        screen.say(&format!("certificates = [{}]", toml_edit::Value::from(&self.name)));
        Ok(())
    }
}

impl Revoke {
    fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let (authority, _) = self.authority.load(&self.folder.path)?;
        let list = self.folder.path.canonicalize()?.join("ca.crl");
        let at = |path: &Path, error: std::io::Error| {
            Failure::error(format!("{}: {error}", path.display()))
        };
        let before = match std::fs::read_to_string(&list) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&list, error)),
        };
        let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| at(path, error));
        let certificates: Vec<String> = self.files.iter().map(read).collect::<Result<_, _>>()?;
        let text = authority.revoke(before.as_deref(), &certificates).map_err(Failure::error)?;
        // Renamed over the old one: a running gateway reads the whole list or the one before.
        let beside = list.with_extension("crl.new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &list))
            .map_err(|error| at(&list, error))?;
        screen.done(format_args!("{}", list.display()));
        screen.say("");
        screen.say("A running kimgate that has these lines takes the new list at once:");
        screen.say("");
        screen.say("[tls]");
        screen.say(&format!("client_crl = [{}]", quoted(&list)));
        screen.say("");
        screen.say("Make it anew within a year (`kimgate certs revoke`), or kimgate warns.");
        Ok(())
    }
}

impl Signer {
    /// The authority, and where its certificate is.
    fn load(&self, folder: &Path) -> Result<(Authority, PathBuf), Failure> {
        let (certificate, key) = match (&self.ca, &self.ca_key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (Some(_), None) | (None, Some(_)) | (None, None) => {
                (folder.join("ca.pem"), folder.join("ca.key"))
            }
        };
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| {
                Failure::error(format!(
                    "{}: {error}; `kimgate certs ca` makes an authority, --ca and --ca-key name \
                     another one",
                    path.display()
                ))
            })
        };
        let pem = read(&certificate)?;
        let key = Secret::new(read(&key)?);
        let authority = Authority::from_pem(&pem, &key)
            .map_err(|error| Failure::error(format!("{}: {error}", certificate.display())))?;
        let certificate = certificate.canonicalize()?;
        Ok((authority, certificate))
    }
}

/// Writes `STEM.pem` and `STEM.key`.
fn write_pair(files: &mut NewFiles, stem: &str, issued: &Issued) -> Result<(), Failure> {
    files.write_public(&format!("{stem}.pem"), issued.certificate.as_bytes())?;
    files.write_secret(&format!("{stem}.key"), issued.private_key.expose().as_bytes())
}

/// A variable of its own: KIMGATE_PASSWORD is the mailbox's, for `kimgate doctor`, and the file goes to
/// a workstation.
const PASSWORD: &str = "KIMGATE_PKCS12_PASSWORD";

/// The password from the environment, or a new one (true).
fn password() -> Result<(Secret<String>, bool), Failure> {
    match std::env::var(PASSWORD) {
        Ok(given) if given.is_empty() => {
            Err(Failure::usage(format!("{PASSWORD} is empty; leave it out to have one made")))
        }
        Ok(given) => Ok((Secret::new(given), false)),
        Err(_) => Ok((pkcs12::new_password(), true)),
    }
}

/// What was written and what the certificate says.
fn show(screen: &mut Screen, written: &[PathBuf], pem: &str) {
    for path in written {
        screen.done(format_args!("{}", path.display()));
    }
    if let Some(facts) = CertificateFacts::from_pem(pem) {
        let names = if facts.names.is_empty() { facts.subject } else { facts.names.join(", ") };
        screen.say(&format!("  for {names}, until {}", facts.not_after.date()));
        screen.say(&format!("  {}", facts.fingerprint));
    }
}

fn refusal(error: &AuthorityError) -> Failure {
    match error {
        AuthorityError::Name(_) => Failure::usage(error),
        AuthorityError::NotAnAuthority
        | AuthorityError::KeyMismatch
        | AuthorityError::NotSignedHere(_)
        | AuthorityError::List
        | AuthorityError::Expired
        | AuthorityError::Material(_) => Failure::error(error),
    }
}

/// A path as TOML writes it: absolute, since kimgate reads it from the configuration's folder.
fn quoted(path: &Path) -> String {
    toml_edit::Value::from(path.to_string_lossy().into_owned()).to_string()
}
