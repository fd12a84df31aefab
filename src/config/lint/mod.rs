//! Looks for what does not fit together, and for what is legal but unwise.

mod accounts;
mod bounds;
mod client_modules;
mod files;
mod listeners;
mod logins;
mod names;
mod people;
mod typos;

use super::build::Surroundings;
use super::finding::{Key, Report};
use super::settings::Settings;

pub(super) use files::material;
pub(super) use names::is_host_name;

/// Looks at everything.
pub(super) fn lint(settings: &Settings, place: &Surroundings, report: &mut Report<'_>) {
    names::lint(settings, report);
    listeners::lint(settings, report);
    client_modules::lint(settings, report);
    people::lint(settings, report);
    accounts::lint(settings, report);
    typos::lint(settings, report);
    logins::lint(settings, report);
    bounds::lint(settings, report);
    files::lint(settings, place, report);
}

/// `[section.name]`.
fn entry(section: &str, name: &str) -> Key {
    Key::of(&[section, name])
}
