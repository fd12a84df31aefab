//! SMTP as a client module serves it: gemSpec_CM_KOMLE 3.3.

use std::convert::Infallible;

use crate::words::Security;

use super::data;
use super::fault::{Manner, Point};
use super::journal::{Ending, Mechanism};
use super::kim_2026;
use super::sasl::{self, Credentials};
use super::session::SimSession;
use super::wire::SimResult;
use crate::secret::Secret;

/// Who sends to whom.
pub(crate) struct Envelope {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
}

/// RFC 5321 section 4.5.3.1.8 asks for a hundred; the bound keeps a hostile peer's list short.
const RECIPIENTS: usize = 1_000;

/// Serves commands until the connection ends.
pub(crate) async fn run(session: SimSession) -> SimResult<Infallible> {
    let mut smtp = Smtp { session, logged_in: false, envelope: None };
    loop {
        smtp = smtp.command().await?;
    }
}

struct Smtp {
    session: SimSession,
    logged_in: bool,
    envelope: Option<Envelope>,
}

impl Smtp {
    async fn command(mut self) -> SimResult<Self> {
        let line = self.session.next_line(self.logged_in).await?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let (verb, arguments) = text.split_once(' ').unwrap_or((&text, ""));
        let verb = verb.to_ascii_uppercase();
        if verb == "AUTH" {
            let mechanism = arguments.split(' ').next().unwrap_or_default();
            self.session.note_command(format!("AUTH {mechanism}"));
        } else {
            self.session.note_command(&*text);
        }
        match verb.as_str() {
            "EHLO" => self.hello().await?,
            "HELO" => self.say("250 KOM-LE-Clientmodul").await?,
            "NOOP" => self.say("250 2.0.0 OK").await?,
            "RSET" => self.reset().await?,
            "STARTTLS" => return self.start_tls().await,
            "AUTH" => self.auth(&line, arguments).await?,
            "QUIT" => {
                self.session.answer(Point::Quit, "221 2.0.0 Auf Wiedersehen").await?;
                self.session.wire.close().await;
                return Err(Ending::Quit);
            }
            "MAIL" | "RCPT" | "DATA" if !self.logged_in => {
                self.say("530 5.7.0 Authentication required").await?;
            }
            "MAIL" => self.mail(arguments).await?,
            "RCPT" => self.rcpt(arguments).await?,
            "DATA" => self.data().await?,
            _ => self.say("502 5.5.1 Command not implemented").await?,
        }
        Ok(self)
    }

    async fn hello(&mut self) -> SimResult<()> {
        let mut lines = vec!["KOM-LE-Clientmodul".to_owned()];
        lines.extend(self.announced());
        if self.session.needs_tls() {
            lines.retain(|line| !line.starts_with("AUTH"));
            lines.push("STARTTLS".to_owned());
        }
        let last = lines.len() - 1;
        let reply: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| format!("250{}{line}", if at < last { '-' } else { ' ' }))
            .collect();
        self.session.answer(Point::Hello, &reply.join("\r\n")).await?;
        Ok(())
    }

    async fn reset(&mut self) -> SimResult<()> {
        self.envelope = None;
        if self.session.world.script.has(self.session.protocol, Manner::ForgetfulRset) {
            self.logged_in = false;
        }
        self.say("250 2.0.0 OK").await
    }

    async fn start_tls(mut self) -> SimResult<Self> {
        if self.session.secured || self.session.world.security != Security::StartTls {
            self.say("502 5.5.1 Command not implemented").await?;
            return Ok(self);
        }
        if self.session.answer(Point::StartTls, "220 2.0.0 Ready to start TLS").await? {
            self.session = self.session.secure().await?;
        }
        Ok(self)
    }

    async fn auth(&mut self, line: &[u8], arguments: &str) -> SimResult<()> {
        if self.session.needs_tls() {
            return self.say("530 5.7.0 Must issue a STARTTLS command first").await;
        }
        if self.logged_in {
            return self.say("503 5.5.1 Already authenticated").await;
        }
        let (mechanism, initial) = match arguments.split_once(' ') {
            Some((mechanism, initial)) => (mechanism, Some(initial.as_bytes().to_vec())),
            None => (arguments, None),
        };
        let ignores = self.session.world.script.has(self.session.protocol, Manner::IgnoreInitial);
        let initial = initial.filter(|_| !ignores);
        let mut lines = vec![Secret::new(line.to_vec())];
        let credentials = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => self.plain(initial, &mut lines).await?,
            "LOGIN" => self.login(initial, &mut lines).await?,
            _ => return self.say("504 5.7.4 Unrecognized authentication type").await,
        };
        let Some((mechanism, login, password)) = credentials else {
            return self.say("501 5.5.2 Cannot decode or cancelled").await;
        };
        if self.session.lacks_server(&login) {
            self.say(
                "501 5.5.4 Benutzername muss die Adresse und die Portnummer des SMTP Servers \
                 enthalten",
            )
            .await?;
            return Err(self.session.hang_up().await);
        }
        let right = self.session.note_login(Credentials { mechanism, login, password, lines });
        let reply = match right {
            true => "235 2.7.0 Authentication successful",
            false => "535 5.7.8 Authentication credentials invalid",
        };
        if self.session.answer(Point::Login, reply).await? && right {
            self.logged_in = true;
            self.session.strike().await?;
        }
        Ok(())
    }

    async fn plain(
        &mut self,
        initial: Option<Vec<u8>>,
        lines: &mut Vec<Secret<Vec<u8>>>,
    ) -> SimResult<Option<(Mechanism, Vec<u8>, Secret<Vec<u8>>)>> {
        let (mechanism, response) = match initial {
            Some(response) => (Mechanism::PlainInitial, response),
            None => (Mechanism::PlainPrompted, self.prompt("334 ", lines).await?),
        };
        let decoded = sasl::decode(&response);
        let parts = decoded.and_then(|decoded| sasl::plain(&decoded));
        Ok(parts.map(|(login, password)| (mechanism, login, password)))
    }

    async fn login(
        &mut self,
        initial: Option<Vec<u8>>,
        lines: &mut Vec<Secret<Vec<u8>>>,
    ) -> SimResult<Option<(Mechanism, Vec<u8>, Secret<Vec<u8>>)>> {
        let (mechanism, user) = match initial {
            Some(user) => (Mechanism::LoginInitial, user),
            None => (Mechanism::LoginPrompted, self.prompt("334 VXNlcm5hbWU6", lines).await?),
        };
        let Some(user) = sasl::decode(&user) else { return Ok(None) };
        let password = self.prompt("334 UGFzc3dvcmQ6", lines).await?;
        let password = sasl::decode(&password).map(Secret::new);
        Ok(password.map(|password| (mechanism, user, password)))
    }

    async fn prompt(&mut self, text: &str, lines: &mut Vec<Secret<Vec<u8>>>) -> SimResult<Vec<u8>> {
        let line = self.session.prompt(text).await?;
        lines.push(Secret::new(line.clone()));
        Ok(line)
    }

    async fn mail(&mut self, arguments: &str) -> SimResult<()> {
        if self.envelope.is_some() {
            return self.say("503 5.5.1 Sender already given").await;
        }
        let Some((sender, parameters)) = path(arguments, "FROM:") else {
            return self.say("501 5.5.4 Syntax: MAIL FROM:<address>").await;
        };
        if self.limit().zip(size(parameters)).is_some_and(|(limit, size)| size > limit) {
            return self.say("552 5.3.4 Message too big").await;
        }
        if self.session.answer(Point::Mail, "250 2.1.0 OK").await? {
            self.envelope = Some(Envelope { sender: sender.to_owned(), recipients: Vec::new() });
        }
        Ok(())
    }

    /// Every recipient is taken; the unfit ones come back by mail (gemSpec_CM_KOMLE A_2176).
    async fn rcpt(&mut self, arguments: &str) -> SimResult<()> {
        let Some(envelope) = &self.envelope else {
            return self.say("503 5.5.1 MAIL first").await;
        };
        let Some((recipient, _)) = path(arguments, "TO:").filter(|(to, _)| !to.is_empty()) else {
            return self.say("501 5.5.4 Syntax: RCPT TO:<address>").await;
        };
        if envelope.recipients.len() >= RECIPIENTS {
            return self.say("452 4.5.3 Too many recipients").await;
        }
        if self.session.answer(Point::Rcpt, "250 2.1.5 OK").await?
            && let Some(envelope) = &mut self.envelope
        {
            envelope.recipients.push(recipient.to_owned());
        }
        Ok(())
    }

    async fn data(&mut self) -> SimResult<()> {
        if self.envelope.as_ref().is_none_or(|envelope| envelope.recipients.is_empty()) {
            return self.say("503 5.5.1 RCPT first").await;
        }
        let prompt = "354 Start mail input; end with <CRLF>.<CRLF>";
        if self.session.answer(Point::Data, prompt).await?
            && let Some(envelope) = self.envelope.take()
        {
            data::receive(&mut self.session, envelope).await?;
        }
        Ok(())
    }

    fn announced(&self) -> Vec<String> {
        match self.session.world.script.has(self.session.protocol, Manner::Kim2026) {
            true => kim_2026::SMTP.map(String::from).to_vec(),
            false => self.session.world.capabilities().smtp,
        }
    }

    /// What EHLO announces as SIZE.
    fn limit(&self) -> Option<u64> {
        self.announced().iter().find_map(|line| line.strip_prefix("SIZE ")?.parse().ok())
    }

    async fn say(&mut self, reply: &str) -> SimResult<()> {
        self.session.wire.reply(reply.as_bytes()).await
    }
}

/// The address between the brackets, and the parameters after them.
fn path<'a>(arguments: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (start, rest) = arguments.split_at_checked(keyword.len())?;
    let (address, parameters) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    start.eq_ignore_ascii_case(keyword).then_some((address, parameters))
}

fn size(parameters: &str) -> Option<u64> {
    parameters.split_ascii_whitespace().find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("SIZE").then(|| value.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_sizes_are_read_with_their_parameters() {
        assert_eq!(
            path("FROM:<a@b> SIZE=12 RET=HDRS", "FROM:"),
            Some(("a@b", " SIZE=12 RET=HDRS"))
        );
        assert_eq!(path("from: <>", "FROM:"), Some(("", "")));
        assert_eq!(path("TO:<a@b>", "FROM:"), None);
        assert_eq!(path("FROM:a@b", "FROM:"), None);
        assert_eq!(size(" BODY=8BITMIME size=12"), Some(12));
        assert_eq!(size(" BODY=8BITMIME"), None);
    }
}
