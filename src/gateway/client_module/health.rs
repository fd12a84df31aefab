//! Probes: each client module is asked from time to time whether it answers and what it offers.
//! A probe never logs in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::back;
use super::capabilities::Capabilities;
use super::dial::{CONNECT, Upstream};
use super::error::DialError;
use super::module::{ClientModule, ClientModules};
use crate::observe::Observer;
use crate::words::Protocol;

/// Between two probes of a client module that serves.
const STEADY: Duration = Duration::from_secs(60);
/// After the first failure. It doubles with each further failure, up to [`STEADY`].
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The part by which a pause may be shorter or longer. Otherwise forty sites would ask one data
/// centre in the same second after an outage.
const JITTER: f64 = 0.25;

/// Starts to probe each client module in these protocols, each at its own pace, until `until` is
/// cancelled.
pub(crate) fn watch(
    modules: &ClientModules,
    protocols: BTreeSet<Protocol>,
    observer: &Observer,
    tasks: &TaskTracker,
    until: &CancellationToken,
) {
    for protocol in protocols {
        for module in modules.values().cloned() {
            tasks.spawn(keep_probing(module, protocol, observer.clone(), until.clone()));
        }
    }
}

async fn keep_probing(
    module: Arc<ClientModule>,
    protocol: Protocol,
    observer: Observer,
    until: CancellationToken,
) {
    let mut failures = 0;
    let probing = async {
        loop {
            failures = match probe(&module, protocol, &observer).await {
                Ok(()) => 0,
                Err(error) => {
                    tracing::warn!(client_module = %module.name, %protocol, reason = %error.reason,
                        detail = %error.detail, "client module does not answer properly");
                    failures + 1
                }
            };
            let pause = sleep(pause(failures, rand::random()));
            tokio::select! {
                () = pause => {}
                () = module.port(protocol).went_down() => {}
            }
        }
    };
    until.run_until_cancelled(probing).await;
}

/// How long to wait after so many failures; `dice` is from 0 to 1.
fn pause(failures: u32, dice: f64) -> Duration {
    let even = match failures.checked_sub(1) {
        None => STEADY,
        Some(doublings) => FIRST_RETRY.saturating_mul(1 << doublings.min(16)).min(STEADY),
    };
    even.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice)
}

/// Asks a client module what it offers, without a login.
async fn probe(
    module: &Arc<ClientModule>,
    protocol: Protocol,
    observer: &Observer,
) -> Result<(), DialError> {
    // This renews the address for later logins. If it fails, connecting will say so.
    let _ = timeout(CONNECT, module.resolver.ask(module.config.port(protocol))).await;
    let started = Instant::now();
    let connected = module.connect(protocol, observer).await;
    let took = started.elapsed();
    if let Ok(upstream) = &connected {
        upstream.learn_offer();
    }
    module.record(protocol, &connected, took, observer);
    connected?.leave().await;
    Ok(())
}

impl Upstream {
    /// Remembers what the client module offers.
    fn learn_offer(&self) {
        let known = self.module.capabilities().unwrap_or_else(Capabilities::conservative);
        self.module.learn(known.with(self.back.offer()));
    }

    /// Ends the connection with QUIT. It does not matter whether that is answered.
    async fn leave(mut self: Box<Self>) {
        self.back.quit();
        let _ = timeout(CONNECT, back::drive(&mut *self.back, &mut self.wire, None)).await;
        self.wire.close(b"").await;
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
