//! `kimgate profile`, read by the parsers that Python brings along.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::cli::{Ran, in_repository, kimgate, text, write};
use crate::support::tools;

const POP3: &str = "kfo@praxis.kim.telematik#mail.kim.telematik:995#M&M <1>#pvs#KFO1";
const SMTP: &str = "kfo@praxis.kim.telematik#mail.kim.telematik:465#M&M <1>#pvs#KFO1";

fn profile(args: &[&str]) -> Ran {
    let practice = in_repository("config/practice.toml");
    kimgate(&[&["profile", "--config", &practice], args].concat())
}

/// What a line of Python makes of this text; `None` where there is no Python.
fn python(program: &str, input: &str) -> Option<String> {
    if !tools::have(&["python3"]) {
        return None;
    }
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{input}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_text_has_both_servers_and_the_logins_as_they_were_given() {
    let ran = profile(&["--workstation", "KFO1", "--login", POP3, "--smtp-login", SMTP]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for wanted in [
        "KIM-Konto kfo@praxis.kim.telematik im Mailprogramm auf KFO1",
        "Server        kim.praxis.local",
        "Port          995",
        "Port          465",
        POP3,
        SMTP,
    ] {
        assert!(ran.stdout.contains(wanted), "no {wanted:?} in\n{}", ran.stdout);
    }
}

#[test]
fn thunderbird_reads_its_file() {
    let args = ["--workstation", "KFO1", "--login", POP3, "--smtp-login", SMTP];
    let xml = profile(&[&args[..], &["--format", "thunderbird"]].concat()).expect(0);
    let program = "import sys, xml.etree.ElementTree as T\n\
        p = T.parse(sys.stdin.buffer).getroot().find('emailProvider')\n\
        print(p.find('domain').text)\n\
        for k in ('incomingServer', 'outgoingServer'):\n\
        \x20 s = p.find(k)\n\
        \x20 print(s.get('type'), *(s.find(n).text for n in ('hostname', 'port', 'socketType', 'username')))\n";
    let Some(read) = python(program, &xml) else { return };
    let expected = format!(
        "praxis.kim.telematik\npop3 kim.praxis.local 995 SSL {POP3}\n\
         smtp kim.praxis.local 465 SSL {SMTP}\n"
    );
    assert_eq!(read, expected);
}

#[test]
fn apple_reads_its_file() {
    let args = ["--workstation", "KFO1", "--login", POP3, "--smtp-login", SMTP];
    let plist = profile(&[&args[..], &["--format", "apple"]].concat()).expect(0);
    let program = "import sys, plistlib\n\
        p = plistlib.loads(sys.stdin.buffer.read())\n\
        m = p['PayloadContent'][0]\n\
        print(p['PayloadType'], m['PayloadType'], m['EmailAccountType'])\n\
        for w in ('Incoming', 'Outgoing'):\n\
        \x20 print(*(m[w + 'MailServer' + n] for n in ('HostName', 'PortNumber', 'UseSSL', 'Username')))\n";
    let Some(read) = python(program, &plist) else { return };
    let expected = format!(
        "Configuration com.apple.mail.managed EmailTypePOP\n\
         kim.praxis.local 995 True {POP3}\nkim.praxis.local 465 True {SMTP}\n"
    );
    assert_eq!(read, expected);
}

#[test]
fn what_the_gateway_would_refuse_is_said_beforehand() {
    let ran = profile(&["--workstation", "ZIMMER1", "--login", POP3, "--smtp-login", SMTP]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stderr.matches("would refuse this login").count(), 2, "{ran:?}");
    assert!(ran.stderr.contains("workplace-not-assigned"), "{ran:?}");
    let praxis = "praxis@praxis.kim.telematik#mail.kim.telematik:995#M#pvs#KFO1";
    let ran = profile(&["--workstation", "KFO1", "--login", praxis]);
    assert!(ran.stdout.contains("ja: dieser Arbeitsplatz darf nicht löschen"), "{ran:?}");
}

#[test]
fn the_login_for_sending_is_never_guessed() {
    let kfo1 = ["--workstation", "KFO1", "--login", POP3];
    let said = profile(&kfo1).expect(0);
    assert!(said.contains("fehlt: den Benutzernamen zum Senden"), "{said}");
    assert_eq!(profile(&[&kfo1[..], &["--format", "apple"]].concat()).code, 2);
    assert_eq!(profile(&["--workstation", "KFO1", "--login", SMTP]).code, 2);
    assert_eq!(profile(&["--workstation", "nobody", "--login", POP3]).code, 2);
    let address = ["--workstation", "KFO1", "--login", "kfo@praxis.kim.telematik"];
    let ran = profile(&[&address[..], &["--format", "thunderbird"]].concat());
    assert_eq!(ran.stdout.matches("<username>kfo@praxis.kim.telematik</username>").count(), 2);
    // The workstation's own list knows it.
    let folder = tempfile::tempdir().unwrap();
    let practice = std::fs::read_to_string(in_repository("config/practice.toml")).unwrap();
    let listed = practice.replace(
        "workplaces = [\"KFO1\"]",
        &format!("workplaces = [\"KFO1\"]\nlogins = [{POP3:?}, {SMTP:?}]"),
    );
    let config = text(&write(folder.path(), "a.toml", &listed));
    let said = kimgate(&[&["profile", "--config", &config][..], &kfo1].concat()).expect(0);
    assert!(said.contains(SMTP), "{said}");
}

#[test]
fn another_name_in_the_gateways_certificate_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let dir = text(folder.path());
    kimgate(&["certs", "ca", "--dir", &dir]).expect(0);
    kimgate(&["certs", "server", "gateway.example", "--dir", &dir]).expect(0);
    let practice = std::fs::read_to_string(in_repository("config/practice.toml")).unwrap();
    let tls = "[tls]\ncertificate = \"gateway.pem\"\nprivate_key = \"gateway.key\"\n";
    let config = text(&write(folder.path(), "a.toml", &(practice + tls)));
    let ask = |more: &[&str]| {
        let args = ["profile", "--config", &config, "--workstation", "KFO1", "--login", POP3];
        kimgate(&[&args, more].concat()).stderr
    };
    assert!(ask(&[]).contains("is for gateway.example, not for kim.praxis.local"));
    assert_eq!(ask(&["--server", "gateway.example"]), "");
}
