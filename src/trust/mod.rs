//! How both sides of the gateway recognise each other: rustls configurations from typed material.

mod config;

pub use config::{
    ClientCertificates, ClientModuleTrust, Identity, ListenerTlsConfig, MinVersion, Pin, PinError,
};
