//! Files of certificates and keys as other programs write them, made into the PEM that rustls reads.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::PrivateKeyDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, FromDer};
use zeroize::Zeroizing;

type Bytes = Zeroizing<Vec<u8>>;

/// The content of a file as PEM: without byte order mark, out of UTF-16, without indentation, with each
/// BEGIN line on a line of its own, `TRUSTED CERTIFICATE` without what openssl adds to it. DER of a
/// certificate or a key, also as base64 alone, gets its BEGIN and END lines. Anything else comes back as
/// it is.
pub(crate) fn as_pem(bytes: Bytes) -> Bytes {
    let bytes = as_utf8(bytes);
    if let Some(pem) = der_as_pem(&bytes) {
        return pem;
    }
    match contains(&bytes, BEGIN) {
        true => tidied(&bytes),
        false => bare_base64(&bytes).and_then(|der| der_as_pem(&der)).unwrap_or(bytes),
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const DASHES: &[u8] = b"-----";

/// Windows writes PEM as UTF-16 where its output is redirected, and with a byte order mark.
fn as_utf8(bytes: Bytes) -> Bytes {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return Zeroizing::new(rest.to_vec());
    }
    let (start, unit): (usize, fn([u8; 2]) -> u16) = match &bytes[..] {
        [0xff, 0xfe, ..] => (2, u16::from_le_bytes),
        [0xfe, 0xff, ..] => (2, u16::from_be_bytes),
        [b'-', 0, b'-', 0, ..] => (0, u16::from_le_bytes),
        [0, b'-', 0, b'-', ..] => (0, u16::from_be_bytes),
        _ => return bytes,
    };
    let units = bytes[start..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    // Room for all of it at once: a buffer that grows leaves copies of a key in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() * 3 / 2 + 3));
    for c in char::decode_utf16(units) {
        let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    text
}

/// The lines of a PEM file without what stands around them.
fn tidied(bytes: &[u8]) -> Bytes {
    let mut tidy = Zeroizing::new(Vec::with_capacity(bytes.len() * 2 + 2));
    let mut trusted: Option<Bytes> = None;
    for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
        // Files that were put together without a line end between them: `-----END …----------BEGIN …`.
        let line = trimmed(line);
        let glued = line.windows(2 * DASHES.len()).position(|w| w == b"----------");
        let (first, second) = match glued {
            Some(at) if line.len() > 2 * DASHES.len() => line.split_at(at + DASHES.len()),
            Some(_) | None => (line, &line[line.len()..]),
        };
        for line in [first, second].into_iter().filter(|line| !line.is_empty()) {
            match &mut trusted {
                None if line == b"-----BEGIN TRUSTED CERTIFICATE-----" => {
                    trusted = Some(Zeroizing::new(Vec::new()));
                }
                None => push_line(&mut tidy, &renamed(line)),
                Some(base64) if line == b"-----END TRUSTED CERTIFICATE-----" => {
                    let der = BASE64_STANDARD.decode(&**base64).map(Zeroizing::new);
                    let certificate = der.ok().and_then(|der| der_as_pem(first_element(&der)));
                    tidy.extend_from_slice(certificate.as_deref().map_or(BROKEN, |pem| pem));
                    trusted = None;
                }
                Some(base64) => base64.extend_from_slice(line),
            }
        }
    }
    tidy
}

/// A certificate that no reader takes for one.
const BROKEN: &[u8] = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";

/// The name that OpenSSL gave certificates long ago.
fn renamed(line: &[u8]) -> Vec<u8> {
    match line {
        b"-----BEGIN X509 CERTIFICATE-----" => b"-----BEGIN CERTIFICATE-----".to_vec(),
        b"-----END X509 CERTIFICATE-----" => b"-----END CERTIFICATE-----".to_vec(),
        other => other.to_vec(),
    }
}

fn push_line(text: &mut Bytes, line: &[u8]) {
    text.extend_from_slice(line);
    text.push(b'\n');
}

/// Without the blanks at both ends that editors, web pages and configuration management leave there.
fn trimmed(mut line: &[u8]) -> &[u8] {
    const BLANKS: [&[u8]; 4] = [b" ", b"\t", b"\xc2\xa0", b"\xef\xbb\xbf"];
    while let Some(rest) = BLANKS.iter().find_map(|blank| line.strip_prefix(*blank)) {
        line = rest;
    }
    while let Some(rest) = BLANKS.iter().find_map(|blank| line.strip_suffix(*blank)) {
        line = rest;
    }
    line
}

fn bare_base64(bytes: &[u8]) -> Option<Bytes> {
    let mut base64 = Zeroizing::new(Vec::with_capacity(bytes.len()));
    base64.extend(bytes.iter().filter(|byte| !byte.is_ascii_whitespace()));
    // The first byte of any DER here is 0x30, and its length takes two more.
    let is_der = base64.starts_with(b"MI");
    is_der.then(|| BASE64_STANDARD.decode(&*base64).ok().map(Zeroizing::new)).flatten()
}

/// DER of a certificate or a key, as PEM.
fn der_as_pem(der: &[u8]) -> Option<Bytes> {
    if der.first() != Some(&0x30) || Foreign::of_der(der).is_some() {
        return None;
    }
    let label = if X509Certificate::from_der(der).is_ok() {
        "CERTIFICATE"
    } else if is_near_start(der, ENCRYPTED) {
        "ENCRYPTED PRIVATE KEY"
    } else {
        match PrivateKeyDer::try_from(first_element(der)).ok()? {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            PrivateKeyDer::Pkcs8(_) => "PRIVATE KEY",
            _ => return None,
        }
    };
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(first_element(der)));
    let mut pem = Zeroizing::new(Vec::with_capacity(base64.len() + base64.len() / 64 + 100));
    push_line(&mut pem, format!("-----BEGIN {label}-----").as_bytes());
    for line in base64.as_bytes().chunks(64) {
        push_line(&mut pem, line);
    }
    push_line(&mut pem, format!("-----END {label}-----").as_bytes());
    Some(pem)
}

/// The first element of DER, without what follows it.
fn first_element(der: &[u8]) -> &[u8] {
    Any::from_der(der).map_or(der, |(rest, _)| &der[..der.len() - rest.len()])
}

/// Object identifiers: PBES2 (RFC 8018), and the signed data of CMS (RFC 5652).
const ENCRYPTED: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

fn is_near_start(der: &[u8], part: &[u8]) -> bool {
    contains(&der[..der.len().min(32)], part)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// A file that is none of certificates or keys in PEM, and that is known all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Certificates of a Windows authority, in PEM.
    Pkcs7,
    /// The same in DER.
    Pkcs7Der,
    /// Certificate and key behind a password, as Windows exports them.
    Pkcs12,
    /// What a certificate is asked for with.
    Request,
    /// A public key alone.
    PublicKey,
    /// A key of OpenSSH.
    OpenSshKey,
    /// A key of `PuTTY`.
    PuttyKey,
    /// A keystore of Java.
    JavaKeyStore,
}

impl Foreign {
    /// What a file is that [`as_pem`] found nothing in.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let labels = [
            ("PKCS7", Self::Pkcs7),
            ("PKCS #7 SIGNED DATA", Self::Pkcs7),
            ("CMS", Self::Pkcs7),
            ("CERTIFICATE REQUEST", Self::Request),
            ("NEW CERTIFICATE REQUEST", Self::Request),
            ("PUBLIC KEY", Self::PublicKey),
            ("RSA PUBLIC KEY", Self::PublicKey),
            ("OPENSSH PRIVATE KEY", Self::OpenSshKey),
        ];
        let begins = |label: &str| contains(bytes, format!("-----BEGIN {label}-----").as_bytes());
        let by_label = labels.into_iter().find(|(label, _)| begins(label)).map(|(_, kind)| kind);
        by_label
            .or_else(|| Self::of_der(bytes))
            .or_else(|| bare_base64(bytes).and_then(|der| Self::of_der(&der)))
    }

    fn of_der(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\xfe\xed\xfe\xed") {
            return Some(Self::JavaKeyStore);
        }
        if bytes.starts_with(b"PuTTY-User-Key-File") {
            return Some(Self::PuttyKey);
        }
        // A sequence with a length of any form; BER's indefinite one has none.
        let [0x30, length, rest @ ..] = bytes else { return None };
        let content = rest.get(usize::from(if *length > 0x80 { length - 0x80 } else { 0 })..)?;
        if content.starts_with(SIGNED_DATA) {
            return Some(Self::Pkcs7Der);
        }
        // Its version is 3 (RFC 7292 section 4); a key begins with 0 or 1.
        content.starts_with(b"\x02\x01\x03\x30").then_some(Self::Pkcs12)
    }

    /// What to do with it, with OLD and NEW for the files.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Pkcs7 => "convert it: `openssl pkcs7 -print_certs -in OLD -out NEW`",
            Self::Pkcs7Der => {
                "convert it: `openssl pkcs7 -inform der -print_certs -in OLD -out NEW`"
            }
            Self::Pkcs12 => {
                "convert it: `openssl pkcs12 -in OLD -nodes -out NEW`, with -legacy for a file of \
                 before 2022, and make NEW readable for kimgate alone"
            }
            Self::Request => "name the certificate that the authority made of it",
            Self::PublicKey => "name the certificate, or the private key",
            Self::OpenSshKey => "convert a copy of it: `ssh-keygen -p -m PKCS8 -f FILE`",
            Self::PuttyKey => {
                "convert it: `puttygen OLD -O private-openssh -o NEW`, and then \
                               `ssh-keygen -p -m PKCS8 -f NEW`"
            }
            Self::JavaKeyStore => {
                "convert it: `keytool -importkeystore -srckeystore OLD -destkeystore NEW.p12 \
                 -deststoretype PKCS12`, and then `openssl pkcs12 -in NEW.p12 -nodes -out NEW`"
            }
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pkcs7 | Self::Pkcs7Der => "a PKCS#7 file (.p7b)",
            Self::Pkcs12 => "a PKCS#12 file (.p12, .pfx)",
            Self::Request => "a certificate request (.csr)",
            Self::PublicKey => "a public key",
            Self::OpenSshKey => "a key of OpenSSH",
            Self::PuttyKey => "a key of PuTTY (.ppk)",
            Self::JavaKeyStore => "a keystore of Java (.jks)",
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::trust::{Authority, Issued};

    fn read(bytes: impl Into<Vec<u8>>) -> Bytes {
        as_pem(Zeroizing::new(bytes.into()))
    }

    fn issued() -> Issued {
        Authority::new("CA").unwrap().server(&["kim.test"]).unwrap()
    }

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn certificates_and_keys_are_read_however_they_were_saved() {
        let Issued { certificate, private_key } = issued();
        let key = private_key.expose().clone();
        let certificate_der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key_der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let trusted =
            [&certificate_der, &b"\x30\x0c\x30\x0a\x06\x08+\x06\x01\x05\x05\x07\x03\x02"[..]]
                .concat();
        let trusted = format!(
            "-----BEGIN TRUSTED CERTIFICATE-----\n{}\n-----END TRUSTED CERTIFICATE-----\n",
            BASE64_STANDARD.encode(trusted)
        );
        for bytes in [
            certificate.clone().into_bytes(),
            format!("\u{feff}{certificate}").into_bytes(),
            [&b"\xff\xfe"[..], &utf16(&certificate, u16::to_le_bytes)].concat(),
            [&b"\xfe\xff"[..], &utf16(&certificate, u16::to_be_bytes)].concat(),
            utf16(&certificate, u16::to_le_bytes),
            utf16(&certificate, u16::to_be_bytes),
            certificate.replace('\n', "\r\n\u{a0}\t  ").into_bytes(),
            format!("  {}", certificate.replace('\n', "  \n    ")).into_bytes(),
            certificate.replace('\n', "\r").into_bytes(),
            format!("Bag Attributes\n    friendlyName: x\n{certificate}").into_bytes(),
            certificate.replace(" CERT", " X509 CERT").into_bytes(),
            trusted.into_bytes(),
            certificate_der.to_vec(),
            BASE64_STANDARD.encode(&certificate_der).into_bytes(),
        ] {
            let found = CertificateDer::pem_slice_iter(&read(bytes.clone()))
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            assert_eq!(found, std::slice::from_ref(&certificate_der), "{}", bytes.escape_ascii());
        }
        for bytes in [
            key.clone().into_bytes(),
            [&b"\xff\xfe"[..], &utf16(&key, u16::to_le_bytes)].concat(),
            key.replace('\n', "\n  ").into_bytes(),
            key_der.secret_der().to_vec(),
        ] {
            assert_eq!(PrivateKeyDer::from_pem_slice(&read(bytes)).unwrap(), key_der);
        }
        let glued = format!("{}{}", certificate.trim_end(), key);
        assert!(PrivateKeyDer::from_pem_slice(&read(glued.clone())).is_ok());
        assert!(CertificateDer::from_pem_slice(&read(glued)).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_command_that_converts_it() {
        let signed_data = [b"\x30\x82\x10\x00", SIGNED_DATA, &[0; 40]].concat();
        let table: [(&[u8], Option<Foreign>); 11] = [
            (b"-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n", Some(Foreign::Pkcs7)),
            (&signed_data, Some(Foreign::Pkcs7Der)),
            (b"\x30\x82\x0a\x00\x02\x01\x03\x30\x82", Some(Foreign::Pkcs12)),
            (b"\x30\x80\x02\x01\x03\x30\x80", Some(Foreign::Pkcs12)),
            (b"-----BEGIN CERTIFICATE REQUEST-----\n", Some(Foreign::Request)),
            (b"-----BEGIN PUBLIC KEY-----\n", Some(Foreign::PublicKey)),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", Some(Foreign::OpenSshKey)),
            (b"PuTTY-User-Key-File-3: ssh-rsa\n", Some(Foreign::PuttyKey)),
            (b"\xfe\xed\xfe\xed\0\0\0\x02", Some(Foreign::JavaKeyStore)),
            (b"[gateway]\nname = \"kim\"\n", None),
            (b"", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(Foreign::of(&read(bytes)), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_encrypted_key_in_der_stays_one_that_can_be_named() {
        let der = [b"\x30\x2d\x30\x1b", ENCRYPTED, &[5; 32]].concat();
        assert!(read(der).starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    }

    proptest::proptest! {
        #[test]
        fn no_file_is_too_odd(bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..80)) {
            for head in [&b""[..], b"\x30", b"\x30\x82", b"\xff\xfe", b"-----BEGIN TRUSTED CERTIFICATE-----\n", b"MI"] {
                let _ = Foreign::of(&read([head, &bytes].concat()));
            }
        }
    }
}
