//! Certificates, keys and the configuration change while kimgate runs, as the programs that renew
//! them change them: over the old file, by renaming, by turning a link, in two steps, half.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::dialogue::{Client, PASSWORD};
use crate::support::transcript::Listener;
use crate::support::world::{LOGIN, PC1, World};
use kimgate::trust::{
    Authority, CertificateFacts, ClientModuleTrust, Identity, Issued, UpstreamTls,
};
use kimgate::words::Protocol;
use rustls::HandshakeKind;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

/// A folder with an authority's certificate, and the gateway's certificate that it signed.
struct Shelf {
    folder: TempDir,
    authority: Authority,
}

impl Shelf {
    fn new() -> Self {
        let shelf =
            Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("CA").unwrap() };
        fs::write(shelf.path("ca.pem"), shelf.authority.certificate()).unwrap();
        shelf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self) -> Issued {
        self.authority.server(&["127.0.0.1"]).unwrap()
    }

    /// Writes a new pair over the old one, and gives its fingerprint.
    fn renew(&self) -> String {
        let issued = self.issue();
        put(&self.path("gateway.key"), issued.private_key.expose());
        put(&self.path("gateway.pem"), &issued.certificate);
        fingerprint(&issued)
    }

    /// The configuration's lines that name the pair in this folder.
    fn lines(&self, folder: &str) -> [String; 2] {
        let path = |name| self.path(folder).join(name);
        [
            format!("tls.certificate = {:?}", path("gateway.pem")),
            format!("tls.private_key = {:?}", path("gateway.key")),
        ]
    }

    /// A workstation that trusts the authority and remembers its TLS sessions.
    fn workstation(&self) -> UpstreamTls {
        let trust = ClientModuleTrust { ca: vec![self.path("ca.pem")], ..Default::default() };
        UpstreamTls::load(&trust, "127.0.0.1").unwrap()
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_at_once_and_sessions_stay() {
    let shelf = Shelf::new();
    let first = shelf.renew();
    let world = start(&shelf.lines("")).await;
    let workstation = shelf.workstation();
    let tcp = world.tcp(Protocol::Pop3, Listener::Implicit, PC1).await;
    let tls = TlsConnector::from(workstation.client_config())
        .connect(workstation.server_name(), tcp)
        .await
        .unwrap();
    let mut session = Client::new(Box::new(tls));
    session.expect("+OK <any>").await;
    session.pop3_login(LOGIN).await;
    assert_eq!(shown(&world, &workstation).await, (HandshakeKind::Resumed, first));
    world.watch();
    let second = shelf.renew();
    world.reloads("accepted", 1.0).await;
    assert_eq!(shown(&world, &workstation).await, (HandshakeKind::Full, second));
    session.ask("NOOP", "+OK<any>").await;
    session.ask("QUIT", "+OK<any>").await;
}

#[tokio::test]
async fn files_that_are_written_as_they_were_are_no_news() {
    let shelf = Shelf::new();
    shelf.renew();
    let world = start(&shelf.lines("")).await;
    world.watch();
    let workstation = shelf.workstation();
    let (_, first) = shown(&world, &workstation).await;
    for name in ["gateway.pem", "gateway.key"] {
        put(&shelf.path(name), &fs::read_to_string(shelf.path(name)).unwrap());
    }
    // Something else in the configuration: the certificate's TLS sessions are kept.
    world.change(&[r#"gateway.language = "en""#.into()]);
    world.reloads("accepted", 1.0).await;
    assert_eq!(shown(&world, &workstation).await, (HandshakeKind::Resumed, first));
}

#[tokio::test]
async fn a_broken_or_half_written_file_keeps_the_old_one_until_it_is_whole() {
    let shelf = Shelf::new();
    let first = shelf.renew();
    let world = start(&shelf.lines("")).await;
    world.watch();
    let workstation = shelf.workstation();
    let issued = shelf.issue();
    let half = &issued.certificate[..issued.certificate.len() / 2];
    fs::write(shelf.path("gateway.pem"), half).unwrap();
    world.reloads("rejected", 1.0).await;
    assert_eq!(shown(&world, &workstation).await.1, first);
    // Whole, and the key is still the old one's.
    fs::write(shelf.path("gateway.pem"), &issued.certificate).unwrap();
    world.reloads("rejected", 2.0).await;
    assert_eq!(shown(&world, &workstation).await.1, first);
    fs::write(shelf.path("gateway.key"), issued.private_key.expose()).unwrap();
    world.reloads("accepted", 1.0).await;
    assert_eq!(shown(&world, &workstation).await.1, fingerprint(&issued));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_is_turned_counts_as_a_change() {
    use std::os::unix::fs::symlink;
    let shelf = Shelf::new();
    // As Kubernetes mounts a secret: each file is a link through ..data, which is turned.
    let mount = |version: &str| {
        let (folder, issued) = (shelf.path(version), shelf.issue());
        fs::create_dir(&folder).unwrap();
        put(&folder.join("gateway.pem"), &issued.certificate);
        put(&folder.join("gateway.key"), issued.private_key.expose());
        symlink(version, shelf.path("..data_tmp")).unwrap();
        fs::rename(shelf.path("..data_tmp"), shelf.path("..data")).unwrap();
        fingerprint(&issued)
    };
    let first = mount("..1");
    for name in ["gateway.pem", "gateway.key"] {
        symlink(format!("..data/{name}"), shelf.path(name)).unwrap();
    }
    let world = start(&shelf.lines("")).await;
    world.watch();
    let workstation = shelf.workstation();
    assert_eq!(shown(&world, &workstation).await.1, first);
    let second = mount("..2");
    world.reloads("accepted", 1.0).await;
    assert_eq!(shown(&world, &workstation).await.1, second);
}

#[tokio::test]
async fn a_changed_configuration_counts_and_so_do_files_that_it_names_anew() {
    let shelf = Shelf::new();
    let first = shelf.renew();
    let world = start(&shelf.lines("")).await;
    world.watch();
    let workstation = shelf.workstation();
    // Named before it is there: refused, and tried again when it comes.
    fs::create_dir(shelf.path("new")).unwrap();
    world.change(&shelf.lines("new"));
    world.reloads("rejected", 1.0).await;
    assert_eq!(shown(&world, &workstation).await.1, first);
    let issued = shelf.issue();
    put(&shelf.path("new/gateway.key"), issued.private_key.expose());
    put(&shelf.path("new/gateway.pem"), &issued.certificate);
    world.reloads("accepted", 1.0).await;
    assert_eq!(shown(&world, &workstation).await.1, fingerprint(&issued));
}

#[tokio::test]
async fn a_stricter_policy_counts_for_the_next_dial_although_it_could_resume() {
    let world = World::start(&[]).await;
    // TLS sessions with the client module are there to be resumed.
    world.pop3().await.ask("QUIT", "+OK<any>").await;
    world.watch();
    let pin = "0".repeat(64);
    world.change(&[format!("client_modules.main.trust.pins = [\"sha256:{pin}\"]")]);
    world.reloads("accepted", 1.0).await;
    let mut client = world.client(Protocol::Pop3).await;
    client.expect("+OK <any>").await;
    client.ask(format!("USER {LOGIN}"), "+OK<any>").await;
    let refused = client.ask(format!("PASS {PASSWORD}"), "-ERR [SYS/TEMP] <any>").await;
    assert!(refused.ends_with("(client-module-untrusted)"), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_is_revoked_is_refused_although_its_session_could_resume() {
    let shelf = Shelf::new();
    shelf.renew();
    let stolen = shelf.authority.client("PC1").unwrap();
    put(&shelf.path("pc1.pem"), &stolen.certificate);
    put(&shelf.path("pc1.key"), stolen.private_key.expose());
    put(&shelf.path("ca.crl"), &shelf.authority.revoke(None, &[]).unwrap());
    let mut lines = shelf.lines("").to_vec();
    lines.push(r#"tls.client_certificates = "required""#.into());
    lines.push(format!("tls.client_ca = {:?}", shelf.path("ca.pem")));
    lines.push(format!("tls.client_crl = [{:?}]", shelf.path("ca.crl")));
    let world = start(&lines).await;
    world.watch();
    let identity =
        Identity { certificate: shelf.path("pc1.pem"), private_key: shelf.path("pc1.key") };
    let trust = ClientModuleTrust {
        ca: vec![shelf.path("ca.pem")],
        identity: Some(identity),
        ..Default::default()
    };
    let thief = UpstreamTls::load(&trust, "127.0.0.1").unwrap();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(shown(&world, &thief).await.0, kind);
    }
    let list = shelf.authority.revoke(None, &[stolen.certificate]).unwrap();
    put(&shelf.path("ca.crl"), &list);
    world.reloads("accepted", 1.0).await;
    let tcp = world.tcp(Protocol::Pop3, Listener::Implicit, PC1).await;
    let greeted = async {
        let mut tls =
            TlsConnector::from(thief.client_config()).connect(thief.server_name(), tcp).await?;
        tls.read_u8().await
    };
    assert!(greeted.await.is_err());
    let audit = world.audit().await;
    let refused = audit.iter().find(|line| line["reason"] == "tls-failed").unwrap();
    assert!(refused["sentence"].as_str().unwrap().contains("[revoked]"), "{refused}");
}

async fn start(lines: &[String]) -> World {
    World::start(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// How a handshake went, and the certificate that was shown.
async fn shown(world: &World, workstation: &UpstreamTls) -> (HandshakeKind, String) {
    let tcp = world.tcp(Protocol::Pop3, Listener::Implicit, PC1).await;
    let mut tls = TlsConnector::from(workstation.client_config())
        .connect(workstation.server_name(), tcp)
        .await
        .unwrap();
    // TLS 1.3 sends its tickets after the handshake.
    tls.read_u8().await.unwrap();
    let connection = tls.get_ref().1;
    let chain = connection.peer_certificates().unwrap();
    let fingerprint = CertificateFacts::read(&chain[0]).unwrap().fingerprint;
    (connection.handshake_kind().unwrap(), fingerprint)
}

fn fingerprint(issued: &Issued) -> String {
    CertificateFacts::from_pem(&issued.certificate).unwrap().fingerprint
}

/// Writes beside the file and renames, as editors do, readable by the owner alone.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&beside, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}
