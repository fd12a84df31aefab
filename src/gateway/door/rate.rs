//! How many connections and refused logins a second one source may have.
//!
//! Each source has a token bucket, as the time at which the bucket is full again. The buckets stand in
//! two rows of a fixed size, and a source has the one in each row that its keyed hash names. It is over
//! its rate only if both are empty. So no source is remembered or forgotten, the memory is always the
//! same, and an attacker with many networks can neither get rid of its own buckets nor choose those of a
//! practice's PC: to empty all buckets of a row takes `CELLS` times the rate.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::connections::source;

/// What a source that was silent for so long may do at once: ten times its rate.
const BURST: Duration = Duration::from_secs(10);
/// Buckets in a row. 1,000 sources over their rate hit both buckets of another one in 0.4 % of cases.
const CELLS: usize = 1 << 14;

/// The buckets of all sources.
pub(crate) struct Rate {
    /// What one connection costs, in nanoseconds; 0 if there is no limit.
    cost: AtomicU64,
    start: Instant,
    rows: [Row; 2],
}

/// When each bucket is full again, in nanoseconds since the start.
struct Row {
    /// Keyed, so that no one can choose addresses whose buckets are the same.
    hasher: RandomState,
    full_at: Box<[AtomicU64]>,
}

impl Rate {
    /// So many a second from each source; 0: no limit.
    pub(crate) fn new(a_second: u32, now: Instant) -> Self {
        let row = || Row {
            hasher: RandomState::new(),
            full_at: (0..CELLS).map(|_| AtomicU64::default()).collect(),
        };
        let rate = Self { cost: AtomicU64::default(), start: now, rows: [row(), row()] };
        rate.set(a_second);
        rate
    }

    /// Applies another rate.
    pub(crate) fn set(&self, a_second: u32) {
        let cost = nanoseconds(Duration::from_secs(1)).checked_div(a_second.into());
        self.cost.store(cost.unwrap_or(0), Ordering::Relaxed);
    }

    /// Counts a connection or a refusal of this address; false if it is over its rate.
    pub(crate) fn admits(&self, peer: IpAddr, now: Instant) -> bool {
        let cost = self.cost.load(Ordering::Relaxed);
        let now = nanoseconds(now.saturating_duration_since(self.start));
        let source = source(peer);
        // Both rows count it, so this must not stop at the first.
        let [first, second] = self.rows.each_ref().map(|row| row.take(source, cost, now));
        first || second
    }
}

impl Row {
    /// Takes the cost from the source's bucket, if there is enough in it.
    fn take(&self, source: IpAddr, cost: u64, now: u64) -> bool {
        let at = self.hasher.hash_one(source) as usize % CELLS;
        let taken =
            self.full_at[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let full_at = full_at.max(now) + cost;
                (full_at - now <= nanoseconds(BURST)).then_some(full_at)
            });
        taken.is_ok()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PC1: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 31));

    /// How many of these are admitted.
    fn admitted(rate: &Rate, peers: impl IntoIterator<Item = IpAddr>, now: Instant) -> usize {
        peers.into_iter().filter(|peer| rate.admits(*peer, now)).count()
    }

    #[test]
    fn a_source_has_its_burst_at_once_and_then_its_rate() {
        let now = Instant::now();
        let rate = Rate::new(20, now);
        assert_eq!(admitted(&rate, [PC1; 1000], now), 200);
        assert_eq!(admitted(&rate, [PC1; 1000], now + SECOND), 20);
        assert_eq!(admitted(&rate, [PC1; 1000], now + 4 * SECOND), 60);
        assert_eq!(admitted(&rate, [PC1; 1000], now + 1000 * SECOND), 200, "a pause fills it");
    }

    #[test]
    fn zero_is_no_limit_and_a_reload_changes_the_rate() {
        let now = Instant::now();
        let rate = Rate::new(0, now);
        assert_eq!(admitted(&rate, [PC1; 10_000], now), 10_000);
        rate.set(1);
        assert_eq!(admitted(&rate, [PC1; 1000], now), 10);
        rate.set(0);
        assert!(rate.admits(PC1, now));
    }

    #[test]
    fn addresses_of_one_ipv6_network_and_both_spellings_of_ipv4_are_one_source() {
        let now = Instant::now();
        let rate = Rate::new(20, now);
        let network = |n: u128| IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | n));
        assert_eq!(admitted(&rate, (0..1000).map(network), now), 200);
        assert!(rate.admits(network(1 << 64), now), "another /64");
        let mapped = Ipv4Addr::new(192, 168, 0, 31).to_ipv6_mapped().into();
        assert_eq!(admitted(&rate, [PC1, mapped].into_iter().cycle().take(1000), now), 200);
    }

    /// Each network stays below its own burst, so nothing stops this attacker but that there are many
    /// of its buckets. It does not get its own bucket back either.
    #[test]
    fn a_hundred_thousand_networks_neither_punish_a_pc_nor_free_one_that_is_over_its_rate() {
        let now = Instant::now();
        let rate = Rate::new(20, now);
        let flooder = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(admitted(&rate, [flooder; 1000], now), 200);
        let strangers =
            (1..=100_000_u128).map(|n| Ipv6Addr::from(0x2001_0db8 << 96 | n << 64).into());
        assert!(admitted(&rate, strangers, now) > 99_000);
        assert!(!rate.admits(flooder, now));
        assert!(admitted(&rate, [PC1; 100], now) == 100);
    }
}
