//! A token to claims. Knows nothing of sockets.

pub mod bearer;
pub mod fetch;
mod json;
pub mod jwks;
pub mod key_set;
mod ring_provider;
pub mod verifier;

use std::sync::Arc;
use std::time::SystemTime;

pub use bearer::BearerError;
pub use jwks::{Jwks, Unavailable};
pub use key_set::KeySet;
pub use verifier::{Claims, TokenError, Verifier};

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthError {
    /// It brings no bearer token.
    Bearer(BearerError),
    /// There are no keys to tell with.
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

    /// The claims of the token in the values of a request's `Authorization` headers. May wait up
    /// to 1 s, when the token's key is new.
    ///
    /// # Errors
    /// [`AuthError`], in this order: no token, no keys, a token that is refused.
    pub fn authenticate<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Claims, AuthError> {
        let token = bearer::token(authorization).map_err(AuthError::Bearer)?;
        let keys = self.jwks.current().map_err(AuthError::Unavailable)?;
        let token = self
            .verifier
            .read(token, SystemTime::now())
            .map_err(AuthError::Token)?;
        let keys = match keys.get(token.key_id()) {
            Some(_) => keys,
            None => self.jwks.refreshed(&keys).map_err(AuthError::Unavailable)?,
        };
        verify(token, &keys).map_err(AuthError::Token)
    }
}

fn verify(token: verifier::UnverifiedToken<'_>, keys: &Arc<KeySet>) -> Result<Claims, TokenError> {
    match keys.get(token.key_id()) {
        Some(key) => token.verify(key),
        None => Err(token.unknown_key()),
    }
}
