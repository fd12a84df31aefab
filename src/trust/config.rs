//! The settings of this module; `config` fills them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::words::Language;

/// How a client module's certificate is judged, as in `[client_modules.NAME.trust]`.
#[derive(Clone, Debug, Default)]
pub struct ClientModuleTrust {
    /// PEM files; the certificates in them, and nothing else, are roots.
    pub ca: Vec<PathBuf>,
    /// Whether the system's roots are trusted as well.
    pub system_roots: bool,
    /// Certificates that are accepted whatever their issuer and their name.
    pub pins: Vec<Pin>,
    /// Whether a self-signed certificate is accepted.
    pub ignore_self_signed: bool,
    /// Whether a certificate for another name is accepted.
    pub ignore_name_mismatch: bool,
    /// What kimgate shows where the client module asks for a certificate.
    pub identity: Option<Identity>,
    /// The language of verdicts that the user of a mail client sees.
    pub language: Language,
}

/// A certificate chain and its key, both as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key of the leaf.
    pub private_key: PathBuf,
}

/// The SHA-256 fingerprint of a whole certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

/// A text that is not a pin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pin; {}", self.remedy())]
pub struct PinError;

impl PinError {
    /// What to write instead.
    pub fn remedy(&self) -> &'static str {
        "a pin is written \"sha256:\" and 64 hexadecimal digits; `kimgate trust HOST:PORT` shows it"
    }
}

impl FromStr for Pin {
    type Err = PinError;

    /// Reads `sha256:<hex>`, also with colons between the bytes, and the line that openssl prints:
    /// `SHA256 Fingerprint=AB:CD:…`. Browsers show the pairs alone.
    fn from_str(text: &str) -> Result<Self, PinError> {
        let text = text.trim();
        let after = |head: &str| {
            let (start, rest) = text.split_at_checked(head.len())?;
            start.eq_ignore_ascii_case(head).then_some(rest)
        };
        let hex = after("sha256:").or_else(|| after("sha256 fingerprint="));
        let hex = hex.or_else(|| text.contains(':').then_some(text)).ok_or(PinError)?;
        let mut digits = hex.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).ok_or(PinError));
        let mut pin = [0; 32];
        for byte in &mut pin {
            let (high, low) = (digits.next().ok_or(PinError)??, digits.next().ok_or(PinError)??);
            *byte = (high << 4 | low) as u8;
        }
        if digits.next().is_some() { Err(PinError) } else { Ok(Self(pin)) }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What workstations see, as in `[tls]`.
#[derive(Clone, Debug)]
pub struct ListenerTlsConfig {
    /// `None`: a self-signed certificate is made and kept in `state_dir`.
    pub certificate: Option<Identity>,
    /// The oldest TLS version that is spoken.
    pub min_version: MinVersion,
    /// Whether workstations show a certificate of their own.
    pub client_certificates: ClientCertificates,
    /// PEM file with the authority that signs them.
    pub client_ca: Option<PathBuf>,
    /// Files with its revocation lists, PEM or DER. As soon as there is one, a certificate whose
    /// issuer has no list is refused.
    pub client_crl: Vec<PathBuf>,
    /// The name in a certificate that kimgate makes.
    pub gateway_name: String,
    /// Where that certificate is kept.
    pub state_dir: PathBuf,
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 with forward secrecy.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Whether workstations show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; a workstation that shows none is found by its address.
    Optional,
    /// They are asked; the handshake fails where they show none.
    Required,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_with_and_without_colons_and_nothing_else() {
        let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let plain: Pin = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(plain.to_string(), format!("sha256:{hex}"));
        let pairs: Vec<&str> = (0..64).step_by(2).map(|i| &hex[i..i + 2]).collect();
        assert_eq!(format!("sha256:{}", pairs.join(":").to_uppercase()).parse(), Ok(plain));
        let colons = pairs.join(":").to_uppercase();
        for written in [&colons, &format!("SHA256 Fingerprint={colons}"), &format!("SHA256:{hex} ")]
        {
            assert_eq!(written.parse(), Ok(plain), "{written}");
        }
        for bad in [
            hex,
            &colons[..59],
            "sha256:",
            &format!("sha256:{hex}0"),
            &format!("sha256:{}x", &hex[1..]),
        ] {
            assert_eq!(bad.parse::<Pin>(), Err(PinError), "{bad}");
        }
    }
}
