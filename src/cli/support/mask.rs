//! Takes logins and mail addresses out of what other people will read.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Gives each mail address a name of its own, the same wherever it stands.
pub(super) struct Mask {
    /// Addresses stay; logins never do.
    addresses: bool,
    names: BTreeMap<String, String>,
}

impl Mask {
    pub(super) fn new(addresses: bool) -> Self {
        Self { addresses, names: BTreeMap::new() }
    }

    /// A value without addresses and without a login. A login has blanks, quotes and commas wherever
    /// its owner typed them, so nothing says where it ends: where one begins, the rest of the value
    /// goes.
    pub(super) fn text(&mut self, text: &str) -> String {
        match login_start(text) {
            Some(start) => self.words(&text[..start]) + &self.login(&text[start..]),
            None => self.words(text),
        }
    }

    /// The same for lines that are values of their own.
    pub(super) fn lines(&mut self, text: &str) -> String {
        text.split_inclusive('\n')
            .map(|line| match line.strip_suffix('\n') {
                Some(line) => self.text(line) + "\n",
                None => self.text(line),
            })
            .collect()
    }

    /// Every word with an `@` is an address.
    fn words(&mut self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let word_end = rest.find(is_between).unwrap_or(rest.len());
            let (word, after) = rest.split_at(word_end);
            match word.contains('@') {
                true => masked.push_str(&self.name(word)),
                false => masked.push_str(word),
            }
            let between = after.find(|c| !is_between(c)).unwrap_or(after.len());
            masked.push_str(&after[..between]);
            rest = &after[between..];
        }
        masked
    }

    /// A login as a whole, blanks and all: how many fields it has is often what is wrong with it.
    pub(super) fn login(&mut self, login: &str) -> String {
        let fields = login.matches('#').count();
        let address = login.split('#').next().unwrap_or_default();
        format!("login of {} with {fields} fields behind it", self.name(address))
    }

    /// A value with all that is in it. Below a key `logins` stand logins.
    pub(super) fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(list) => list.into_iter().map(|inner| self.value(inner)).collect(),
            Value::Object(fields) => Value::Object(self.fields(fields)),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
        }
    }

    fn fields(&mut self, fields: Map<String, Value>) -> Map<String, Value> {
        let mut masked = Map::new();
        for (key, value) in fields {
            // The key first, so that names count in the order of reading.
            let name = self.text(&key);
            let value = match (key.as_str(), value) {
                ("logins", Value::Array(logins)) => logins
                    .iter()
                    .map(|login| self.login(login.as_str().unwrap_or_default()))
                    .collect(),
                (_, value) => self.value(value),
            };
            masked.insert(name, value);
        }
        masked
    }

    fn name(&mut self, address: &str) -> String {
        if self.addresses && address.contains('@') {
            return address.to_owned();
        }
        let next = format!("account-{}", self.names.len() + 1);
        self.names.entry(address.to_ascii_lowercase()).or_insert(next).clone()
    }
}

/// Whether nothing but a name of [`Mask`] stands here.
pub(super) fn is_masked(text: &str) -> bool {
    let text = text.strip_prefix("login of ").unwrap_or(text);
    let number = text.strip_prefix("account-").and_then(|text| text.split(' ').next());
    number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
}

/// Where a login begins: with the word of the last `@` before the first `#`, or with the first word
/// that has two `#`, as a login without an `@` has.
fn login_start(text: &str) -> Option<usize> {
    let start_of_word = |at: usize| {
        let before = text[..at].char_indices().rev().find(|(_, c)| is_between(*c));
        before.map_or(0, |(between, c)| between + c.len_utf8())
    };
    // Any `@` before any `#`: an address may have a blank typed into it.
    let last_hash = text.rfind('#')?;
    let first_at = text.find('@').filter(|at| *at < last_hash);
    let with_address = first_at.map(|first| {
        let hash = text[first..].find('#').map_or(last_hash, |behind| first + behind);
        start_of_word(text[..hash].rfind('@').unwrap_or(first))
    });
    let mut hashes = text.match_indices('#').map(|(at, _)| at);
    let mut before = hashes.next();
    let without_address = hashes.find_map(|at| {
        let start = start_of_word(at);
        let in_one_word = before.replace(at).is_some_and(|before| before >= start);
        in_one_word.then_some(start)
    });
    with_address.into_iter().chain(without_address).min()
}

/// Neither part of an address nor of a login's fields, in prose, JSON, TOML and metrics. A backslash
/// begins an escaped quote.
fn is_between(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\\' | '\'' | '`' | '<' | '>' | '(' | ')' | ',' | ';' | '{' | '}' | '='
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_has_one_name_and_a_login_is_gone() {
        let mut mask = Mask::new(false);
        let table = [
            ("prx@praxis.kim.telematik fetched", "account-1 fetched"),
            ("accounts.\"PRX@praxis.kim.telematik\".allow", "accounts.\"account-1\".allow"),
            ("{account=\"arzt@praxis.kim.telematik\"} 1", "{account=\"account-2\"} 1"),
            ("PC1 #1 \u{fc}", "PC1 #1 \u{fc}"),
            ("", ""),
        ];
        for (text, masked) in table {
            assert_eq!(mask.text(text), masked);
        }
        assert_eq!(Mask::new(true).text("a@b.de#x#y"), "login of a@b.de with 2 fields behind it");
        assert_eq!(Mask::new(true).text("a@b.de"), "a@b.de");
    }

    /// A mandant "Praxis Nord" and a workplace "PC 1" stayed in the bundle: the login ended at the
    /// first blank.
    #[test]
    fn a_login_is_masked_to_the_end_of_the_value_wherever_it_stands() {
        let table = [
            ("prx@p.de#mail:995#Praxis Nord#cs#PC 1", "login of account-1 with 4 fields behind it"),
            (
                "USER prx@p.de#mail:995#Praxis Nord#cs#PC 1, refused",
                "USER login of account-1 with 4 fields behind it",
            ),
            (
                "a@b.de asked as \"prx@p.de#m:995#Praxis \"Nord\"#c,s#PC=1\"",
                "account-2 asked as \"login of account-1 with 4 fields behind it",
            ),
            ("prx@p .de#mail:995#Geheim", "login of account-3 with 2 fields behind it"),
            ("x\nprx@p.de#m:995#Zeile\nzwei", "x\nlogin of account-1 with 2 fields behind it"),
            ("prx#mail:995#Praxis Nord#cs#PC 1", "login of account-4 with 4 fields behind it"),
            ("#995#prx@p.de", "login of account-5 with 2 fields behind it"),
            ("PC1 #1 of #2", "PC1 #1 of #2"),
        ];
        let mut mask = Mask::new(false);
        for (text, masked) in table {
            assert_eq!(mask.text(text), masked);
        }
        assert_eq!(
            mask.lines("prx@p.de#m:995#A B\nnext\n"),
            "login of account-1 with 2 fields behind it\nnext\n"
        );
    }

    #[test]
    fn keys_and_values_are_masked_and_logins_as_a_whole() {
        let mut mask = Mask::new(false);
        let value = json!({"accounts": {"a@b.de": {"senders": ["c@d.de"]}},
            "workstations": {"PC1": {"logins": ["a@b.de#h:995#Praxis Nord#cs#PC 1"], "n": 1}}});
        assert_eq!(
            mask.value(value),
            json!({"accounts": {"account-1": {"senders": ["account-2"]}},
                "workstations": {"PC1": {"logins": ["login of account-1 with 4 fields behind it"], "n": 1}}})
        );
    }
}
