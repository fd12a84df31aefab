//! Sockets, tasks and time: one connection from accept to close.

mod config;

pub use config::{ClientModule, Config, ContextMode, Contexts, Limits, Listener, Protection};
