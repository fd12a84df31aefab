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

    /// A text without addresses and without logins: every word with an `@` goes, and with it what
    /// follows up to the end of the word, where the rest of a login would be.
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let word_end = rest.find(is_between).unwrap_or(rest.len());
            let (word, after) = rest.split_at(word_end);
            masked.push_str(&self.word(word));
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

    fn word(&mut self, word: &str) -> String {
        match (word.contains('@'), word.split_once('#')) {
            (false, _) => word.to_owned(),
            (true, None) => self.name(word),
            (true, Some(_)) => self.login(word),
        }
    }

    fn name(&mut self, address: &str) -> String {
        if self.addresses && address.contains('@') {
            return address.to_owned();
        }
        let next = format!("account-{}", self.names.len() + 1);
        self.names.entry(address.to_ascii_lowercase()).or_insert(next).clone()
    }
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
            (
                "USER prx@praxis.kim.telematik#mail:995#M1#cs#PC1, refused",
                "USER login of account-1 with 4 fields behind it, refused",
            ),
            ("PC1 #1 \u{fc}", "PC1 #1 \u{fc}"),
            ("", ""),
        ];
        for (text, masked) in table {
            assert_eq!(mask.text(text), masked);
        }
        assert_eq!(Mask::new(true).text("a@b.de#x#y"), "login of a@b.de with 2 fields behind it");
        assert_eq!(Mask::new(true).text("a@b.de"), "a@b.de");
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
