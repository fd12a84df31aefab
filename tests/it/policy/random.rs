//! Small random configurations and questions, drawn so that every rule decides something.

use kimgate::policy::{
    AccessRules, AccountRules, Authors, Mode, Otherwise, Rules, Subject, User, Workstation,
};
use kimgate::words::Protocol;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::model::Asked;

fn texts(pool: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(pool, 0..=most.min(pool.len()))
        .prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn subjects(pool: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<Subject>> {
    vec(select(pool), 0..=most).prop_map(|l| l.iter().map(|s| s.parse().unwrap()).collect())
}

const WORKSTATIONS: [&str; 3] = ["PC1", "PC2", "PC3"];
const NETWORKS: [&str; 6] = [
    "10.0.0.1/32",
    "10.0.0.77/24",
    "10.0.0.0/8",
    "fd00::/8",
    "::ffff:10.0.0.2/128",
    "::ffff:10.0.1.0/120",
];
const EVERYBODY: &[&str] = &[
    "*",
    "workstation:PC1",
    "workstation:PC2",
    "workstation:PC3",
    "user:anna",
    "user:bert",
    "mandant:M1",
    "mandant:M2",
    "group:g1",
    "group:g2",
    "group:g3",
    "department:d1",
    "department:d2",
];
const SERVERS: &[&[&str]] = &[&["*"], &["H"], &["h", "*.telematik"], &["*.telematik"]];
const LOGINS: &[&str] = &["a@x", "A@X#h:1#M1#C#W1#U1", "b@x#h:1#M2##W2", "a@x#h:1#M1#C#W1"];

prop_compose! {
    fn some_workstations()(
        networks in vec(option::of(0..3usize), NETWORKS.len()),
        certificates in vec(option::of(0..3usize), 2),
        workplaces in vec(option::of(texts(&["W1", "W2"], 2)), 3),
        logins in vec(option::weighted(0.2, texts(LOGINS, 3)), 3),
    ) -> Vec<Workstation> {
        let owned = |owners: &[Option<usize>], at| {
            (0..owners.len()).filter(|&n| owners[n] == Some(at)).collect::<Vec<_>>()
        };
        (0..3).map(|at| Workstation {
            addresses: owned(&networks, at).iter().map(|&n| NETWORKS[n].parse().unwrap()).collect(),
            certificates: owned(&certificates, at).iter().map(|n| format!("C{n}")).collect(),
            workplaces: workplaces[at].clone(),
            logins: logins[at].clone(),
        }).collect()
    }
}

prop_compose! {
    fn a_user()(
        certificates in texts(&["c0", "C1", "person"], 1),
        workstations in texts(&WORKSTATIONS, 1),
        user_ids in texts(&["U1", "U2"], 1),
    ) -> User {
        User { certificates, workstations, user_ids }
    }
}

prop_compose! {
    fn an_access(most: usize)(
        allow in subjects(EVERYBODY, most),
        deny in subjects(EVERYBODY, 1),
    ) -> AccessRules {
        AccessRules { allow, deny }
    }
}

prop_compose! {
    fn an_account()(
        client_module in option::of(select(&["main", "other"][..])),
        retired in prop::bool::weighted(0.1),
        access in an_access(3),
        receive in an_access(1),
        delete in an_access(1),
        send in an_access(1),
        services in option::of(texts(&["eAU;*", "KIM-Mail;*", "*"], 2)),
        recipients in option::of(texts(&["*.kim", "r?@y"], 2)),
        senders in texts(&["s@*", "<>", "b?x"], 2),
        only in btree_map(select(&["eAU;*", "*;*", "KIM-Mail;*"][..]), subjects(EVERYBODY, 2), 0..=2),
    ) -> AccountRules {
        let client_module = client_module.map(str::to_owned);
        let only = only.into_iter().map(|(pattern, list)| (pattern.to_owned(), list)).collect();
        AccountRules {
            client_module, retired, access, receive, delete, send, services, only, recipients,
            senders, from: Authors::Any,
        }
    }
}

fn otherwise() -> impl Strategy<Value = Otherwise> {
    select(&[Otherwise::Allow, Otherwise::Deny][..])
}

prop_compose! {
    pub(crate) fn some_rules()(
        mode in select(&[Mode::Enforce, Mode::Enforce, Mode::Observe][..]),
        login_servers in select(SERVERS),
        switches in [otherwise(), otherwise(), otherwise()],
        workstations in some_workstations(),
        users in vec(a_user(), 2),
        groups in vec(subjects(EVERYBODY, 2), 3),
        departments in vec(subjects(EVERYBODY, 2), 2),
        accounts in btree_map(select(&["A@x", "b@x"][..]), an_account(), 0..=2),
    ) -> Rules {
        let named = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        Rules {
            mode,
            unknown_workstations: switches[0],
            unknown_accounts: switches[1],
            logins_without_context: switches[2],
            login_servers: named(login_servers),
            workstations: named(&WORKSTATIONS).into_iter().zip(workstations).collect(),
            users: named(&["anna", "bert"]).into_iter().zip(users).collect(),
            groups: named(&["g1", "g2", "g3"]).into_iter().zip(groups).collect(),
            departments: named(&["d1", "d2"]).into_iter().zip(departments).collect(),
            accounts: accounts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            client_modules: named(&["aaa", "main", "other"]),
        }
    }
}

fn some_login() -> impl Strategy<Value = String> {
    let address = select(&["a@x", "A@X", "a@x", "b@x", "c@x", ""][..]);
    let tail = select(
        &[
            "",
            "#",
            "#h:1",
            "#h:1#M1",
            "#h:1##C#W1",
            "#h:1#M1#C#W1",
            "#h#M3#C#W2#*",
            "#\t#M1",
            "#m.telematik;995#M1#C#W1",
            "#h:1@evil:1#M1#C#W1",
            "#M1#W1#W2#W1",
        ][..],
    );
    let user = select(&["", "", "#U1", "#U2"][..]);
    let made = (address, tail, user).prop_map(|(address, tail, user)| {
        format!("{address}{tail}{}", if tail.len() > 8 { user } else { "" })
    });
    prop_oneof![3 => made, 1 => select(LOGINS).prop_map(str::to_owned)]
}

prop_compose! {
    pub(crate) fn a_question()(
        peer in select(&[
            "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "10.9.9.9",
            "fd00::1", "192.168.0.1",
        ][..]),
        certificates in texts(&["c1", "C0", "Person", "nobody"], 2),
        login in some_login(),
        protocol in select(&[Protocol::Pop3, Protocol::Smtp][..]),
        sender in select(&["", "a@X", "s@y", "b@x", "s"][..]),
        recipient in select(&["R1@y", "r@y", "q@z.kim", "q@z.kim.de"][..]),
        service in select(&["", "EAU;Lieferung;V1.2", "KIM-Mail;x", "Foo", "=?utf-8?Q?eAU?=", "eAU;x, y"][..]),
    ) -> Asked {
        let (sender, recipient, service) = (sender.into(), recipient.into(), service.into());
        let peer = peer.parse().unwrap();
        Asked { peer, certificates, login, protocol, sender, recipient, service }
    }
}
