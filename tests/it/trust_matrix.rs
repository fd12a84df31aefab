//! The verdict on nearly a hundred certificates, most of them odd, under every policy, in real
//! handshakes with `openssl s_server`. The table is tests/trust_matrix.txt;
//! `cargo test --test it trust_matrix:: -- --nocapture` prints what was found.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::pki::{Made, Pki, Recipe, Server};
use kimgate::trust::{Class, ClientModuleTrust, UpstreamTls, Verdict, verdict_of};
use kimgate::words::Language;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::pki;

const TABLE: &str = include_str!("../trust_matrix.txt");

/// One certificate and what is expected of it.
#[cfg_attr(feature = "brainpool", expect(dead_code, reason = "key and by matter without"))]
struct Row {
    name: &'static str,
    versions: Vec<&'static str>,
    alone: &'static str,
    rooted: &'static str,
    accepted: &'static str,
    roots: &'static str,
    host: &'static str,
    key: String,
    by: String,
}

/// The policies, in the table's order, with the letter that says "accepted".
const POLICIES: [(char, &str); 10] = [
    ('s', "strict"),
    ('i', "ignore self-signed"),
    ('n', "ignore name-mismatch"),
    ('b', "ignore both"),
    ('S', "strict, with roots"),
    ('I', "ignore self-signed, with roots"),
    ('N', "ignore name-mismatch, with roots"),
    ('B', "ignore both, with roots"),
    ('p', "pinned"),
    ('P', "pinned, with roots"),
];

#[test]
fn every_certificate_gets_the_verdict_that_the_table_says() {
    if !pki::openssl_is_here() {
        return;
    }
    let mut pki = Pki::new();
    let rows = read(&mut pki);
    assert!(rows.len() >= 60, "the table has shrunk to {} rows", rows.len());

    let next = AtomicUsize::new(0);
    let reports = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = runtime.block_on(examine(&pki, row));
                    reports.lock().unwrap().push((row.name, report));
                }
            });
        }
    });

    let reports = reports.into_inner().unwrap();
    let mut faults = String::new();
    for row in &rows {
        let (_, report) = reports.iter().find(|(name, _)| *name == row.name).unwrap();
        println!("{}", report.line);
        faults.push_str(&report.faults);
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// What was found for one certificate.
struct Report {
    line: String,
    faults: String,
}

async fn examine(pki: &Pki, row: &Row) -> Report {
    let made = pki.get(row.name);
    let mut report = Report { line: String::new(), faults: String::new() };
    let mut shown = vec![];
    let versions = if row.versions.is_empty() { vec!["-"] } else { row.versions.clone() };
    for &version in &versions {
        let server = (version != "-").then(|| serve(made, version));
        let mut accepted = String::new();
        let mut classes = vec![];
        for (letter, policy) in POLICIES {
            let trust = trust(pki, row, policy);
            let verdict = verdict(&trust, row.host, made, server.as_ref()).await;
            accepted.push(if verdict.accepted { letter } else { '.' });
            check_sentence(row, &verdict, &mut report.faults);
            classes.push(labelled(&verdict));
        }
        let (alone, rooted) = (classes[0].clone(), classes[4].clone());
        if (alone.as_str(), rooted.as_str(), accepted.as_str())
            != (row.alone, row.rooted, row.accepted)
        {
            writeln!(
                report.faults,
                "{} in TLS {version}: wanted {} {} {}, found {alone} {rooted} {accepted}",
                row.name, row.alone, row.rooted, row.accepted
            )
            .unwrap();
        }
        shown.push((alone, rooted, accepted));
    }
    let (alone, rooted, accepted) = &shown[0];
    let tls = versions.join(",");
    report.line = format!("{:<25}{tls:<8}{alone:<32}{rooted:<32}{accepted}", row.name);
    report
}

/// The verdict of a handshake, or of the judge alone where there cannot be a handshake.
async fn verdict(
    trust: &ClientModuleTrust,
    host: &str,
    made: &Made,
    server: Option<&Server>,
) -> Verdict {
    let tls = UpstreamTls::load(trust, host).unwrap();
    let Some(server) = server else {
        return tls.judge(&[CertificateDer::from(made.der.clone())], UnixTime::now());
    };
    let stream = TcpStream::connect(server.address).await.unwrap();
    match TlsConnector::from(tls.client_config()).connect(tls.server_name(), stream).await {
        Ok(stream) => {
            Verdict::clone(&tls.verdict(stream.get_ref().1.peer_certificates().unwrap_or_default()))
        }
        Err(error) => verdict_of(&error).unwrap_or_else(|| panic!("{host}: {error}")),
    }
}

/// openssl would refuse the weak ones itself at its usual level.
fn serve(made: &Made, version: &str) -> Server {
    let only = if version == "1.2" { "-tls1_2" } else { "-tls1_3" };
    Server::start(made, &[only, "-cipher", "DEFAULT@SECLEVEL=0"]).unwrap()
}

fn trust(pki: &Pki, row: &Row, policy: &str) -> ClientModuleTrust {
    let mut trust = ClientModuleTrust { language: Language::En, ..Default::default() };
    trust.ignore_self_signed = policy.contains("self-signed") || policy.contains("both");
    trust.ignore_name_mismatch = policy.contains("name-mismatch") || policy.contains("both");
    if policy.contains("roots") {
        let roots = if row.roots == "itself" { row.name } else { row.roots };
        trust.ca = vec![pki.get(roots).certificate.clone()];
    }
    if policy.contains("pinned") {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pki.get(row.name).der);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        trust.pins = vec![format!("sha256:{hex}").parse().unwrap()];
    }
    trust
}

fn labelled(verdict: &Verdict) -> String {
    let above = verdict.certificate.as_ref().is_some_and(|facts| facts.issuer_at_fault);
    format!("{}{}", verdict.class, if above { "^" } else { "" })
}

/// Every verdict has a sentence, with the fingerprint wherever there is a certificate.
fn check_sentence(row: &Row, verdict: &Verdict, faults: &mut String) {
    let sentence = verdict.sentence(Language::De);
    let readable = verdict.class == Class::Malformed || sentence.contains("sha256:");
    if !(readable && sentence.is_ascii() && sentence.contains(verdict.class.as_str())) {
        writeln!(faults, "{}: {sentence}", row.name).unwrap();
    }
}

/// Reads the table and makes what it describes.
fn read(pki: &mut Pki) -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut rows = vec![];
    for line in lines {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if let Some(name) = first.strip_prefix('+') {
            let recipe: String = words.collect::<Vec<_>>().join(" ");
            pki.make(name, &recipe.parse().unwrap());
            continue;
        }
        let [tls, alone, rooted, accepted] = std::array::from_fn(|_| words.next().unwrap());
        let (mut roots, mut host, mut recipe) = ("ca", "kim.test", String::new());
        for word in words {
            match word.split_once('=') {
                Some(("roots", name)) => roots = name,
                Some(("host", name)) => host = name,
                _ => write!(recipe, "{word} ").unwrap(),
            }
        }
        let recipe: Recipe = recipe.parse().unwrap();
        pki.make(first, &recipe);
        let versions = if tls == "-" { vec![] } else { tls.split(',').collect() };
        let Recipe { key, by, .. } = recipe;
        let row = Row { name: first, versions, alone, rooted, accepted, roots, host, key, by };
        rows.push(without_brainpool(row));
    }
    rows
}

/// A build without brainpool cannot shake hands with such a key, nor check its signatures.
#[cfg(not(feature = "brainpool"))]
fn without_brainpool(mut row: Row) -> Row {
    if row.key.starts_with("bp") {
        (row.versions, row.alone, row.rooted) = (vec![], "brainpool", "brainpool");
        row.accepted = "..........";
    } else if row.by == "ca-brainpool" {
        (row.rooted, row.accepted) = ("brainpool^", "........pP");
    }
    row
}

#[cfg(feature = "brainpool")]
fn without_brainpool(row: Row) -> Row {
    row
}
