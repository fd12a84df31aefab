//! The fields of a login, and what they are called in each protocol.

use crate::words::Protocol;

/// The fields of a login by gematik's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Before the first `#`.
    Address,
    /// `host:port` of the KIM mail service.
    Server,
    /// The tenant.
    MandantId,
    /// The practice software.
    ClientsystemId,
    /// The place of work.
    WorkplaceId,
    /// The user.
    UserId,
    /// The Konnektor.
    KonnektorId,
    /// The first of the two in SMTP: the KonnektorId by gematik, the UserId by client modules that
    /// keep the order of POP3.
    KonnektorIdOrUserId,
    /// The other one of the two in SMTP.
    UserIdOrKonnektorId,
}

impl Field {
    /// The fields after the WorkplaceId, which a login may lack. `None`: read for either protocol.
    pub fn optional(protocol: Option<Protocol>) -> [Self; 2] {
        match protocol {
            Some(Protocol::Pop3) => [Self::UserId, Self::KonnektorId],
            Some(Protocol::Smtp) => [Self::KonnektorIdOrUserId, Self::UserIdOrKonnektorId],
            None => [Self::UserIdOrKonnektorId, Self::KonnektorIdOrUserId],
        }
    }

    /// Whether this is the UserId by some reading.
    pub(super) fn may_be_user_id(self) -> bool {
        matches!(self, Self::UserId | Self::KonnektorIdOrUserId | Self::UserIdOrKonnektorId)
    }

    /// Whether `text` is the name of this field.
    pub(super) fn is_called(self, text: &str) -> bool {
        let names = self.as_str().split(" or ");
        names.into_iter().any(|name| name.eq_ignore_ascii_case(text))
    }

    /// As gematik spells it; gematik's name first, where client modules differ from it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Server => "host:port",
            Self::MandantId => "MandantId",
            Self::ClientsystemId => "ClientsystemId",
            Self::WorkplaceId => "WorkplaceId",
            Self::UserId => "UserId",
            Self::KonnektorId => "KonnektorId",
            Self::KonnektorIdOrUserId => "KonnektorId or UserId",
            Self::UserIdOrKonnektorId => "UserId or KonnektorId",
        }
    }
}
