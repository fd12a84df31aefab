//! Messages: kept bytes, bodies made on the fly, and the ones that client modules write themselves.

use std::fmt::Write as _;

use bytes::Bytes;

use super::digest::sha256_hex;

/// A message in a maildrop.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// All its bytes.
    Whole(Bytes),
    /// A header and lines, of this size together.
    Synthetic(u64),
}

impl Message {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(bytes.into())
    }

    /// Its size without dot-stuffing.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Synthetic(bytes) => *bytes,
        }
    }

    /// The memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Synthetic(_) => 0,
        }
    }

    /// Its bytes, where they are kept.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Synthetic(_) => None,
        }
    }

    /// Its bytes in pieces.
    pub(crate) fn pieces(&self) -> Pieces {
        match self {
            Self::Whole(bytes) => {
                Pieces { next: bytes.clone(), rest: Bytes::new(), left: bytes.len() as u64 }
            }
            Self::Synthetic(bytes) => {
                let header = Bytes::from_static(b"Subject: Testnachricht\r\n\r\n");
                Pieces { next: header, rest: block(), left: *bytes }
            }
        }
    }

    /// What is kept of a message that is too large: how large it was, and its hash.
    pub(crate) fn stand_in(&self) -> Self {
        match self {
            Self::Whole(bytes) => stand_in(bytes.len() as u64, &sha256_hex(bytes)),
            Self::Synthetic(bytes) => Self::Synthetic(*bytes),
        }
    }
}

/// What is kept of a message that was only counted and hashed.
pub(crate) fn stand_in(bytes: u64, sha256: &str) -> Message {
    Message::whole(format!(
        "Subject: Zu gross zum Aufheben\r\n\
         X-Simulator-Octets: {bytes}\r\n\
         X-Simulator-SHA256: {sha256}\r\n\
         \r\n\
         Diese Nachricht war zu gross fuer den Speicher des Simulators.\r\n"
    ))
}

/// The bytes of a message in order.
pub(crate) struct Pieces {
    next: Bytes,
    rest: Bytes,
    left: u64,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let piece = std::mem::replace(&mut self.next, self.rest.clone());
        let piece = match usize::try_from(self.left) {
            Ok(0) => return None,
            Ok(left) if left < piece.len() => cut_to_lines(&piece, left),
            _ => piece,
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        (!piece.is_empty()).then_some(piece)
    }
}

/// So many bytes of these lines, with a whole line end at the end if two bytes are enough for it.
fn cut_to_lines(lines: &[u8], bytes: usize) -> Bytes {
    let Some(text) = bytes.checked_sub(2) else { return vec![b'x'; bytes].into() };
    let mut cut = lines[..text].to_vec();
    if let Some(last @ b'\r') = cut.last_mut() {
        *last = b'x';
    }
    cut.extend_from_slice(b"\r\n");
    cut.into()
}

/// 64 KiB of lines, among them some that start with a dot or are one.
fn block() -> Bytes {
    const LINE: &str = "Sehr geehrte Kollegin, anbei der Befund, wie am Telefon besprochen.\r\n";
    let paragraph = LINE.repeat(50) + "..zwei Punkte\r\n.\r\n\r\n";
    paragraph.repeat((64 << 10) / paragraph.len()).into()
}

/// A sent message as a receiving client module delivers it: its own lines, then what came.
pub(crate) fn received(message: &[u8]) -> Vec<u8> {
    let mut lines = String::from(
        "X-KIM-DecryptionResult: 00\r\n\
         X-KIM-IntegrityCheckResult: 01\r\n\
         X-KOM-LE-Version: 1.5\r\n\
         X-KIM-CMVersion: SIMUL_0.1.0-0\r\n\
         X-KIM-PTVersion: 1.5.2-3\r\n",
    );
    if header(message, "X-KIM-Dienstkennung").is_none() {
        // gemSpec_CM_KOMLE A_19488: the sending client module writes it where it is missing.
        lines.push_str("X-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n");
    }
    [lines.as_bytes(), message].concat()
}

/// What is fetched in place of a message that cannot be decrypted: gemSpec_CM_KOMLE KOM-LE-A_2046.
pub(crate) fn undecryptable(message: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for name in ["Date", "From", "Sender", "Reply-To", "To", "Cc", "Message-ID"] {
        if let Some(value) = header(message, name) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    text.push_str(
        "Subject: Die Nachricht konnte nicht =?utf-8?Q?entschl=C3=BCsselt?= werden\r\n\
         X-KIM-DecryptionResult: 01\r\n\
         X-KIM-Fehlermeldung: 4009\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"simulator\"\r\n\
         \r\n\
         --simulator\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         \r\n\
         Die Nachricht konnte nicht entschluesselt werden, weil der Schluessel fehlt.\r\n\
         Bitte stecken Sie die Karte und leiten Sie die Nachricht an sich selbst weiter.\r\n\
         \r\n\
         --simulator\r\n\
         Content-Type: message/rfc822\r\n\
         \r\n",
    );
    [text.as_bytes(), message, b"\r\n--simulator--\r\n"].concat()
}

/// The report to a sender about recipients that have no maildrop.
pub(crate) fn undeliverable(sender: &str, recipients: &[String], message: &[u8]) -> Vec<u8> {
    let id = header(message, "Message-ID").unwrap_or_default();
    let mut text = format!(
        "From: mailer-daemon@simulator.kim.telematik\r\n\
         To: {sender}\r\n\
         Subject: Unzustellbar\r\n\
         In-Reply-To: {id}\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"simulator\"\r\n\
         \r\n\
         --simulator\r\n\
         \r\n\
         Diese Empfaenger gibt es nicht.\r\n\
         --simulator\r\n\
         Content-Type: message/delivery-status\r\n\
         \r\n\
         Reporting-MTA: dns; simulator.kim.telematik\r\n"
    );
    for recipient in recipients {
        let _ = write!(
            text,
            "\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        );
    }
    text.push_str("--simulator--\r\n");
    text.into_bytes()
}

/// The bytes up to and with the empty line; all of them where there is none.
pub(crate) fn header_block(message: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    &message[..end]
}

/// The value of a header that stands on one line.
pub(crate) fn header(message: &[u8], name: &str) -> Option<String> {
    header_block(message).split(|byte| *byte == b'\n').find_map(|line| {
        let (start, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        let text = String::from_utf8_lossy(value);
        start.eq_ignore_ascii_case(name.as_bytes()).then(|| text.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_message_has_the_size_it_says() {
        for bytes in [0, 1, 25, 26, 27, 65_536, 1_000_000] {
            let message = Message::Synthetic(bytes);
            let sum: usize = message.pieces().map(|piece| piece.len()).sum();
            assert_eq!(sum as u64, bytes);
            let end = message.pieces().last().unwrap_or_default();
            assert!(bytes < 2 || bytes == 27 || end.ends_with(b"\r\n"), "{bytes}");
        }
    }

    #[test]
    fn a_delivered_message_follows_the_added_lines_byte_for_byte() {
        let sent = b"Subject: x\r\nx-kim-dienstkennung: eAU;Lieferung;V1.2\r\n\r\n.\r\nText";
        let delivered = received(sent);
        assert!(delivered.ends_with(sent));
        let text = String::from_utf8(delivered).unwrap();
        assert!(!text.contains("KIM-Mail;Default"), "{text}");
        let plain =
            String::from_utf8(received(b"Subject: x\r\n\r\nX-KIM-Dienstkennung: no")).unwrap();
        assert!(plain.contains("X-KIM-Dienstkennung: KIM-Mail;Default;V1.0\r\n"), "{plain}");
    }

    #[test]
    fn an_error_mail_carries_the_codes_and_the_message_in_it() {
        let sent = b"From: a@b\r\nMessage-ID: <1@x>\r\n\r\nText";
        let text = String::from_utf8(undecryptable(sent)).unwrap();
        assert!(text.starts_with("From: a@b\r\nMessage-ID: <1@x>\r\nSubject: "), "{text}");
        for part in ["X-KIM-DecryptionResult: 01\r\n", "X-KIM-Fehlermeldung: 4009\r\n"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            text.contains("\r\n\r\nFrom: a@b\r\nMessage-ID: <1@x>\r\n\r\nText\r\n--simulator--")
        );
    }
}
