//! Asks client modules what they offer and whether they are there. Never logs in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::Shared;
use super::upstream::{Module, probe};
use crate::words::Protocol;

/// Between two questions to a client module that answers.
const STEADY: Duration = Duration::from_secs(60);
/// After the first failure; doubled up to [`STEADY`].
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// Asks for as long as the gateway runs. Client modules that a reload brings are asked as well.
pub(crate) async fn watch(shared: Arc<Shared>, protocol: Protocol) {
    let mut pause = FIRST_RETRY;
    loop {
        let modules: Vec<_> = shared.live.load().modules.values().cloned().collect();
        let mut all_answer = true;
        for module in modules {
            all_answer &= ask(&module, protocol, &shared).await;
        }
        pause = if all_answer { STEADY } else { pause };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.reloaded.notified() => pause = FIRST_RETRY,
            () = sleep(pause) => {}
        }
        pause = if all_answer { FIRST_RETRY } else { (pause * 2).min(STEADY) };
    }
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
