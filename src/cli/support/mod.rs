//! `kimgate support`: everything that support needs to know, in one archive, without a secret.

mod mask;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::admin::{Admin, get};
use super::amounts::bytes_text;
use super::audit::kind_of;
use super::{Failure, Screen};
use crate::config::{effective, load};
use crate::observe::{EventKind, rotated_audit};
use mask::{Mask, is_masked};

/// Write an archive for support: configuration, state, metrics and latest faults, masked
///
/// Holds no password, no key, no login, and no mail address unless --with-addresses says so. Names of
/// workstations, users and groups, and network addresses, are in it: look before you send it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kimgate support --config kimgate.toml\n  \
    kimgate support --output ticket-4711.tar.gz --with-addresses")]
pub(super) struct Support {
    #[command(flatten)]
    admin: Admin,
    /// Where to; default: kimgate-support-TIME.tar.gz here. A file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave mail addresses as they are, where accounts are what it is about
    #[arg(long)]
    with_addresses: bool,
}

/// A file in the archive.
type Part = (&'static str, String);

impl Support {
    pub(super) fn execute(self, screen: &mut Screen) -> Result<(), Failure> {
        let now = OffsetDateTime::now_utc();
        let mut mask = Mask::new(self.with_addresses);
        let mut parts = vec![("about.txt", about(now))];
        if let Ok(path) = self.admin.file().path() {
            parts.extend(configuration(&path, &mut mask));
        }
        parts.extend(running(&self.admin, &mut mask));
        let path = match self.output {
            Some(path) => path,
            None => PathBuf::from(format!("kimgate-support-{}.tar.gz", stamp(now))),
        };
        archive(&path, &parts, now)
            .map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
        screen.headline(&path.display().to_string());
        for (name, text) in &parts {
            screen.say(&format!("  {name:<20} {}", bytes_text(text.len() as u64)));
        }
        screen.say("Fields with text that is left as it is:");
        for (name, text) in &parts {
            let fields = remaining_fields(text);
            if !fields.is_empty() {
                let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                screen.say(&format!("  {name:<20} {}", fields.join(" ")));
            }
        }
        screen.say(match self.with_addresses {
            true => "Logins are masked. Mail addresses, names and network addresses are in it.",
            false => "Logins and mail addresses are masked. Names and network addresses are in it.",
        });
        screen.say("Look into it before you send it: tar -xzf FILE");
        Ok(())
    }
}

/// Program and machine.
fn about(now: OffsetDateTime) -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let system = file("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    // Values may be anything; that a variable is set is often the answer.
    let variables = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let mut variables: Vec<_> = variables.filter(|name| name.starts_with("KIMGATE_")).collect();
    variables.sort();
    format!(
        "kimgate {}\nbrainpool {}\nwritten {} UTC\nsystem {} {} {}\nkernel {}\nprocessors {}\n\
         variables {}\n",
        env!("CARGO_PKG_VERSION"),
        cfg!(feature = "brainpool"),
        stamp(now),
        std::env::consts::OS,
        std::env::consts::ARCH,
        system.unwrap_or_default(),
        file("/proc/sys/kernel/osrelease").trim(),
        std::thread::available_parallelism().map_or(0, usize::from),
        variables.join(" ")
    )
}

/// What is configured, what is wrong with it, and the latest faults in the audit.
fn configuration(path: &Path, mask: &mut Mask) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(settings) = effective(path, std::env::vars()) {
        parts.push(("configuration.json", pretty(&mask.value(settings))));
    }
    let (findings, audit) = match load(path, std::env::vars()) {
        Ok(loaded) => (loaded.warnings, loaded.config.observe.audit.file),
        Err(findings) => (findings, None),
    };
    let findings: Vec<_> = findings.iter().map(|found| mask.text(&found.to_string())).collect();
    let findings = if findings.is_empty() { "no findings".into() } else { findings.join("\n") };
    parts.push(("check.txt", findings + "\n"));
    if let Some(file) = audit {
        let faults = match faults(&file, mask) {
            Ok(faults) => faults,
            Err(error) => format!("{}: {error}", file.display()),
        };
        parts.push(("faults.jsonl", faults));
    }
    parts
}

/// Of each audit file, from its end.
const AUDIT: u64 = 1 << 20;

/// The newest audit lines that tell of something that did not go well.
fn faults(audit: &Path, mask: &mut Mask) -> io::Result<String> {
    let before = rotated_audit(audit)?.pop().map(|part| part.path);
    let mut faults = String::new();
    for path in before.into_iter().chain([audit.to_owned()]) {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let start = file.metadata()?.len().saturating_sub(AUDIT);
        file.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        file.take(AUDIT).read_to_end(&mut text)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let Ok(line) = serde_json::from_str::<Map<String, Value>>(line) else { continue };
            if is_fault(&line) {
                faults.push_str(&mask.value(Value::Object(line)).to_string());
                faults.push('\n');
            }
        }
    }
    Ok(faults)
}

fn is_fault(line: &Map<String, Value>) -> bool {
    let word = |name: &str| line.get(name).and_then(Value::as_str);
    match kind_of(line) {
        Some(EventKind::Closed) => !matches!(word("reason"), Some("ok" | "client-left")),
        Some(
            EventKind::Certificate
            | EventKind::ConfigLoaded
            | EventKind::MessageHeld
            | EventKind::Unlocked,
        ) => true,
        Some(
            EventKind::Connected
            | EventKind::Login
            | EventKind::Denied
            | EventKind::MessageSent
            | EventKind::MessageReceived
            | EventKind::MessageDeleted
            | EventKind::DeleteHeld
            | EventKind::MessageReleased
            | EventKind::ContextConflict,
        )
        | None => {
            let is_faulty = line.get("accepted").and_then(Value::as_bool) == Some(false)
                || word("would_deny").is_some()
                || line
                    .get("decryption")
                    .and_then(Value::as_array)
                    .is_some_and(|codes| codes.iter().any(|code| code.as_str() != Some("00")));
            // A newer kimgate may write kinds that are not known here; a line without any is none.
            word("event").is_some() && is_faulty
        }
    }
}

/// What the running gateway says of itself.
fn running(admin: &Admin, mask: &mut Mask) -> Vec<Part> {
    let page = |path: &str| {
        let answer = admin.address().and_then(|address| get(address, path));
        match answer {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(failure) => failure.message.unwrap_or_default() + "\n",
        }
    };
    let (status, metrics) = (page("/status"), page("/metrics"));
    let status = match serde_json::from_str(&status) {
        Ok(status) => pretty(&mask.value(status)),
        Err(_) => mask.lines(&status),
    };
    vec![("status.json", status), ("metrics.txt", mask.lines(&metrics))]
}

/// The names of the fields whose text the mask has left alone, in a document or in lines of JSON.
fn remaining_fields(part: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for value in serde_json::Deserializer::from_str(part).into_iter::<Value>() {
        let Ok(value) = value else { return BTreeSet::new() };
        collect_fields("", &value, &mut fields);
    }
    fields
}

fn collect_fields(name: &str, value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if !text.is_empty() && !is_masked(text) => {
            fields.insert(name.to_owned());
        }
        Value::Array(list) => list.iter().for_each(|inner| collect_fields(name, inner, fields)),
        Value::Object(inner) => {
            inner.iter().for_each(|(name, value)| collect_fields(name, value, fields));
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// For a file name on any system.
fn stamp(at: OffsetDateTime) -> String {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour][minute][second]");
    at.format(FORM).unwrap_or_default()
}

/// Readable by its owner only, who decides who else sees it.
fn archive(path: &Path, parts: &[Part], now: OffsetDateTime) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let packed = GzEncoder::new(options.open(path)?, Compression::default());
    let mut archive = tar::Builder::new(packed);
    for (name, text) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now.unix_timestamp().unsigned_abs());
        archive.append_data(&mut header, format!("kimgate-support/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.sync_all()
}
