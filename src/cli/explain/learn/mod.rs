//! `kimgate explain --learn`: from audit lines to the rules that admit what they tell, as a diff.

mod proposal;
mod seen;

use std::path::{Path, PathBuf};

use similar::TextDiff;
use toml_edit::DocumentMut;

use super::super::{Failure, Screen, check};
use crate::config::{Loaded, load, load_text};
use crate::policy::{Denial, Mode, Policy, Request, Rules, Wish};
use crate::printable::printable;
use crate::words::Action;
use proposal::Proposal;
use seen::{Seen, SeenLogin};

/// Prints the diff on standard output, and on standard error what it could not do.
pub(super) fn learn(screen: &mut Screen, config: &Path, audit: &[PathBuf]) -> Result<(), Failure> {
    let loaded = load(config, std::env::vars()).map_err(|f| check::refuse(screen, &f))?;
    let mut seen = Seen::default();
    for file in audit {
        let named = |error| Failure::error(format!("{}: {error}", file.display()));
        seen.read(file).map_err(named)?;
    }
    usable(screen, &seen)?;
    let proposed = proposed(&loaded, &seen)?;
    let changed = load_text(config, proposed.clone(), std::env::vars())
        .map_err(|findings| check::refuse(screen, &findings))?;
    let name = config.display().to_string();
    let diff = TextDiff::from_lines(loaded.text(), proposed.as_str());
    let diff = diff.unified_diff().header(&name, &name).to_string();
    for line in diff.lines() {
        screen.say_file(line);
    }
    conclude(screen, &seen, &changed, diff.is_empty());
    Ok(())
}

/// Whether there is anything to learn from, and what was left out.
fn usable(screen: &mut Screen, seen: &Seen) -> Result<(), Failure> {
    let counts = &seen.counts;
    if seen.logins.is_empty() && counts.pseudonyms > 0 {
        return Err(Failure::error(
            "the audit is pseudonymized, and hashes do not say which account it was: set \
             audit.pseudonymize = false, let some days pass, and learn from the new file",
        ));
    }
    if seen.logins.is_empty() {
        return Err(Failure::error(format!(
            "no login went through in {} lines: there is nothing to learn",
            counts.lines
        )));
    }
    for (count, what) in [
        (counts.unreadable, "are no audit lines"),
        (counts.pseudonyms, "are pseudonymized"),
        (counts.odd, "hold something that was cut, escaped or is no address"),
    ] {
        if count > 0 {
            screen.complain(&format!("left out: {count} of {} lines {what}", counts.lines));
        }
    }
    Ok(())
}

fn proposed(loaded: &Loaded, seen: &Seen) -> Result<String, Failure> {
    let rules = &loaded.config.rules;
    let document: DocumentMut = loaded.text().parse().map_err(Failure::error)?;
    let policy = compiled(rules)?;
    Ok(Proposal::new(rules, &policy, document).admit(seen))
}

fn compiled(rules: &Rules) -> Result<Policy, Failure> {
    Policy::compile(rules.clone())
        .map_err(|_| Failure::error("the rules cannot be used; `kimgate check` says why"))
}

/// Says what the new rules still refuse of what was seen, and what the audit cannot tell.
fn conclude(screen: &mut Screen, seen: &Seen, changed: &Loaded, is_empty: bool) {
    let refused = still_refused(&changed.config.rules, seen);
    let all = seen.logins.len() + seen.deletions.len();
    for (login, denial) in &refused {
        screen.complain(&format!(
            "still refused: {} at {} ({}, by {}); a deny, a retired account and a list of logins \
             are yours to change",
            printable(&login.account),
            login.workstation.as_deref().map_or_else(|| login.peer.to_string(), str::to_owned),
            denial.reason,
            denial.rule
        ));
    }
    for (reason, count) in &seen.counts.unsaid {
        screen.complain(&format!(
            "not learned: {count} times {reason}; the audit holds no logins, senders and recipients"
        ));
    }
    let change = if is_empty { "no change is needed; " } else { "" };
    screen.complain(&format!(
        "{change}{} of {all} logins and deletions that were seen would be allowed{}",
        all - refused.len(),
        match changed.config.rules.mode {
            Mode::Enforce => "",
            Mode::Observe => " once policy.mode is \"enforce\"",
        }
    ));
}

fn still_refused<'a>(rules: &Rules, seen: &'a Seen) -> Vec<(&'a SeenLogin, Denial)> {
    let mut rules = Rules { mode: Mode::Enforce, ..rules.clone() };
    // The audit does not know the whole login; what lists of them refuse is counted elsewhere.
    rules.workstations.values_mut().for_each(|workstation| workstation.logins = None);
    let Ok(policy) = compiled(&rules) else { return Vec::new() };
    let logins = seen.logins.iter().map(|login| (login, Action::Login));
    let deletions = seen.deletions.iter().map(|login| (login, Action::Delete));
    let judged = logins.chain(deletions).filter_map(|(login, action)| {
        let (parsed, station) = (login.as_kim(&rules), login.station(&rules, &policy));
        let services = seen.sent.get(login).into_iter().flatten();
        let service = services.map(|service| Some(service.as_str()));
        let request = Request { station: &station, login: &parsed, protocol: login.protocol };
        let denial = service.chain([None]).find_map(|service| {
            let wish = Wish { action: Some(action), service, ..Wish::default() };
            policy.explain(&request, &wish).denial
        })?;
        Some((login, denial))
    });
    judged.collect()
}
