//! Reads the one mail address of From or Sender (RFC 5322 section 3.4).

/// The address in a field's value, if every reader finds this one and no other.
///
/// It stands alone (`a@b`) or between angle brackets after a name (`Name <a@b>`, `"Name" <a@b>`). Lists,
/// groups, comments, source routes, quoted local parts and control characters give `None`. So does a
/// name that has an `@`, unless the name is the address itself: some programs show or use it as the
/// address.
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
    let is_harmless = unquoted(name)
        .is_some_and(|name| !name.contains('@') || name.eq_ignore_ascii_case(address));
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
