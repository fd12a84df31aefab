//! `kimgate check` with certificates and keys that only loading them shows to be wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/cli.rs"]
mod cli;

use std::path::Path;

use cli::{in_repository, kimgate, text, write};
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
