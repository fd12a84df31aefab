//! The two ports of a client module, one for each protocol, and what is known about each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::trust::{UpstreamTls, Verdict};
use crate::words::Protocol;

/// One value for each protocol.
pub(crate) struct PerProtocol<T> {
    pub(crate) pop3: T,
    pub(crate) smtp: T,
}

impl<T> PerProtocol<T> {
    pub(crate) fn get(&self, protocol: Protocol) -> &T {
        match protocol {
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
    }
}

/// One port of a client module.
pub(crate) struct Port {
    /// `None` if the client module is configured without TLS. Each port has its own, since a TLS
    /// session of one port may be unknown to the other.
    tls: Option<UpstreamTls>,
    /// The verdict that was reported last. The two ports may show two certificates.
    reported: Mutex<Option<Arc<Verdict>>>,
    /// Whether it did not serve when it was last dialled.
    down: AtomicBool,
    /// Wakes the probe when a login finds that it does not serve any more.
    went_down: Notify,
}

impl Port {
    pub(crate) fn new(tls: Option<UpstreamTls>) -> Self {
        Self {
            tls,
            reported: Mutex::default(),
            down: AtomicBool::new(false),
            went_down: Notify::new(),
        }
    }

    pub(crate) fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    /// Whether it did not serve when it was last dialled.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// A login has found that it does not serve any more.
    pub(crate) fn report_down(&self) {
        self.went_down.notify_one();
    }

    /// Resolves when a login finds that it does not serve any more.
    pub(crate) async fn went_down(&self) {
        self.went_down.notified().await;
    }

    /// Keeps the verdict of a handshake; true if it is the very verdict that was kept before, as it
    /// is for each handshake with the same certificate.
    pub(crate) fn keep_verdict(&self, verdict: &Arc<Verdict>) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let last = reported.replace(verdict.clone());
        last.is_some_and(|last| Arc::ptr_eq(&last, verdict))
    }
}
