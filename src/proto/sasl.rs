//! Credentials as the workstation sent them: SASL PLAIN (RFC 4616), LOGIN, and POP3's USER/PASS.
//!
//! They are decoded for the decision only, and sent on as they came: the login reaches the client
//! module byte for byte. So the next hop must not be able to read anything else in the same bytes
//! than what is decoded here.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::secret::Secret;

/// Padding is optional, because real clients omit it. Trailing bits that are set are refused: no
/// encoder sets them, and they would be a second spelling of the same login.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

/// How the workstation logs in. kimgate logs in at the client module in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// POP3 USER and PASS.
    UserPass,
    /// One base64 line.
    Plain {
        /// It came in the line of `AUTH PLAIN`, and not after a challenge.
        initial: bool,
    },
    /// Two base64 lines.
    Login {
        /// The first one came in the line of `AUTH LOGIN`.
        initial: bool,
    },
}

/// Login and password, decoded and as they came. `Debug` shows the mechanism and nothing else.
#[derive(Clone)]
pub struct Credentials {
    /// How they came.
    pub mechanism: Mechanism,
    login: Secret<Vec<u8>>,
    password: Secret<Vec<u8>>,
    wire: Vec<Secret<Vec<u8>>>,
}

/// Why credentials cannot be read. This says nothing about whether the login exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The line is not base64 (RFC 4648 section 4).
    NotBase64,
    /// The message is not `authzid NUL authcid NUL passwd` (RFC 4616 section 2).
    NotPlain,
    /// The authzid differs from the authcid. Policy judges the authcid, and the next hop could act for
    /// the authzid.
    ActsForAnother,
    /// Login or password holds CR, LF or NUL. The next hop could read two lines, or a shorter name.
    ControlCharacters,
}

impl Credentials {
    /// From the arguments of USER and PASS.
    ///
    /// # Errors
    ///
    /// [`Invalid::ControlCharacters`].
    pub fn user_pass(user: &[u8], password: &[u8]) -> Result<Self, Invalid> {
        Ok(Self {
            mechanism: Mechanism::UserPass,
            login: checked(user.to_vec())?,
            password: checked(password.to_vec())?,
            wire: vec![secret(user), secret(password)],
        })
    }

    /// From the line of AUTH PLAIN.
    ///
    /// # Errors
    ///
    /// The line cannot be read as PLAIN, or it acts for another login.
    pub fn plain(line: &[u8], initial: bool) -> Result<Self, Invalid> {
        let message = decode(line, initial)?;
        let mut parts = message.expose().splitn(3, |&b| b == 0);
        let (Some(acts_for), Some(login), Some(password)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Invalid::NotPlain);
        };
        if !acts_for.is_empty() && acts_for != login {
            return Err(Invalid::ActsForAnother);
        }
        Ok(Self {
            mechanism: Mechanism::Plain { initial },
            login: checked(login.to_vec())?,
            password: checked(password.to_vec())?,
            wire: vec![secret(line)],
        })
    }

    /// From the two lines of AUTH LOGIN.
    ///
    /// # Errors
    ///
    /// A line is not base64, or it holds control characters.
    pub fn two_lines(user: &[u8], password: &[u8], initial: bool) -> Result<Self, Invalid> {
        Ok(Self {
            mechanism: Mechanism::Login { initial },
            login: login_name(user, initial)?,
            password: checked(decode(password, false)?.expose().clone())?,
            wire: vec![secret(user), secret(password)],
        })
    }

    /// The login, decoded.
    pub fn login(&self) -> &[u8] {
        self.login.expose()
    }

    /// The password, decoded.
    pub fn password(&self) -> &Secret<Vec<u8>> {
        &self.password
    }

    /// The workstation's own bytes without CRLF, in the order in which they are sent on: the arguments
    /// of USER and of PASS, the base64 line of PLAIN, or the two of LOGIN.
    pub fn wire(&self) -> &[Secret<Vec<u8>>] {
        &self.wire
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// Reads the first line of AUTH LOGIN. It is answered before the second one comes.
pub(super) fn login_name(line: &[u8], initial: bool) -> Result<Secret<Vec<u8>>, Invalid> {
    checked(decode(line, initial)?.expose().clone())
}

/// What a server asks with; `None` where that is not base64.
pub(super) fn challenge(text: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Base64. In an initial response, and only there, `=` is the empty string (RFC 4954 section 4).
fn decode(line: &[u8], initial: bool) -> Result<Secret<Vec<u8>>, Invalid> {
    if initial && line == b"=" {
        return Ok(Secret::new(Vec::new()));
    }
    BASE64.decode(line).map(Secret::new).map_err(|_| Invalid::NotBase64)
}

fn checked(value: Vec<u8>) -> Result<Secret<Vec<u8>>, Invalid> {
    let value = Secret::new(value);
    if value.expose().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(Invalid::ControlCharacters);
    }
    Ok(value)
}

fn secret(bytes: &[u8]) -> Secret<Vec<u8>> {
    Secret::new(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With padding; the rows below cut it off.
    fn encode(bytes: &[u8]) -> Vec<u8> {
        BASE64.encode(bytes).into_bytes()
    }

    fn plain(message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Invalid> {
        let credentials = Credentials::plain(&encode(message), true)?;
        Ok((credentials.login().to_vec(), credentials.password().expose().clone()))
    }

    #[test]
    fn plain_is_read_with_and_without_an_authorization_identity() {
        let good: [(&[u8], &[u8], &[u8]); 6] = [
            (b"\0user\0pass", b"user", b"pass"),
            (b"user\0user\0pass", b"user", b"pass"),
            (b"\0a@b#h:1#M#C#W\0p#$%", b"a@b#h:1#M#C#W", b"p#$%"),
            (b"\0M\xc3\xbcller x\0 p ", b"M\xc3\xbcller x", b" p "),
            (b"\0\xff\xfe\0p", b"\xff\xfe", b"p"),
            (b"\0\0", b"", b""),
        ];
        for (message, login, password) in good {
            assert_eq!(plain(message), Ok((login.to_vec(), password.to_vec())));
        }
        let bad: [(&[u8], Invalid); 8] = [
            (b"", Invalid::NotPlain),
            (b"user", Invalid::NotPlain),
            (b"user\0pass", Invalid::NotPlain),
            (b"other\0user\0pass", Invalid::ActsForAnother),
            (b"USER\0user\0pass", Invalid::ActsForAnother),
            (b"\0user\0pass\0more", Invalid::ControlCharacters),
            (b"\0us\r\ner\0pass", Invalid::ControlCharacters),
            (b"\0user\0pa\nss", Invalid::ControlCharacters),
        ];
        for (message, expected) in bad {
            assert_eq!(plain(message), Err(expected), "{:?}", message.escape_ascii().to_string());
        }
    }

    #[test]
    fn base64_is_taken_with_and_without_padding_and_in_one_spelling() {
        for good in ["AHUAcA==", "AHUAcA", "AHUxAHAx", "AHUAcDE=", "AHUAcDE"] {
            assert!(Credentials::plain(good.as_bytes(), false).is_ok(), "{good}");
        }
        for bad in [
            "",
            "=",
            "====",
            "AHUAcB==",
            "AHUAcB",
            "AHUA cA==",
            "AHUAcA== ",
            " AHUAcA==",
            "AHU*cA==",
            "AHUAcA==AHUAcA==",
            "AHUAc",
            "AHUAcA===",
            "*",
            "AH_AcA==",
        ] {
            assert!(Credentials::plain(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_equals_sign_is_the_empty_string_as_initial_response_only() {
        let login = Credentials::two_lines(b"=", b"", true).unwrap();
        assert_eq!((login.login(), login.password().expose().as_slice()), (&b""[..], &b""[..]));
        assert_eq!(login.wire()[0].expose(), b"=");
        assert_eq!(Credentials::two_lines(b"=", b"", false).unwrap_err(), Invalid::NotBase64);
        assert_eq!(Credentials::two_lines(b"", b"=", true).unwrap_err(), Invalid::NotBase64);
        assert_eq!(Credentials::plain(b"=", true).unwrap_err(), Invalid::NotPlain);
    }

    #[test]
    fn the_wire_keeps_the_bytes_of_the_workstation() {
        let wire = |credentials: Credentials| -> Vec<Vec<u8>> {
            credentials.wire().iter().map(|line| line.expose().clone()).collect()
        };
        let plain = Credentials::plain(b"AHUAcA", false).unwrap();
        assert_eq!(wire(plain), [b"AHUAcA"]);
        let login = Credentials::two_lines(b"dQ", b"cA==", false).unwrap();
        assert_eq!(
            (login.login(), login.mechanism),
            (&b"u"[..], Mechanism::Login { initial: false })
        );
        assert_eq!(wire(login), [&b"dQ"[..], b"cA=="]);
        let user = Credentials::user_pass(b" a b ", b"p ").unwrap();
        assert_eq!(wire(user), [&b" a b "[..], b"p "]);
    }

    #[test]
    fn debug_output_shows_neither_login_nor_password() {
        let shown = format!("{:?}", Credentials::user_pass(b"nutzer", b"geheim").unwrap());
        assert!(!shown.contains("nutzer") && !shown.contains("geheim"), "{shown}");
    }
}
