//! Sockets, tasks and time: one connection from accept to close.

mod config;

pub use config::{ClientModule, Config, ContextMode, Contexts, Limits, Listener, Protection};
mod buffer;
mod contexts;
mod mailboxes;
mod reply;
mod stream;
mod wire;
