//! The page and the policy under which a browser shows it.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Read-only, in German, for the practice's IT; everything it needs is in it.
pub(super) const HTML: &str = include_str!("page.html");

/// Nothing may load or run but the one style and the one script of the page, named by their
/// hashes, and the script may fetch from here only.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style"),
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

fn hash_of(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = HTML.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    let text = inside.map_or("", |(text, _)| text);
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Reason;

    #[test]
    fn every_reason_has_its_words_on_the_page() {
        for reason in Reason::ALL {
            let entry = format!("  \"{reason}\": \"");
            assert!(HTML.contains(&entry), "{entry}");
        }
    }

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        for element in ["style", "script"] {
            assert_eq!(HTML.matches(&format!("<{element}>")).count(), 1);
        }
        for forbidden in [" style=\"", " onclick", " src=", "http://", "https://", "innerHTML"] {
            assert!(!HTML.contains(forbidden), "{forbidden}");
        }
        let policy = POLICY.to_str().unwrap();
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    }
}
