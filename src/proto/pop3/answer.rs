//! Answers of a POP3 server to the commands behind the login, as they stream by.

use super::Command;
use crate::proto::ProtocolError;
use crate::proto::header::HeaderReader;

/// stub
#[derive(Clone, Debug)]
pub struct AnswerScan {}

/// What one scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// So many of these octets belong to the answer.
    pub forward: usize,
    /// The answer is complete; what follows it was not asked for.
    pub done: bool,
}

impl AnswerScan {
    /// stub
    pub fn new(_command: &Command, _header_limit: usize) -> Self {
        Self {}
    }

    /// stub
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        Ok(Scan { forward: bytes.len(), done: false })
    }

    /// `+OK` or not, as soon as the status line is complete.
    pub fn is_ok(&self) -> Option<bool> {
        None
    }

    /// stub
    pub fn status_line(&self) -> &str {
        ""
    }

    /// stub
    pub fn body_bytes(&self) -> u64 {
        0
    }

    /// stub
    pub fn body_started(&self) -> bool {
        false
    }

    /// stub
    pub fn header(&self) -> Option<&HeaderReader> {
        None
    }
}
