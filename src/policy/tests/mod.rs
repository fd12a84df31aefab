//! Each rule with its reason, each rule error, and a practice of ten thousand of everything.

mod errors;
mod explain;
mod large;
mod login;
mod session;

use std::collections::BTreeMap;

use super::*;
use crate::kim::Login;
use crate::words::{Action, Protocol, Reason};

const LOGIN: &str = "prx@praxis.kim.telematik#mail.kim.telematik:995#Mandant1#pvs#PC1#ARZT";
const KEY: &str = "accounts.\"Prx@praxis.kim.telematik\"";

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

fn subjects(list: &[&str]) -> Vec<Subject> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// A practice where everything that the tests ask for is allowed until they change something.
fn practice() -> Rules {
    let workstation = |address: &str, certificate: &str| Workstation {
        addresses: vec![format!("{address}/32").parse().unwrap()],
        certificates: texts(&[certificate]),
        ..Workstation::default()
    };
    Rules {
        workstations: BTreeMap::from([
            ("PC1".into(), workstation("192.168.0.31", "pc1.praxis.local")),
            ("PC2".into(), workstation("192.168.0.32", "pc2.praxis.local")),
        ]),
        users: BTreeMap::from([
            ("anna".into(), User { workstations: texts(&["PC2"]), ..User::default() }),
            ("dr.mueller".into(), User { user_ids: texts(&["ARZT"]), ..User::default() }),
        ]),
        groups: BTreeMap::from([("rezeption".into(), subjects(&["user:anna"]))]),
        departments: BTreeMap::from([("kfo".into(), subjects(&["group:rezeption"]))]),
        accounts: BTreeMap::from([("Prx@praxis.kim.telematik".into(), AccountRules::default())]),
        client_modules: texts(&["main"]),
        ..Rules::default()
    }
}

fn account(rules: &mut Rules) -> &mut AccountRules {
    rules.accounts.get_mut("Prx@praxis.kim.telematik").unwrap()
}

fn pc1(rules: &mut Rules) -> &mut Workstation {
    rules.workstations.get_mut("PC1").unwrap()
}

fn decide(rules: Rules, from: &str, login: &str, protocol: Protocol) -> Result<Permit, Denial> {
    let policy = Policy::compile(rules).unwrap();
    let station = policy.station(from.parse().unwrap(), &[]);
    let login = Login::parse(login.as_bytes());
    policy.decide(&Request { station: &station, login: &login, protocol })
}

fn from_pc1(rules: Rules, protocol: Protocol) -> Result<Permit, Denial> {
    decide(rules, "192.168.0.31", LOGIN, protocol)
}

type Change = fn(&mut Rules);
