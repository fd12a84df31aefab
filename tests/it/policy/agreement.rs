//! One question, three answers: `decide` with `explain`, the gateway at the wire, and the model.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use kimgate::kim::Login;
use kimgate::policy::{
    Denial, Judgement, Mode, Outcome, Policy, Problem, Request, Rules, StepName, Wish,
};
use kimgate::trust::Authority;
use kimgate::words::{Action, Protocol, Reason, Security};
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::model::{Asked, Model, Told, is_cyclic, refusal, up_to_refusal};
use super::random::{a_question, some_rules};
use crate::support::cli;
use crate::support::dialogue::{Client, PASSWORD, auth_plain};
use crate::support::transcript::Listener;
use crate::support::world::{PC1, World};

/// Configurations that one running gateway is reloaded with; half of them have cycles and are refused.
const CONFIGURATIONS: usize = 110;
/// Connections under each of them, with three logins at the most.
const VISITS: usize = 10;

#[test]
fn decide_and_explain_answer_as_the_text_of_the_contract() {
    let cases = (some_rules(), vec(a_question(), 6));
    let outcome = runner(3000).run(&cases, |(rules, questions)| {
        match Policy::compile(rules.clone()) {
            Err(errors) => {
                let cycles_only = errors.iter().all(|e| matches!(e.problem, Problem::Cycle { .. }));
                assert!(cycles_only && is_cyclic(&rules), "{errors:?}");
            }
            Ok(policy) => {
                assert!(!is_cyclic(&rules));
                for asked in &questions {
                    compare(&policy, &Model::new(&rules, asked));
                }
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_at_the_wire_answers_as_explain_and_as_the_text_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::new("practice").unwrap());
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
    let around = around(&folder.path().join("ca.pem"));
    let lines: Vec<&str> = around.iter().map(String::as_str).collect();
    let plain = |sim: &mut kimgate::sim::SimConfig| {
        sim.security = Security::None;
        sim.mailbox_in_use = None;
    };
    // Every line is compared, so repeated refusals must not become one.
    let world = World::tuned(&lines, plain, |config| config.observe.audit.repeats = true);
    let world = Arc::new(world.await);
    let around = [around, other_modules(&world)].concat();
    let mut runner = runner(1);
    let (mut expected, mut logins) = (HashMap::new(), 0);
    for _ in 0..CONFIGURATIONS {
        let rules = Arc::new(draw(&some_rules(), &mut runner));
        let text = [around.join("\n"), written(&rules)].join("\n");
        let reloaded = world.put_in_force(&text);
        if is_cyclic(&rules) {
            assert!(reloaded.is_err(), "a cycle was taken");
            continue;
        }
        assert_eq!(reloaded, Ok(()), "{text}");
        let policy = Policy::compile(Rules::clone(&rules)).unwrap();
        let mut visits = JoinSet::new();
        for _ in 0..VISITS {
            let visit = Visit::draw(&mut runner, &rules);
            for asked in &visit.questions {
                compare(&policy, &Model::new(&rules, asked));
            }
            visits.spawn(visit.pay(world.clone(), authority.clone()));
        }
        let first = draw(&a_question(), &mut runner);
        ask_the_command(&world, &Model::new(&rules, &first));
        while let Some(paid) = visits.join_next().await {
            let paid = paid.unwrap();
            logins += paid.logins;
            expected.insert(paid.port, paid.told);
        }
    }
    println!("{logins} logins and {} connections at the wire", expected.len());
    assert!(logins > CONFIGURATIONS * VISITS / 3, "only {logins} logins");
    compare_audit(&world.audit().await, &expected);
}

/// Draws the same for the same seed, which a failure shows: KIMGATE_SEED=<16 hexadecimal digits>.
fn runner(cases: u32) -> TestRunner {
    let seed = std::env::var("KIMGATE_SEED").ok();
    let seed = seed.map_or_else(rand::random, |seed| u64::from_str_radix(&seed, 16).unwrap());
    println!("KIMGATE_SEED={seed:016x}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn draw<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

fn compare(policy: &Policy, model: &Model<'_>) {
    compare_decisions(policy, model);
    compare_explanations(policy, model);
}

fn facts_of(denial: &Denial) -> (Reason, String) {
    (denial.reason, denial.rule.to_string())
}

fn judged(mode: Mode, judgement: Judgement) -> Option<(Reason, String)> {
    match (mode, judgement) {
        (_, Judgement::Pass) => None,
        (Mode::Enforce, Judgement::Refuse(denial))
        | (Mode::Observe, Judgement::Observe(denial)) => Some(facts_of(&denial)),
        (mode, judgement) => panic!("{judgement:?} in {mode:?}"),
    }
}

fn compare_decisions(policy: &Policy, model: &Model<'_>) {
    let (rules, asked) = (model.rules, model.asked);
    let station = policy.station(asked.peer, &asked.certificates);
    assert_eq!(station.name(), model.workstation.map(String::as_str));
    let login = Login::parse(asked.login.as_bytes());
    let request = Request { station: &station, login: &login, protocol: asked.protocol };

    let expected = refusal(&up_to_refusal(model.login_steps()));
    let permit = match policy.decide(&request) {
        Err(denial) => {
            assert_eq!(rules.mode, Mode::Enforce);
            return assert_eq!(Some(facts_of(&denial)), expected);
        }
        Ok(permit) => permit,
    };
    assert_eq!(permit.would_deny().map(facts_of), expected);
    assert!(permit.would_deny().is_none() || rules.mode == Mode::Observe);
    assert!(permit.users().iter().map(AsRef::as_ref).eq(model.users.iter()));
    assert_eq!(permit.client_module(), model.client_module());
    assert_eq!(permit.known_account(), model.account.is_some());
    let [sender, recipient, service, only] = model.message_steps();
    assert_eq!(judged(rules.mode, permit.judge_sender(&asked.sender)), refusal(&[sender]));
    assert_eq!(judged(rules.mode, permit.judge_recipient(&asked.recipient)), refusal(&[recipient]));
    let reserved = model.account.is_some_and(|(_, account)| !account.only.is_empty());
    assert_eq!(permit.needs_service(), service.1 != Outcome::NoRule || reserved);
    let given = Some(asked.service.as_str()).filter(|service| !service.is_empty());
    assert_eq!(
        judged(rules.mode, permit.judge_service(given)),
        refusal(&up_to_refusal([service, only]))
    );
    let delete = up_to_refusal(model.lists(Action::Delete));
    assert_eq!(judged(rules.mode, permit.judge_delete()), refusal(&delete));
}

fn compare_explanations(policy: &Policy, model: &Model<'_>) {
    let asked = model.asked;
    let station = policy.station(asked.peer, &asked.certificates);
    let login = Login::parse(asked.login.as_bytes());
    let request = Request { station: &station, login: &login, protocol: asked.protocol };
    let sending = Wish {
        action: None,
        sender: Some(&asked.sender),
        recipient: Some(&asked.recipient),
        service: Some(&asked.service),
        author: None,
    };
    let deleting = Wish { action: Some(Action::Delete), ..Wish::default() };
    let further: [(Wish<'_>, Vec<Told>); 3] = [
        (Wish::default(), vec![]),
        (sending, model.message_steps().to_vec()),
        (deleting, model.lists(Action::Delete).to_vec()),
    ];
    for (wish, further) in further {
        if wish.action == Some(Action::Delete) && asked.protocol != Protocol::Pop3 {
            continue;
        }
        let expected = up_to_refusal(model.login_steps().into_iter().chain(further));
        let explanation = policy.explain(&request, &wish);
        let told: Vec<Told> =
            explanation.steps.iter().map(|s| (s.name, s.outcome, s.rule.to_string())).collect();
        assert_eq!(told, expected);
        assert_eq!(explanation.denial.as_ref().map(facts_of), refusal(&expected));
        let passes = refusal(&expected).is_none() || model.rules.mode == Mode::Observe;
        assert_eq!(explanation.allowed(), passes);
        assert_eq!(&*explanation.client_module, model.client_module());
        assert_eq!(explanation.workstation.as_deref(), model.workstation.map(String::as_str));
        assert!(explanation.users.iter().map(AsRef::as_ref).eq(model.users.iter()));
    }
}

/// What the running gateway needs besides the rules: a trusted proxy says who a visitor is.
fn around(ca: &std::path::Path) -> Vec<String> {
    let mut lines = vec![
        r#"tls.client_certificates = "optional""#.to_owned(),
        format!("tls.client_ca = {ca:?}"),
        r#"client_modules.main.tls = "none""#.to_owned(),
        r#"contexts.mode = "off""#.to_owned(),
        r#"mailboxes.wait = "0s""#.to_owned(),
        "limits.connection_rate = 0".to_owned(),
    ];
    for listener in ["pop3-implicit", "pop3-plain", "smtp-implicit", "smtp-plain"] {
        lines.push(format!("listeners.{listener}.proxy_protocol_from = [\"127.0.0.0/8\"]"));
    }
    lines
}

/// Names of client modules that accounts go to; the same one answers for all of them.
fn other_modules(world: &World) -> Vec<String> {
    let (pop3, smtp) = (world.sim.pop3_addr().port(), world.sim.smtp_addr().port());
    let module = |name| {
        format!(
            "client_modules.{name} = {{ host = \"127.0.0.1\", tls = \"none\", pop3_port = {pop3}, \
             smtp_port = {smtp} }}"
        )
    };
    ["aaa", "other"].map(module).to_vec()
}

/// The rules as an operator would write them.
fn written(rules: &Rules) -> String {
    let mut lines = vec![
        format!(
            "policy.mode = {:?}",
            if rules.mode == Mode::Enforce { "enforce" } else { "observe" }
        ),
        format!("policy.unknown_workstations = {:?}", word(rules.unknown_workstations)),
        format!("policy.unknown_accounts = {:?}", word(rules.unknown_accounts)),
        format!("policy.login_servers = {:?}", rules.login_servers),
        format!("policy.logins_without_context = {:?}", word(rules.logins_without_context)),
    ];
    for (name, workstation) in &rules.workstations {
        let key = format!("workstations.{name}");
        lines.push(format!("{key}.addresses = {:?}", texts(&workstation.addresses)));
        lines.push(format!("{key}.certificates = {:?}", workstation.certificates));
        for (list, entries) in
            [("workplaces", &workstation.workplaces), ("logins", &workstation.logins)]
        {
            lines.extend(entries.iter().map(|entries| format!("{key}.{list} = {entries:?}")));
        }
    }
    for (name, user) in &rules.users {
        lines.push(format!("users.{name}.certificates = {:?}", user.certificates));
        lines.push(format!("users.{name}.workstations = {:?}", user.workstations));
        lines.push(format!("users.{name}.user_ids = {:?}", user.user_ids));
    }
    for (kind, all) in [("groups", &rules.groups), ("departments", &rules.departments)] {
        for (name, members) in all {
            lines.push(format!("{kind}.{name}.members = {:?}", texts(members)));
        }
    }
    for (address, account) in &rules.accounts {
        let key = format!("accounts.{address:?}");
        lines.push(format!("{key}.retired = {}", account.retired));
        let module = account.client_module.iter();
        lines.extend(module.map(|module| format!("{key}.client_module = {module:?}")));
        for (action, access) in [
            ("", &account.access),
            (".receive", &account.receive),
            (".delete", &account.delete),
            (".send", &account.send),
        ] {
            lines.push(format!("{key}{action}.allow = {:?}", texts(&access.allow)));
            lines.push(format!("{key}{action}.deny = {:?}", texts(&access.deny)));
        }
        lines.push(format!("{key}.send.senders = {:?}", account.senders));
        for (pattern, subjects) in &account.only {
            lines.push(format!("{key}.send.only.{pattern:?} = {:?}", texts(subjects)));
        }
        for (list, entries) in
            [("services", &account.services), ("recipients", &account.recipients)]
        {
            lines.extend(entries.iter().map(|entries| format!("{key}.send.{list} = {entries:?}")));
        }
    }
    lines.join("\n")
}

fn word(otherwise: kimgate::policy::Otherwise) -> &'static str {
    match otherwise {
        kimgate::policy::Otherwise::Allow => "allow",
        kimgate::policy::Otherwise::Deny => "deny",
    }
}

fn texts(list: &[impl ToString]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// One connection: the same workstation and protocol throughout, several logins.
struct Visit {
    rules: Arc<Rules>,
    /// The port that the proxy names; no other connection has it.
    port: u16,
    questions: Vec<Asked>,
}

/// A visit that is over.
struct Paid {
    port: u16,
    logins: usize,
    /// What the audit has to say of it.
    told: Vec<AuditLine>,
}

/// What the audit has to say of a login, sender, recipient, service or deletion.
#[derive(Debug, PartialEq, Eq)]
struct AuditLine {
    event: &'static str,
    action: &'static str,
    reason: Option<&'static str>,
    would_deny: Option<&'static str>,
    /// Of a refusal; of a login that passes the model says nothing.
    rule: Option<String>,
}

impl AuditLine {
    fn new(step: Option<&Told>, passed: Option<Action>, mode: Mode) -> Self {
        let refused = step.and_then(|(name, outcome, rule)| match outcome {
            Outcome::Refuse(reason) => Some((action_of(*name), reason.as_str(), rule.clone())),
            Outcome::Pass | Outcome::NoRule => None,
        });
        match (refused, mode) {
            (Some((action, reason, rule)), Mode::Enforce) => Self {
                event: "denied",
                action: action.as_str(),
                reason: Some(reason),
                would_deny: None,
                rule: Some(rule),
            },
            (Some((action, reason, rule)), Mode::Observe) => Self {
                event: if passed.is_some() { "login" } else { "denied" },
                action: passed.unwrap_or(action).as_str(),
                reason: None,
                would_deny: Some(reason),
                rule: passed.is_none().then_some(rule),
            },
            (None, _) => {
                Self { event: "login", action: "login", reason: None, would_deny: None, rule: None }
            }
        }
    }

    /// Whether this is what the audit says.
    fn is(&self, line: &Value) -> bool {
        line["event"] == self.event
            && line["action"] == self.action
            && line["reason"].as_str() == self.reason
            && line["would_deny"].as_str() == self.would_deny
            && self.rule.as_ref().is_none_or(|rule| line["rule"] == **rule)
    }
}

fn action_of(step: StepName) -> Action {
    match step {
        StepName::ActionDeny(action) | StepName::ActionAllow(action) => action,
        StepName::Sender
        | StepName::Recipient
        | StepName::Service
        | StepName::ServiceOnly
        | StepName::Author => Action::Send,
        StepName::Workstation
        | StepName::LoginForm
        | StepName::LoginServer
        | StepName::Account
        | StepName::Retired
        | StepName::LoginContext
        | StepName::WorkstationLogins
        | StepName::WorkstationWorkplaces
        | StepName::AccountDeny
        | StepName::AccountAllow => Action::Login,
    }
}

impl Visit {
    fn draw(runner: &mut TestRunner, rules: &Arc<Rules>) -> Self {
        static PORT: AtomicU16 = AtomicU16::new(1024);
        let mut questions: Vec<Asked> = draw(&vec(a_question(), 1..=3), runner);
        let (peer, protocol) = (questions[0].peer, questions[0].protocol);
        // A certificate has one common name; most visitors have none at all.
        let shown: Vec<String> = questions[0].certificates.iter().take(1).cloned().collect();
        for asked in &mut questions {
            if asked.login.is_empty() && rules.mode == Mode::Observe {
                asked.login = "b@x".into(); // the client module would refuse an empty one
            }
            (asked.peer, asked.protocol, asked.certificates) = (peer, protocol, shown.clone());
        }
        Self { rules: rules.clone(), port: PORT.fetch_add(1, Ordering::Relaxed), questions }
    }

    /// Asks one question after another until a login is let in; what the audit has to say of it.
    async fn pay(self, world: Arc<World>, authority: Arc<Authority>) -> Paid {
        let mut client = self.connect(&world, &authority).await;
        let first = up_to_refusal(Model::new(&self.rules, &self.questions[0]).login_steps());
        if self.is_turned_away(&first) {
            return self.hear_no_greeting(client, &first).await;
        }
        if self.questions[0].protocol == Protocol::Smtp {
            client.expect("220 <any>").await;
            client.send("EHLO pc").await;
            client.expect_until("250 <any>").await;
        } else {
            client.expect("+OK <any>").await;
        }
        let (mut logins, mut told) = (0, Vec::new());
        for asked in &self.questions {
            let model = Model::new(&self.rules, asked);
            let steps = up_to_refusal(model.login_steps());
            let reply = client.ask(auth_plain(&asked.login, PASSWORD), "<any>").await;
            logins += 1;
            told.push(AuditLine::new(steps.last(), Some(Action::Login), self.rules.mode));
            if !self.check(&reply, &steps, asked) {
                continue;
            }
            let accepted = match asked.protocol {
                Protocol::Pop3 => "+OK",
                Protocol::Smtp => "235 ",
            };
            assert!(reply.starts_with(accepted), "{reply} to {asked:#?}");
            match asked.protocol {
                Protocol::Pop3 => self.delete(&mut client, &model, &mut told).await,
                Protocol::Smtp => self.send(&mut client, &model, &mut told).await,
            }
            break;
        }
        client.ask("QUIT", "<any>").await;
        Paid { port: self.port, logins, told }
    }

    /// Whether the workstation is refused: then no login is waited for, whichever it would be.
    fn is_turned_away(&self, steps: &[Told]) -> bool {
        steps.last().is_some_and(|last| last.0 == StepName::Workstation && self.is_refused(last))
    }

    async fn hear_no_greeting(&self, mut client: Client, steps: &[Told]) -> Paid {
        let code = match self.questions[0].protocol {
            Protocol::Pop3 => "-ERR [SYS/PERM]",
            Protocol::Smtp => "554 5.7.1",
        };
        let (reason, _) = refusal(steps).unwrap();
        client.expect(&format!("{code} KIM-Gateway: <any>({reason})")).await;
        let told = vec![AuditLine::new(steps.last(), Some(Action::Login), self.rules.mode)];
        Paid { port: self.port, logins: 0, told }
    }

    async fn connect(&self, world: &World, authority: &Authority) -> Client {
        let Asked { peer, protocol, certificates, .. } = &self.questions[0];
        let (family, here) = if peer.is_ipv4() { ("TCP4", "127.0.0.1") } else { ("TCP6", "::1") };
        let header = format!("PROXY {family} {peer} {here} {} 995\r\n", self.port);
        let listener = match certificates.is_empty() {
            true => Listener::Plain,
            false => Listener::Implicit,
        };
        let mut tcp = world.tcp(*protocol, listener, PC1).await;
        tcp.write_all(header.as_bytes()).await.unwrap();
        let Some(name) = certificates.first() else { return Client::new(Box::new(tcp)) };
        let issued = authority.client(name).unwrap();
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.private_key.expose().as_bytes()).unwrap();
        let identity = (chain.collect::<Result<_, _>>().unwrap(), key);
        Client::new(Box::new(world.handshake(tcp, Some(identity)).await.unwrap()))
    }

    /// Holds a reply against the last step of the model; whether it let something pass.
    fn check(&self, reply: &str, steps: &[Told], asked: &Asked) -> bool {
        let refused = refusal(steps).filter(|_| self.rules.mode == Mode::Enforce);
        let fits = match (&refused, asked.protocol) {
            (None, _) => !reply.contains("KIM-Gateway"),
            (Some((reason, _)), protocol) => {
                let code = match protocol {
                    Protocol::Pop3 => "-ERR [SYS/PERM] KIM-Gateway: ",
                    Protocol::Smtp => "550 5.7.1 KIM-Gateway: ",
                };
                reply.starts_with(code) && reply.ends_with(&format!("({reason})"))
            }
        };
        let (rules, mode) = (&self.rules, self.rules.mode);
        assert!(fits, "{reply:?} in {mode:?}, but {steps:?} for {asked:#?} under {rules:#?}");
        refused.is_none()
    }

    async fn delete(&self, client: &mut Client, model: &Model<'_>, told: &mut Vec<AuditLine>) {
        let steps = up_to_refusal(model.lists(Action::Delete));
        let reply = client.ask("DELE 1", "<any>").await;
        self.check(&reply, &steps, model.asked);
        self.tell(&steps, told);
    }

    /// A sender, a recipient and a message, as far as the rules let them.
    async fn send(&self, client: &mut Client, model: &Model<'_>, told: &mut Vec<AuditLine>) {
        let asked = model.asked;
        let own = asked.login.split('#').next().unwrap_or_default();
        let mut steps = model.message_steps();
        for sender in [asked.sender.as_str(), own] {
            if !sender.contains('@') && !sender.is_empty() {
                continue; // no address that could stand in MAIL FROM
            }
            let judged = self.with(asked, |asked| asked.sender = sender.into());
            steps[0] = judged[0].clone();
            let reply = client.ask(format!("MAIL FROM:<{sender}>"), "<any>").await;
            self.tell(&steps[..1], told);
            if self.check(&reply, &steps[..1], asked) {
                break;
            }
        }
        if self.is_refused(&steps[0]) {
            return;
        }
        for recipient in [asked.recipient.as_str(), "q@z.kim", "r1@y"] {
            let judged = self.with(asked, |asked| asked.recipient = recipient.into());
            steps[1] = judged[1].clone();
            let reply = client.ask(format!("RCPT TO:<{recipient}>"), "<any>").await;
            self.tell(&steps[1..2], told);
            if self.check(&reply, &steps[1..2], asked) {
                break;
            }
        }
        if self.is_refused(&steps[1]) {
            return;
        }
        client.ask("DATA", "354 <any>").await;
        if !asked.service.is_empty() {
            client.send(format!("X-KIM-Dienstkennung: {}", asked.service)).await;
        }
        let reply = client.ask("Subject: x\r\n\r\nhello\r\n.", "<any>").await;
        let steps = up_to_refusal(steps.into_iter().skip(2));
        self.check(&reply, &steps, asked);
        self.tell(&steps, told);
    }

    fn with(&self, asked: &Asked, change: impl FnOnce(&mut Asked)) -> [Told; 4] {
        let mut other = asked.clone();
        change(&mut other);
        Model::new(&self.rules, &other).message_steps()
    }

    fn is_refused(&self, step: &Told) -> bool {
        self.rules.mode == Mode::Enforce && matches!(step.1, Outcome::Refuse(_))
    }

    fn tell(&self, steps: &[Told], told: &mut Vec<AuditLine>) {
        if refusal(steps).is_some() {
            told.push(AuditLine::new(steps.last(), None, self.rules.mode));
        }
    }
}

/// `kimgate explain` as it is typed, about the file that the gateway has in force.
fn ask_the_command(world: &World, model: &Model<'_>) {
    let asked = model.asked;
    let config = world.file();
    let (peer, protocol) = (asked.peer.to_string(), asked.protocol.as_str());
    let mut arguments = vec!["explain", "--json", "--config", config.to_str().unwrap()];
    arguments.extend(["--from", &peer, "--login", &asked.login, "--protocol", protocol]);
    arguments.extend(asked.certificates.iter().flat_map(|name| ["--certificate", name]));
    let ran = cli::kimgate(&arguments);
    let said = ran.json();
    let refused = refusal(&up_to_refusal(model.login_steps()));
    let allowed = refused.is_none() || model.rules.mode == Mode::Observe;
    assert_eq!((ran.code, &said["allowed"]), (i32::from(!allowed), &Value::Bool(allowed)));
    let told = said["reason"].as_str().map(|reason| (reason, said["rule"].as_str().unwrap()));
    let refused = refused.as_ref().map(|(reason, rule)| (reason.as_str(), rule.as_str()));
    assert_eq!(told, refused, "{asked:#?} under {:#?}", model.rules);
}

/// What the audit says of each connection is what the model expects, in the same order.
fn compare_audit(audit: &[Value], expected: &HashMap<u16, Vec<AuditLine>>) {
    let mut told: HashMap<u16, Vec<&Value>> = HashMap::new();
    for line in audit.iter().filter(|line| line["event"] == "login" || line["event"] == "denied") {
        let port = line["peer"].as_str().and_then(|peer| peer.rsplit_once(':')).unwrap().1;
        told.entry(port.parse().unwrap()).or_default().push(line);
    }
    for (port, expected) in expected {
        let told = told.remove(port).unwrap_or_default();
        let fits = told.len() == expected.len() && expected.iter().zip(&told).all(|(e, t)| e.is(t));
        assert!(fits, "the audit says {told:#?} instead of {expected:#?}");
    }
    assert!(told.is_empty(), "no question was asked for {told:#?}");
}
