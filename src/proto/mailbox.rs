//! Reads the one mail address of From or Sender (RFC 5322 section 3.4).

use base64::Engine;

use super::sasl::BASE64;

/// The address in a field's value, if every reader finds this one and no other.
///
/// It stands alone (`a@b`) or between angle brackets after a name (`Name <a@b>`, `"Name" <a@b>`). Lists,
/// groups, comments, source routes, quoted local parts and control characters give `None`. So does a
/// name that has an `@`, in an encoded word too, unless the name is the address itself: some programs
/// show or use it as the address.
pub(super) fn only_address(value: &str) -> Option<&str> {
    let value = value.trim_matches([' ', '\t']);
    if value.contains(|c: char| c.is_control() && c != '\t') {
        return None;
    }
    let Some(named) = value.strip_suffix('>') else {
        return is_address(value).then_some(value);
    };
    let (name, address) = named.rsplit_once('<')?;
    let name = name.trim_matches([' ', '\t']);
    let is_harmless =
        unquoted(name).is_some_and(|name| !shows_an_at(name) || name.eq_ignore_ascii_case(address));
    (is_address(address) && is_harmless).then_some(address)
}

/// A name without its quotation marks; `None` where it may be more than a name.
fn unquoted(name: &str) -> Option<&str> {
    if let Some(inside) = name.strip_prefix('"') {
        let inside = inside.strip_suffix('"')?;
        return (!inside.contains(['"', '\\'])).then_some(inside);
    }
    let is_special =
        |c| matches!(c, '"' | '\\' | '(' | ')' | '<' | '>' | ',' | ':' | ';' | '[' | ']');
    (!name.contains(is_special)).then_some(name)
}

/// Whether a reader sees an `@` in a name: as it stands, in a letter that looks like it, or in an
/// encoded word (RFC 2047).
fn shows_an_at(name: &str) -> bool {
    name.contains(['@', '\u{ff20}', '\u{fe6b}']) || name.split("=?").skip(1).any(encodes_an_at)
}

/// The same of an encoded word, without its `=?`. One that kimgate cannot decode counts.
fn encodes_an_at(word: &str) -> bool {
    let mut parts = word.splitn(4, '?');
    let (Some(charset), Some(encoding), Some(text)) = (parts.next(), parts.next(), parts.next())
    else {
        return false; // not an encoded word
    };
    let is_utf7 = charset.to_ascii_lowercase().contains("utf-7"); // +AEA- is an @
    is_utf7
        || match encoding {
            "Q" | "q" => AT_ENCODED.iter().any(|at| text.to_ascii_uppercase().contains(at)),
            "B" | "b" => BASE64.decode(text).map_or(true, |bytes| {
                AT_BYTES.iter().any(|at| bytes.windows(at.len()).any(|window| window == *at))
            }),
            _ => true,
        }
}

/// An `@`, and the letters that look like it, in UTF-8.
const AT_BYTES: [&[u8]; 3] = [b"@", b"\xef\xbc\xa0", b"\xef\xb9\xab"];
/// The same in quoted-printable.
const AT_ENCODED: [&str; 3] = ["=40", "=EF=BC=A0", "=EF=B9=AB"];

/// One `@` between ASCII characters that no parser treats in its own way.
fn is_address(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"\\()<>,:;[]".contains(&b);
    let has_both = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    has_both && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_where_all_readers_read_the_same() {
        for value in [
            "a@b.c",
            " a@b.c\t",
            "<a@b.c>",
            "Praxis Dr. M\u{fc}ller <a@b.c>",
            "\"Praxis, Dr. M\u{fc}ller (Berlin)\" <a@b.c>",
            "=?UTF-8?Q?Praxis_M=C3=BCller?= <a@b.c>",
            "=?UTF-8?B?UHJheGlzIE3DvGxsZXI=?= =?UTF-8?q?_Berlin?= <a@b.c>",
            "Who=?Me <a@b.c>",
            "\"A@b.c\" <a@b.c>",
            "a@b.c <a@b.c>",
        ] {
            assert!(only_address(value).is_some_and(|a| a == "a@b.c"), "{value}");
        }
        for value in [
            "",
            "a",
            "Name",
            "<>",
            "a@b, c@d",
            "a@b c@d",
            "<a@b>, <c@d>",
            "<c@d> <a@b>",
            "c@d <a@b>",
            "\"c@d\" <a@b>",
            "\"c@d,\" <a@b>",
            "c@d, Name <a@b>",
            "=?utf-8?Q?c=40d?= <a@b>",
            "Dr. =?iso-8859-1?q?c?= =?iso-8859-1?q?=40d?= <a@b>",
            "\"=?utf-8?Q?c=40d?=\" <a@b>",
            "=?utf-8?B?Y0Bk?= <a@b>",
            "=?utf-8?b?Y0Bk!?= <a@b>",
            "=?utf-8?X?c?= <a@b>",
            "=?utf-7?Q?c+AEA-d?= <a@b>",
            "=?utf-16?B?/v8AYwBAAGQ=?= <a@b>",
            "=?utf-8?Q?c=ef=bc=a0d?= <a@b>",
            "c\u{ff20}d <a@b>",
            "c\u{fe6b}d <a@b>",
            "praxis: a@b;",
            "praxis: <a@b>",
            "a@b (c@d)",
            "(c@d) a@b",
            "(c) <a@b>",
            "Name <a@b> (c)",
            "Name <a(c)@b>",
            "<@c:a@b>",
            "<a@b@c>",
            "<a @b>",
            "<@b>",
            "<a@>",
            "\"a\"@b",
            "<\"a\"@b>",
            "\"x\\\" <c@d>\" <a@b>",
            "\"x\" <c@d> \"y\" <a@b>",
            "a@b\u{0}",
            "\u{1}a@b",
            "a@b\u{e4}",
            "<a@b>\u{2026}",
        ] {
            assert_eq!(only_address(value), None, "{value}");
        }
    }
}
