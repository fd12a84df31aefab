//! `kimgate check` with certificates and keys that only loading them shows to be wrong.

use std::path::Path;

use crate::support::cli::{in_repository, kimgate, text, write};
use serde_json::Value;

fn check(folder: &Path, more: &str, instead: (&str, &str)) -> (i32, Vec<Value>) {
    let practice = std::fs::read_to_string(in_repository("config/practice.toml")).unwrap();
    let config = practice.replace(instead.0, instead.1) + more;
    let config = text(&write(folder, "gateway.toml", &config));
    let ran = kimgate(&["check", "--config", &config, "--json"]);
    (ran.code, ran.json().as_array().unwrap().clone())
}

/// A folder with an authority, the gateway's pair and a client's.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(folder.path());
    for what in [&["ca"][..], &["server", "kim.praxis.local"], &["client", "kimgate"]] {
        kimgate(&[&["certs"], what, &["--dir", &dir]].concat()).expect(0);
    }
    folder
}

const HOST: &str = "host = \"192.168.0.22\"";
const AUDIT: &str = "file = \"audit.jsonl\"";

#[test]
fn the_shipped_practice_is_good_and_checking_makes_no_files() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(check(folder.path(), "", ("", "")), (0, vec![]));
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "only the configuration: {files:?}");
}

#[test]
fn good_material_is_good() {
    let folder = folder();
    let tls = "[tls]\ncertificate = \"gateway.pem\"\nprivate_key = \"gateway.key\"\n\
               client_certificates = \"required\"\nclient_ca = \"ca.pem\"\n";
    let client =
        format!("{HOST}\nclient_certificate = \"kimgate.pem\"\nclient_key = \"kimgate.key\"");
    assert_eq!(check(folder.path(), tls, (HOST, &client)), (0, vec![]));
}

#[test]
fn what_only_loading_shows_is_told_with_key_and_line() {
    let folder = folder();
    let key_of_another =
        format!("{HOST}\nclient_certificate = \"kimgate.pem\"\nclient_key = \"gateway.key\"");
    let table = [
        (
            "[tls]\ncertificate = \"gateway.pem\"\nprivate_key = \"ca.key\"\n",
            ("", ""),
            "tls.private_key",
            "does not belong to the certificate",
        ),
        ("", (HOST, &*key_of_another), "client_modules.main.client_key", "does not belong"),
    ];
    for (more, instead, key, problem) in table {
        let (code, findings) = check(folder.path(), more, instead);
        assert_eq!(code, 1, "{findings:?}");
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(finding["severity"], "error");
        assert_eq!(finding["key"], key, "{finding}");
        assert!(finding["problem"].as_str().unwrap().contains(problem), "{finding}");
        assert!(finding["line"].is_u64(), "{finding}");
    }
}

#[cfg(unix)]
#[test]
fn one_fault_is_told_once() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let key = folder.path().join("gateway.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let tls = "[tls]\ncertificate = \"gateway.pem\"\nprivate_key = \"gateway.key\"\n";
    let (code, findings) = check(folder.path(), tls, ("", ""));
    assert_eq!((code, findings.len()), (0, 1), "{findings:?}");
}

/// Paths that are no files, in every key that names one: none holds `check` up, and each is named.
#[cfg(unix)]
#[test]
fn a_path_that_is_no_file_is_told_and_never_waited_for() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("folder")).unwrap();
    symlink("loop", at("loop")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
    assert!(made.unwrap().success());
    // JSON writes a control character as TOML does.
    let quoted = |path: &str| serde_json::to_string(path).unwrap();
    let tls = |path: &str| {
        let path = quoted(path);
        format!("[tls]\ncertificate = {path}\nprivate_key = {path}\n")
    };
    let ca =
        |path: &str| format!("[client_modules.other]\nhost = \"kim\"\ntrust.ca = [{path:?}]\n");
    let crl = |path: &str| {
        format!(
            "[tls]\nclient_certificates = \"required\"\nclient_ca = {path:?}\nclient_crl = [{path:?}]\n"
        )
    };
    let long = "x".repeat(5000);
    let table = [
        (tls("pipe"), "tls.certificate", "pipe\" is not a file"),
        (tls("/dev/zero"), "tls.private_key", "\"/dev/zero\" is not a file"),
        (tls("folder"), "tls.certificate", "folder\" is not a file"),
        (tls("loop"), "tls.certificate", "symbolic links"),
        (tls("a\0b"), "tls.certificate", "NUL byte"),
        (tls(&long), "tls.certificate", "name too long"),
        (
            tls("../../../../../../../../etc/passwd"),
            "tls.certificate",
            "holds no certificate in PEM",
        ),
        (ca("pipe"), "client_modules.other.trust.ca", "pipe\" is not a file"),
        (crl("pipe"), "tls.client_crl", "pipe\" is not a file"),
        ("pipe".to_owned(), "audit.file", "is a named pipe"),
        ("folder".to_owned(), "audit.file", "is a folder"),
        ("loop/audit.jsonl".to_owned(), "audit.file", "in a folder that does not exist"),
    ];
    for (more, key, said) in table {
        let (code, findings) = match key {
            "audit.file" => check(folder.path(), "", (AUDIT, &format!("file = {more:?}"))),
            _ => check(folder.path(), &more, ("", "")),
        };
        assert_eq!(code, 1, "{more}");
        let named = |finding: &&Value| finding["key"] == key;
        let problems: Vec<_> =
            findings.iter().filter(named).map(|f| f["problem"].as_str().unwrap()).collect();
        assert!(problems.iter().any(|problem| problem.contains(said)), "{more} {findings:?}");
    }
}

#[test]
fn a_certificate_without_the_gateways_name_is_told() {
    let folder = folder();
    let tls = "[tls]\ncertificate = \"gateway.pem\"\nprivate_key = \"gateway.key\"\n";
    let name = "name = \"kim.praxis.local\"";
    for (other, told) in [("kim.praxsi.local", true), ("KIM.praxis.local", false)] {
        let (code, findings) = check(folder.path(), tls, (name, &format!("name = {other:?}")));
        assert_eq!((code, !findings.is_empty()), (0, told), "{findings:?}");
        for finding in findings {
            assert_eq!(finding["key"], "tls.certificate");
            assert_eq!(finding["problem"], format!("lacks gateway.name, {other:?}"));
        }
    }
}
