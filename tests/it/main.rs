//! The integration tests, as one program: what they share is compiled once and linked once.
//!
//! `cargo test --test it` runs them all, `cargo test --test it pop3::` those of one module.
//! Four tests are programs of their own, because each needs a process or a machine for itself:
//! `fault_matrix` counts the sockets of its process, `overload` opens thousands of connections,
//! `soak` and `large` watch memory and speed while nothing else runs.

// clippy exempts functions marked as tests only, not the helpers beside them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

mod admin;
mod architecture;
mod attacks;
mod audit;
mod canary;
mod cli_certs;
mod cli_check;
mod cli_doctor;
mod cli_explain;
mod cli_profile;
mod cli_status;
mod cli_trust;
mod client_module;
mod config;
mod door;
mod fail2ban;
mod foreign;
mod held;
mod kim_2026;
mod operate;
mod policy;
mod pop3;
mod prometheus;
mod properties;
mod renewal;
mod shutdown;
mod sim;
mod slow;
mod smtp;
mod support;
mod tls;
mod transcripts;
mod trust_handshake;
mod trust_matrix;
mod turns;
