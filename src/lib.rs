//! kimgate: a local SMTP/POP3 gateway between a practice's workstations and its KIM client module.

pub mod admin;
pub mod config;
pub mod gateway;
pub mod kim;
pub mod observe;
pub mod policy;
pub mod proto;
pub mod secret;
pub mod sim;
pub mod trust;
pub mod words;
