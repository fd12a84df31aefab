//! libFuzzer over one property of `tests/it/properties/holds.rs`, which KIMGATE_FUZZ names.

#![no_main]
#![allow(clippy::unwrap_used, reason = "a case that panics is what is looked for")]

#[path = "../../it/properties/holds.rs"]
mod holds;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static PROPERTY: LazyLock<holds::Property> = LazyLock::new(|| {
    let wanted = std::env::var("KIMGATE_FUZZ").unwrap_or_default();
    let names = || holds::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = holds::ALL.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("KIMGATE_FUZZ is one of: {}", names())).1
});

fuzz_target!(|bytes: &[u8]| PROPERTY(bytes));
