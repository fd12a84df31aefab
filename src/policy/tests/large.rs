//! Ten thousand workstations, users and accounts.

use super::*;

/// Ten thousand workstations, users and accounts, a thousand groups, nested five deep.
fn large_practice() -> Rules {
    let mut rules = practice();
    for n in 0..10_000u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        rules.workstations.insert(
            format!("W{n}"),
            Workstation {
                addresses: vec![format!("{address}/32").parse().unwrap()],
                certificates: vec![format!("w{n}.local")],
                workplaces: Some(vec![format!("P{n}")]),
                logins: None,
            },
        );
        rules.users.insert(
            format!("u{n}"),
            User { workstations: vec![format!("W{n}")], ..User::default() },
        );
        rules.accounts.insert(
            format!("a{n}@x.kim.telematik"),
            AccountRules {
                access: AccessRules {
                    allow: vec![Subject::Group(format!("g{}", 800 + n % 200))],
                    deny: vec![Subject::Workstation(format!("W{}", (n + 1) % 10_000))],
                },
                ..AccountRules::default()
            },
        );
    }
    for n in 0..1_000 {
        let members = match n {
            0..200 => (0..50).map(|k| Subject::User(format!("u{}", n + 200 * k))).collect(),
            _ => vec![Subject::Group(format!("g{}", n - 200))],
        };
        rules.groups.insert(format!("g{n}"), members);
    }
    rules
}

#[test]
fn ten_thousand_of_everything_get_the_right_answer() {
    let policy = Policy::compile(large_practice()).unwrap();
    let ask = |workstation: u32, account: u32| {
        let peer = std::net::Ipv4Addr::from(0x0a00_0000 + workstation);
        let station = policy.station(peer.into(), &[]);
        let login = format!("a{account}@x.kim.telematik#mail.kim.telematik:1#M#C#P{workstation}");
        let login = Login::parse(login.as_bytes());
        let request = Request { station: &station, login: &login, protocol: Protocol::Pop3 };
        policy.decide(&request).map(|_| ()).map_err(|denial| denial.reason)
    };
    for n in (0..10_000).step_by(7) {
        assert_eq!(ask(n, n), Ok(()), "{n}");
        assert_eq!(ask(n, (n + 200) % 10_000), Ok(()), "{n}");
        assert_eq!(ask(n, (n + 1) % 200), Err(Reason::NotAllowed), "{n}");
        assert_eq!(ask((n + 1) % 10_000, n), Err(Reason::Denied), "{n}");
    }
}
