//! A client module: where it is, whether it answers, TLS and the login there.

pub(crate) mod dial;
pub(crate) mod health;
mod resolve;
