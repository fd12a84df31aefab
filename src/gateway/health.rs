//! Asks client modules what they offer and whether they are there. Never logs in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shared::Shared;
use super::upstream::{Module, probe};
use crate::words::Protocol;

/// Between two questions to a client module that answers.
const STEADY: Duration = Duration::from_secs(60);
/// After the first failure; doubled with each further one, up to [`STEADY`].
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// By so much a pause may be shorter or longer, so that forty sites do not ask one data centre in
/// the same second after it was away.
const JITTER: f64 = 0.25;

/// Asks every client module of the configuration in force, each at its own pace, until the gateway
/// stops or there is another configuration.
pub(crate) fn watch(shared: &Arc<Shared>, protocols: &BTreeSet<Protocol>, tasks: &TaskTracker) {
    let until = shared.probe_anew();
    let live = shared.loaded.load();
    for protocol in protocols.iter().copied() {
        for module in live.modules.values().cloned() {
            let asked = keep_asking(module, protocol, shared.clone(), until.clone());
            tasks.spawn(asked);
        }
    }
}

async fn keep_asking(
    module: Arc<Module>,
    protocol: Protocol,
    shared: Arc<Shared>,
    until: CancellationToken,
) {
    let mut failures = 0;
    let asking = async {
        loop {
            failures = if ask(&module, protocol, &shared).await { 0 } else { failures + 1 };
            let pause = sleep(pause(failures, rand::random()));
            tokio::select! {
                () = pause => {}
                () = module.fell_silent(protocol) => {}
            }
        }
    };
    until.run_until_cancelled(asking).await;
}

/// How long to wait after so many failures; `dice` is from 0 to 1.
fn pause(failures: u32, dice: f64) -> Duration {
    let even = match failures.checked_sub(1) {
        None => STEADY,
        Some(doublings) => FIRST_RETRY.saturating_mul(1 << doublings.min(16)).min(STEADY),
    };
    even.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice)
}

async fn ask(module: &Arc<Module>, protocol: Protocol, shared: &Shared) -> bool {
    match probe(module, protocol, &shared.observer).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(client_module = %module.name, %protocol, reason = %error.reason,
                detail = %error.detail, "client module does not answer properly");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_differ() {
        let even: Vec<u64> = (0..9).map(|failures| pause(failures, 0.5).as_secs()).collect();
        assert_eq!(even, [60, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX, 1.0), Duration::from_secs(75));
        assert_eq!(pause(1, 0.0), Duration::from_millis(1500));
    }
}
