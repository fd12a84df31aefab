//! Points in time as people type them, and as they read them: by the clock on the wall.

use std::str::FromStr;

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]");
const CLOCK_SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");
const SHOWN: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// What was typed. It may mean a whole day, which has a beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    /// This moment.
    At(OffsetDateTime),
    /// So long before now.
    Ago(Duration),
    /// That day, here.
    Day(Date),
    /// At that time, here; without a date, today.
    Clock(Option<Date>, Time),
    /// So many days before today.
    DaysAgo(i64),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text.trim()).ok_or_else(|| {
            "write \"2026-11-25\", \"2026-11-25 10:00\", \"10:00\", \"today\", \"yesterday\", or \"90m\", \
             \"2h\", \"3d\" for so long ago; with a zone as RFC 3339: \"2026-11-25T10:00:00Z\""
                .into()
        })
    }
}

fn read(text: &str) -> Option<When> {
    match text {
        "today" => return Some(When::DaysAgo(0)),
        "yesterday" => return Some(When::DaysAgo(1)),
        _ => {}
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(When::At(at));
    }
    if let Some(ago) = ago(text) {
        return Some(When::Ago(ago));
    }
    let clock = |text| Time::parse(text, CLOCK).or_else(|_| Time::parse(text, CLOCK_SECONDS)).ok();
    if let Some(time) = clock(text) {
        return Some(When::Clock(None, time));
    }
    match text.split_once([' ', 'T']) {
        None => Date::parse(text, DATE).ok().map(When::Day),
        Some((date, time)) => {
            Some(When::Clock(Some(Date::parse(date, DATE).ok()?), clock(time.trim())?))
        }
    }
}

fn ago(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    match unit {
        "m" => Some(Duration::minutes(number.into())),
        "h" => Some(Duration::hours(number.into())),
        "d" => Some(Duration::days(number.into())),
        _ => None,
    }
}

impl When {
    /// The first moment that is meant.
    pub(super) fn begin(self, now: OffsetDateTime) -> OffsetDateTime {
        let today = local(now).date();
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            Self::Day(date) => here(date, Time::MIDNIGHT),
            Self::Clock(date, time) => here(date.unwrap_or(today), time),
            Self::DaysAgo(days) => {
                here(today.checked_sub(Duration::days(days)).unwrap_or(today), Time::MIDNIGHT)
            }
        }
    }

    /// The first moment that is not meant any more.
    pub(super) fn end(self, now: OffsetDateTime) -> OffsetDateTime {
        let day = match self {
            Self::At(_) | Self::Ago(_) | Self::Clock(..) => return self.begin(now),
            Self::Day(date) => date,
            Self::DaysAgo(_) => local(self.begin(now)).date(),
        };
        here(day.next_day().unwrap_or(day), Time::MIDNIGHT)
    }
}

/// A time on the clock of this machine. It changes twice a year, so the offset is asked for twice.
fn here(date: Date, time: Time) -> OffsetDateTime {
    let naive = PrimitiveDateTime::new(date, time);
    let guess = naive.assume_offset(offset(naive.assume_utc()));
    naive.assume_offset(offset(guess))
}

fn local(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(offset(at))
}

fn offset(at: OffsetDateTime) -> UtcOffset {
    UtcOffset::local_offset_at(at).unwrap_or(UtcOffset::UTC)
}

/// As people here read it.
pub(super) fn shown(at: OffsetDateTime) -> String {
    local(at).format(SHOWN).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime, time};

    use super::*;

    #[test]
    fn what_people_type_is_understood() {
        let table = [
            ("2026-11-25", Some(When::Day(date!(2026 - 11 - 25)))),
            ("2026-11-25 10:00", Some(When::Clock(Some(date!(2026 - 11 - 25)), time!(10:00)))),
            (
                "2026-11-25T10:00:07",
                Some(When::Clock(Some(date!(2026 - 11 - 25)), time!(10:00:07))),
            ),
            ("10:00", Some(When::Clock(None, time!(10:00)))),
            ("2026-11-25T10:00:00Z", Some(When::At(datetime!(2026-11-25 10:00 UTC)))),
            ("2026-11-25T10:00:00.5+01:00", Some(When::At(datetime!(2026-11-25 09:00:00.5 UTC)))),
            ("90m", Some(When::Ago(Duration::minutes(90)))),
            ("2h", Some(When::Ago(Duration::hours(2)))),
            ("3d", Some(When::Ago(Duration::days(3)))),
            ("today", Some(When::DaysAgo(0))),
            ("", None),
            ("d", None),
            ("3w", None),
            ("-3d", None),
            ("3\u{fc}", None),
            ("2026-02-30", None),
            ("25:00", None),
        ];
        for (text, when) in table {
            assert_eq!(text.parse::<When>().ok(), when, "{text}");
        }
    }

    #[test]
    fn a_day_ends_where_the_next_one_begins() {
        let now = datetime!(2026-11-25 12:00 UTC);
        let (today, yesterday) = (When::DaysAgo(0), When::DaysAgo(1));
        assert_eq!(yesterday.end(now), today.begin(now));
        assert!(today.begin(now) <= now && now < today.end(now));
        assert_eq!(
            When::Ago(Duration::days(u32::MAX.into())).begin(now),
            OffsetDateTime::UNIX_EPOCH
        );
        let day = When::Day(date!(2026 - 11 - 25));
        assert!(day.end(now) - day.begin(now) >= Duration::hours(23));
    }
}
