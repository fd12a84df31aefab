//! A client module: where it is, whether it answers, TLS and the login there.
//!
//! [`mod@dial`] connects and gives an [`Upstream`] that waits for a login. [`Upstream::log_in`] sends one
//! that policy has permitted. [`health`] asks each client module from time to time what it offers.

mod back;
mod capabilities;
mod dial;
mod error;
pub(crate) mod health;
mod log_in;
mod module;
mod ports;
mod resolve;
mod tls;

pub(crate) use capabilities::Capabilities;
pub(crate) use dial::{Upstream, dial};
pub(crate) use error::DialError;
pub(crate) use log_in::{LoggedIn, LoginAnswer, PermittedLogin, SentLogin};
pub(crate) use module::{ClientModule, ClientModules};
