//! The end of a session: what each side sees of it.

use super::{Driver, Pair};
use crate::gateway::reply::goodbye;
use crate::observe::Direction;
use crate::proto::relay::{Teardown, Why};
use crate::words::CloseReason;

/// How a session ended, and how much went through.
pub(crate) struct Ended {
    pub(crate) close: CloseReason,
    pub(crate) to_workstation: u64,
    pub(crate) to_client_module: u64,
}

impl From<CloseReason> for Ended {
    fn from(close: CloseReason) -> Self {
        Self { close, to_workstation: 0, to_client_module: 0 }
    }
}

impl Driver {
    /// Ends both connections in the way that the reason asks for.
    pub(super) async fn end(mut self, teardown: Teardown) -> Ended {
        self.report_traffic();
        let mut last_words = self.pair.client_module.bytes()[..teardown.farewell].to_vec();
        self.pair.tracked.relayed(Direction::ToClient, last_words.len() as u64);
        let ended = Ended {
            close: teardown.close(),
            to_workstation: self.pair.workstation.sent() + last_words.len() as u64,
            to_client_module: self.pair.client_module.sent(),
        };
        if let Why::Refused(reason) = teardown.why {
            let (protocol, wording) = (self.pair.facts.protocol, self.pair.loaded.config.wording());
            last_words
                .extend(self.with_about("", |about| goodbye(protocol, wording, reason, about)));
        }
        let Pair { workstation, client_module, held, .. } = self.pair;
        match teardown.why {
            Why::Quit => client_module.close(b"").await,
            Why::Vanished | Why::Broken(_) => client_module.abort(),
            // Without QUIT no deletion is committed (RFC 1939 section 6).
            Why::Left | Why::Refused(_) | Why::Replied(_) if teardown.is_unfinished => {
                client_module.abort();
            }
            Why::Left | Why::Refused(_) | Why::Replied(_) => drop(client_module),
        }
        // The mailbox is free from now on, however slowly the workstation takes its last words.
        drop(held);
        match teardown.why {
            Why::Quit | Why::Left | Why::Refused(_) | Why::Replied(_) => {
                workstation.close(&last_words).await;
            }
            Why::Vanished | Why::Broken(_) => workstation.abort(),
        }
        ended
    }
}
