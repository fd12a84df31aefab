//! POP3: RFC 1939, with CAPA (RFC 2449), AUTH (RFC 5034) and STLS (RFC 2595).

pub mod answer;
pub mod back;
pub mod command;
pub mod front;
pub mod relay;
mod uid;

pub use answer::AnswerScan;
pub use back::Back;
pub use command::Command;
pub use front::Front;
pub use relay::Relay;
