//! Sending: the envelope is judged, the header block is judged, and the message streams on.

use super::pair::{Pair, Stop, stalled};
use super::reply::hinted;
use super::smtp_data;
use super::wire::Filled;
use crate::observe::Phase;
use crate::policy::Judgement;
use crate::proto::capabilities::SmtpCapabilities;
use crate::proto::smtp::ReplyScan;
use crate::proto::smtp::command::{Command, parse};
use crate::proto::smtp::reply::Reply;
use crate::words::Reason;

/// What an SMTP session remembers from one command to the next.
#[derive(Default)]
pub(crate) struct Transaction {
    /// The client module accepted MAIL.
    pub(crate) is_open: bool,
    /// Recipients that it accepted.
    pub(crate) recipients: u32,
    /// For one of them kimgate asked for delivery receipts.
    pub(crate) receipts: bool,
}

/// A client module that forgets the login over a RSET answers so, as openKIM does.
const NOT_LOGGED_IN: u16 = 530;

/// Serves the workstation until one side ends.
pub(crate) async fn serve(pair: &mut Pair) -> Stop {
    let mut transaction = Transaction::default();
    loop {
        if let Err(stop) = command(pair, &mut transaction).await {
            return stop;
        }
    }
}

async fn command(pair: &mut Pair, transaction: &mut Transaction) -> Result<(), Stop> {
    let len = pair.next_command().await?;
    let line = pair.client.bytes()[..len + 2].to_vec();
    pair.client.consume(len + 2);
    let command = match parse(&line[..len]) {
        Ok(command) => command,
        Err(hint) => {
            pair.count_bad_line()?;
            let reply = hinted(pair.facts.protocol, pair.live.config.language, hint);
            return pair.reply(&reply).await;
        }
    };
    match command {
        Command::Mail { sender, size } => {
            let limit = pair.live.config.limits.message;
            if limit > 0 && size.is_some_and(|size| size > limit) {
                return pair.refuse(Reason::MessageTooLarge, "").await;
            }
            if refused(pair, pair.permit.judge_sender(&sender), &sender).await? {
                return Ok(());
            }
            if carry(pair, &line).await?.is_positive() {
                *transaction = Transaction { is_open: true, ..Transaction::default() };
            }
            Ok(())
        }
        Command::Rcpt { recipient, has_notify } => {
            if refused(pair, pair.permit.judge_recipient(&recipient), &recipient).await? {
                return Ok(());
            }
            let wants_receipt = pair.live.config.delivery_receipts
                && !has_notify
                && pair.live.capabilities().smtp.offers("DSN");
            let line = if wants_receipt { with_notify(&line[..len]) } else { line.clone() };
            if carry(pair, &line).await?.is_positive() {
                transaction.recipients += 1;
                transaction.receipts |= wants_receipt;
            }
            Ok(())
        }
        Command::Data => {
            pair.tracked.phase(Phase::Sending);
            let finished = std::mem::take(transaction);
            smtp_data::carry_message(pair, finished).await
        }
        Command::Ehlo | Command::Helo => {
            // Like RSET (RFC 5321 section 4.1.4); without a transaction there is nothing to reset.
            if std::mem::take(transaction).is_open {
                reset(pair).await?;
            }
            let name = &pair.live.config.name;
            let reply = if command == Command::Ehlo {
                ehlo(name, &pair.live.capabilities().smtp)
            } else {
                format!("250 {name}\r\n")
            };
            pair.reply(reply.as_bytes()).await
        }
        Command::Rset => {
            if carry(pair, &line).await?.is_positive() {
                *transaction = Transaction::default();
            }
            Ok(())
        }
        Command::Noop | Command::Vrfy | Command::Help => carry(pair, &line).await.map(drop),
        Command::Quit => {
            let reply = ask(pair, &line).await?;
            check(reply)?;
            pair.keep_farewell(reply.len);
            check_goodbye(reply)?;
            Err(Stop::Quit)
        }
    }
}

/// Answers the command with a refusal if the judgement is one.
async fn refused(pair: &mut Pair, judgement: Judgement, address: &str) -> Result<bool, Stop> {
    let Some(denial) = pair.judged(judgement) else { return Ok(false) };
    pair.refuse(denial.reason, &format!("<{address}>")).await?;
    Ok(true)
}

/// Sends a command on and brings the reply back.
async fn carry(pair: &mut Pair, line: &[u8]) -> Result<Reply, Stop> {
    let reply = ask(pair, line).await?;
    bring(pair, reply).await?;
    Ok(reply)
}

/// Sends a command on and waits for the reply, which stays in the client module's buffer.
pub(crate) async fn ask(pair: &mut Pair, line: &[u8]) -> Result<Reply, Stop> {
    let unreachable = Stop::Say(Reason::ClientModuleUnreachable);
    stalled(pair.stall(), pair.module.send(line)).await.ok_or(unreachable)?;
    loop {
        if let Some(reply) = reply(pair).map_err(Stop::Say)? {
            return Ok(reply);
        }
        if let Filled::Ended(_) = pair.wait_for_module().await? {
            return Err(unreachable);
        }
    }
}

/// The reply in the client module's buffer, if it is complete. An intermediate reply (3yz) answers
/// DATA alone, and bytes behind a reply answer nothing.
fn reply(pair: &Pair) -> Result<Option<Reply>, Reason> {
    let bytes = pair.module.bytes();
    match ReplyScan::new().scan(bytes) {
        Ok(Some(reply)) if reply.len == bytes.len() => Ok(Some(reply)),
        Ok(None) => Ok(None),
        Ok(Some(_)) | Err(_) => Err(Reason::ClientModuleProtocolError),
    }
}

/// Waits for the answer to a message, whether the workstation waits for it or not: only then is it
/// known what became of the message.
pub(crate) async fn final_reply(pair: &mut Pair) -> Result<Reply, Reason> {
    loop {
        if let Some(reply) = reply(pair)? {
            return Ok(reply);
        }
        if let Filled::Ended(_) = pair.wait_for_module_alone().await {
            return Err(Reason::ClientModuleUnreachable);
        }
    }
}

/// Forwards a reply of the client module, word for word.
pub(crate) async fn bring(pair: &mut Pair, reply: Reply) -> Result<(), Stop> {
    check(reply)?;
    let stall = pair.stall();
    let sent = stalled(stall, pair.client.send(&pair.module.bytes()[..reply.len])).await;
    pair.module.consume(reply.len);
    sent.ok_or(Stop::ClientLeft)?;
    check_goodbye(reply)
}

/// What is no answer to a command that passed. The login was accepted, so 530 is none; the workstation,
/// who never sent the RSET behind it perhaps, would ask its user for a password. It connects again
/// and logs in again.
fn check(reply: Reply) -> Result<(), Stop> {
    match reply.code / 100 == 3 || reply.code == NOT_LOGGED_IN {
        true => Err(Stop::Say(Reason::ClientModuleProtocolError)),
        false => Ok(()),
    }
}

/// 421 announces that the client module closes the connection (RFC 5321 section 3.8).
fn check_goodbye(reply: Reply) -> Result<(), Stop> {
    if reply.code == 421 { Err(Stop::Said(Reason::RejectedByClientModule)) } else { Ok(()) }
}

/// Ends a transaction at the client module, unseen by the workstation.
pub(crate) async fn reset(pair: &mut Pair) -> Result<(), Stop> {
    let reply = ask(pair, b"RSET\r\n").await?;
    pair.module.consume(reply.len);
    if reply.is_positive() { Ok(()) } else { Err(Stop::Say(Reason::ClientModuleProtocolError)) }
}

/// The line with a wish for delivery receipts (RFC 3461 section 4.1).
fn with_notify(line: &[u8]) -> Vec<u8> {
    [line, b" NOTIFY=SUCCESS,FAILURE,DELAY\r\n"].concat()
}

fn ehlo(name: &str, capabilities: &SmtpCapabilities) -> String {
    // The login is done, so AUTH is not offered again (RFC 4954 section 4).
    let offered = capabilities.lines().iter().map(String::as_str);
    let lines: Vec<&str> =
        std::iter::once(name).chain(offered.filter(|line| !line.starts_with("AUTH"))).collect();
    let last = lines.len() - 1;
    let line = |(at, line)| format!("250{}{line}\r\n", if at < last { '-' } else { ' ' });
    lines.into_iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_receipts_changes_nothing_else_in_the_line() {
        assert_eq!(
            with_notify(b"RCPT TO:<a@b> ORCPT=rfc822;a@b"),
            b"RCPT TO:<a@b> ORCPT=rfc822;a@b NOTIFY=SUCCESS,FAILURE,DELAY\r\n"
        );
    }

    #[test]
    fn ehlo_behind_the_login_offers_no_login() {
        let capabilities = SmtpCapabilities::from_lines(["SIZE 100", "AUTH LOGIN PLAIN", "DSN"]);
        assert_eq!(ehlo("gw", &capabilities), "250-gw\r\n250-SIZE 100\r\n250 DSN\r\n");
        let none = SmtpCapabilities::from_lines([]);
        assert_eq!(ehlo("gw", &none), "250 gw\r\n");
    }
}
