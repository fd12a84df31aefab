//! The time for a decision, and for loading the rules, in a hospital: 10,000 workstations, users and
//! accounts, and 1,000 groups nested five deep. `cargo bench --bench policy -- --quick`.
//!
//! A decision may take 5 us, and loading a second.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kimgate::kim::Login;
use kimgate::policy::{AccountRules, Policy, Request, Rules, Subject, User, Workstation};
use kimgate::words::Protocol;

const MANY: usize = 10_000;
const GROUPS: usize = 1_000;
const DEPTH: usize = 5;

criterion_group!(policy, hospital);
criterion_main!(policy);

fn hospital(bench: &mut Criterion) {
    let rules = rules();
    let policy = Policy::compile(rules.clone()).unwrap();
    let mut group = bench.benchmark_group("policy");
    // A workstation in the middle of the list, and one with the same account that no group admits.
    for (name, peer) in [("admitted", 5_000), ("refused", 7_777)] {
        let login = Login::parse(b"a5000@praxis.kim.telematik#mail.kim.telematik:995#M#C#W5000");
        let station = policy.station(address(peer), &[]);
        let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
        assert_eq!(policy.decide(&request).is_ok(), name == "admitted");
        group.bench_function(format!("decide: {name}"), |b| {
            b.iter(|| policy.decide(black_box(&request)).is_ok());
        });
    }
    group.bench_function("find the workstation", |b| {
        b.iter(|| policy.station(black_box(address(5_000)), &[]));
    });
    group.sample_size(10);
    group.bench_function("compile", |b| {
        b.iter_batched(
            || rules.clone(),
            |rules| Policy::compile(rules).unwrap(),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn address(n: usize) -> std::net::IpAddr {
    std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap()).into()
}

fn rules() -> Rules {
    let workstation = |n: usize| Workstation {
        addresses: vec![address(n).into()],
        workplaces: Some(vec![format!("W{n}")]),
        ..Workstation::default()
    };
    let user = |n: usize| User { workstations: vec![format!("PC{n}")], ..User::default() };
    // Chains of five: each group has ten users and the group before it.
    let group = |n: usize| {
        let members = (0..MANY / GROUPS).map(|k| Subject::User(format!("u{}", n * 10 + k)));
        let inner = (!n.is_multiple_of(DEPTH)).then(|| Subject::Group(format!("g{}", n - 1)));
        members.chain(inner).collect::<Vec<_>>()
    };
    let account = |n: usize| {
        let mut rules = AccountRules::default();
        let outermost = n / 10 / DEPTH * DEPTH + DEPTH - 1;
        rules.access.allow = vec![Subject::Group(format!("g{outermost}"))];
        rules.receive.deny = vec![Subject::Mandant("gesperrt".into())];
        rules
    };
    Rules {
        workstations: (0..MANY).map(|n| (format!("PC{n}"), workstation(n))).collect(),
        users: (0..MANY).map(|n| (format!("u{n}"), user(n))).collect(),
        groups: (0..GROUPS).map(|n| (format!("g{n}"), group(n))).collect(),
        accounts: (0..MANY).map(|n| (format!("a{n}@praxis.kim.telematik"), account(n))).collect(),
        client_modules: vec!["main".into()],
        ..Rules::default()
    }
}
