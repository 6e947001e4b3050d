//! The kind of each refusal, for logs and counters.

use super::jwks::Unavailable;
use super::{AuthError, BearerError, TokenError};
use crate::metrics::Reason;

impl AuthError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> Reason {
        match self {
            AuthError::Bearer(BearerError::Missing) => Reason::NoToken,
            AuthError::Bearer(BearerError::Malformed) => Reason::BadHeader,
            AuthError::Unavailable(Unavailable::Keys { .. }) => Reason::NoKeys,
            AuthError::Unavailable(Unavailable::Clock { .. }) => Reason::Clock,
            AuthError::Token(error) => error.kind(),
        }
    }
}

impl TokenError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> Reason {
        match self {
            TokenError::NotCompact => Reason::NotCompact,
            TokenError::Malformed { .. } => Reason::Malformed,
            TokenError::Algorithm { .. } => Reason::Algorithm,
            TokenError::Type(_) => Reason::Type,
            TokenError::Critical => Reason::Critical,
            TokenError::NoKeyId => Reason::NoKeyId,
            TokenError::UnknownKey(_) => Reason::UnknownKey,
            TokenError::Signature => Reason::Signature,
            TokenError::Issuer { .. } => Reason::Issuer,
            TokenError::Audience { .. } => Reason::Audience,
            TokenError::NotATime(_) => Reason::Time,
            TokenError::Expired { .. } => Reason::Expired,
            TokenError::NotYetValid { .. } => Reason::NotYetValid,
        }
    }
}
