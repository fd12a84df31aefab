//! Names that look mistyped. A rule under a mistyped name is legal and protects nothing.

use super::entry;
use crate::config::finding::{Report, quoted};
use crate::config::settings::{Named, Settings};
use crate::trust::Pin;

/// The most names of a section that are compared, each with each.
const MOST: usize = 500;

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    alike("accounts", &settings.accounts, report);
    alike("groups", &settings.groups, report);
    alike("departments", &settings.departments, report);
    alike("workstations", &settings.workstations, report);
    alike("users", &settings.users, report);
    for address in settings.accounts.keys() {
        let key = entry("accounts", address);
        if report.is_implied(&key) {
            let problem = "has narrower rules alone, and no table of its own";
            let remedy =
                format!("if the address is right, write [accounts.{}] above them", quoted(address));
            report.warning(&key, problem, remedy);
        }
    }
    for (name, module) in &settings.client_modules {
        for (index, pin) in module.trust.pins.iter().enumerate() {
            if is_zero(pin) {
                let key = entry("client_modules", name).join("trust").join("pins").element(index);
                let problem = "is no certificate's fingerprint, only zeros";
                report.warning(&key, problem, "write the pin that `kimgate trust HOST:PORT` shows");
            }
        }
    }
}

/// Whether it is a pin (64 hexadecimal digits) of zeros alone.
fn is_zero(pin: &str) -> bool {
    pin.parse().is_ok_and(|Pin(bytes)| bytes == [0; 32])
}

/// Warns at the later one of two names that differ by a slip.
fn alike<T>(section: &str, tables: &Named<T>, report: &mut Report<'_>) {
    if tables.len() > MOST {
        return;
    }
    let names: Vec<(&String, String)> =
        tables.keys().map(|name| (name, name.to_lowercase())).collect();
    for (at, (name, lower)) in names.iter().enumerate() {
        let like = names.iter().take(at).find(|(_, other)| is_slip(lower, other));
        if let Some((other, _)) = like {
            let problem = format!("differs by a letter or two from {}", quoted(other));
            let remedy = "if it is a typo, correct it: rules under a wrong name protect nothing";
            report.warning(&entry(section, name), problem, remedy);
        }
    }
}

/// Whether one of the names, in lower case, may be the other one, mistyped.
fn is_slip(a: &str, b: &str) -> bool {
    if a == b {
        // Upper and lower case make two names of all but addresses.
        return !a.contains('@');
    }
    if numbered(a) == numbered(b) {
        return false;
    }
    // What two addresses share says nothing about the rest.
    if let (Some((name_a, domain_a)), Some((name_b, domain_b))) =
        (a.split_once('@'), b.split_once('@'))
    {
        return match (name_a == name_b, domain_a == domain_b) {
            (false, true) => is_near(name_a, name_b),
            (true, false) => is_near(domain_a, domain_b),
            (false, false) => {
                let slips =
                    strsim::osa_distance(name_a, name_b) + strsim::osa_distance(domain_a, domain_b);
                let is_series = numbered(name_a) == numbered(name_b)
                    || numbered(domain_a) == numbered(domain_b);
                slips <= 2 && !is_series && is_near(name_a, name_b) && is_near(domain_a, domain_b)
            }
            (true, true) => false,
        };
    }
    is_near(a, b)
}

/// What names of one series have in common: "PC1" and "PC2", "zimmer-a" and "zimmer-b".
fn numbered(name: &str) -> String {
    let (series, last) = name.rsplit_once(['-', '_', ' ', '.']).unwrap_or((name, ""));
    let name = if last.chars().count() == 1 { series } else { name };
    name.replace(|c: char| c.is_ascii_digit(), "")
}

/// One slip in a short name, two in a longer one.
fn is_near(a: &str, b: &str) -> bool {
    let (one, other) = (a.chars().count(), b.chars().count());
    let slips = match one.min(other) {
        0..=2 => 0,
        3..=4 => 1,
        5..=64 => 2,
        _ => return false,
    };
    one.abs_diff(other) <= slips && strsim::osa_distance(a, b) <= slips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_a_number_and_from_another_name() {
        let table = [
            ("praxis@praxis.kim.telematik", "praxsi@praxis.kim.telematik", true),
            ("prx@praxis.kim.telematik", "prxx@praxis.kim.telematik", true),
            ("prx@praxis.kim.telematik", "prx@prax1s.kim.telematik", true),
            ("behandlung", "behandlng", true),
            ("rezeption", "reception", true),
            ("EMPFANG", "EMFANG", true),
            ("pc1", "pc2", false),
            ("pc1", "pc12", false),
            ("zimmer1", "zimmer12", false),
            ("kfo@praxis.kim.telematik", "hno@praxis.kim.telematik", false),
            ("a@praxis.kim.telematik", "b@praxis.kim.telematik", false),
            ("anna", "bert", false),
            ("behandlung", "behandlung", true), // "Behandlung" and "behandlung"
            ("prxx@praxs.kim.telematik", "prx@praxis.kim.telematik", true),
            ("prxxx@praxs.kim.telematik", "prx@praxis.kim.telematik", false),
            ("kfo@praxis1.kim.telematik", "kfp@praxis2.kim.telematik", false),
            ("zimmer-a", "zimmer-b", false),
            ("zimmer a", "zimmer c", false),
            ("zimmer-ab", "zimmer-cb", true),
            ("zimmer-a", "zimmr-a", true),
        ];
        for (a, b, expected) in table {
            assert_eq!(is_slip(a, b), expected, "{a} {b}");
            assert_eq!(is_slip(b, a), expected, "{b} {a}");
        }
    }
}
