//! Checks the files that the configuration names: whether they exist, can be read, hold what they
//! should and are still valid.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use super::entry;
use crate::config::build::Surroundings;
use crate::config::finding::{Key, Report, quoted};
use crate::config::settings::Settings;
use crate::gateway;
use crate::trust::{Foreign, KnownCertificate, KnownCertificates, as_pem};

pub(super) fn lint(settings: &Settings, place: &Surroundings, report: &mut Report<'_>) {
    for (key, path, kind) in named(settings) {
        let path = place.resolve(path);
        match kind {
            Kind::Certificates => certificate(&key, &path, report),
            Kind::PrivateKey => private_key(&key, &path, report),
            Kind::RevocationLists => drop(read(&key, &path, report)),
        }
    }
    gateway_name(settings, place, report);
    known(settings, place, report);
    folders(settings, place, report);
}

/// Warns where the certificate that workstations see lacks the name that they are told to type.
fn gateway_name(settings: &Settings, place: &Surroundings, report: &mut Report<'_>) {
    let (Some(name), Some(path)) = (&settings.gateway.name, &settings.tls.certificate) else {
        return;
    };
    // Whether the file can be read is said elsewhere.
    let path = place.resolve(path);
    if !std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() < LARGEST) {
        return;
    }
    let Ok(bytes) = std::fs::read(&path) else { return };
    let bytes = as_pem(Zeroizing::new(bytes));
    let leaf = Pem::iter_from_buffer(&bytes)
        .map_while(Result::ok)
        .find(|block| block.label == "CERTIFICATE");
    let Some(leaf) = leaf else { return };
    let Ok(parsed) = leaf.parse_x509() else { return };
    let Ok(names) = parsed.subject_alternative_name() else { return };
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let has_name = names.iter().any(|shown| is_named(shown, name));
    if !has_name {
        let is_address = name.parse::<IpAddr>().is_ok();
        let is_dns_name =
            |shown: &GeneralName<'_>| matches!(shown, GeneralName::DNSName(dns) if *dns == name);
        let has_as_dns_name = names.iter().any(is_dns_name);
        // An address counts as iPAddress alone (RFC 9525 section 6.5).
        let problem = match (is_address, has_as_dns_name) {
            (true, true) => format!(
                "has gateway.name, {}, as DNS name, not as IP address (RFC 9525)",
                quoted(name)
            ),
            (true, false) => format!("lacks gateway.name, {}, as IP address", quoted(name)),
            (false, _) => format!("lacks gateway.name, {}", quoted(name)),
        };
        let remedy = "mail programs would warn: make one with this name, as `kimgate certs server` \
                      does, or correct gateway.name";
        report.warning(&Key::of(&["tls", "certificate"]), problem, remedy);
    }
}

/// Whether a subjectAltName covers the name; `*` stands for the first label (RFC 9525 6.3).
fn is_named(shown: &GeneralName<'_>, name: &str) -> bool {
    match shown {
        GeneralName::DNSName(shown) => {
            let rest = name.split_once('.').map(|(_, rest)| rest);
            shown.eq_ignore_ascii_case(name)
                || shown
                    .strip_prefix("*.")
                    .zip(rest)
                    .is_some_and(|(domain, rest)| domain.eq_ignore_ascii_case(rest))
        }
        GeneralName::IPAddress(shown) => match name.parse() {
            Ok(IpAddr::V4(address)) => address.octets() == *shown,
            Ok(IpAddr::V6(address)) => address.octets() == *shown,
            Err(_) => false,
        },
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => false,
    }
}

/// Client modules' certificates, as the gateway saw them last.
fn known(settings: &Settings, place: &Surroundings, report: &mut Report<'_>) {
    let known = KnownCertificates::open(&place.resolve(&settings.gateway.state_dir));
    for (name, module) in &settings.client_modules {
        let Some(host) = &module.host else { continue };
        let ports = [module.pop3_port, module.smtp_port];
        let soonest = ports
            .iter()
            .filter_map(|port| known.of(&gateway::place(host, *port)))
            .min_by_key(|certificate| certificate.not_after);
        let Some(KnownCertificate { not_after, .. }) = soonest else { continue };
        if let Some(problem) = expires_soon(not_after) {
            let problem = format!("the certificate that it showed last {problem}");
            let remedy = "renew it at the client module, and list the new fingerprint under pins";
            report.warning(&entry("client_modules", name), problem, remedy);
        }
    }
}

/// The files that these settings name for TLS, whether they are there or not.
pub(in crate::config) fn material(settings: &Settings, place: &Surroundings) -> Vec<PathBuf> {
    named(settings).into_iter().map(|(_, path, _)| place.resolve(path)).collect()
}

enum Kind {
    Certificates,
    PrivateKey,
    /// Only read here; `check` loads them as `run` would.
    RevocationLists,
}

fn named(settings: &Settings) -> Vec<(Key, &Path, Kind)> {
    let tls = &settings.tls;
    let key = |name| Key::of(&["tls", name]);
    let mut all = vec![
        (key("certificate"), tls.certificate.as_deref(), Kind::Certificates),
        (key("private_key"), tls.private_key.as_deref(), Kind::PrivateKey),
        (key("client_ca"), tls.client_ca.as_deref(), Kind::Certificates),
    ];
    for (index, path) in tls.client_crl.iter().enumerate() {
        all.push((key("client_crl").element(index), Some(path), Kind::RevocationLists));
    }
    for (name, module) in &settings.client_modules {
        let key = entry("client_modules", name);
        let (certificate, private_key) = (&module.client_certificate, &module.client_key);
        all.push((key.join("client_certificate"), certificate.as_deref(), Kind::Certificates));
        all.push((key.join("client_key"), private_key.as_deref(), Kind::PrivateKey));
        let ca = key.join("trust").join("ca");
        for (index, path) in module.trust.ca.iter().enumerate() {
            all.push((ca.element(index), Some(Path::new(path)), Kind::Certificates));
        }
    }
    all.into_iter().filter_map(|(key, path, kind)| Some((key, path?, kind))).collect()
}

/// Days before a certificate expires at which the warning starts.
const SOON: i64 = 30;

fn certificate(key: &Key, path: &Path, report: &mut Report<'_>) {
    let Some(bytes) = read(key, path, report) else { return };
    let (mut found, mut keys) = (0, 0);
    for block in Pem::iter_from_buffer(&bytes).map_while(Result::ok) {
        if block.label.ends_with("PRIVATE KEY") {
            keys += 1;
        }
        if block.label != "CERTIFICATE" {
            continue;
        }
        found += 1;
        match block.parse_x509() {
            Ok(parsed) => {
                let validity = parsed.validity();
                dates(key, validity.not_before.timestamp(), validity.not_after.timestamp(), report);
            }
            Err(_) => {
                let problem = format!("certificate {found} in it cannot be read");
                report.error(key, problem, "export it again as PEM");
            }
        }
    }
    if found == 0 && keys > 0 {
        report.error(key, "holds a private key, not a certificate", "name the certificate's file");
    } else if let (0, Some(kind)) = (found, Foreign::of(&bytes)) {
        report.error(key, format!("is {kind}"), kind.remedy());
    } else if found == 0 && contains(&bytes, b"BEGIN CERTIFICATE") {
        report.error(key, "holds a certificate in PEM that is damaged", COPY_ANEW);
    } else if found == 0 && bytes.trim_ascii().is_empty() {
        report.error(key, "is empty", COPY_ANEW);
    } else if found == 0 {
        let problem = "holds no certificate in PEM";
        let remedy = "convert it with `openssl x509 -inform der -in FILE -out FILE.pem`";
        report.error(key, problem, remedy);
    }
}

/// What helps where lines of PEM were cut off, joined or quoted on their way.
const COPY_ANEW: &str = "copy the file anew, with its BEGIN and END lines";

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

fn dates(key: &Key, not_before: i64, not_after: i64, report: &mut Report<'_>) {
    let not_yet = || {
        let start = OffsetDateTime::from_unix_timestamp(not_before).ok()?;
        (start > OffsetDateTime::now_utc()).then(|| format!("is not valid before {}", start.date()))
    };
    if let Some(problem) = not_yet().or_else(|| expires_soon(not_after)) {
        report.warning(key, problem, "renew it");
    }
}

fn expires_soon(not_after: i64) -> Option<String> {
    let expiry = OffsetDateTime::from_unix_timestamp(not_after).ok()?;
    let days = (expiry - OffsetDateTime::now_utc()).whole_days();
    if expiry < OffsetDateTime::now_utc() {
        Some(format!("expired on {}", expiry.date()))
    } else if days < SOON {
        Some(format!("expires on {}, in {days} days", expiry.date()))
    } else {
        None
    }
}

fn private_key(key: &Key, path: &Path, report: &mut Report<'_>) {
    let Some(bytes) = read(key, path, report) else { return };
    let labels: Vec<String> =
        Pem::iter_from_buffer(&bytes).map_while(Result::ok).map(|block| block.label).collect();
    let old_style =
        bytes.windows(10).any(|window| window == b"ENCRYPTED\n" || window == b"ENCRYPTED\r");
    if old_style || labels.iter().any(|label| label == "ENCRYPTED PRIVATE KEY") {
        let problem = "is encrypted, and kimgate cannot ask for its password";
        let remedy =
            "write it without: `openssl pkey -in FILE -out FILE.key`, readable by kimgate alone";
        report.error(key, problem, remedy);
    } else if !labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
        match Foreign::of(&bytes) {
            Some(kind) => report.error(key, format!("is {kind}"), kind.remedy()),
            None if contains(&bytes, b"PRIVATE KEY") => {
                report.error(key, "holds a private key in PEM that is damaged", COPY_ANEW);
            }
            None => {
                let remedy = "name the file with BEGIN PRIVATE KEY";
                report.error(key, "holds no private key in PEM", remedy);
            }
        }
        return;
    }
    if others_may_read(path) {
        let problem = format!(
            "{} can be read by other users of this machine",
            quoted(&path.to_string_lossy())
        );
        report.warning(key, problem, "allow its owner alone, as with `chmod 600`");
    }
}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &Path) -> bool {
    false // access lists are not checked
}

/// The most bytes that are read: certificates are small, and a device file or a log has no end.
const LARGEST: u64 = 4 << 20;

/// The file as PEM. The bytes are wiped when they are dropped, as they may be a key.
fn read(key: &Key, path: &Path, report: &mut Report<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let shown = quoted(&path.to_string_lossy());
    let is_file = std::fs::metadata(path).map(|data| data.is_file());
    let mut bytes = Zeroizing::new(Vec::new());
    let outcome = match is_file {
        Ok(true) => File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)),
        Ok(false) => {
            report.error(key, format!("{shown} is not a file"), "name a PEM file");
            return None;
        }
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        let remedy = match is_escaped(path) {
            true => IN_SINGLE_QUOTES,
            false => "correct the path, which starts at this file's folder, or remove the key",
        };
        report.error(key, format!("{shown} cannot be read: {error}"), remedy);
        return None;
    }
    Some(as_pem(bytes))
}

/// Whether an escape was meant as the beginning of a name: `"C:\temp\new"` is TOML, and holds a tab and
/// a line end.
fn is_escaped(path: &Path) -> bool {
    path.to_string_lossy().contains(|c: char| c.is_control())
}

const IN_SINGLE_QUOTES: &str = "in double quotes \\t and \\n are a tab and a line end: write the path in \
                                single quotes, as in 'C:\\kimgate\\new'";

/// What kimgate would make, under a name that nobody meant.
fn made_paths(settings: &Settings, report: &mut Report<'_>) {
    let state = (Key::of(&["gateway", "state_dir"]), Some(&settings.gateway.state_dir));
    let audit = (Key::of(&["audit", "file"]), settings.audit.file.as_ref());
    for (key, path) in [state, audit] {
        if let Some(path) = path.filter(|path| is_escaped(path)) {
            let shown = quoted(&path.to_string_lossy());
            report.error(&key, format!("{shown} has a control character"), IN_SINGLE_QUOTES);
        }
    }
}

fn folders(settings: &Settings, place: &Surroundings, report: &mut Report<'_>) {
    made_paths(settings, report);
    let state = place.resolve(&settings.gateway.state_dir);
    if state.exists() && !state.is_dir() {
        let problem = format!("{} is not a folder", quoted(&state.to_string_lossy()));
        report.error(
            &Key::of(&["gateway", "state_dir"]),
            problem,
            "name a folder; it is made if absent",
        );
    }
    if state.is_dir() && others_may_read(&state) {
        let shown = state.to_string_lossy();
        let problem = format!("other users of this machine can open {}", quoted(&shown));
        let remedy = format!("run chmod 700 {shown}");
        report.warning(&Key::of(&["gateway", "state_dir"]), problem, remedy);
    }
    if !settings.gateway.sandbox {
        let problem =
            "a fault could reach every file of kimgate's user and leave passwords in a core dump";
        let remedy = "remove the key; false is for a debugger";
        report.warning(&Key::of(&["gateway", "sandbox"]), problem, remedy);
    }
    let Some(audit) = &settings.audit.file else {
        if settings.audit.chain {
            let problem = "the audit goes to standard output, where a chain cannot be checked";
            report.error(&Key::of(&["audit", "chain"]), problem, "set audit.file as well");
        }
        return;
    };
    let key = Key::of(&["audit", "file"]);
    let audit = place.resolve(audit);
    if audit.is_dir() {
        let problem = format!("{} is a folder", quoted(&audit.to_string_lossy()));
        report.error(&key, problem, "name a file in it, as in \"audit.jsonl\"");
    } else if is_pipe(&audit) {
        let problem =
            format!("{} is a named pipe and waits for a reader", quoted(&audit.to_string_lossy()));
        report.error(&key, problem, "name a file, or leave it out for the standard output");
    } else if audit.parent().is_some_and(|folder| folder != Path::new("") && !folder.is_dir()) {
        let problem =
            format!("{} lies in a folder that does not exist", quoted(&audit.to_string_lossy()));
        report.error(&key, problem, "make the folder, or name another file");
    }
}

#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Finding, Severity, load};

    /// Loads a configuration with these files as the gateway's certificate and key.
    fn check(certificate: &str, private_key: &str, mode: u32) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write("a.pem", certificate);
        let key = write("a.key", private_key);
        set_mode(&key, mode);
        let file = write(
            "gateway.toml",
            "[listeners.l]\nprotocol = \"pop3\"\naddress = \"0.0.0.0:995\"\n\
             [tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n\
             [client_modules.main]\nhost = \"192.168.0.22\"\ntrust.ca = [\"a.pem\"]\n\
             [workstations.PC1]\naddresses = [\"192.168.0.31\"]\n\
             [accounts.\"prx@praxis.kim.telematik\"]\n",
        );
        match load(&file, std::iter::empty()) {
            Ok(loaded) => loaded.warnings,
            Err(findings) => findings,
        }
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[cfg(not(unix))]
    fn set_mode(_: &Path, _: u32) {}

    fn certificate(from_days: i64, to_days: i64) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(vec!["kim.praxis.local".into()]).unwrap();
        let now = OffsetDateTime::now_utc();
        params.not_before = now + time::Duration::days(from_days);
        params.not_after = now + time::Duration::days(to_days);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn about<'a>(findings: &'a [Finding], key: &str) -> Vec<&'a str> {
        findings.iter().filter(|f| f.key == key).map(|f| f.problem.as_str()).collect()
    }

    #[test]
    fn good_files_give_nothing_to_say() {
        let (certificate, key) = certificate(-1, 300);
        assert!(check(&certificate, &key, 0o600).is_empty());
        let both = certificate.clone() + &key;
        assert!(check(&both, &both, 0o600).is_empty());
    }

    #[test]
    fn certificates_that_expire_soon_are_warned_of() {
        let table = [
            ((-1, 10), "expires on "),
            ((-10, -1), "expired on "),
            ((5, 100), "is not valid before "),
        ];
        for ((from, to), said) in table {
            let (certificate, key) = certificate(from, to);
            let findings = check(&certificate, &key, 0o600);
            assert!(findings.iter().all(|f| f.severity == Severity::Warning), "{findings:?}");
            for key in ["tls.certificate", "client_modules.main.trust.ca"] {
                assert!(about(&findings, key)[0].starts_with(said), "{key}: {findings:?}");
            }
        }
    }

    #[test]
    fn mixed_up_and_encrypted_files_are_errors() {
        let (certificate, key) = certificate(-1, 300);
        let swapped = check(&key, &certificate, 0o600);
        assert_eq!(about(&swapped, "tls.certificate"), ["holds a private key, not a certificate"]);
        assert_eq!(about(&swapped, "tls.private_key"), ["holds no private key in PEM"]);
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let findings = check(&certificate, &encrypted, 0o600);
        assert!(about(&findings, "tls.private_key")[0].starts_with("is encrypted"), "{findings:?}");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let findings = check(broken, &key, 0o600);
        assert!(about(&findings, "tls.certificate")[0].contains("cannot be read"), "{findings:?}");
    }

    #[test]
    fn files_of_other_kinds_are_read_or_named() {
        let (certificate, key) = certificate(-1, 300);
        let indented = |text: &str| format!("\u{feff}  {}", text.replace('\n', "\n  "));
        assert!(check(&indented(&certificate), &indented(&key), 0o600).is_empty());
        let pkcs7 = "-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n";
        let findings = check(pkcs7, "PuTTY-User-Key-File-3: ssh-rsa\n", 0o600);
        assert_eq!(about(&findings, "tls.certificate"), ["is a PKCS#7 file (.p7b)"]);
        assert_eq!(about(&findings, "tls.private_key"), ["is a key of PuTTY (.ppk)"]);
        assert!(findings.iter().any(|f| f.remedy.contains("openssl pkcs7 -print_certs")));
    }

    #[test]
    fn pem_that_was_damaged_on_its_way_is_called_so() {
        let (certificate, key) = certificate(-1, 300);
        let damages: [fn(&str) -> String; 5] = [
            |pem| pem.replace('\n', ""),
            |pem| pem.replace('\n', "\\n"),
            |pem| pem.lines().map(|line| format!("> {line}\n")).collect(),
            |pem| pem.replace("-----", "----"),
            |pem| pem.split("-----END").next().unwrap_or_default().to_owned(),
        ];
        for damage in damages {
            let findings = check(&damage(&certificate), &damage(&key), 0o600);
            let said = about(&findings, "tls.certificate");
            assert_eq!(said, ["holds a certificate in PEM that is damaged"]);
            let said = about(&findings, "tls.private_key");
            assert_eq!(said, ["holds a private key in PEM that is damaged"]);
        }
        assert_eq!(about(&check(" \n", &key, 0o600), "tls.certificate"), ["is empty"]);
    }

    #[cfg(unix)]
    #[test]
    fn keys_for_everybody_are_warned_of() {
        let (certificate, key) = certificate(-1, 300);
        let findings = check(&certificate, &key, 0o644);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].problem.contains("can be read by other users"), "{findings:?}");
    }
}
