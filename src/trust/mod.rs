//! How both sides of the gateway recognise each other: rustls configurations from typed material.

mod authority;
mod class;
mod config;
mod facts;
mod handshake;
mod listener;
mod material;
mod upstream;
mod verdict;

pub use authority::{Authority, AuthorityError, Issued};
pub use class::Class;
pub use config::{
    ClientCertificates, ClientModuleTrust, Identity, ListenerTlsConfig, MinVersion, Pin, PinError,
};
pub use facts::CertificateFacts;
pub use handshake::{looks_like_tls, refused_chain, verdict_of};
pub use listener::{ListenerTls, client_names};
pub use material::{MaterialError, MaterialProblem, MaterialWarning};
pub use upstream::UpstreamTls;
pub use verdict::Verdict;
