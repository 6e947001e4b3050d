//! A token to claims. Knows nothing of sockets.

pub mod bearer;
pub mod disk;
pub mod fetch;
mod json;
pub mod jwks;
pub mod key_set;
mod ring_provider;
pub mod verifier;

use std::sync::Arc;

pub use bearer::BearerError;
pub use jwks::{Jwks, Moment, Unavailable};
pub use key_set::KeySet;
pub use verifier::{Claims, TokenError, Verifier};

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthError {
    /// It brings no bearer token.
    Bearer(BearerError),
    /// It cannot be told whether its token is valid.
    Unavailable(Unavailable),
    /// Its token is refused.
    Token(TokenError),
}

/// Tells whom a request is from.
#[derive(Debug)]
pub struct Authenticator {
    verifier: Verifier,
    jwks: Jwks,
}

impl Authenticator {
    /// Holds tokens against `verifier`'s rules and the keys in `jwks`.
    pub fn new(verifier: Verifier, jwks: Jwks) -> Authenticator {
        Authenticator { verifier, jwks }
    }

    /// The claims of the token in the values of a request's `Authorization` headers. A token that
    /// only lacks a key to verify it may wait for one, up to 2 s.
    ///
    /// # Errors
    /// [`AuthError`], in this order: no token, no clock or keys, a token that is refused.
    pub fn authenticate<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Claims, AuthError> {
        let token = bearer::token(authorization).map_err(AuthError::Bearer)?;
        let now = Moment::now();
        let keys = self.jwks.current(now);
        let token = match (self.verifier.read(token, now.wall), &keys) {
            (Ok(token), _) => token,
            (Err(error), Ok(_)) => return Err(AuthError::Token(error)),
            // A token that is refused anyway makes nobody fetch, nor waits.
            (Err(_), Err(unavailable)) => return Err(AuthError::Unavailable(*unavailable)),
        };
        let keys = match keys {
            Ok(keys) if keys.get(token.key_id()).is_some() => Ok(keys),
            Ok(keys) => self.jwks.newer_than(Some(&keys)),
            Err(Unavailable::Keys { .. }) => self.jwks.newer_than(None),
            Err(clock) => Err(clock),
        };
        verify(token, &keys.map_err(AuthError::Unavailable)?).map_err(AuthError::Token)
    }
}

fn verify(token: verifier::UnverifiedToken<'_>, keys: &Arc<KeySet>) -> Result<Claims, TokenError> {
    match keys.get(token.key_id()) {
        Some(key) => token.verify(key),
        None => Err(token.unknown_key()),
    }
}
