//! SHA-256 from the TLS provider, which is in the binary anyway.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::hash::{Context, Hash};

/// A hash and a count of bytes that come in pieces.
pub(crate) struct Digest {
    context: Box<dyn Context>,
    bytes: u64,
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self { context: sha256().start(), bytes: 0 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// In hex, of everything so far.
    pub(crate) fn hex(&self) -> String {
        hex(self.context.fork_finish().as_ref())
    }
}

/// The SHA-256 of these bytes in hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(sha256().hash(bytes).as_ref())
}

/// The suite's own hash; the provider has no public name for it.
fn sha256() -> &'static dyn Hash {
    match TLS13_AES_128_GCM_SHA256 {
        rustls::SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
        rustls::SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_however_the_bytes_are_cut() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
        for cut in 0..=3 {
            let mut digest = Digest::new();
            digest.update(&b"abc"[..cut]);
            digest.update(&b"abc"[cut..]);
            assert_eq!((digest.hex().as_str(), digest.bytes()), (expected, 3));
        }
    }
}
