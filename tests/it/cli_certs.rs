//! `kimgate certs`, with openssl as the witness of what it makes.

use std::path::Path;

use crate::support::cli;
use crate::support::cli::{command, kimgate, run, text, write};
use crate::support::pki::{openssl, openssl_is_here};

fn certs(folder: &Path, args: &[&str]) -> cli::Ran {
    kimgate(&[&["certs"], args, &["--dir", &text(folder)]].concat())
}

fn in_folder(folder: &Path, name: &str) -> String {
    text(&folder.join(name))
}

/// The lines of TOML that a command prints.
fn toml(said: &str) -> String {
    let start = said.find("[tls]").unwrap();
    let is_toml = |line: &&str| line.is_empty() || line.starts_with('[') || line.contains(" = ");
    said[start..].lines().take_while(is_toml).map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_authority_signs_a_server_that_openssl_and_the_gateway_accept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certs(dir, &["ca", "--name", "Praxis Dr. Müller"]).expect(0);
    let said = certs(dir, &["server", "kim.praxis.local", "192.168.0.5"]).expect(0);
    let config = format!(
        "{}[listeners.l]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n\
         [client_modules.main]\nhost = \"192.168.0.22\"\ntrust.system_roots = true\n\
         [workstations.PC1]\naddresses = [\"192.168.0.31\"]\n[accounts.\"a@b.kim.telematik\"]\n",
        toml(&said)
    );
    let config = text(&write(dir, "gateway.toml", &config));
    let ran = kimgate(&["check", "--config", &config]);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("tls."), "{ran:?}");
    ran.expect(0);
    if openssl_is_here() {
        let (ca, server) = (in_folder(dir, "ca.pem"), in_folder(dir, "gateway.pem"));
        let verify = ["verify", "-CAfile", &ca, "-purpose", "sslserver", "-x509_strict"];
        openssl(&[&verify[..], &["-verify_hostname", "kim.praxis.local", &server]].concat());
        openssl(&[&verify[..], &["-verify_ip", "192.168.0.5", &server]].concat());
    }
}

#[test]
fn a_workstation_gets_a_pkcs12_file_that_openssl_opens_with_the_password_shown() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certs(dir, &["ca"]).expect(0);
    let said = certs(dir, &["client", "PC 1"]).expect(0);
    assert!(toml(&said).contains("[workstations.\"PC 1\"]\ncertificates = [\"PC 1\"]"), "{said}");
    let password =
        said.lines().find_map(|line| line.trim().strip_prefix("password of PC_1.p12: ")).unwrap();
    if !openssl_is_here() {
        return;
    }
    let (ca, pem) = (in_folder(dir, "ca.pem"), in_folder(dir, "PC_1.pem"));
    openssl(&["verify", "-CAfile", &ca, "-purpose", "sslclient", &pem]);
    let p12 = in_folder(dir, "PC_1.p12");
    let pass = format!("pass:{password}");
    let opened = openssl(&["pkcs12", "-info", "-in", &p12, "-passin", &pass, "-nodes"]);
    let opened = String::from_utf8(opened).unwrap();
    assert_eq!(opened.matches("BEGIN CERTIFICATE").count(), 2, "{opened}");
    assert_eq!(opened.matches("BEGIN PRIVATE KEY").count(), 1, "{opened}");
    assert!(opened.contains("friendlyName: PC 1"), "{opened}");
    // The key in it is the certificate's.
    let key = in_folder(dir, "PC_1.key");
    let of_key = openssl(&["pkey", "-in", &key, "-pubout"]);
    let inside = write(dir, "inside.key", &opened);
    assert_eq!(openssl(&["pkey", "-in", &text(&inside), "-pubout"]), of_key);
    assert_eq!(openssl(&["x509", "-in", &pem, "-pubkey", "-noout"]), of_key);
}

/// The variable is set for `kimgate doctor`: the mailbox's password must not protect a file that
/// goes to a workstation.
#[test]
fn the_mailboxs_password_does_not_become_that_of_a_certificate_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certs(dir, &["ca"]).expect(0);
    let dir_text = text(dir);
    let mut client = command(&["certs", "client", "PC1", "--dir", &dir_text]);
    let said = run(client.env("KIMGATE_PASSWORD", "Geheim-1234")).expect(0);
    assert!(!said.contains("Geheim") && said.contains("password"), "{said}");
}

#[test]
fn a_password_of_ones_own_is_taken_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certs(dir, &["ca"]).expect(0);
    let dir_text = text(dir);
    let mut client = command(&["certs", "client", "PC1", "--dir", &dir_text]);
    let said = run(client.env("KIMGATE_PKCS12_PASSWORD", "Geheim-1234")).expect(0);
    assert!(!said.contains("Geheim") && !said.contains("password"), "{said}");
    if openssl_is_here() {
        let p12 = in_folder(dir, "PC1.p12");
        openssl(&["pkcs12", "-in", &p12, "-passin", "pass:Geheim-1234", "-nokeys"]);
    }
    let mut client = command(&["certs", "client", "PC2", "--dir", &dir_text]);
    assert_eq!(run(client.env("KIMGATE_PKCS12_PASSWORD", "")).code, 2);
    assert!(!dir.join("PC2.pem").exists());
}

#[test]
fn certificates_are_taken_back_in_a_list_that_openssl_reads() {
    let folder = tempfile::tempdir().unwrap();
    certs(folder.path(), &["ca"]).expect(0);
    for name in ["PC1", "PC2"] {
        certs(folder.path(), &["client", name]).expect(0);
        let said =
            certs(folder.path(), &["revoke", &in_folder(folder.path(), &format!("{name}.pem"))])
                .expect(0);
        assert!(said.contains("client_crl = [\""), "{said}");
    }
    let list = in_folder(folder.path(), "ca.crl");
    if !openssl_is_here() {
        return;
    }
    let shown = std::process::Command::new("openssl")
        .args([
            "crl",
            "-noout",
            "-text",
            "-CAfile",
            &in_folder(folder.path(), "ca.pem"),
            "-in",
            &list,
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shown.stdout);
    assert_eq!(said.matches("Serial Number:").count(), 2, "{said}");
    assert!(String::from_utf8_lossy(&shown.stderr).contains("verify OK"), "{shown:?}");
    let gateway = certs(folder.path(), &["revoke", &in_folder(folder.path(), "ca.key")]);
    gateway.expect(1);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certs(dir, &["ca"]).expect(0);
    let before = std::fs::read(dir.join("ca.key")).unwrap();
    let again = certs(dir, &["ca"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("ca.pem exists, and nothing is overwritten"), "{again:?}");
    assert_eq!(std::fs::read(dir.join("ca.key")).unwrap(), before);
    write(dir, "PC1.p12", "mine");
    assert_eq!(certs(dir, &["client", "PC1"]).code, 1);
    assert!(!dir.join("PC1.pem").exists() && !dir.join("PC1.key").exists());
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    certs(dir, &["ca"]).expect(0);
    certs(dir, &["server", "kim"]).expect(0);
    certs(dir, &["client", "PC1"]).expect(0);
    for name in ["ca.key", "gateway.key", "PC1.key", "PC1.p12"] {
        let mode = std::fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_cannot_be_signed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let without = certs(dir, &["server", "kim"]);
    assert_eq!(without.code, 1);
    assert!(without.stderr.contains("`kimgate certs ca` makes an authority"), "{without:?}");
    certs(dir, &["ca"]).expect(0);
    let bad = certs(dir, &["server", "https://kim"]);
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.contains("neither a DNS name nor an address"), "{bad:?}");
    assert_eq!(certs(dir, &["client", "a\nb"]).code, 2);
    certs(dir, &["server", "kim"]).expect(0);
    let leaf = [in_folder(dir, "gateway.pem"), in_folder(dir, "gateway.key")];
    let by_leaf = certs(dir, &["client", "PC1", "--ca", &leaf[0], "--ca-key", &leaf[1]]);
    assert!(by_leaf.stderr.contains("not the certificate of an authority"), "{by_leaf:?}");
}
