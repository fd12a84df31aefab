//! Certificates for foreign servers, made by the `openssl` program at each start.

use std::path::Path;

use super::tools;

/// Writes `ca.pem`, `cert.pem` and `key.pem` for localhost and 127.0.0.1 into a folder.
pub(crate) async fn write(folder: &Path) {
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            "/CN=kimgate test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ],
    )
    .await;
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "extendedKeyUsage=serverAuth",
        ],
    )
    .await;
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) async fn sha256(bytes: &[u8]) -> String {
    let mut command = tools::command("openssl");
    let done = tools::run(command.args(["dgst", "-sha256", "-r"]), bytes).await;
    assert!(done.ok, "{}", done.said);
    done.said.split_whitespace().next().unwrap().to_owned()
}

async fn openssl(folder: &Path, arguments: &[&str]) {
    let mut command = tools::command("openssl");
    let done = tools::run(command.current_dir(folder).args(arguments), b"").await;
    assert!(done.ok, "openssl {arguments:?}: {}", done.said);
}
