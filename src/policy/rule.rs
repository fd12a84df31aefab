//! The name of a rule: its TOML key.

use std::fmt;
use std::sync::Arc;

/// The configuration key that decided, e.g. `accounts."prx@praxis.kim.telematik".send.allow`.
///
/// It names where the rule stands, or would stand where the configuration leaves it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    key: Arc<str>,
}

impl Rule {
    /// The rule under these keys, outermost first.
    pub(super) fn under(keys: &[&str]) -> Self {
        let mut text = String::with_capacity(keys.iter().map(|key| key.len() + 3).sum());
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                text.push('.');
            }
            push_key(&mut text, key);
        }
        Self { key: text.into() }
    }

    /// The rule that needs no configuration.
    pub(super) fn built_in() -> Self {
        Self { key: "built-in".into() }
    }

    /// The dotted key.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The keys one by one, outermost first: the way through the TOML document.
    pub fn path(&self) -> Vec<String> {
        let (mut path, mut key) = (Vec::new(), String::new());
        let (mut quoted, mut chars) = (false, self.key.chars());
        while let Some(c) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' if quoted => key.extend(unescaped(&mut chars)),
                '.' if !quoted => path.push(std::mem::take(&mut key)),
                _ => key.push(c),
            }
        }
        path.push(key);
        path
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// Appends one key as TOML writes it: bare where it can be, else as a basic string.
fn push_key(text: &mut String, key: &str) {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        text.push_str(key);
        return;
    }
    text.push('"');
    for c in key.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// What stands after a backslash: four hexadecimal digits after `u`, else the character itself.
fn unescaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    match chars.next()? {
        'u' => {
            let digits: String = chars.take(4).collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
        }
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_written_as_in_toml() {
        let table: [(&[&str], &str); 4] = [
            (&["policy", "unknown_accounts"], "policy.unknown_accounts"),
            (&["accounts", "a@b.c", "send", "allow"], "accounts.\"a@b.c\".send.allow"),
            (&["workstations", "", "logins"], "workstations.\"\".logins"),
            (&["users", "a\"\\\n\u{e9}"], "users.\"a\\\"\\\\\\u000A\u{e9}\""),
        ];
        for (keys, expected) in table {
            assert_eq!(Rule::under(keys).as_str(), expected);
        }
    }

    proptest! {
        #[test]
        fn the_path_is_what_the_rule_was_made_of(keys in prop::collection::vec(".{0,6}", 1..4)) {
            let borrowed: Vec<&str> = keys.iter().map(String::as_str).collect();
            prop_assert_eq!(Rule::under(&borrowed).path(), keys);
        }
    }
}
