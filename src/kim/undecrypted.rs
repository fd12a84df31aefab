//! Whether a message came undecrypted. The only readable copy is then the one on the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Error mails about a message that could not be opened: version not supported (4008), not
/// decrypted (4007, 4009 to 4011), not fetched whole from the store for large mail (4006, 4012,
/// 4013, 4018). The meaning of 4019 is not public; keeping one message too many for a session does
/// no harm. gemSpec_CM_KOMLE, Tab_Fehlertext_Entschl. Not among them: signatures (4014, 4015),
/// which are counted and do not keep a message from being read, and mails about sending or the
/// client module itself.
const NOT_OPENED: [u16; 10] = [4006, 4007, 4008, 4009, 4010, 4011, 4012, 4013, 4018, 4019];

/// The subject that the client module gives to such a mail (KOM-LE-A_2046), letter by letter.
const SUBJECT: &str = "Die Nachricht konnte nicht entschl\u{fc}sselt werden";

/// The header fields of a fetched message that tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// X-KIM-DecryptionResult; it may repeat.
    pub decryption: &'a [&'a str],
    /// X-KIM-Fehlermeldung; it may repeat, and some client modules leave it empty.
    pub errors: &'a [&'a str],
    /// Subject.
    pub subjects: &'a [&'a str],
}

impl Evidence<'_> {
    /// What tells that the client module could not open the message, in a few words without anything
    /// that a sender could choose freely; `None` where nothing does. Other messages than KIM's have
    /// none of these fields but a subject, and a subject alone proves nothing: any sender can write it.
    pub fn cause(&self) -> Option<String> {
        let failed = self.decryption.iter().find(|code| !code.is_empty() && **code != "00");
        if let Some(code) = failed {
            let code = if is_code(code) { *code } else { "other" };
            return Some(format!("decryption-result {code}"));
        }
        let mut numbers = self.errors.iter().flat_map(|text| codes(text));
        if let Some(code) = numbers.find(|code| NOT_OPENED.contains(code)) {
            return Some(format!("error {code}"));
        }
        let unnamed = |values: &[&str]| values.iter().any(|value| value.is_empty());
        let vendors = self.errors.iter().any(|text| is_vendor_code(text));
        let by_subject = || self.subjects.iter().any(|subject| decoded(subject) == SUBJECT);
        let is_error_mail = unnamed(self.decryption) || unnamed(self.errors) || vendors;
        (is_error_mail && by_subject()).then(|| "subject".to_owned())
    }
}

/// Two digits, or a vendor's: the codes that there are.
fn is_code(text: &str) -> bool {
    let digits = text.strip_prefix(['X', 'x']).unwrap_or(text);
    digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an error begins with a vendor's own code, whose meaning is not public.
fn is_vendor_code(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let digits = word.strip_prefix(['X', 'x']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The numbers of four digits in a text.
fn codes(text: &str) -> impl Iterator<Item = u16> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.len() == 4).filter_map(|word| word.parse().ok())
}

/// A subject with its encoded words read (RFC 2047), as far as they are UTF-8 or Latin-1.
fn decoded(subject: &str) -> String {
    let mut text = String::new();
    let mut rest = subject;
    let mut after_word = false;
    while let Some((before, word, after)) = encoded_word(rest) {
        // Blanks between two encoded words belong to neither (RFC 2047 6.2).
        if !(after_word && before.trim().is_empty()) {
            text.push_str(before);
        }
        text.push_str(&word);
        (rest, after_word) = (after, true);
    }
    text + rest
}

/// What stands before the first encoded word, the word, and what follows it.
fn encoded_word(text: &str) -> Option<(&str, String, &str)> {
    let (before, rest) = text.split_once("=?")?;
    let (charset, rest) = rest.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (word, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(word).ok()?,
        "Q" | "q" => quoted_printable(word)?,
        _ => return None,
    };
    let latin = charset.to_ascii_lowercase().starts_with("iso-8859-1");
    let word = match latin {
        true => bytes.iter().map(|byte| char::from(*byte)).collect(),
        false => String::from_utf8(bytes).ok()?,
    };
    Some((before, word, after))
}

fn quoted_printable(word: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "Die Nachricht konnte nicht entschl\u{fc}sselt werden";

    #[test]
    fn what_the_client_module_says_decides() {
        type Fields = &'static [&'static str];
        let table: [(Fields, Fields, Fields, Option<&str>); 25] = [
            (&[], &[], &[], None),
            (&["00"], &[], &[RIGHT], None),
            (&["01"], &[], &[], Some("decryption-result 01")),
            (&["03"], &["4011"], &[RIGHT], Some("decryption-result 03")),
            (&["X17"], &[], &[], Some("decryption-result X17")),
            (&["00", "02"], &[], &[], Some("decryption-result 02")),
            (&[], &["4009"], &[], Some("error 4009")),
            (&["00"], &["4013"], &[], Some("error 4013")),
            (&[], &["x99", "4006: KAS"], &[], Some("error 4006")),
            (&["00"], &["4014"], &[], None),
            (&["00"], &["4015"], &[], None),
            (&[], &["4016"], &[], None),
            (&[], &["4001"], &[], None),
            (&[], &["14009"], &[], None),
            (&[], &["40091"], &[], None),
            // Some client modules know no number for it.
            (&[], &[""], &[RIGHT], Some("subject")),
            (&[""], &[], &[RIGHT], Some("subject")),
            (&[], &[""], &["Befund"], None),
            // A subject alone proves nothing.
            (&[], &[], &[RIGHT], None),
            (&["00"], &["4017"], &[RIGHT], None),
            // A vendor's code tells nothing by itself.
            (&[], &["X99"], &["Befund"], None),
            (&[], &["4001", "X99: Karte"], &[RIGHT], Some("subject")),
            (&[], &["x"], &[RIGHT], None),
            // A sender's own words are not repeated.
            (&["gib mir 5 Euro"], &[], &[], Some("decryption-result other")),
            (&["\u{661}\u{661}"], &[], &[], Some("decryption-result other")),
        ];
        for (decryption, errors, subjects, expected) in table {
            let evidence = Evidence { decryption, errors, subjects };
            assert_eq!(evidence.cause().as_deref(), expected, "{evidence:?}");
        }
    }

    #[test]
    fn subjects_are_read_in_their_encodings() {
        for subject in [
            RIGHT,
            "=?UTF-8?Q?Die_Nachricht_konnte_nicht_entschl=C3=BCsselt_werden?=",
            "=?utf-8?B?RGllIE5hY2hyaWNodCBrb25udGUgbmljaHQgZW50c2NobMO8c3NlbHQgd2VyZGVu?=",
            "=?ISO-8859-1?Q?Die_Nachricht_konnte_nicht_entschl=FCsselt_werden?=",
            "Die Nachricht konnte nicht =?UTF-8?Q?entschl=C3=BCsselt?= werden",
            "=?UTF-8?Q?Die_Nachricht_konnte_nicht_?= =?UTF-8?Q?entschl=C3=BCsselt_werden?=",
        ] {
            assert_eq!(decoded(subject), RIGHT, "{subject}");
        }
        for broken in ["=?", "=?UTF-8?Q?=C3?=", "=?UTF-8?B?!?=", "=?UTF-8?X?a?=", "=?a?Q?=?="] {
            assert_eq!(decoded(broken), broken);
        }
    }
}
