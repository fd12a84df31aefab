//! What the operator wrote becomes what the program needs, or a list of everything that is wrong.

mod finding;
mod layers;
mod read;
mod settings;
mod source;
mod values;
