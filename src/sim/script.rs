//! The faults that are in force: who asks is told what happens here and now, and counts run down.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::words::Protocol;

use super::fault::{Effect, Fault, Faults, Manner, Point, What};

/// Tells that the faults are others now.
pub(crate) type Changes = watch::Receiver<()>;

#[derive(Debug)]
pub(crate) struct Script {
    faults: Mutex<Vec<Fault>>,
    changed: watch::Sender<()>,
}

impl Script {
    pub(crate) fn new(faults: &Faults) -> Self {
        let (changed, _) = watch::channel(());
        Self { faults: Mutex::new(faults.iter().cloned().collect()), changed }
    }

    pub(crate) fn set(&self, faults: &Faults) {
        *self.faults() = faults.iter().cloned().collect();
        self.changed.send_replace(());
    }

    /// Changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        self.changed.subscribe()
    }

    pub(crate) fn has(&self, protocol: Protocol, manner: Manner) -> bool {
        let faults = self.faults();
        let mut here = faults.iter().filter(|fault| fault.protocol.is_none_or(|p| p == protocol));
        here.any(|fault| fault.what == What::Always(manner))
    }

    /// Between two bytes, where they are to dribble.
    pub(crate) fn pace(&self, protocol: Protocol) -> Option<Duration> {
        let faults = self.faults();
        let mut here = faults.iter().filter(|fault| fault.protocol.is_none_or(|p| p == protocol));
        here.find_map(|fault| {
            if let What::Always(Manner::Dribble(pace)) = fault.what { Some(pace) } else { None }
        })
    }

    /// The effects at this point, in the order of the list.
    pub(crate) fn due(&self, protocol: Protocol, point: Point) -> Vec<Effect> {
        self.take(protocol, |at| (at == point).then_some(0)).into_iter().map(|(_, e)| e).collect()
    }

    /// The effects within a message that is sent, by the bytes before each.
    pub(crate) fn due_in_data(&self, protocol: Protocol) -> Vec<(u64, Effect)> {
        self.take(protocol, |at| if let Point::InData(bytes) = at { Some(bytes) } else { None })
    }

    /// The effects within a message of this size that is fetched, by the bytes before each.
    pub(crate) fn due_in_retr(&self, protocol: Protocol, bytes: u64) -> Vec<(u64, Effect)> {
        let part = |percent: u8| {
            let percent = u64::from(percent);
            bytes / 100 * percent + bytes % 100 * percent / 100
        };
        self.take(protocol, |at| {
            if let Point::InRetr(percent) = at { Some(part(percent)) } else { None }
        })
    }

    fn take(
        &self,
        protocol: Protocol,
        position: impl Fn(Point) -> Option<u64>,
    ) -> Vec<(u64, Effect)> {
        let mut due = Vec::new();
        self.faults().retain_mut(|fault| {
            let What::At(point, effect) = &fault.what else { return true };
            let Some(at) = position(*point) else { return true };
            if fault.protocol.is_some_and(|only| only != protocol) {
                return true;
            }
            match &mut fault.times {
                Some(0) => return false,
                Some(times) => *times -= 1,
                None => {}
            }
            due.push((at, effect.clone()));
            fault.times != Some(0)
        });
        due.sort_by_key(|(at, _)| *at);
        due
    }

    fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_run_down_and_protocols_are_kept_apart() {
        let faults = ["2*smtp:login-drop", "login-reset", "one-byte"];
        let script = Script::new(&faults.iter().map(|text| text.parse().unwrap()).collect());
        let due = |protocol| script.due(protocol, Point::Login);
        assert_eq!(due(Protocol::Pop3), [Effect::Reset]);
        assert_eq!(due(Protocol::Smtp), [Effect::Drop, Effect::Reset]);
        assert_eq!(due(Protocol::Smtp), [Effect::Drop, Effect::Reset]);
        assert_eq!(due(Protocol::Smtp), [Effect::Reset]);
        assert!(script.due(Protocol::Smtp, Point::Greeting).is_empty());
        assert!(script.has(Protocol::Smtp, Manner::OneByte));
        assert!(!script.has(Protocol::Smtp, Manner::Packed));
    }

    #[test]
    fn percents_become_bytes_in_order() {
        let faults = ["in-retr-drop@99", "in-retr-delay@0", "in-retr-reset@50"];
        let script = Script::new(&faults.iter().map(|text| text.parse().unwrap()).collect());
        let due = script.due_in_retr(Protocol::Pop3, 1_010);
        assert_eq!(due.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 505, 999]);
    }
}
