//! How both sides of the gateway recognise each other: rustls configurations from typed material.

mod authority;
#[cfg(feature = "brainpool")]
mod brainpool;
mod class;
mod config;
mod facts;
mod handshake;
mod judge;
mod keep;
mod known;
mod listener;
mod material;
mod phrases;
mod printable;
mod provider;
mod revocation;
mod self_made;
mod system_roots;
mod tickets;
mod upstream;
mod verdict;
mod verifier;
mod workstation;
mod x509;

pub use authority::{Authority, AuthorityError, Issued};
pub use class::Class;
pub use config::{
    ClientCertificates, ClientModuleTrust, Identity, ListenerTlsConfig, MinVersion, Pin, PinError,
};
pub use facts::CertificateFacts;
pub use handshake::{looks_like_tls, refused_chain, verdict_of};
pub use known::{KnownCertificate, KnownCertificates};
pub use listener::{ListenerTls, client_names, client_not_after};
pub use material::{MaterialError, MaterialProblem, MaterialWarning};
pub use upstream::UpstreamTls;
pub use verdict::Verdict;
pub use workstation::HandshakeFault;
