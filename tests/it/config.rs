//! Configurations from outside: the shipped ones load, and the broken ones fail for the right reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kimgate::config::{Finding, Loaded, Severity, load};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Loads with no variable at all.
fn load_alone(path: &Path) -> Result<Loaded, Vec<Finding>> {
    load(path, std::iter::empty())
}

fn load_with(path: &Path, env: &[(&str, &str)]) -> Result<Loaded, Vec<Finding>> {
    load(path, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The line in which a key stands that is written with dots, as `policy::Rule` shows it.
fn line_of_rule(loaded: &Loaded, rule: &str) -> Option<usize> {
    let names = toml_edit::Key::parse(rule).ok()?;
    loaded.line_of(&names.iter().map(|name| name.get().to_owned()).collect::<Vec<_>>())
}

/// A finding without its folder, which differs from machine to machine.
fn line_of(finding: &Finding, folder: &Path) -> String {
    let folder = format!("{}/", folder.display());
    finding.to_string().replace(&folder, "")
}

fn folders(path: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(in_repository(path))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// What is said about each case, against what its `expected` holds, word for word. With
/// `KIMGATE_BLESS=1` the files are written instead; then read the difference.
fn compare_all(path: &str, at_least: usize, check: fn(&Path) -> Vec<Finding>) {
    let cases = folders(path);
    assert!(cases.len() >= at_least, "only {} cases in {path}", cases.len());
    let bless = std::env::var_os("KIMGATE_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in &cases {
        let findings = check(&case.join("gateway.toml"));
        let said: String = findings.iter().map(|f| line_of(f, case) + "\n").collect();
        let file = case.join("expected");
        if bless {
            fs::write(&file, &said).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if said != expected || said.is_empty() {
            wrong.push(format!("{}\nexpected:\n{expected}said:\n{said}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn broken_configurations_fail_for_the_right_reason() {
    compare_all("tests/config/bad", 35, |file| {
        let findings = load_alone(file).map(|_| ()).expect_err(&file.display().to_string());
        assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
        findings
    });
}

#[test]
fn unwise_configurations_load_with_the_right_warning() {
    compare_all("tests/config/unwise", 20, |file| match load_alone(file) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => panic!("{}: {}", file.display(), all(&findings)),
    });
}

/// A folder of an older version, or one that somebody made by hand.
#[cfg(unix)]
#[test]
fn a_state_folder_that_others_can_open_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kimgate.toml");
    fs::copy(in_repository("config/minimal.toml"), &file).unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    for (mode, told) in [(0o700, false), (0o750, true), (0o755, true)] {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load_alone(&file).unwrap_or_else(|f| panic!("{}", all(&f))).warnings;
        assert_eq!(all(&warnings).contains("chmod 700"), told, "{mode:o}: {}", all(&warnings));
    }
}

#[test]
fn shipped_configurations_load() {
    let files: Vec<PathBuf> = fs::read_dir(in_repository("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let loaded =
            load_alone(&file).unwrap_or_else(|f| panic!("{}: {}", file.display(), all(&f)));
        if !file.ends_with("lab.toml") {
            assert!(loaded.warnings.is_empty(), "{}: {}", file.display(), all(&loaded.warnings));
        }
    }
}

#[test]
fn minimal_configuration_is_short() {
    let text = fs::read_to_string(in_repository("config/minimal.toml")).unwrap();
    assert!(text.lines().count() < 40);
    assert_eq!(text.matches("[workstations.").count(), 3);
}

/// The tables and keys of a value, with `*` for the names that an operator chooses.
fn keys_of(value: &serde_json::Value, path: &str, keys: &mut BTreeSet<String>) {
    let named = [
        "listeners",
        "client_modules",
        "workstations",
        "users",
        "groups",
        "departments",
        "accounts",
    ];
    let Some(table) = value.as_object() else { return };
    for (name, inner) in table {
        let name = if named.contains(&path) { "*" } else { name };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        keys_of(inner, &path, keys);
        keys.insert(path);
    }
}

#[test]
fn full_configuration_mentions_every_key() {
    use kimgate::config::settings::{
        Account, ClientModule, Listener, Members, Settings, User, Workstation,
    };
    fn one<T: Default>() -> std::collections::BTreeMap<String, T> {
        [("x".to_owned(), T::default())].into()
    }
    let settings = Settings {
        listeners: one::<Listener>(),
        client_modules: one::<ClientModule>(),
        workstations: one::<Workstation>(),
        users: one::<User>(),
        groups: one::<Members>(),
        departments: one::<Members>(),
        accounts: one::<Account>(),
        ..Settings::default()
    };
    let mut keys = BTreeSet::new();
    keys_of(&serde_json::to_value(settings).unwrap(), "", &mut keys);
    assert!(keys.contains("client_modules.*.trust.pins") && keys.len() > 80, "{keys:?}");

    let text = fs::read_to_string(in_repository("config/full.toml")).unwrap();
    // Keys that name files are commented out, because there are no such files here.
    let text = text.replace("\n# ", "\n#");
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest)
                if rest.split_once(" = ").is_some_and(|(key, value)| {
                    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                        && value.starts_with(['"', '['])
                }) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let document: toml_edit::DocumentMut = uncommented.parse().unwrap();
    let mut written = BTreeSet::new();
    keys_of_toml(document.as_table(), "", &mut written);
    let missing: Vec<_> = keys.difference(&written).collect();
    assert!(missing.is_empty(), "not in config/full.toml: {missing:?}");
}

fn keys_of_toml(table: &toml_edit::Table, path: &str, keys: &mut BTreeSet<String>) {
    for (name, item) in table {
        let is_named = !path.is_empty()
            && [
                "listeners",
                "client_modules",
                "workstations",
                "users",
                "groups",
                "departments",
                "accounts",
            ]
            .contains(&path);
        let name = if is_named { "*" } else { name };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if let Some(table) = item.as_table() {
            keys_of_toml(table, &path, keys);
        }
        keys.insert(path);
    }
}

#[test]
fn defaults_are_the_contracts() {
    let loaded = load_alone(&in_repository("config/minimal.toml")).unwrap();
    let gateway = &loaded.config.gateway;
    assert_eq!(gateway.limits, kimgate::gateway::Limits::default());
    assert_eq!(gateway.contexts, kimgate::gateway::ContextRules::default());
    assert_eq!(gateway.protection, kimgate::gateway::Protection::default());
    assert_eq!(gateway.mailbox_wait.as_secs(), 20);
    assert!(!gateway.middleware_header && !gateway.delivery_receipts && !gateway.read_receipts);
    assert_eq!(gateway.client_modules["main"].pop3_port, 995);
    assert_eq!(loaded.config.admin.unwrap().address.to_string(), "127.0.0.1:9465");
    assert_eq!(loaded.config.observe.audit.file, None);
    assert_eq!(loaded.config.state_dir, in_repository("config").join("state"));
}

#[test]
fn full_configuration_says_the_defaults_as_they_are() {
    let full = load_alone(&in_repository("config/full.toml")).unwrap().config;
    let minimal = load_alone(&in_repository("config/minimal.toml")).unwrap().config;
    assert_eq!(full.gateway.limits, minimal.gateway.limits);
    assert_eq!(full.gateway.contexts, minimal.gateway.contexts);
    assert_eq!(full.gateway.protection, minimal.gateway.protection);
    assert_eq!(full.gateway.mailbox_wait, minimal.gateway.mailbox_wait);
    assert_eq!(full.log, minimal.log);
    assert_eq!(full.admin.map(|admin| admin.allow), minimal.admin.map(|admin| admin.allow));
    assert_eq!(full.rules.mode, minimal.rules.mode);
}

#[test]
fn lines_of_rules_are_found() {
    let loaded = load_alone(&in_repository("config/full.toml")).unwrap();
    let text = fs::read_to_string(in_repository("config/full.toml")).unwrap();
    let line = |wanted: &str| text.lines().position(|line| line == wanted).map(|at| at + 1);
    let rule = "accounts.\"prx@praxis.kim.telematik\".delete.allow";
    assert_eq!(line_of_rule(&loaded, rule), line("allow = [\"user:dr.mueller\"]"));
    assert_eq!(line_of_rule(&loaded, "policy.mode"), line("mode = \"enforce\""));
    let table = ["users".to_owned(), "dr.mueller".to_owned(), "absent".to_owned()];
    assert_eq!(loaded.line_of(&table), line("[users.\"dr.mueller\"]"));
    assert_eq!(line_of_rule(&loaded, "no such = rule"), None);
}

#[test]
fn the_environment_beats_the_file() {
    let file = in_repository("config/minimal.toml");
    let loaded = load_with(
        &file,
        &[
            ("KIMGATE_GATEWAY__NAME", "other.local"),
            ("KIMGATE_LIMITS__DRAIN", "5s"),
            ("KIMGATE_LIMITS__CONNECTIONS", "7"),
            ("KIMGATE_LIMITS__CONNECTIONS_PER_WORKSTATION", "7"),
            ("KIMGATE_LIMITS__MESSAGE", "0"),
            ("KIMGATE_TLS__MIN_VERSION", "1.3"),
            ("KIMGATE_WORKSTATIONS__PC1__ADDRESSES", "[\"10.0.0.1\"]"),
            ("KIMGATE_LISTENERS__POP3S__ADDRESS", "127.0.0.1:0"),
            ("KIMGATE_CONFIG", "elsewhere.toml"),
            ("KIMGATE_PASSWORD", "geheim"),
            ("KIMGATE_PKCS12_PASSWORD", "geheim"),
            ("KIMGATE_LOG", "debug"),
            ("KIMGATE_REQUIRE_INTEROP", "1"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap_or_else(|findings| panic!("{}", all(&findings)));
    let gateway = &loaded.config.gateway;
    assert_eq!(gateway.name, "other.local");
    assert_eq!(gateway.limits.drain.as_secs(), 5);
    assert_eq!(gateway.limits.connections, 7);
    assert_eq!(loaded.config.rules.workstations["PC1"].addresses[0].to_string(), "10.0.0.1/32");
    assert_eq!(loaded.config.rules.workstations.len(), 3);
    let pop3s = gateway.listeners.iter().find(|listener| &*listener.name == "pop3s").unwrap();
    assert_eq!(pop3s.address.port(), 0);
    assert!(loaded.warnings.is_empty(), "{}", all(&loaded.warnings));
    assert_ne!(loaded.config.hash, load_alone(&file).unwrap().config.hash);
}

#[test]
fn a_number_from_the_environment_can_be_text() {
    let file = in_repository("config/minimal.toml");
    let loaded = load_with(&file, &[("KIMGATE_GATEWAY__NAME", "123")]).unwrap();
    assert_eq!(loaded.config.gateway.name, "123");
}

#[test]
fn findings_about_variables_name_the_variable() {
    let findings = load_with(
        &in_repository("config/minimal.toml"),
        &[("KIMGATE_LIMITS__DRAIN", "soon"), ("KIMGATE_GATEWAY__NAM", "x")],
    )
    .unwrap_err();
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("KIMGATE_GATEWAY__NAM: error: gateway.nam: "), "{said:?}");
    assert!(said[1].starts_with("KIMGATE_LIMITS__DRAIN: error: limits.drain: "), "{said:?}");
}

#[test]
fn a_variable_without_a_table_is_a_warning() {
    let env = [("KIMGATE_PORT", "tcp://10.0.0.1:995"), ("KIMGATE_GATEWAY_NAME", "x")];
    let loaded = load_with(&in_repository("config/minimal.toml"), &env).unwrap();
    let said = all(&loaded.warnings);
    assert_eq!(loaded.warnings.len(), 2, "{said}");
    assert!(said.contains("KIMGATE_GATEWAY__NAME"), "{said}");
}

#[test]
fn hostile_variables_are_refused_without_harm() {
    let deep = "[".repeat(1 << 20);
    let braces = "{a=".repeat(1 << 18);
    for value in [deep.as_str(), braces.as_str(), "\u{1b}[2J", "[1, 2", "\"", ""] {
        let env = [("KIMGATE_GATEWAY__NAME", value), ("KIMGATE_GATEWAY____", value)];
        let findings = load_with(&in_repository("config/minimal.toml"), &env).unwrap_err();
        for finding in findings {
            let said = finding.to_string();
            assert!(!said.contains('\u{1b}') && said.len() < 2000, "{said:?}");
        }
    }
}

#[test]
fn a_file_beyond_all_measure_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "# filler\n".repeat(1_200_000)).unwrap();
    let findings = load_alone(&file).unwrap_err();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].problem.contains("larger"), "{}", findings[0]);
}

#[test]
fn a_file_full_of_mistakes_is_read_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text: String = (0..5000).map(|n| format!("[workstations.PC{n}]\nadress = 1\n")).collect();
    fs::write(&file, text).unwrap();
    let findings = load_alone(&file).unwrap_err();
    assert!(findings.len() <= 201, "{}", findings.len());
}

#[test]
fn a_large_practice_loads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let mut text = fs::read_to_string(in_repository("config/minimal.toml")).unwrap();
    for n in 0..10_000 {
        let (a, b) = (n / 250, n % 250);
        text += &format!("[workstations.W{n}]\naddresses = [\"10.0.{a}.{b}\"]\n");
        text +=
            &format!("[accounts.\"a{n}@praxis.kim.telematik\"]\nallow = [\"workstation:W{n}\"]\n");
    }
    fs::write(&file, text).unwrap();
    let loaded = load_alone(&file).unwrap_or_else(|findings| panic!("{}", all(&findings)));
    assert_eq!(loaded.config.rules.accounts.len(), 10_001);
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = fs::read_to_string(in_repository("config/minimal.toml")).unwrap();
    fs::write(&file, format!("\u{feff}{text}").replace('\n', "\r\n")).unwrap();
    let loaded = load_alone(&file).unwrap_or_else(|findings| panic!("{}", all(&findings)));
    let line = text.lines().position(|line| line == "[gateway]").map(|at| at + 1);
    assert_eq!(line_of_rule(&loaded, "gateway"), line);
}

#[test]
fn an_absent_file_and_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("absent.toml"), folder.path().to_owned()] {
        let findings = load_alone(&path).unwrap_err();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().contains("cannot be read"), "{}", findings[0]);
    }
}

#[test]
fn no_finding_shows_a_login() {
    for case in folders("tests/config/bad").iter().chain(&folders("tests/config/unwise")) {
        let said = match load_alone(&case.join("gateway.toml")) {
            Ok(loaded) => all(&loaded.warnings),
            Err(findings) => all(&findings),
        };
        assert!(!said.contains("#Mandant1"), "{}: {said}", case.display());
    }
}

#[test]
fn findings_are_json_for_programs() {
    let case = in_repository("tests/config/bad/no-listener/gateway.toml");
    let findings = load_alone(&case).unwrap_err();
    let json = serde_json::to_value(&findings).unwrap();
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["key"], "listeners");
    assert!(json[0].get("line").is_none());
}

fn all(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}
