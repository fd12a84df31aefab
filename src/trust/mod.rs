//! How both sides of the gateway recognise each other: rustls configurations from typed material.

mod authority;
#[cfg(feature = "brainpool")]
mod brainpool;
mod class;
mod config;
mod facts;
mod handshake;
mod judge;
mod listener;
mod material;
mod printable;
mod provider;
mod self_made;
mod system_roots;
mod upstream;
mod verdict;
mod verifier;
mod x509;

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
