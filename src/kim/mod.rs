//! KIM's own values: the login string and the mail address. Pure: no sockets, no clock.

mod address;
mod doubt;
mod login;
mod undecrypted;

pub use address::Account;
pub use doubt::{Doubt, Field};
pub use login::Login;
pub use undecrypted::Evidence;
