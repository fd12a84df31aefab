//! What a line that is not TOML was meant to say: text without quotes, signs that a word processor put
//! in their place, blanks that only look like blanks, Windows paths.

use std::net::SocketAddr;

use toml_edit::ImDocument;

/// The line as it was written and as it was meant, if TOML can go on reading after it then. `line` counts
/// from 0.
pub(super) fn meant(text: &str, line: usize) -> Option<(String, String)> {
    let (start, written) = nth_line(text, line)?;
    // A login stands in such a line at times, and is not repeated.
    if written.contains('#') && written.contains('@') || written.len() > LONGEST {
        return None;
    }
    let plain = with_plain_signs(written);
    let tries: [&dyn Fn(&str) -> String; 4] =
        [&str::to_owned, &with_paths, &with_quotes, &|line| with_quotes(&with_paths(line))];
    let meant = tries.iter().map(|mend| mend(&plain)).find(|meant| {
        let end = start + written.len();
        meant != written && is_read(&[&text[..start], meant, &text[end..]].concat(), line)
    })?;
    Some((written.trim().to_owned(), meant.trim().to_owned()))
}

/// The longest line that is looked at.
const LONGEST: usize = 400;

/// Signs that look like a blank or like a quote.
const BLANKS: [char; 9] = [
    '\u{a0}', '\u{2002}', '\u{2003}', '\u{2007}', '\u{2009}', '\u{200b}', '\u{202f}', '\u{3000}',
    '\u{feff}',
];
const QUOTES: [char; 9] = ['“', '”', '„', '‟', '«', '»', '‹', '›', '″'];
const SINGLE_QUOTES: [char; 6] = ['‘', '’', '‚', '‛', '′', '´'];

/// The line that begins at this byte.
fn nth_line(text: &str, line: usize) -> Option<(usize, &str)> {
    let mut start = 0;
    for (at, whole) in text.split_inclusive('\n').enumerate() {
        if at == line {
            return Some((start, whole.trim_end_matches(['\n', '\r'])));
        }
        start += whole.len();
    }
    None
}

/// Whether TOML reads this line; another one may be wrong as well.
fn is_read(text: &str, line: usize) -> bool {
    match ImDocument::parse(text) {
        Ok(_) => true,
        Err(error) => error.span().is_some_and(|span| {
            text.get(..span.start).is_some_and(|before| before.matches('\n').count() > line)
        }),
    }
}

fn with_plain_signs(line: &str) -> String {
    let plain = |c: char| match c {
        c if BLANKS.contains(&c) => ' ',
        c if QUOTES.contains(&c) => '"',
        c if SINGLE_QUOTES.contains(&c) => '\'',
        c => c,
    };
    line.chars().map(plain).collect()
}

/// With single quotes around each text that has a backslash in it: in double quotes it begins an escape.
fn with_paths(line: &str) -> String {
    let parts: Vec<&str> = line.split('"').collect();
    if parts.len().is_multiple_of(2) || line.contains('\'') {
        return line.to_owned();
    }
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        let quote = if part.contains('\\') { '\'' } else { '"' };
        match at % 2 {
            0 => out.push_str(part),
            _ => out.extend([&*quote.to_string(), part, &*quote.to_string()]),
        }
    }
    out
}

/// With quotes around values, elements and names of tables that have none.
fn with_quotes(line: &str) -> String {
    let trimmed = line.trim();
    if let Some(header) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && !trimmed.contains('=')
    {
        return header_with_quotes(header).unwrap_or_else(|| line.to_owned());
    }
    let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
    let value = value.split_once(" #").map_or(value, |(value, _)| value).trim();
    let is_list = value.ends_with(']') && value.parse::<SocketAddr>().is_err();
    let list = value.strip_prefix('[').filter(|_| is_list);
    let list = list.map(|rest| rest.trim_end_matches([']', ',', ' ']));
    let value = match list {
        Some(list) => {
            let elements: Vec<String> = list.split(',').map(|text| quoted(text.trim())).collect();
            format!("[{}]", elements.join(", "))
        }
        None => quoted(value),
    };
    format!("{}= {value}", key.trim_end().to_owned() + " ")
}

/// `accounts.prx@praxis.kim.telematik.send` with quotes around the address.
fn header_with_quotes(header: &str) -> Option<String> {
    let (section, rest) = header.trim().split_once('.')?;
    let inner = [".send.only", ".send", ".receive", ".delete"];
    let inner = inner.into_iter().find(|inner| rest.ends_with(inner)).unwrap_or_default();
    let name = rest.strip_suffix(inner)?;
    let is_bare = !name.contains(['"', '\'']);
    is_bare.then(|| format!("[{section}.\"{name}\"{inner}]"))
}

/// A value that TOML reads as it stands, or the value in quotes.
fn quoted(value: &str) -> String {
    let is_value = |text: &str| ImDocument::parse(format!("x = {text}")).is_ok();
    let bare = value.trim_matches(['"', '\'']);
    match value.to_ascii_lowercase().as_str() {
        _ if value.is_empty() || is_value(value) => value.to_owned(),
        // As YAML and Python write them.
        "true" | "yes" => "true".to_owned(),
        "false" | "no" => "false".to_owned(),
        _ if bare.contains('\\') => format!("'{bare}'"),
        _ => format!("\"{bare}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_as_it_was_meant() {
        for (written, expected) in [
            ("address = 0.0.0.0:995", Some("address = \"0.0.0.0:995\"")),
            ("address = [::1]:995", Some("address = \"[::1]:995\"")),
            ("host = 192.168.0.22   # the server", Some("host = \"192.168.0.22\"")),
            ("host = kim.praxis.local", Some("host = \"kim.praxis.local\"")),
            (
                "addresses = [192.168.0.31, \"192.168.0.32\"]",
                Some("addresses = [\"192.168.0.31\", \"192.168.0.32\"]"),
            ),
            ("addresses = [192.168.0.0/24]", Some("addresses = [\"192.168.0.0/24\"]")),
            ("protocol = pop3", Some("protocol = \"pop3\"")),
            ("address\u{a0}= \"0.0.0.0:995\"", Some("address = \"0.0.0.0:995\"")),
            ("\u{feff}address = \"0.0.0.0:995\"", Some("address = \"0.0.0.0:995\"")),
            ("address =\u{202f}0.0.0.0:995", Some("address = \"0.0.0.0:995\"")),
            ("address = „0.0.0.0:995“", Some("address = \"0.0.0.0:995\"")),
            ("address = “0.0.0.0:995\"", Some("address = \"0.0.0.0:995\"")),
            ("address = \"0.0.0.0:995”", Some("address = \"0.0.0.0:995\"")),
            ("address = ″0.0.0.0:995″", Some("address = \"0.0.0.0:995\"")),
            ("watch = True", Some("watch = true")),
            ("watch = no", Some("watch = false")),
            ("mode = off", Some("mode = \"off\"")),
            ("address = ‘0.0.0.0:995’", Some("address = '0.0.0.0:995'")),
            (r#"certificate = "C:\kimgate\a.pem""#, Some(r"certificate = 'C:\kimgate\a.pem'")),
            (r#"certificate = "C:\Users\kim.pem""#, Some(r"certificate = 'C:\Users\kim.pem'")),
            (r"certificate = C:\kimgate\a.pem", Some(r"certificate = 'C:\kimgate\a.pem'")),
            (r#"ca = ["C:\a.pem", "b.pem"]"#, Some(r#"ca = ['C:\a.pem', "b.pem"]"#)),
            (
                "[accounts.prx@praxis.kim.telematik]",
                Some("[accounts.\"prx@praxis.kim.telematik\"]"),
            ),
            (
                "[accounts.prx@praxis.kim.telematik.send]",
                Some("[accounts.\"prx@praxis.kim.telematik\".send]"),
            ),
            ("[workstations.PC 1]", Some("[workstations.\"PC 1\"]")),
            ("logins = [a@b#h:1#M#C#W]", None),
            ("address =", None),
            ("= 1", None),
            ("[listeners.pop3s", None),
        ] {
            let text = format!("[a]\nb = 1\n{written}\n[c]\n");
            let found = meant(&text, 2).map(|(_, meant)| meant);
            assert_eq!(found.as_deref(), expected, "{written}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_odd(line in "[\\[\\]a=\"'\\\\., #@\u{a0}„0]{0,20}") {
            let text = format!("[a]\n{line}\n");
            if let Some((_, meant)) = meant(&text, 1) {
                let mended = format!("[a]\n{meant}\n");
                proptest::prop_assert!(is_read(&mended, 1));
            }
        }
    }
}
