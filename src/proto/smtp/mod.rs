//! SMTP: RFC 5321, with AUTH (RFC 4954) and STARTTLS (RFC 3207).

pub mod back;
pub mod command;
pub mod front;
mod message;
pub mod relay;
pub mod reply;

pub use back::Back;
pub use command::Command;
pub use front::Front;
pub use relay::Relay;
pub use reply::{Reply, scan_reply};
