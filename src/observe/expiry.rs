//! When certificates expire, and which warnings about that were logged.

use time::{Duration, OffsetDateTime};

/// Days before the expiry at which a warning is logged, and the expiry itself.
const MARKS: [i64; 4] = [0, 3, 14, 30];

/// When a certificate expires, and the mark of the last warning.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    /// In Unix seconds.
    pub(super) not_after: i64,
    /// Shown by a client module, and in no file of kimgate's own.
    pub(super) met: bool,
    reported: Option<i64>,
}

impl Expiry {
    pub(super) fn new(not_after: i64, met: bool) -> Self {
        Self { not_after, met, reported: None }
    }

    /// Another certificate begins again with the first mark.
    pub(super) fn replaced_by(&mut self, not_after: i64) {
        if self.not_after != not_after {
            (self.not_after, self.reported) = (not_after, None);
        }
    }

    /// The days that are left, if a mark was passed since the last call; below zero where it has
    /// expired.
    pub(super) fn tell(&mut self, now: OffsetDateTime) -> Option<i64> {
        let left = Duration::seconds(self.not_after.saturating_sub(now.unix_timestamp()));
        let mark = MARKS.into_iter().find(|days| left <= Duration::days(*days))?;
        let is_news = self.reported.is_none_or(|reported| mark < reported);
        self.reported = Some(mark);
        is_news.then(|| if left.is_negative() { -1 } else { left.whole_days() })
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn each_mark_is_told_of_once() {
        let end = datetime!(2027-03-31 12:00 UTC);
        let mut expiry = Expiry::new(end.unix_timestamp(), false);
        let mut told = vec![];
        for hour in (-24..=24 * 40).rev() {
            told.extend(expiry.tell(end - Duration::hours(hour)));
        }
        assert_eq!(told, [30, 14, 3, 0]);
        expiry.replaced_by((end + Duration::days(10)).unix_timestamp());
        assert_eq!(expiry.tell(end), Some(10), "another certificate begins anew");
        assert_eq!(expiry.tell(end + Duration::days(11)), Some(-1));
        assert_eq!(expiry.tell(end + Duration::days(12)), None);
    }
}
