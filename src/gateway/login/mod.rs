//! From the first command of a workstation to a login that the client module has accepted.

pub(crate) mod admit;
pub(crate) mod front;
pub(crate) mod warnings;
