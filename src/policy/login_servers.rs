//! The hosts that a login's host:port may name.

use super::pattern::Patterns;
use crate::kim::Login;

/// `policy.login_servers`, compiled.
#[derive(Debug, Default)]
pub struct LoginServers {
    /// `*` is listed. Only then may a login name what is no single host.
    any: bool,
    hosts: Patterns,
}

impl LoginServers {
    /// These patterns, with `*` and `?`.
    pub fn new(patterns: &[String]) -> Self {
        let any = patterns.iter().any(|pattern| pattern == "*");
        Self { any, hosts: Patterns::new(patterns) }
    }

    /// Whether the login may name its server; `None` if it names none.
    pub fn admit(&self, login: &Login) -> Option<bool> {
        let host = login.server_host()?;
        Some(self.any || host.is_some_and(|host| self.hosts.matches(host)))
    }
}
