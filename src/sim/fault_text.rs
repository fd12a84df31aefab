//! The text form of faults: their names, reading and printing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::words::Protocol;

use super::fault::{Effect, Fault, FaultError, Manner, Point, What};

const POINTS: [(&str, Point); 19] = [
    ("handshake", Point::Handshake),
    ("greeting", Point::Greeting),
    ("hello", Point::Hello),
    ("starttls", Point::StartTls),
    ("prompt", Point::Prompt),
    ("login", Point::Login),
    ("idle", Point::Idle),
    ("mail", Point::Mail),
    ("rcpt", Point::Rcpt),
    ("data", Point::Data),
    ("in-data", Point::InData(0)),
    ("end-of-data", Point::EndOfData),
    ("after-data", Point::AfterData),
    ("retr", Point::Retr),
    ("in-retr", Point::InRetr(0)),
    ("retr-end", Point::RetrEnd),
    ("after-retr", Point::AfterRetr),
    ("dele", Point::Dele),
    ("quit", Point::Quit),
];

const MANNERS: [(&str, Manner); 13] = [
    ("one-byte", Manner::OneByte),
    ("dribble", Manner::Dribble(PACE)),
    ("split-crlf", Manner::SplitCrlf),
    ("line-by-line", Manner::LineByLine),
    ("packed", Manner::Packed),
    ("bare-lf", Manner::BareLf),
    ("lenient-dot", Manner::LenientDot),
    ("undecryptable", Manner::Undecryptable),
    ("openkim", Manner::OpenKim),
    ("forgetful-rset", Manner::ForgetfulRset),
    ("ignore-initial", Manner::IgnoreInitial),
    ("kim-2026", Manner::Kim2026),
    ("strict-headers", Manner::StrictHeaders),
];

const LONG_LINE: usize = 1 << 20;
const GAP: Duration = Duration::ZERO;
const PACE: Duration = Duration::from_secs(1);

impl Fault {
    /// Every point, effect and manner in at least one fault that can be written as it stands here,
    /// with its meaning. Points and effects combine freely.
    pub const ALL: [(&str, &str); 44] = [
        ("handshake-drop", "the connection ends before the TLS handshake"),
        ("handshake-refuse", "a greeting in clear where TLS belongs"),
        ("greeting-delay=5s", "the greeting comes late"),
        ("greeting-double", "the greeting comes twice"),
        ("greeting-extra=50ms", "an unasked line so long after the greeting, in its own packet"),
        ("greeting-refuse=421 4.3.2 Wartung", "the greeting is this line, then the end"),
        ("hello-endless", "the answer to EHLO or CAPA has no end"),
        ("starttls-unasked", "bytes in clear right after the answer to STARTTLS"),
        ("prompt-extra=2ms +OK", "this line after the answer to USER, or after a challenge"),
        ("login-delay=10s", "the card is slow"),
        ("login-refuse=454 4.7.0 Konnektor nicht erreichbar", "the login is refused like this"),
        ("login-long-line=1048576", "the answer to the login is a line of so many bytes"),
        ("login-garbage", "the answer to the login holds NUL and bytes above 127"),
        ("login-multi-line", "the answer to the login has several lines"),
        ("idle-unasked", "an unasked line after the login"),
        ("mail-refuse", "MAIL is refused"),
        ("rcpt-refuse=550 5.1.1 Unbekannt", "RCPT is refused like this"),
        ("data-refuse", "DATA is refused"),
        ("in-data-reset@65536", "RST after so many bytes of a message"),
        ("end-of-data-delay=60s", "signing and sending takes so long"),
        ("end-of-data-goodbye", "the answer to a message, and 421 in the same packet"),
        ("end-of-data-close", "the end, in order, without an answer to the message"),
        ("after-data-half-close", "nothing more is sent after the answer to a message"),
        ("retr-refuse", "RETR is refused"),
        ("in-retr-delay@0=10s", "decrypting takes so long: the pause after +OK"),
        ("in-retr-drop@50", "FIN after so many percent of a message"),
        ("in-retr-stall@99", "silence after so many percent of a message"),
        ("retr-end-reset", "RST between the dot that ends a message and its CRLF"),
        ("after-retr-unasked", "an unasked line after a message"),
        ("dele-refuse", "DELE is refused"),
        ("quit-drop", "no answer to QUIT; deletions are committed"),
        ("one-byte", "every byte is sent by itself"),
        ("dribble=1s", "every byte is sent by itself, one a second"),
        ("split-crlf", "CR and LF are sent apart"),
        ("packed", "answers wait for each other, +OK for its message"),
        ("undecryptable", "RETR gives the error mail with code 4009"),
        ("openkim", "LIST, STAT and AUTH PLAIN are wrong as in openKIM"),
        ("bare-lf", "reply lines end with LF alone"),
        ("line-by-line", "every line of a reply is sent by itself"),
        ("lenient-dot", "LF alone counts around the final dot, as in servers open to smuggling"),
        ("forgetful-rset", "RSET loses the login"),
        ("ignore-initial", "the response that comes with AUTH is ignored, and asked for"),
        ("kim-2026", "EHLO, TOP and RETR as in gematik's draft of 2026: X-KIM-Auth, vendor codes"),
        ("strict-headers", "a message without what that draft demands of it is refused"),
    ];
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (times, rest) = match text.split_once('*') {
            Some((count, rest)) if !count.contains('=') => {
                (Some(count.parse().map_err(|_| FaultError::Count(count.to_owned()))?), rest)
            }
            _ => (None, text),
        };
        let (protocol, rest) = [Protocol::Pop3, Protocol::Smtp]
            .into_iter()
            .find_map(|protocol| {
                let rest = rest.strip_prefix(protocol.as_str())?.strip_prefix(':')?;
                Some((Some(protocol), rest))
            })
            .unwrap_or((None, rest));
        Ok(Self { what: what(rest)?, protocol, times })
    }
}

fn what(text: &str) -> Result<What, FaultError> {
    if let Some((_, manner)) = MANNERS.iter().find(|(name, _)| *name == text) {
        return Ok(What::Always(*manner));
    }
    if let Some(pace) = text.strip_prefix("dribble=") {
        let pace = duration(pace).ok_or_else(|| FaultError::Value("dribble".to_owned()))?;
        return Ok(What::Always(Manner::Dribble(pace)));
    }
    let (rest, value) = match text.split_once('=') {
        Some((rest, value)) => (rest, Some(value)),
        None => (text, None),
    };
    let (name, offset) = match rest.split_once('@') {
        Some((name, offset)) => (name, Some(offset)),
        None => (rest, None),
    };
    POINTS
        .iter()
        .find_map(|(point, kind)| {
            let effect = name.strip_prefix(point)?.strip_prefix('-')?;
            Some((*kind, effect_kind(effect)?))
        })
        .ok_or_else(|| FaultError::Unknown(text.to_owned()))
        .and_then(|(point, effect)| {
            let wrong_offset = || FaultError::Offset(name.to_owned());
            let point = with_offset(point, offset).ok_or_else(wrong_offset)?;
            let wrong_value = || FaultError::Value(name.to_owned());
            Ok(What::At(point, with_value(effect, value).ok_or_else(wrong_value)?))
        })
}

fn effect_kind(name: &str) -> Option<Effect> {
    Some(match name {
        "delay" => Effect::Delay(Duration::from_secs(5)),
        "refuse" => Effect::Refuse(None),
        "close" => Effect::Close,
        "drop" => Effect::Drop,
        "reset" => Effect::Reset,
        "half-close" => Effect::HalfClose,
        "stall" => Effect::Stall,
        "long-line" => Effect::LongLine(LONG_LINE),
        "endless" => Effect::Endless,
        "garbage" => Effect::Garbage,
        "multi-line" => Effect::MultiLine,
        "double" => Effect::Double,
        "unasked" => Effect::Unasked,
        "extra" => Effect::Extra(GAP, None),
        "goodbye" => Effect::Goodbye,
        _ => return None,
    })
}

/// The point with the offset that stands after `@`; without one, at the beginning.
fn with_offset(point: Point, offset: Option<&str>) -> Option<Point> {
    match (point, offset) {
        (point, None) => Some(point),
        (Point::InData(_), Some(offset)) => offset.parse().ok().map(Point::InData),
        (Point::InRetr(_), Some(offset)) => {
            offset.parse().ok().filter(|percent| *percent <= 100).map(Point::InRetr)
        }
        _ => None,
    }
}

fn with_value(effect: Effect, value: Option<&str>) -> Option<Effect> {
    match (effect, value) {
        (effect, None) => Some(effect),
        (Effect::Delay(_), Some(value)) => duration(value).map(Effect::Delay),
        (Effect::Refuse(_), Some(value)) => {
            let clean = !value.is_empty() && !value.contains(char::is_control);
            clean.then(|| Effect::Refuse(Some(value.to_owned())))
        }
        (Effect::LongLine(_), Some(value)) => value.parse().ok().map(Effect::LongLine),
        (Effect::Extra(..), Some(value)) => {
            let (gap, line) = match value.split_once(' ') {
                Some((gap, line)) => (gap, Some(line.to_owned())),
                None => (value, None),
            };
            let is_line = line.iter().all(|line| !line.contains(char::is_control));
            let gap = duration(gap).filter(|_| is_line)?;
            Some(Effect::Extra(gap, line))
        }
        _ => None,
    }
}

fn duration(text: &str) -> Option<Duration> {
    let number = |suffix| text.strip_suffix(suffix)?.parse().ok();
    number("ms")
        .map(Duration::from_millis)
        .or_else(|| number("s").map(Duration::from_secs))
        .or_else(|| number("m").and_then(|m: u64| m.checked_mul(60)).map(Duration::from_secs))
}

fn written(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(times) = self.times {
            write!(f, "{times}*")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, "{protocol}:")?;
        }
        match &self.what {
            What::Always(Manner::Dribble(pace)) => write!(f, "dribble={}", written(*pace)),
            What::Always(manner) => {
                let name = MANNERS.iter().find(|(_, known)| known == manner);
                f.write_str(name.map_or("", |(name, _)| name))
            }
            What::At(point, effect) => write_at(f, *point, effect),
        }
    }
}

fn write_at(f: &mut fmt::Formatter<'_>, point: Point, effect: &Effect) -> fmt::Result {
    let (kind, offset) = if let Point::InData(bytes) = point {
        (Point::InData(0), Some(bytes))
    } else if let Point::InRetr(percent) = point {
        (Point::InRetr(0), Some(percent.into()))
    } else {
        (point, None)
    };
    let point = POINTS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name);
    let (effect, value) = match effect {
        Effect::Delay(delay) => ("delay", Some(written(*delay))),
        Effect::Refuse(text) => ("refuse", text.clone()),
        Effect::Close => ("close", None),
        Effect::Drop => ("drop", None),
        Effect::Reset => ("reset", None),
        Effect::HalfClose => ("half-close", None),
        Effect::Stall => ("stall", None),
        Effect::LongLine(bytes) => ("long-line", Some(bytes.to_string())),
        Effect::Endless => ("endless", None),
        Effect::Garbage => ("garbage", None),
        Effect::MultiLine => ("multi-line", None),
        Effect::Double => ("double", None),
        Effect::Unasked => ("unasked", None),
        Effect::Extra(gap, None) => ("extra", Some(written(*gap))),
        Effect::Extra(gap, Some(line)) => ("extra", Some(format!("{} {line}", written(*gap)))),
        Effect::Goodbye => ("goodbye", None),
    };
    write!(f, "{point}-{effect}")?;
    if let Some(offset) = offset {
        write!(f, "@{offset}")?;
    }
    value.map_or(Ok(()), |value| write!(f, "={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_fault_is_read_and_printed_alike() {
        for (text, _) in Fault::ALL {
            let fault: Fault = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(fault.to_string().parse(), Ok(fault), "{text}");
        }
    }

    #[test]
    fn every_point_and_every_manner_has_a_name_that_is_read_again() {
        for (name, manner) in MANNERS {
            let fault = Fault::always(manner);
            assert_eq!(name.parse(), Ok(fault.clone()));
            assert!(fault.to_string().starts_with(name), "{fault}");
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for (name, point) in POINTS {
            let fault = Fault::at(point, Effect::Reset).only(Protocol::Smtp).times(2);
            assert!(fault.to_string().starts_with(&format!("2*smtp:{name}-reset")), "{fault}");
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn counts_protocols_offsets_and_values_are_read() {
        let delay = Effect::Delay(Duration::from_millis(200));
        let refuse = Effect::Refuse(Some("-ERR 1*2=2".into()));
        let table = [
            ("pop3:login-delay=200ms", Fault::at(Point::Login, delay).only(Protocol::Pop3)),
            ("login-refuse=-ERR 1*2=2", Fault::at(Point::Login, refuse)),
            ("3*in-data-drop@9", Fault::at(Point::InData(9), Effect::Drop).times(3)),
            ("in-data-drop", Fault::at(Point::InData(0), Effect::Drop)),
        ];
        for (text, fault) in table {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_says_why() {
        let table = [
            ("nonsense", FaultError::Unknown("nonsense".into())),
            ("login-", FaultError::Unknown("login-".into())),
            ("x*login-drop", FaultError::Count("x".into())),
            ("login-drop@5", FaultError::Offset("login-drop".into())),
            ("in-retr-drop@101", FaultError::Offset("in-retr-drop".into())),
            ("login-delay=soon", FaultError::Value("login-delay".into())),
            ("login-drop=1", FaultError::Value("login-drop".into())),
            ("dribble=soon", FaultError::Value("dribble".into())),
            ("login-refuse=a\r\nb", FaultError::Value("login-refuse".into())),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Fault>(), Err(error), "{text}");
        }
    }
}
