//! Durations, sizes, addresses and closed lists of words as an operator writes them.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{problem}; {remedy}")]
pub struct ValueError {
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl ValueError {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    /// Carries the error through serde, whose errors are text, as JSON.
    fn through_serde<E: Error>(&self) -> E {
        E::custom(serde_json::to_string(self).unwrap_or_else(|_| self.to_string()))
    }

    /// The error that a serde message carries; `None` for a message of serde's own.
    pub(super) fn from_serde(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }
}

/// A duration: `"30s"`, `"5m"`, `"1h30m"`, `"250ms"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// This many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Time {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let (count, after) = leading_number(rest).ok_or_else(|| not_a_time(text))?;
            let units: [(&str, u64); 5] =
                [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
            let (unit, millis) = units
                .into_iter()
                .find(|(unit, _)| after.starts_with(unit))
                .ok_or_else(|| not_a_time(text))?;
            total = count
                .checked_mul(millis)
                .and_then(|millis| total.checked_add(Duration::from_millis(millis)))
                .ok_or_else(|| {
                    ValueError::new(format!("{text:?} is too long"), "write at most \"3650d\"")
                })?;
            rest = &after[unit.len()..];
        }
        if text.is_empty() { Err(not_a_time(text)) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Time {
    /// In the largest unit that needs no fraction, so that what is shown can be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            n if n % 86_400_000 == 0 => write!(f, "{}d", n / 86_400_000),
            n if n % 3_600_000 == 0 => write!(f, "{}h", n / 3_600_000),
            n if n % 60_000 == 0 => write!(f, "{}m", n / 60_000),
            n if n % 1000 == 0 => write!(f, "{}s", n / 1000),
            n => write!(f, "{n}ms"),
        }
    }
}

/// A number of bytes: `"64MiB"`, `"16KiB"`, `"512B"`, `"0"`; a bare number is bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (count, unit) = leading_number(text).ok_or_else(|| not_a_size(text))?;
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(not_a_size(text)),
        };
        count.checked_mul(1 << shift).map(Self).ok_or_else(|| {
            ValueError::new(format!("{text:?} is too large"), "write at most \"1024GiB\"")
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// A part of a whole: `"10%"`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Of the whole; 1 to 100.
    Percent(u32),
    /// By itself; at least 1.
    Count(u32),
}

impl Share {
    /// The number that this is of `whole`; at least 1 and at most `whole`.
    pub fn of(self, whole: u32) -> u32 {
        let part = match self {
            Self::Percent(percent) => u64::from(whole) * u64::from(percent) / 100,
            Self::Count(count) => u64::from(count),
        };
        u32::try_from(part).unwrap_or(whole).min(whole).max(1)
    }
}

impl FromStr for Share {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let share = match leading_number(text) {
            Some((percent @ 1..=100, "%")) => u32::try_from(percent).ok().map(Self::Percent),
            Some((count @ 1.., "")) => u32::try_from(count).ok().map(Self::Count),
            Some(_) | None => None,
        };
        share.ok_or_else(|| {
            let problem = format!("{:?} is not a share", shortened(text));
            ValueError::new(problem, "write \"1%\" to \"100%\", or a number from 1")
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

/// Where something listens: an IP address and a port. Names are not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(Self).map_err(|_| {
            let remedy: String = match text.rsplit_once(':') {
                Some(("localhost", port)) => format!("write \"127.0.0.1:{port}\""),
                Some(("" | "*", port)) => format!("write \"0.0.0.0:{port}\" for all addresses"),
                _ => {
                    "write an IP address and a port, as in \"0.0.0.0:995\" or \"[::1]:995\"".into()
                }
            };
            ValueError::new(format!("{text:?} is not an address with a port"), remedy)
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the admin pages are, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress(pub Option<Address>);

impl FromStr for AdminAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|a| Self(Some(a))) }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// Reads an enum from its word. The derived code would also take a number, as the position of the
/// word.
pub(super) fn word<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let text = String::deserialize(deserializer)?;
    T::deserialize(IntoDeserializer::<D::Error>::into_deserializer(text))
}

/// As [`word`], for keys without a default.
pub(super) fn some_word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    word(deserializer).map(Some)
}

/// Reads text by `FromStr`; `number` says what a bare number means, if anything.
struct Written<T> {
    what: &'static str,
    number: fn(u64) -> Option<T>,
    read: PhantomData<T>,
}

impl<T: FromStr<Err = ValueError>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error: ValueError| error.through_serde())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::invalid_type(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let unsigned = u64::try_from(number).ok().and_then(self.number);
        unsigned.ok_or_else(|| E::invalid_type(Unexpected::Signed(number), &self))
    }
}

/// Serde through `FromStr` and `Display`.
macro_rules! written {
    ($type:ty, $what:literal, $number:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = Written { what: $what, number: $number, read: PhantomData };
                deserializer.deserialize_any(visitor)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

written!(Time, "a duration with a unit, as in \"30s\" or \"5m\"", |_| None);
written!(Size, "a size, as in \"64MiB\"", |bytes| Some(Size(bytes)));
written!(Share, "a share, as in \"10%\", or a number from 1", |count| {
    u32::try_from(count).ok().filter(|count| *count > 0).map(Share::Count)
});
written!(Address, "an address with a port, as in \"0.0.0.0:995\"", |_| None);
written!(AdminAddress, "an address with a port, as in \"127.0.0.1:9465\", or \"off\"", |_| None);

/// The digits at the start and what follows them.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn not_a_time(text: &str) -> ValueError {
    let remedy = match text.parse::<u64>() {
        Ok(number) => format!("write \"{number}s\" if seconds are meant"),
        Err(_) => "write a number with ms, s, m, h or d, as in \"30s\" or \"1h30m\"".into(),
    };
    ValueError::new(format!("{:?} is not a duration", shortened(text)), remedy)
}

fn not_a_size(text: &str) -> ValueError {
    ValueError::new(
        format!("{:?} is not a size", shortened(text)),
        "write a whole number with B, KiB, MiB or GiB, as in \"64MiB\"",
    )
}

/// The first 40 characters.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let table = [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("1m0s500ms", 60_500),
        ];
        for (text, millis) in table {
            assert_eq!(text.parse(), Ok(Time(Duration::from_millis(millis))), "{text}");
        }
        let too_long = format!("{}d", u64::MAX);
        for bad in ["", "30", "s", "5 m", "5x", "-5s", "1.5h", "5m ", "٣s", &too_long] {
            let error = bad.parse::<Time>().unwrap_err();
            assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{bad}: {error}");
        }
        assert!("30".parse::<Time>().unwrap_err().remedy.contains("write \"30s\""));
    }

    #[test]
    fn sizes_are_whole_numbers_with_binary_units() {
        let table = [("0", 0), ("17", 17), ("512B", 512), ("16KiB", 16_384), ("1GiB", 1 << 30)];
        for (text, bytes) in table {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "64MB", "64 MiB", "1.5MiB", "-1", "18446744073709551615GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_percentages_or_numbers() {
        for (text, of_2000) in [("10%", 200), ("1%", 20), ("100%", 2000), ("7", 7), ("3000", 2000)]
        {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.of(2000), share.to_string()), (of_2000, text.to_owned()));
        }
        assert_eq!(Share::Percent(10).of(3), 1);
        for bad in ["", "0", "0%", "101%", "10 %", "-1", "1.5%", "4294967296"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_can_be_written() {
        for millis in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_000, 90_061_001] {
            let time = Time(Duration::from_millis(millis));
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for bytes in [0, 1, 1023, 1024, 3 << 20, 5 << 30] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
    }

    #[test]
    fn addresses_need_a_number_and_a_port() {
        assert!("[::1]:0".parse::<Address>().is_ok());
        let localhost = "localhost:995".parse::<Address>().unwrap_err();
        assert!(localhost.remedy.contains("127.0.0.1:995"), "{localhost}");
        for bad in ["", "995", ":995", "0.0.0.0", "1.2.3.4:99999", "*:995"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
