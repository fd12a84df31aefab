//! Probes: each client module is asked from time to time whether it answers and what it offers.
//! A probe never logs in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::back::Back;
use super::capabilities::Capabilities;
use super::dial::{CONNECT, Dialled, Upstream};
use super::error::DialError;
use super::module::{ClientModule, ClientModules};
use crate::observe::Observer;
use crate::words::{Protocol, Reason};

/// Between two probes of a client module that answers.
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
                () = module.port(protocol).fell_silent() => {}
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
    let probed = match connected {
        Ok(Dialled::Ready(upstream)) => upstream.ask_capabilities(observer).await,
        // It answers, even if only to say that it is busy. What it offers stays unknown.
        Ok(Dialled::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    };
    module.record(protocol, &probed, took, observer);
    probed
}

impl Upstream {
    /// Learns what the client module offers, and ends the connection with QUIT.
    async fn ask_capabilities(mut self: Box<Self>, observer: &Observer) -> Result<(), DialError> {
        let module = &self.module;
        // An SMTP server has sent its capabilities already, so there is no answer to wait for.
        if self.back.ask_capabilities() {
            let asked = self.back.drive(&mut self.wire, None);
            match timeout(module.patience, asked).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    return Err(module.failed(error, self.back.protocol(), observer));
                }
                Err(_) => {
                    let detail = format!("{}: no answer in time", module.name);
                    return Err(DialError::new(Reason::ClientModuleUnreachable, detail));
                }
            }
        }
        let mut known = module.capabilities().unwrap_or_else(Capabilities::conservative);
        match &self.back {
            Back::Pop3(back) => known.pop3 = back.capabilities().clone(),
            Back::Smtp(back) => known.smtp = back.capabilities().clone(),
        }
        module.learn(known);
        self.back.quit();
        // Its capabilities are known, so it does not matter whether it answers QUIT.
        let _ = timeout(CONNECT, self.back.drive(&mut self.wire, None)).await;
        self.wire.close(b"").await;
        Ok(())
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
