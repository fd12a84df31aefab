//! The decision: one walk through the questions, first refusal wins.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Denial, Permit, RuleError, Rules};
use crate::kim::Login;
use crate::words::Protocol;

/// Compiled permissions; read-only and cheap to ask.
#[derive(Debug)]
pub struct Policy {}

/// Who is at the other end of a connection, as far as address and certificate say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    name: Option<Arc<str>>,
    certificate_names: Arc<[String]>,
}

impl Station {
    /// The workstation's name, if it is known.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// A login that asks to go upstream.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it comes from.
    pub station: &'a Station,
    /// What was sent as user name.
    pub login: &'a Login,
    /// POP3 asks to receive, SMTP asks to send.
    pub protocol: Protocol,
}

impl Policy {
    /// Makes tables of the rules, or names every problem at once.
    pub fn compile(rules: Rules) -> Result<Policy, Vec<RuleError>> {
        let _ = rules;
        todo!()
    }

    /// Finds the workstation: by certificate where one is known, else by address, the most specific
    /// network first. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn station(&self, peer: IpAddr, certificate_names: &[String]) -> Station {
        let _ = (peer, certificate_names);
        todo!()
    }

    /// Decides about a login. While refusals are only recorded the answer is always a permit.
    pub fn decide(&self, request: &Request<'_>) -> Result<Permit, Denial> {
        let _ = request;
        todo!()
    }
}
