//! Sentences that fit: ASCII, short enough to be shown, and never cut in the middle.

use super::{About, english, german};
use crate::words::{Language, Reason};

/// The longest and the shortest that a name becomes where a sentence is too long for its room.
const NAME: std::ops::RangeInclusive<usize> = 8..=80;

/// Why something is refused, in at most `room` characters. A detail that explains is there whole, or with
/// its first sentence, or not at all. Then names are shortened.
pub(super) fn fitting(language: Language, reason: Reason, about: About<'_>, room: usize) -> String {
    let sentence = |about: About<'_>| {
        on_the_wire(&match language {
            Language::De => german::reason(reason, about),
            Language::En => english::reason(reason, about),
        })
    };
    let whole = sentence(about);
    if whole.len() <= room {
        return whole;
    }
    let first = about.detail.split_once(". ").map_or("", |(first, _)| first);
    if explains(reason) && !first.is_empty() {
        let shorter = sentence(About { detail: first, ..about });
        if shorter.len() <= room {
            return shorter;
        }
    }
    let detail = if explains(reason) { "" } else { about.detail };
    let [workstation, account, detail] =
        [about.workstation, about.account, detail].map(on_the_wire);
    let shortened = |most| {
        let [workstation, account, detail] =
            [&workstation, &account, &detail].map(|name| shorten(name, most));
        sentence(About { workstation: &workstation, account: &account, detail: &detail, ..about })
    };
    let fits = NAME.rev().map(&shortened).find(|sentence| sentence.len() <= room);
    fits.unwrap_or_else(|| shortened(*NAME.start()))
}

/// Whether the detail of this reason is made of sentences. In every other text it is a name.
fn explains(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::LoginPaused
            | Reason::ClientModuleUnreachable
            | Reason::ClientModuleUntrusted
            | Reason::ClientModuleProtocolError
    )
}

/// The name in at most `most` bytes of ASCII, up to a place where one of its parts ends.
fn shorten(name: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let head = &name[..most - DOTS.len()];
    let end = head.rfind(|c: char| !c.is_ascii_alphanumeric()).filter(|end| end * 2 >= head.len());
    format!("{}{DOTS}", &head[..end.unwrap_or(head.len())])
}

const DOTS: &str = "...";

/// Mail replies are ASCII (RFC 5321 section 2.4, RFC 1939 section 3), so umlauts are spelled out. Every
/// other character becomes `?`, line ends too: a name or a detail cannot begin a line of its own.
pub fn on_the_wire(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ä' => ascii.push_str("ae"),
            'ö' => ascii.push_str("oe"),
            'ü' => ascii.push_str("ue"),
            'Ä' => ascii.push_str("Ae"),
            'Ö' => ascii.push_str("Oe"),
            'Ü' => ascii.push_str("Ue"),
            'ß' => ascii.push_str("ss"),
            ' '..='~' => ascii.push(c),
            _ => ascii.push('?'),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_where_one_of_its_parts_ends() {
        for (name, most, short) in [
            ("PC1", 8, "PC1"),
            ("prx@praxis.kim.telematik", 24, "prx@praxis.kim.telematik"),
            ("prx@praxis.kim.telematik", 20, "prx@praxis.kim..."),
            ("prx@praxis.kim.telematik", 12, "prx@praxi..."),
            ("Empfang Erdgeschoss", 12, "Empfang..."),
            ("xxxxxxxxxxxxxxxxxxx", 8, "xxxxx..."),
            ("a@xxxxxxxxxxxxxxxxx", 12, "a@xxxxxxx..."),
        ] {
            assert_eq!(shorten(name, most), short);
        }
    }
}
