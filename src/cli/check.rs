//! `kimgate check`: every problem of a configuration at once.

use std::path::Path;

use clap::Args;

use super::{ConfigFile, Failure, Screen};
use crate::config::{Finding, Loaded, Severity, load};
use crate::gateway::{Exposure, exposure, own_addresses};
use crate::trust::{ListenerTls, MaterialError, MaterialWarning, UpstreamTls};
use crate::words::Security;

/// Read and check the configuration: every problem at once, with file, line and remedy
///
/// Exit code 0: it can be used (there may be warnings). 1: it has at least one error.
#[derive(Debug, Args)]
#[command(after_help = "Example: kimgate check --config config/kimgate.toml")]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let path = self.file.path()?;
        let (usable, findings) = match load(&path, std::env::vars()) {
            Ok(loaded) => with_material(&loaded),
            Err(findings) => (false, findings),
        };
        if self.json {
            let json = serde_json::to_string_pretty(&findings).map_err(Failure::error)?;
            screen.say_json(&json);
        } else {
            for finding in &findings {
                screen.say(&finding.to_string());
            }
            let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
            let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
            screen.complain(&match (usable, warnings) {
                (true, 0) => format!("{}: good", path.display()),
                (true, _) => format!("{}: usable, {}", path.display(), count(warnings, "warning")),
                (false, _) => format!(
                    "{}: not usable, {} and {}",
                    path.display(),
                    count(errors, "error"),
                    count(warnings, "warning")
                ),
            });
        }
        if usable { Ok(()) } else { Err(Failure::no()) }
    }
}

/// The findings of a configuration that cannot be used, for a command that needs it.
pub(super) fn refuse(screen: &mut Screen, findings: &[Finding]) -> Failure {
    for finding in findings {
        screen.complain(&finding.to_string());
    }
    Failure::error("the configuration cannot be used; nothing was started")
}

/// All findings, with those of the certificates and keys, which are loaded as `run` would load them;
/// and whether the configuration can be used.
fn with_material(loaded: &Loaded) -> (bool, Vec<Finding>) {
    let mut findings = loaded.warnings.clone();
    for finding in exposed(loaded).into_iter().chain(material(loaded)) {
        // `config` has already warned about this file in its own words.
        let is_known =
            |known: &Finding| (&known.key, known.severity) == (&finding.key, Severity::Warning);
        if finding.severity == Severity::Error || !findings.iter().any(is_known) {
            findings.push(finding);
        }
    }
    findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    (findings.iter().all(|finding| finding.severity != Severity::Error), findings)
}

/// Listeners that `run` would refuse to open on this machine.
fn exposed(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config.gateway;
    let mut findings = Vec::new();
    if config.public {
        return findings;
    }
    let own = own_addresses();
    let listeners = config.listeners.iter();
    let listeners = listeners.map(|l| (vec!["listeners", &*l.name, "address"], l.address, true));
    let admin = loaded.config.admin.iter();
    let admin = admin.map(|admin| (vec!["admin", "address"], admin.address, false));
    for (key, address, is_listener) in listeners.chain(admin) {
        let lets_in = is_listener && loaded.config.rules.lets_strangers_in();
        let Some(exposure) = exposure(address, &own, lets_in) else { continue };
        let (Exposure::Public(ip) | Exposure::Strangers(ip)) = exposure;
        let problem = match exposure {
            Exposure::Public(_) => format!("{address} includes this machine's public address {ip}"),
            Exposure::Strangers(_) => format!(
                "{address} includes {ip}, which is in no private network, and the rules let \
                 unknown workstations in"
            ),
        };
        let remedy = "name an address of the practice's own network; public = true under [gateway] \
                      says that it is meant";
        findings.push(loaded.finding(Severity::Error, &key, problem, remedy));
    }
    findings
}

fn material(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = &loaded.config.gateway;
    if let Some(tls) = &config.tls {
        let identity = tls.certificate.as_ref();
        let keys = [
            ("certificate", identity.map(|identity| identity.certificate.as_path())),
            ("private_key", identity.map(|identity| identity.private_key.as_path())),
            ("client_ca", tls.client_ca.as_deref()),
        ];
        let key = |path: &Path| match keys.iter().find(|(_, file)| *file == Some(path)) {
            Some((key, _)) => vec!["tls", key],
            None if tls.client_crl.iter().any(|file| file == path) => vec!["tls", "client_crl"],
            // Not a file: the name that a certificate is made for.
            None if identity.is_none() => vec!["gateway", "name"],
            None => vec!["tls"],
        };
        add_outcome(loaded, key, ListenerTls::check(tls), &mut findings);
    }
    for (name, module) in &config.client_modules {
        if module.security == Security::None {
            continue;
        }
        let trust = &module.trust;
        let identity = trust.identity.as_ref();
        let key = |path: &Path| {
            let of = |file: Option<&Path>| file == Some(path);
            let below: &[&str] = if trust.ca.iter().any(|file| file == path) {
                &["trust", "ca"]
            } else if of(identity.map(|identity| identity.private_key.as_path())) {
                &["client_key"]
            } else if of(identity.map(|identity| identity.certificate.as_path())) {
                &["client_certificate"]
            } else if trust.system_roots && path != Path::new(&module.host) {
                &["trust", "system_roots"]
            } else {
                &["host"]
            };
            [&["client_modules", name.as_str()], below].concat()
        };
        let outcome = UpstreamTls::load(trust, &module.host);
        add_outcome(loaded, key, outcome.map(|tls| tls.warnings().to_vec()), &mut findings);
    }
    findings
}

/// What loading found, as findings under the keys of the files.
fn add_outcome<'a>(
    loaded: &Loaded,
    key: impl Fn(&Path) -> Vec<&'a str>,
    outcome: Result<Vec<MaterialWarning>, MaterialError>,
    findings: &mut Vec<Finding>,
) {
    match outcome {
        Err(error) => {
            let problem = format!("{}: {}", error.path.display(), error.problem);
            let (key, remedy) = (key(&error.path), error.problem.remedy());
            findings.push(loaded.finding(Severity::Error, &key, problem, remedy));
        }
        Ok(warnings) => findings.extend(warnings.into_iter().map(|warning| {
            let key = key(&warning.path);
            loaded.finding(Severity::Warning, &key, warning.problem, warning.remedy)
        })),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
