//! How long something lasts yet, in one unit and rounded up: whoever waits so long has waited enough.

use std::time::Duration;

/// A number of units.
#[derive(Clone, Copy)]
pub(super) enum TimeLeft {
    Seconds(u64),
    Minutes(u64),
    Hours(u64),
    Days(u64),
}

impl TimeLeft {
    pub(super) fn of(left: Duration) -> Self {
        let seconds = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
        match seconds {
            0..60 => Self::Seconds(seconds),
            60..=7_200 => Self::Minutes(seconds.div_ceil(60)),
            7_201..=172_800 => Self::Hours(seconds.div_ceil(3_600)),
            _ => Self::Days(seconds.div_ceil(86_400)),
        }
    }
}
