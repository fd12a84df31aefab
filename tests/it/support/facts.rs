//! What the simulated client module saw, one fact a line, as `World::upstream` wants it.

use kimgate::sim::{Ending, Seen};

/// In the order in which it happened.
pub(crate) fn facts(seen: &[Seen]) -> Vec<String> {
    seen.iter().flat_map(fact).collect()
}

fn fact(seen: &Seen) -> Vec<String> {
    match seen {
        Seen::Opened { .. } => vec!["connection".into()],
        Seen::Secured { .. } => vec!["secured".into()],
        Seen::Command { line, .. } => vec![line.clone()],
        Seen::Login { login, .. } => vec![format!("login {}", String::from_utf8_lossy(login))],
        Seen::Received { complete: true, .. } => vec!["message complete".into()],
        Seen::Received { complete: false, .. } => vec!["message incomplete".into()],
        Seen::Fetched { number, complete: true, .. } => vec![format!("fetched {number}")],
        Seen::Fetched { number, complete: false, .. } => vec![format!("fetched {number} in part")],
        Seen::Deleted { numbers, .. } => numbers.iter().map(|n| format!("deleted {n}")).collect(),
        Seen::Closed { ending: Ending::Quit, .. } => vec!["quit".into()],
        Seen::Closed { .. } => vec!["closed without quit".into()],
    }
}
