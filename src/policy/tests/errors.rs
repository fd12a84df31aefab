//! Every rule error at once.

use super::*;

#[test]
fn every_problem_is_named_at_once_with_its_key() {
    let mut rules = practice();
    rules.client_modules = texts(&["haupt"]);
    let pc2 = rules.workstations.get_mut("PC2").unwrap();
    pc2.addresses.push("::ffff:192.168.0.31/128".parse().unwrap());
    pc2.certificates.push("PC1.praxis.local".into());
    pc2.workplaces = Some(texts(&[""]));
    rules.users.get_mut("anna").unwrap().workstations.push("PC9".into());
    rules.users.get_mut("anna").unwrap().user_ids.push(String::new());
    rules.groups.insert("a".into(), subjects(&["department:b", "user:ana"]));
    rules.departments.insert("b".into(), subjects(&["group:a"]));
    let prx = account(&mut rules);
    prx.client_module = Some("hauptt".into());
    prx.receive.allow = subjects(&["group:rezepton", "department:zzz"]);
    prx.senders = texts(&[""]);
    rules.accounts.insert("prx@PRAXIS.kim.telematik".into(), AccountRules::default());
    rules.accounts.insert("x@y#1".into(), AccountRules::default());
    let told: Vec<String> =
        Policy::compile(rules).unwrap_err().iter().map(RuleError::to_string).collect();
    let expected = [
        "groups.a.members: \"user:ana\" does not exist; did you mean \"anna\"?",
        "groups.a.members: its members lead back to itself: group:a > department:b > group:a; \
         take one of these steps out",
        "workstations.PC2.addresses: 192.168.0.31/32 belongs to workstation \"PC1\" already; \
         one of the two must change",
        "workstations.PC2.certificates: certificate \"PC1.praxis.local\" belongs to workstation \
         \"PC1\" already; one must change",
        "workstations.PC2.workplaces: an empty entry matches nothing; take it out; to admit logins \
         without a WorkplaceId, leave the list out",
        "users.anna.workstations: \"workstation:PC9\" does not exist; did you mean \"PC2\"?",
        "users.anna.user_ids: an empty entry matches nothing; take it out",
        "accounts.\"Prx@praxis.kim.telematik\".client_module: there is no client module \
         \"hauptt\"; did you mean \"haupt\"?",
        "accounts.\"Prx@praxis.kim.telematik\".send.senders: an empty entry matches nothing; take \
         it out; the null sender is written \"<>\"",
        "accounts.\"Prx@praxis.kim.telematik\".receive.allow: \"group:rezepton\" does not exist; \
         did you mean \"rezeption\"?",
        "accounts.\"Prx@praxis.kim.telematik\".receive.allow: \
         \"department:zzz\" does not exist; correct the name, or add a table with it",
        "accounts.\"prx@PRAXIS.kim.telematik\": this is the same account as \
         \"Prx@praxis.kim.telematik\": case does not count; merge the two",
        "accounts.\"x@y#1\": no login can name this account; write the mail address alone, \
         without \"#\", blanks around it or control characters",
    ];
    assert_eq!(told, expected);
    let errors = Policy::compile(Rules::default()).unwrap_err();
    assert_eq!(errors[0].problem, Problem::NoClientModule);
    assert_eq!(errors[0].key, ["client_modules"]);
}
