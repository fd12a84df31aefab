//! Which audit lines are wanted.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wildmatch::WildMatch;

use crate::observe::{EventKind, Pseudonyms};

/// An audit line.
pub(super) type AuditLine = Map<String, Value>;

/// What a line has to be like. What is absent does not matter.
#[derive(Default)]
pub(super) struct Filter {
    /// One of these fields is like one of these patterns.
    pub(super) wanted: Vec<(&'static [&'static str], Vec<WildMatch>)>,
    pub(super) since: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
}

impl Filter {
    /// Wants this account; with pseudonyms, also under the name that the audit gives it.
    pub(super) fn account(&mut self, account: &str, pseudonyms: Option<&Pseudonyms>) {
        let mut patterns = vec![pattern(account)];
        patterns.extend(pseudonyms.map(|names| pattern(&names.of(account))));
        self.wanted.push((&["account"], patterns));
    }

    /// Wants a field to be like this; `*` and `?` stand for what they usually do.
    pub(super) fn field(&mut self, names: &'static [&'static str], wanted: Option<&str>) {
        self.wanted.extend(wanted.map(|wanted| (names, vec![pattern(wanted)])));
    }

    pub(super) fn matches(&self, line: &AuditLine) -> bool {
        let field = |(names, patterns): &(&[&str], Vec<WildMatch>)| {
            let values = names.iter().filter_map(|name| line.get(*name).and_then(Value::as_str));
            values.into_iter().any(|value| {
                let value = value.to_lowercase();
                patterns.iter().any(|pattern| pattern.matches(&value))
            })
        };
        self.wanted.iter().all(field) && self.is_in_time(line)
    }

    fn is_in_time(&self, line: &AuditLine) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        time_of(line).is_some_and(|at| {
            self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
        })
    }
}

/// When this was.
pub(super) fn time_of(line: &AuditLine) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(line.get("time")?.as_str()?, &Rfc3339).ok()
}

/// What kind of event a line tells of; `None` where it does not say so, or in a word that is not ours.
pub(in crate::cli) fn kind_of(line: &AuditLine) -> Option<EventKind> {
    EventKind::parse(line.get("event")?.as_str()?)
}

fn pattern(text: &str) -> WildMatch {
    WildMatch::new(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn line(text: &str) -> AuditLine {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_part_has_to_match() {
        let one = line(
            r#"{"time":"2026-11-25T10:00:00.000Z","event":"denied","account":"prx@x.de",
                "workstation":"PC1","would_deny":"not-allowed"}"#,
        );
        let filter = |account: Option<&str>, workstation, reason| {
            let mut filter = Filter::default();
            if let Some(account) = account {
                filter.account(account, None);
            }
            filter.field(&["workstation", "peer"], workstation);
            filter.field(&["reason", "would_deny"], reason);
            filter
        };
        for (account, workstation, reason, matches) in [
            (None, None, None, true),
            (Some("PRX@x.DE"), Some("pc1"), Some("not-allowed"), true),
            (Some("*@x.de"), None, Some("not-*"), true),
            (Some("rx@x.de"), None, None, false),
            (None, Some("PC2"), None, false),
            (None, Some("PC?"), Some("denied"), false),
        ] {
            assert_eq!(filter(account, workstation, reason).matches(&one), matches);
        }
        assert!(!filter(None, Some("*"), None).matches(&line("{}")), "nobody knows where");
    }

    #[test]
    fn the_beginning_counts_and_the_end_does_not() {
        let one = line(r#"{"time":"2026-11-25T10:00:00.000Z"}"#);
        let at = Some(datetime!(2026-11-25 10:00 UTC));
        let within = |since, until| Filter { since, until, ..Filter::default() }.matches(&one);
        assert!(within(at, None) && !within(None, at));
        let timeless = line(r#"{"time":"soon"}"#);
        assert!(!Filter { since: at, ..Filter::default() }.matches(&timeless));
        assert!(Filter::default().matches(&timeless));
    }
}
