//! A configuration profile for Apple's mail client (`.mobileconfig`).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::Account;
use crate::autoconfig::{MailServer, escaped};
use crate::cli::Failure;
use crate::words::Security;

/// The file: a property list with one mail account.
pub(super) fn config(account: &Account<'_>) -> Result<String, Failure> {
    let outgoing = account.outgoing()?;
    let name = format!("KIM {}", account.address);
    // The same account on the same workstation replaces its profile instead of adding one.
    let identifier = format!("kimgate.{}.{}", account.workstation, account.address);
    let mut mail = Dict::default();
    mail.text("PayloadType", "com.apple.mail.managed");
    mail.text("PayloadIdentifier", &format!("{identifier}.mail"));
    mail.text("PayloadUUID", &uuid(&format!("{identifier}.mail")));
    mail.number("PayloadVersion", 1);
    mail.text("PayloadDisplayName", &name);
    mail.text("EmailAccountType", "EmailTypePOP");
    mail.text("EmailAccountDescription", &name);
    mail.text("EmailAddress", account.address);
    mail.server("Incoming", &account.incoming);
    mail.server("Outgoing", outgoing);
    mail.flag("OutgoingPasswordSameAsIncomingPassword", true);
    let mut profile = Dict::default();
    profile.text("PayloadType", "Configuration");
    profile.text("PayloadIdentifier", &identifier);
    profile.text("PayloadUUID", &uuid(&identifier));
    profile.number("PayloadVersion", 1);
    profile.text("PayloadDisplayName", &name);
    let _ = write!(profile.0, "<key>PayloadContent</key>\n<array>\n{}</array>\n", mail.closed());
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n{}</plist>",
        profile.closed()
    ))
}

/// A dictionary of a property list; writing into a String cannot fail.
#[derive(Default)]
struct Dict(String);

impl Dict {
    fn text(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "<key>{key}</key>\n<string>{}</string>", escaped(value));
    }

    fn number(&mut self, key: &str, value: u32) {
        let _ = writeln!(self.0, "<key>{key}</key>\n<integer>{value}</integer>");
    }

    fn flag(&mut self, key: &str, value: bool) {
        let _ = writeln!(self.0, "<key>{key}</key>\n<{value}/>");
    }

    fn server(&mut self, way: &str, server: &MailServer<'_>) {
        self.text(&format!("{way}MailServerHostName"), &server.host);
        self.number(&format!("{way}MailServerPortNumber"), server.port.into());
        self.flag(&format!("{way}MailServerUseSSL"), server.security != Security::None);
        self.text(&format!("{way}MailServerAuthentication"), "EmailAuthPassword");
        self.text(&format!("{way}MailServerUsername"), server.login);
    }

    fn closed(&self) -> String {
        format!("<dict>\n{}</dict>\n", self.0)
    }
}

/// A UUID of version 8 (RFC 9562 section 5.8) from a name: the same name, the same UUID.
fn uuid(name: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(&SHA256, name.as_bytes()).as_ref()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_uuid() {
        let one = uuid("kimgate.PC1.prx@praxis.kim.telematik");
        assert_eq!(one, uuid("kimgate.PC1.prx@praxis.kim.telematik"));
        assert_ne!(one, uuid("kimgate.PC2.prx@praxis.kim.telematik"));
        assert_eq!((one.len(), &one[14..15]), (36, "8"));
    }
}
