//! KIM's own values: the login string and the mail address. Pure: no sockets, no clock.

mod address;
mod login;

pub use address::Account;
pub use login::Login;
