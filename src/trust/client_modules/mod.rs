//! TLS towards client modules: how their certificates are judged, and what is said about them.

#[cfg(feature = "brainpool")]
pub(super) mod brainpool;
mod class;
mod handshake;
mod judge;
mod known;
mod known_certificate;
mod phrases;
mod system_roots;
mod tickets;
mod upstream;
mod verdict;
mod verifier;

pub use class::Class;
pub use handshake::{looks_like_tls, refused_chain, verdict_of};
pub use known::KnownCertificates;
pub use known_certificate::KnownCertificate;
pub use upstream::UpstreamTls;
pub use verdict::{Asked, Stands, Verdict};
