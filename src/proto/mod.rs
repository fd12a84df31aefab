//! SMTP and POP3 as machines over bytes: bytes in, steps out. No sockets, no clock, no tasks.
//!
//! `front` is the server side up to the login, `back` the client side towards the client module. After
//! the login `command`, `reply`, `answer` and [`dot`] say what the bytes mean that pass. Commands and
//! messages are forwarded as they were received; nothing here writes them anew. What a front or a
//! command parser refuses is a [`Hint`]: the text of the reply is not made here.

pub mod back;
pub mod capabilities;
pub mod dot;
pub mod error;
pub mod front;
pub mod header;
mod inbox;
pub mod line;
mod mailbox;
pub mod pop3;
pub mod refusal;
pub mod relay;
pub mod sasl;
pub mod smtp;

pub use error::ProtocolError;
pub use refusal::Hint;
