//! Both sides of kimgate's TLS against each other and against openssl: client certificates,
//! resumption, versions, and the classes of failed handshakes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kimgate::trust::{
    Authority, Class, ClientCertificates, ClientModuleTrust, HandshakeFault, Identity, Issued,
    ListenerTls, ListenerTlsConfig, MinVersion, UpstreamTls, Verdict, client_names, verdict_of,
};
use kimgate::words::Language;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::pki::{self, Pki, Server};
#[cfg(feature = "brainpool")]
use crate::support::tools;

/// A folder with an authority's files in it.
struct World {
    dir: TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new("Praxis").unwrap(),
        };
        world.write("ca.pem", world.authority.certificate());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Readable by its owner only, as a key has to be.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
        self.path(name)
    }

    fn identity(&self, name: &str, issued: &Issued) -> Identity {
        Identity {
            certificate: self.write(&format!("{name}.pem"), &issued.certificate),
            private_key: self.write(&format!("{name}.key"), issued.private_key.expose()),
        }
    }

    fn listener(&self) -> ListenerTlsConfig {
        ListenerTlsConfig {
            certificate: Some(
                self.identity("gateway", &self.authority.server(&["kim.test"]).unwrap()),
            ),
            min_version: MinVersion::Tls12,
            client_certificates: ClientCertificates::Off,
            client_ca: Some(self.path("ca.pem")),
            client_crl: vec![],
            gateway_name: "kim.test".to_owned(),
            state_dir: self.path("state"),
        }
    }

    fn trust(&self) -> ClientModuleTrust {
        ClientModuleTrust { ca: vec![self.path("ca.pem")], ..Default::default() }
    }
}

/// Does a handshake over a pipe. The server returns the names that it found, the client its stream.
async fn shake(
    acceptor: TlsAcceptor,
    upstream: &UpstreamTls,
) -> (std::io::Result<Vec<String>>, std::io::Result<TlsStream<DuplexStream>>) {
    let (near, far) = duplex(1 << 16);
    let server = async {
        let mut stream = acceptor.accept(far).await?;
        let names = client_names(stream.get_ref().1.peer_certificates().unwrap_or_default());
        // TLS 1.3 sends its tickets after the handshake, and the client sees them when it reads.
        stream.write_all(b"+OK\r\n").await?;
        stream.flush().await?;
        Ok(names)
    };
    let client = async {
        let mut stream = TlsConnector::from(upstream.client_config())
            .connect(upstream.server_name(), near)
            .await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        Ok(stream)
    };
    tokio::join!(server, client)
}

#[tokio::test]
async fn certificates_of_the_local_authority_are_recognised_on_both_sides() {
    let world = World::new();
    let client = world.authority.client("PC1").unwrap();
    for (wanted, shown, names) in [
        (ClientCertificates::Off, true, Some(vec![])),
        (ClientCertificates::Optional, false, Some(vec![])),
        (ClientCertificates::Optional, true, Some(vec!["PC1".to_owned()])),
        (ClientCertificates::Required, true, Some(vec!["PC1".to_owned()])),
        (ClientCertificates::Required, false, None),
    ] {
        let config = ListenerTlsConfig { client_certificates: wanted, ..world.listener() };
        let identity = shown.then(|| world.identity("pc1", &client));
        let trust = ClientModuleTrust { identity, ..world.trust() };
        let listener = ListenerTls::load(&config).unwrap();
        let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
        assert_eq!(upstream.warnings(), []);
        let (server, client) = shake(TlsAcceptor::from(listener.server_config()), &upstream).await;
        assert_eq!(server.ok(), names, "{wanted:?}, shown: {shown}");
        match client {
            Ok(stream) => assert_eq!(
                upstream.verdict(stream.get_ref().1.peer_certificates().unwrap_or_default()).class,
                Class::Ok
            ),
            Err(error) => {
                assert_eq!(verdict_of(&error).unwrap().class, Class::OwnCertificateRefused);
            }
        }
    }
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_or_for_a_server_is_refused() {
    let world = World::new();
    let stranger = Authority::new("Praxis").unwrap().client("PC1").unwrap();
    let server = world.authority.server(&["PC1"]).unwrap();
    let config =
        ListenerTlsConfig { client_certificates: ClientCertificates::Optional, ..world.listener() };
    let listener = ListenerTls::load(&config).unwrap();
    for issued in [stranger, server] {
        let identity = Some(world.identity("pc1", &issued));
        let trust = ClientModuleTrust { identity, ..world.trust() };
        let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
        assert!(shake(TlsAcceptor::from(listener.server_config()), &upstream).await.0.is_err());
    }
}

#[tokio::test]
async fn a_revoked_client_certificate_is_refused_and_named() {
    let world = World::new();
    let (good, stolen) =
        (world.authority.client("PC1").unwrap(), world.authority.client("PC2").unwrap());
    let list = world.authority.revoke(None, std::slice::from_ref(&stolen.certificate)).unwrap();
    let other = Authority::new("Other").unwrap().revoke(None, &[]).unwrap();
    let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(list.as_bytes());
    world.write("list.pem", &list);
    world.write("other.pem", &other);
    std::fs::write(world.path("list.der"), der.unwrap()).unwrap();
    for (lists, issued, fault) in [
        (&["list.pem"][..], &good, None),
        (&["list.pem"], &stolen, Some("[revoked]")),
        (&["other.pem", "list.der"], &good, None),
        (&["other.pem", "list.der"], &stolen, Some("[revoked]")),
        (&["other.pem"], &good, Some("[no-revocation-list]")),
        (&[], &stolen, None),
    ] {
        let config = ListenerTlsConfig {
            client_certificates: ClientCertificates::Optional,
            client_crl: lists.iter().map(|name| world.path(name)).collect(),
            ..world.listener()
        };
        let listener = ListenerTls::load(&config).unwrap();
        assert_eq!(listener.warnings().len(), usize::from(lists == ["other.pem"]), "{lists:?}");
        let identity = Some(world.identity("pc", issued));
        let trust = ClientModuleTrust { identity, ..world.trust() };
        let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
        let served = shake(TlsAcceptor::from(listener.server_config()), &upstream).await.0;
        let said = served.err().map(|error| HandshakeFault::of(&error).sentence(Language::En));
        match fault {
            None => assert_eq!(said, None, "{lists:?}"),
            Some(word) => {
                let said = said.unwrap();
                assert!(said.contains(word) && said.contains("subject CN=PC"), "{said}");
            }
        }
    }
    for (text, wanted) in [("", "no revocation list"), ("-----BEGIN X509 CRL-----\nAA", "broken")] {
        world.write("bad.pem", text);
        let config = ListenerTlsConfig {
            client_certificates: ClientCertificates::Optional,
            client_crl: vec![world.path("bad.pem")],
            ..world.listener()
        };
        let error = ListenerTls::load(&config).unwrap_err().to_string();
        assert!(error.contains("bad.pem: ") && error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn what_a_mail_program_does_wrong_in_a_handshake_has_a_name() {
    let world = World::new();
    let config =
        ListenerTlsConfig { client_certificates: ClientCertificates::Required, ..world.listener() };
    let listener = ListenerTls::load(&config).unwrap();
    let stranger = Authority::new("Fremd").unwrap().client("PC1").unwrap();
    let namesake = Authority::new("Praxis").unwrap().client("PC1").unwrap();
    let server = world.authority.server(&["PC1"]).unwrap();
    let distrust = ClientModuleTrust::default();
    let with = |name, issued| ClientModuleTrust {
        identity: Some(world.identity(name, issued)),
        ..world.trust()
    };
    for (trust, word) in [
        (world.trust(), "[no-certificate]"),
        (with("stranger", &stranger), "[unknown-issuer]"),
        (with("namesake", &namesake), "[bad-signature]"),
        (with("server", &server), "[wrong-usage]"),
        (distrust, "[gateway-not-trusted]"),
    ] {
        let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
        let error =
            shake(TlsAcceptor::from(listener.server_config()), &upstream).await.0.unwrap_err();
        for language in [Language::De, Language::En] {
            let said = HandshakeFault::of(&error).sentence(language);
            assert!(said.contains(word) && said.ends_with(['.', '?']), "{said}");
        }
    }
    for (bytes, word) in [(&b"HELO there\r\n"[..], "[not-tls]"), (b"", "[reset]")] {
        let (mut near, far) = duplex(1 << 16);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let error = TlsAcceptor::from(listener.server_config()).accept(far).await.unwrap_err();
        let said = HandshakeFault::of(&error).sentence(Language::En);
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn a_second_connection_resumes_and_still_knows_both_certificates() {
    let world = World::new();
    let config =
        ListenerTlsConfig { client_certificates: ClientCertificates::Required, ..world.listener() };
    let listener = ListenerTls::load(&config).unwrap();
    let identity = Some(world.identity("pc1", &world.authority.client("PC1").unwrap()));
    let upstream =
        UpstreamTls::load(&ClientModuleTrust { identity, ..world.trust() }, "kim.test").unwrap();
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let (names, stream) = shake(TlsAcceptor::from(listener.server_config()), &upstream).await;
        let stream = stream.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(connection.handshake_kind(), Some(kind));
        assert_eq!(names.unwrap(), ["PC1"]);
        let verdict = upstream.verdict(connection.peer_certificates().unwrap_or_default());
        assert!(verdict.accepted);
        assert_eq!(verdict.certificate.as_ref().unwrap().names, ["kim.test"]);
    }
}

#[tokio::test]
async fn the_self_made_certificate_can_be_pinned() {
    let world = World::new();
    let config = ListenerTlsConfig { certificate: None, ..world.listener() };
    let listener = ListenerTls::load(&config).unwrap();
    assert_eq!(listener.warnings(), []);

    let strict = UpstreamTls::load(&ClientModuleTrust::default(), "kim.test").unwrap();
    let error = shake(TlsAcceptor::from(listener.server_config()), &strict).await.1.unwrap_err();
    assert_eq!(verdict_of(&error).unwrap().class, Class::SelfSigned);
    assert_eq!(kimgate::trust::refused_chain(&error).unwrap().len(), 1);

    let pins = vec![listener.fingerprint().parse().unwrap()];
    let pinned = ClientModuleTrust { pins, ..Default::default() };
    let pinned = UpstreamTls::load(&pinned, "192.0.2.1").unwrap();
    let stream = shake(TlsAcceptor::from(listener.server_config()), &pinned).await.1.unwrap();
    assert_eq!(
        pinned.verdict(stream.get_ref().1.peer_certificates().unwrap_or_default()).class,
        Class::Pinned
    );
}

/// A certificate is public: a server that shows it has to sign with its key, pinned or not.
#[tokio::test]
async fn a_certificate_without_its_key_is_refused_whatever_is_tolerated() {
    let world = World::new();
    let (shown, other) =
        (world.authority.server(&["kim.test"]).unwrap(), world.authority.server(&["x"]).unwrap());
    let chain = CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(other.private_key.expose().as_bytes()).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let stolen = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![chain], key)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(stolen.clone());
        let trust = ClientModuleTrust {
            ignore_self_signed: true,
            ignore_name_mismatch: true,
            pins: vec![fingerprint(&shown)],
            ..world.trust()
        };
        let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
        let error = shake(TlsAcceptor::from(Arc::new(config)), &upstream).await.1.unwrap_err();
        assert_eq!(verdict_of(&error).unwrap().class, Class::BadSignature);
    }
}

#[tokio::test]
async fn a_port_that_greets_in_clear_or_hangs_up_is_named() {
    let world = World::new();
    let upstream = UpstreamTls::load(&world.trust(), "kim.test").unwrap();
    for (answer, class) in [
        ("+OK KIM ready\r\n", Class::PlaintextOnTlsPort),
        ("220 kim ESMTP\r\n", Class::PlaintextOnTlsPort),
        ("", Class::Reset),
    ] {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(answer.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let connect =
            TlsConnector::from(upstream.client_config()).connect(upstream.server_name(), near);
        let error = connect.await.unwrap_err();
        assert_eq!(verdict_of(&error).unwrap().class, class, "{answer:?}");
    }
}

#[tokio::test]
async fn what_openssl_servers_refuse_has_a_name() {
    if !pki::openssl_is_here() {
        return;
    }
    let mut pki = Pki::new();
    pki.make("ca", &"key=p256.ca san=none ca=CA:TRUE".parse().unwrap());
    pki.make("rsa", &"key=rsa2048 by=ca".parse().unwrap());
    pki.make("p256", &"by=ca".parse().unwrap());
    let ca = pki.get("ca").certificate.clone();
    let level0 = "DEFAULT@SECLEVEL=0";
    for (certificate, options, class) in [
        ("rsa", &["-tls1_1", "-cipher", level0][..], Class::ProtocolTooOld),
        ("rsa", &["-tls1_2", "-cipher", "AES256-GCM-SHA384"], Class::NoCommonCipher),
        ("rsa", &["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"], Class::NoCommonCipher),
        ("rsa", &["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"], Class::NoCommonCipher),
        ("p256", &["-tls1_3", "-groups", "P-521"], Class::NoCommonCipher),
        ("p256", &["-tls1_3", "-Verify", "1"], Class::OwnCertificateRefused),
        // TLS 1.2 has no alert for it, only the one for everything.
        ("p256", &["-tls1_2", "-Verify", "1"], Class::NoCommonCipher),
        ("p256", &["-tls1_2"], Class::Ok),
        #[cfg(feature = "brainpool")]
        ("p256", &["-tls1_2", "-groups", "brainpoolP256r1"], Class::Ok),
        #[cfg(feature = "brainpool")]
        ("p256", &["-tls1_2", "-groups", "brainpoolP384r1"], Class::Ok),
    ] {
        let server = Server::start(pki.get(certificate), options).unwrap();
        let verdict = visit(&server, &ca).await;
        assert_eq!(verdict.class, class, "{certificate} {options:?}");
        println!("{options:?}: {}", verdict.sentence(Language::En));
    }
}

/// Debian's openssl cannot do this yet, so this needs a Python with pyOpenSSL from PyPI:
/// `KIMGATE_PYOPENSSL=venv/bin/python cargo test --test it trust_handshake::brainpool`.
#[cfg(feature = "brainpool")]
#[tokio::test]
async fn brainpool_keys_work_in_tls_13_against_a_newer_openssl() {
    use std::io::{BufRead, BufReader};
    if !pki::openssl_is_here() {
        return;
    }
    let Some(python) = std::env::var_os("KIMGATE_PYOPENSSL") else {
        tools::skip("KIMGATE_PYOPENSSL names no Python with pyOpenSSL");
        return;
    };
    let mut pki = Pki::new();
    for (name, recipe) in [("bp256", "key=bp256"), ("bp384", "key=bp384 md=sha384")] {
        pki.make(name, &recipe.parse().unwrap());
        let made = pki.get(name);
        let mut server = std::process::Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls13.py"))
            .args([&made.private_key, &made.certificate])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let (openssl, port) = said.trim_end().rsplit_once(' ').unwrap();
        let trust = ClientModuleTrust { ignore_self_signed: true, ..Default::default() };
        let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).await.unwrap();
        let shaken =
            TlsConnector::from(upstream.client_config()).connect(upstream.server_name(), tcp).await;
        server.kill().unwrap();
        server.wait().unwrap();
        let stream = shaken.unwrap();
        let connection = stream.get_ref().1;
        let version = connection.protocol_version();
        assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3), "{name}");
        let verdict = upstream.verdict(connection.peer_certificates().unwrap_or_default());
        assert_eq!((verdict.class, verdict.accepted), (Class::SelfSigned, true), "{name}");
        println!(
            "{name} in TLS 1.3 against {openssl}: {}",
            verdict.certificate.as_ref().unwrap().key
        );
    }
}

/// Connects, and asks for a page, since in TLS 1.3 a refusal comes after the handshake.
async fn visit(server: &Server, ca: &Path) -> Arc<Verdict> {
    let trust = ClientModuleTrust { ca: vec![ca.to_path_buf()], ..Default::default() };
    let upstream = UpstreamTls::load(&trust, "kim.test").unwrap();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let visited = async {
        let mut stream = TlsConnector::from(upstream.client_config())
            .connect(upstream.server_name(), stream)
            .await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(upstream.verdict(stream.get_ref().1.peer_certificates().unwrap_or_default()))
    };
    visited.await.unwrap_or_else(|error| Arc::new(verdict_of(&error).unwrap()))
}

fn fingerprint(issued: &Issued) -> kimgate::trust::Pin {
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let facts = kimgate::trust::CertificateFacts::read(&der).unwrap();
    facts.fingerprint.parse().unwrap()
}
