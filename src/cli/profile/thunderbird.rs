//! Thunderbird's autoconfig file, version 1.1.

use std::fmt::Write as _;

use super::{Account, Server, escaped};
use crate::cli::Failure;
use crate::words::Security;

/// The file: Thunderbird reads it as `isp/DOMAIN.xml` in its program folder, or from
/// `http://autoconfig.DOMAIN/mail/config-v1.1.xml`.
pub(super) fn config(account: &Account<'_>) -> Result<String, Failure> {
    let domain = account.address.rsplit_once('@').map_or(account.address, |(_, domain)| domain);
    let outgoing =
        account.outgoing.as_ref().ok_or_else(|| Failure::usage("--smtp-login is missing"))?;
    let (address, domain) = (escaped(account.address), escaped(domain));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!-- Save as isp/DOMAIN.xml in Thunderbird's program folder, or serve it as\n     \
         http://autoconfig.DOMAIN/mail/config-v1.1.xml -->\n\
         <clientConfig version=\"1.1\">\n  <emailProvider id=\"{domain}\">\n    \
         <domain>{domain}</domain>\n    <displayName>KIM {address}</displayName>\n    \
         <displayShortName>KIM</displayShortName>\n"
    );
    push(&mut xml, "incomingServer", "pop3", &account.incoming);
    push(&mut xml, "outgoingServer", "smtp", outgoing);
    xml.push_str("  </emailProvider>\n</clientConfig>");
    Ok(xml)
}

fn push(xml: &mut String, element: &str, kind: &str, server: &Server<'_>) {
    let socket = match server.security {
        Security::Implicit => "SSL",
        Security::StartTls => "STARTTLS",
        Security::None => "plain",
    };
    // Writing into a String cannot fail.
    let _ = write!(
        xml,
        "    <{element} type=\"{kind}\">\n      <hostname>{}</hostname>\n      \
         <port>{}</port>\n      <socketType>{socket}</socketType>\n      \
         <authentication>password-cleartext</authentication>\n      \
         <username>{}</username>\n",
        escaped(&server.host),
        server.port,
        escaped(server.login)
    );
    if kind == "pop3" {
        // Whoever fetches from a second PC, or may not delete, has nothing left otherwise.
        xml.push_str(
            "      <pop3>\n        <leaveMessagesOnServer>true</leaveMessagesOnServer>\n      \
             </pop3>\n",
        );
    }
    let _ = writeln!(xml, "    </{element}>");
}
