//! How many bytes a second the machines of `proto` and `kim` handle:
//! `cargo bench --bench machines -- --quick`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kimgate::kim::{Login, LoginWarning};
use kimgate::proto::dot::DotScan;
use kimgate::proto::header::HeaderReader;
use kimgate::proto::line::{Framed, next_line};
use kimgate::proto::pop3::AnswerScan;
use kimgate::proto::pop3::command::Command;
use kimgate::proto::sasl::Credentials;
use kimgate::words::Protocol;

const LOGIN: &str =
    "prx@praxis.tm.kim.telematik#mail.tm.kim.telematik:995#Mandant1#ivorisortho#PC1#PRAXIS";
const WANTED: &[&str] = &["X-KIM-Dienstkennung", "Disposition-Notification-To"];
/// How many bytes a session reads at once.
const PIECE: usize = 64 << 10;

criterion_group!(machines, framers, header, logins);
criterion_main!(machines);

/// A message body like an attachment: base64 in lines of 76 characters.
fn body(bytes: usize) -> Vec<u8> {
    b"TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24sIGJ1dCBieSB0aGlz\r\n"
        .iter()
        .copied()
        .cycle()
        .take(bytes)
        .collect()
}

fn framers(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("framers");
    let commands = b"LIST 1\r\nRETR 1\r\nDELE 1\r\nNOOP\r\n".repeat(100);
    group.throughput(Throughput::Bytes(commands.len() as u64));
    group.bench_function("line: commands", |b| {
        b.iter(|| {
            let mut rest = commands.as_slice();
            while let Framed::Line(line) = next_line(black_box(rest), 4096) {
                rest = &rest[line.wire..];
            }
            assert!(rest.is_empty());
        });
    });
    let piece = body(PIECE);
    group.throughput(Throughput::Bytes(piece.len() as u64));
    for (name, scan) in [("strict", DotScan::strict()), ("lenient", DotScan::lenient())] {
        group.bench_function(BenchmarkId::new("dot", name), |b| {
            let mut scan = scan.clone();
            b.iter(|| scan.scan(black_box(&piece)).safe);
        });
    }
    group.bench_function("answer: RETR", |b| {
        let mut scan = AnswerScan::new(&Command::Retr(1), 256 << 10);
        scan.scan(b"+OK\r\nSubject: x\r\n\r\n").unwrap();
        b.iter(|| scan.scan(black_box(&piece)).unwrap().forward);
    });
    group.finish();
}

fn header(bench: &mut Criterion) {
    let fields = "Received: from kim.praxis.local by mail.kim.telematik; Wed, 25 Nov 2026 10:00:00 +0100\r\n";
    let header = format!("{}X-KIM-Dienstkennung: eAU;Lieferung;V1.2\r\n\r\n", fields.repeat(20));
    let mut group = bench.benchmark_group("header");
    group.throughput(Throughput::Bytes(header.len() as u64));
    group.bench_function("20 fields and a service", |b| {
        b.iter(|| {
            let mut reader = HeaderReader::new(WANTED, 256 << 10);
            reader.feed(black_box(header.as_bytes())).unwrap();
            reader.values(WANTED[0]).count()
        });
    });
    group.finish();
}

fn logins(bench: &mut Criterion) {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text).into_bytes();
    let plain = encode(&format!("\0{LOGIN}\0geheim"));
    let mut group = bench.benchmark_group("logins");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("SASL PLAIN", |b| {
        b.iter(|| Credentials::plain(black_box(&plain), true).unwrap());
    });
    group.throughput(Throughput::Bytes(LOGIN.len() as u64));
    group.bench_function("parse", |b| b.iter(|| Login::parse(black_box(LOGIN.as_bytes()))));
    let login = Login::parse(LOGIN.as_bytes());
    group.bench_function("login-warnings", |b| {
        b.iter(|| LoginWarning::all(black_box(&login), Some(Protocol::Pop3), None));
    });
    group.finish();
}
