//! kimgate: a local SMTP/POP3 gateway between a practice's workstations and its KIM client module.
//!
//! ```text
//!                  main ── cli                          words in, exit code out
//!                           │
//!         config ───────── app ── service               builds everything, once; systemd
//!                  ┌────────┼─────────┐
//!               gateway   admin      sim                sockets, tasks, time
//!                  │  └──────┤         │
//!            held trust observe        │                files, rustls, prometheus
//!                  └────┬────┘         │
//!                    policy            │                pure decisions
//!                       │              │
//!                      kim           proto              pure values, pure machines
//!                       └────┬─────────┘
//!                     printable, secret, words
//!
//!  accept → TLS → front → login → decide → dial → log in upstream → relay → close
//!  gateway  trust  proto   kim    policy  gateway      proto        gateway observe
//! ```
//!
//! `gateway::session` is the page to read first. What imports what is held by
//! `tests/it/architecture.rs`.

pub mod admin;
pub mod app;
pub mod autoconfig;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod held;
pub mod kim;
pub mod observe;
pub mod policy;
pub mod printable;
pub mod proto;
pub mod sandbox;
pub mod secret;
pub mod service;
pub mod sim;
pub mod trust;
pub mod words;
