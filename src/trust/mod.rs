//! TLS on both sides of the gateway: rustls configurations made from typed settings and files.
//!
//! `workstations` holds what workstations see and how their certificates are checked,
//! `client_modules` how the certificates of client modules are judged. What both need stands beside
//! the two.

mod authority;
mod chain;
mod client_modules;
mod config;
mod facts;
mod keep;
mod material;
mod pem;
mod printable;
mod problem;
mod provider;
mod self_made;
mod workstations;
mod x509;

pub use authority::{Authority, AuthorityError, Issued};
pub use client_modules::{
    Asked, Class, KnownCertificate, KnownCertificates, Stands, UpstreamTls, Verdict,
    looks_like_tls, refused_chain, verdict_of,
};
pub use config::{
    ClientCertificates, ClientModuleTrust, Identity, ListenerTlsConfig, MinVersion, Pin, PinError,
};
pub use facts::CertificateFacts;
pub(crate) use keep::make_state_dir;
pub use pem::Foreign;
pub(crate) use pem::as_pem;
pub use problem::{MaterialError, MaterialProblem, MaterialWarning};
pub use workstations::{HandshakeFault, ListenerTls, client_expires_at, client_names};

/// The rustls error inside an I/O error of a handshake, if there is one.
fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
