//! Numbers that are out of bounds, and switches that take protection away.

use crate::config::finding::{Key, Report};
use crate::config::settings::Settings;
use crate::config::values::{Size, Time};
use crate::policy::{Mode, Otherwise};

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    times(settings, report);
    sizes(settings, report);
    counts(settings, report);
    too_short(settings, report);
    switches(settings, report);
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn times(settings: &Settings, report: &mut Report<'_>) {
    let limits = &settings.limits;
    let table = [
        (["contexts", "wait"], settings.contexts.wait, 0, 10 * MINUTE),
        (["contexts", "linger"], settings.contexts.linger, 0, 10 * MINUTE),
        (["mailboxes", "wait"], settings.mailboxes.wait, 0, 10 * MINUTE),
        (["protection", "hold_undecrypted"], settings.protection.hold_undecrypted, 0, 365 * DAY),
        (["protection", "login_pause"], settings.protection.login_pause, 1, DAY),
        (["limits", "login_timeout"], limits.login_timeout, 5, HOUR),
        (["limits", "idle_timeout"], limits.idle_timeout, 30, DAY),
        (["limits", "transfer_stall_timeout"], limits.transfer_stall_timeout, 30, DAY),
        (["limits", "drain"], limits.drain, 0, HOUR),
        (["audit", "keep"], settings.audit.keep, DAY, 3650 * DAY),
    ];
    for (key, value, least, most) in table {
        bound(&key, value, Time::seconds(least), Time::seconds(most), report);
    }
}

fn sizes(settings: &Settings, report: &mut Report<'_>) {
    let limits = &settings.limits;
    let table = [
        (["limits", "login_line"], limits.login_line, 1 << 10, 1 << 20),
        (["limits", "command_line"], limits.command_line, 512, 1 << 20),
        (["limits", "header"], limits.header, 4 << 10, 16 << 20),
        (["audit", "max_size"], settings.audit.max_size, 64 << 10, 1 << 40),
    ];
    for (key, value, least, most) in table {
        bound(&key, value, Size(least), Size(most), report);
    }
}

fn counts(settings: &Settings, report: &mut Report<'_>) {
    let limits = &settings.limits;
    let table = [
        (["limits", "connections"], limits.connections, 1, 100_000),
        (["limits", "connections_per_workstation"], limits.connections_per_workstation, 1, 100_000),
        (["limits", "connection_rate"], limits.connection_rate, 0, 10_000),
        (["protection", "login_failures"], settings.protection.login_failures, 0, 100),
    ];
    for (key, value, least, most) in table {
        bound(&key, value, least, most, report);
    }
}

fn bound<T: PartialOrd + std::fmt::Display>(
    key: &[&str],
    value: T,
    least: T,
    most: T,
    report: &mut Report<'_>,
) {
    if value < least || value > most {
        let problem = format!("{value} is out of bounds");
        report.error(&Key::of(key), problem, format!("write at least {least}, at most {most}"));
    }
}

/// Smart cards and the TI are slow (gemSpec_Perf 4.2.1). A limit that is too short cuts sessions
/// off, and the practice sends its mail twice.
fn too_short(settings: &Settings, report: &mut Report<'_>) {
    let limits = &settings.limits;
    let table = [
        (
            "login_timeout",
            limits.login_timeout,
            60,
            "cards and the KIM mail service are slow",
            "3m",
        ),
        (
            "idle_timeout",
            limits.idle_timeout,
            5 * MINUTE,
            "mail clients keep connections open between two looks",
            "15m",
        ),
        (
            "transfer_stall_timeout",
            limits.transfer_stall_timeout,
            5 * MINUTE,
            "a client module is silent while it encrypts, uploads or decrypts a large message",
            "15m",
        ),
    ];
    for (name, value, least, why, usual) in table {
        if value < Time::seconds(least) {
            let problem = format!("{value} is short: {why}");
            report.warning(&Key::of(&["limits", name]), problem, format!("write \"{usual}\""));
        }
    }
    // A login line of 12,288 bytes is legal (RFC 4954 section 4).
    if limits.login_line < Size(12 << 10) {
        let problem = format!(
            "{} is short: logins with long names and passwords exceed it",
            limits.login_line
        );
        report.warning(&Key::of(&["limits", "login_line"]), problem, "write \"16KiB\"");
    }
    // The smallest SIZE that a client module may announce (KOM-LE-A_2008: SIZE 35882577).
    if limits.message.0 != 0 && limits.message < Size(35_882_577) {
        let problem = format!("{} is less than every client module accepts", limits.message);
        report.warning(&Key::of(&["limits", "message"]), problem, "write \"0\"");
    }
    if limits.connections_per_workstation > limits.connections {
        let problem = "one workstation may have more than all workstations together";
        let key = Key::of(&["limits", "connections_per_workstation"]);
        report.warning(&key, problem, format!("write at most {}", limits.connections));
    }
}

fn switches(settings: &Settings, report: &mut Report<'_>) {
    let policy = &settings.policy;
    let table = [
        (
            policy.mode == Mode::Observe,
            ["policy", "mode"],
            "nothing is refused: every machine may use every account",
            "write \"enforce\" once the audit log shows no surprises",
        ),
        (
            policy.unknown_workstations == Otherwise::Allow,
            ["policy", "unknown_workstations"],
            "every machine in the network may try logins",
            "write \"deny\" and a table under workstations for each PC",
        ),
        (
            policy.unknown_accounts == Otherwise::Allow,
            ["policy", "unknown_accounts"],
            "accounts without a table are open to every known workstation",
            "write \"deny\" and a table under accounts for each address",
        ),
        (
            policy.login_servers.iter().any(|pattern| pattern == "*"),
            ["policy", "login_servers"],
            "a login may send its client module to any host",
            "write the KIM mail services' hosts, as in \"*.telematik\"",
        ),
        (
            policy.login_servers.is_empty(),
            ["policy", "login_servers"],
            "every login with host:port is refused",
            "write the KIM mail services' hosts, as in \"*.telematik\"",
        ),
        (
            !settings.protection.hold_delete_on_failed_decryption,
            ["protection", "hold_delete_on_failed_decryption"],
            "a mail client may delete the only copy of a message that could not be decrypted",
            "write true",
        ),
        (
            settings.limits.connection_rate == 0,
            ["limits", "connection_rate"],
            "one machine may take all of kimgate's time with connections",
            "write 20",
        ),
        (
            settings.protection.hold_delete_on_failed_decryption
                && settings.protection.hold_undecrypted < Time::seconds(DAY),
            ["protection", "hold_undecrypted"],
            "another session may delete the only copy of a message before anyone could read it",
            "write \"30d\"",
        ),
        (
            settings.protection.login_failures == 0,
            ["protection", "login_failures"],
            "a mail client with an old password can lock the KIM account",
            "write 3",
        ),
    ];
    for (unwise, key, problem, remedy) in table {
        if unwise {
            report.warning(&Key::of(&key), problem, remedy);
        }
    }
}
