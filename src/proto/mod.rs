//! SMTP and POP3 as machines over bytes: bytes in, steps out. No sockets, no clock, no tasks.
//!
//! `front` is the server side up to the login, `back` the client side towards the client module;
//! behind the login, `command`, `reply`, `answer` and [`dot`] say what the passing bytes mean. What
//! is forwarded is what was received: nothing here prints a command or a message anew.

pub mod back;
pub mod capabilities;
pub mod dot;
pub mod error;
pub mod front;
pub mod header;
mod inbox;
pub mod line;
pub mod pop3;
pub mod refusal;
pub mod relay;
pub mod sasl;
pub mod smtp;

pub use error::ProtocolError;
pub use refusal::Hint;
