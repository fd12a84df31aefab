//! What tests outside `src/` share: foreign mail servers, stock mail clients, tools and their absence.

// Each test binary takes another part of this.
#![allow(dead_code)]

pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod daemon;
pub(crate) mod dovecot;
pub(crate) mod exim;
pub(crate) mod player;
pub(crate) mod tools;
pub(crate) mod transcript;
