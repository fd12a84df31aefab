//! PLAIN and LOGIN as the simulator reads them (RFC 4616; LOGIN was never standardised).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::secret::Secret;

use super::journal::Mechanism;

/// Login and password, and how they came.
pub(crate) struct Credentials {
    pub(crate) mechanism: Mechanism,
    pub(crate) login: Vec<u8>,
    pub(crate) password: Secret<Vec<u8>>,
    /// Every line as it came.
    pub(crate) lines: Vec<Secret<Vec<u8>>>,
}

/// Splits `[authzid] NUL authcid NUL password`.
pub(crate) fn plain(decoded: &[u8]) -> Option<(Vec<u8>, Secret<Vec<u8>>)> {
    let mut parts = decoded.split(|byte| *byte == 0);
    let (_authorization, login, password) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && !login.is_empty();
    whole.then(|| (login.to_vec(), Secret::new(password.to_vec())))
}

/// Base64 with or without padding; `=` alone is the empty response of RFC 4954.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    if text == b"=" {
        return Some(Vec::new());
    }
    GeneralPurpose::new(&STANDARD, LENIENT).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_exactly_three_parts() {
        let (login, password) = plain(b"\0a@b#h:1\0ge#heim").unwrap();
        assert_eq!(
            (login.as_slice(), password.expose().as_slice()),
            (&b"a@b#h:1"[..], &b"ge#heim"[..])
        );
        for bad in [&b""[..], b"a", b"\0a", b"\0a\0b\0", b"\0\0b"] {
            assert!(plain(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for text in ["YQ==", "YQ"] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(&b"a"[..]));
        }
        assert_eq!(decode(b"=").as_deref(), Some(&b""[..]));
        assert_eq!(decode(b"Y Q"), None);
    }
}
