//! What tests outside `src/` share: foreign mail servers, stock mail clients, tools and their absence.

pub(crate) mod certificates;
pub(crate) mod cli;
pub(crate) mod clients;
pub(crate) mod daemon;
pub(crate) mod dialogue;
pub(crate) mod dovecot;
pub(crate) mod exim;
pub(crate) mod facts;
pub(crate) mod hidden;
pub(crate) mod kimgate;
pub(crate) mod pki;
pub(crate) mod player;
pub(crate) mod ports;
pub(crate) mod practice;
pub(crate) mod talk;
pub(crate) mod thunderbird;
pub(crate) mod tools;
pub(crate) mod transcript;
pub(crate) mod world;
