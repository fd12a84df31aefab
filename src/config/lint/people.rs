//! Workstations and users: whether a session can ever be found to be theirs.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::entry;
use crate::config::build::network;
use crate::config::finding::{Key, Report, quoted};
use crate::config::settings::{Settings, User, Workstation};
use crate::policy::Otherwise;

pub(super) fn lint(settings: &Settings, report: &mut Report<'_>) {
    let none = settings.workstations.is_empty();
    if none && settings.policy.unknown_workstations == Otherwise::Deny {
        let remedy = "write [workstations.PC1] with addresses = [\"192.168.0.31\"]";
        report.warning(
            &Key::of(&["workstations"]),
            "no workstation: every login is refused",
            remedy,
        );
    }
    for (name, workstation) in &settings.workstations {
        self::workstation(&entry("workstations", name), workstation, report);
    }
    same_workplace(settings, report);
    for (name, user) in &settings.users {
        self::user(&entry("users", name), user, report);
    }
}

fn workstation(key: &Key, workstation: &Workstation, report: &mut Report<'_>) {
    if workstation.addresses.is_empty() && workstation.certificates.is_empty() {
        let problem = "has neither addresses nor certificates and is never found";
        report.warning(key, problem, "write addresses = [\"192.168.0.31\"]");
    }
    for (index, text) in workstation.addresses.iter().enumerate() {
        let key = key.join("addresses").element(index);
        let Ok(net) = network(text) else { continue };
        if net.prefix_len() == 0 || net.addr().is_unspecified() {
            let problem = format!("{net} is not a workstation's address");
            report.warning(&key, problem, "write the PC's own address, as in \"192.168.0.31\"");
        } else if net.addr() != net.network() {
            let meant = IpNet::from(net.addr());
            let problem = format!("is all of {}, {} addresses", net.trunc(), count(&net));
            let remedy =
                format!("write \"{}\" for the PC alone, or \"{}\"", meant.addr(), net.trunc());
            report.warning(&key, problem, remedy);
        }
    }
}

fn count(net: &IpNet) -> String {
    let bits = u32::from(net.max_prefix_len() - net.prefix_len());
    2u64.checked_pow(bits).map_or_else(|| format!("2^{bits}"), |count| count.to_string())
}

/// A WorkplaceId stands for one workstation (TIP1-A_4960): the Konnektor ties card sessions to it.
fn same_workplace(settings: &Settings, report: &mut Report<'_>) {
    let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, workstation) in &settings.workstations {
        for (index, workplace) in workstation.workplaces.iter().enumerate() {
            match holders.get(workplace.as_str()) {
                Some(other) if other != name => {
                    let problem = format!("{} has {} too", quoted(other), quoted(workplace));
                    let remedy = "give each workstation its own WorkplaceId; \
                                  the Konnektor ties its card sessions to it";
                    let key = entry("workstations", name).join("workplaces").element(index);
                    report.warning(&key, problem, remedy);
                }
                Some(_) => {}
                None => {
                    holders.insert(workplace, name);
                }
            }
        }
    }
}

fn user(key: &Key, user: &User, report: &mut Report<'_>) {
    let found = !user.certificates.is_empty() || !user.workstations.is_empty();
    if !found && user.user_ids.is_empty() {
        let problem = "is never found";
        report.warning(key, problem, "write certificates, workstations or user_ids");
    } else if !found {
        let problem = "is found by a claim alone: any workstation may send any UserId";
        let remedy = "write certificates or workstations, where the rule must hold";
        report.warning(&key.join("user_ids"), problem, remedy);
    }
}
