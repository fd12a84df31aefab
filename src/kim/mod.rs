//! KIM's own values: the login string and the mail address. Pure: no sockets, no clock.

mod address;
mod field;
mod login;
mod login_warning;
mod undecrypted;

pub use address::Account;
pub use field::Field;
pub use login::Login;
pub use login_warning::LoginWarning;
pub use undecrypted::Evidence;
