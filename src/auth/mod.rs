//! A token to claims. Knows nothing of sockets.

pub mod bearer;
pub mod cache;
pub mod clock;
pub mod disk;
pub mod fetch;
mod json;
pub mod jwks;
pub mod key_set;
mod ring_provider;
pub mod strings;
pub mod verifier;

use std::sync::Arc;

use verifier::UnverifiedToken;

pub use bearer::BearerError;
pub use cache::TokenCache;
pub use clock::Moment;
pub use jwks::{Jwks, Unavailable};
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
    cache: Option<TokenCache>,
}

impl Authenticator {
    /// Holds tokens against `verifier`'s rules and the keys in `jwks`. `cache` remembers those that
    /// passed, if there is one.
    pub fn new(verifier: Verifier, jwks: Jwks, cache: Option<TokenCache>) -> Authenticator {
        Authenticator {
            verifier,
            jwks,
            cache,
        }
    }

    /// The claims of the token in the values of a request's `Authorization` headers. A token that
    /// only lacks a key to verify it may wait for one, up to 2 s.
    ///
    /// # Errors
    /// [`AuthError`], in this order: no token, no clock or keys, a token that is refused.
    pub fn authenticate<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Arc<Claims>, AuthError> {
        let token = bearer::token(authorization).map_err(AuthError::Bearer)?;
        self.check(token, Moment::now())
    }

    /// Without a clock and keys nobody is let in, so they come before the cache. What it says
    /// counts only while the key that signed the token does; where it says nothing, the token is
    /// checked as if there were none.
    fn check(&self, token: &[u8], now: Moment) -> Result<Arc<Claims>, AuthError> {
        let keys = self.jwks.current(now);
        let place = self.cache.as_ref().map(|cache| cache.place(token));
        if let (Ok(keys), Some(place)) = (&keys, &place)
            && let Some(claims) = place.get(keys)
        {
            let times = self.verifier.check_times(&claims, now.wall);
            return times.map(|()| claims).map_err(AuthError::Token);
        }
        let token = match (self.verifier.read(token, now.wall), &keys) {
            (Ok(token), _) => token,
            (Err(error), Ok(_)) => return Err(AuthError::Token(error)),
            // A token that is refused anyway makes nobody fetch, nor waits.
            (Err(_), Err(unavailable)) => return Err(AuthError::Unavailable(*unavailable)),
        };
        let keys = self.keys_for(&token, keys)?;
        let Some(key) = keys.get(token.key_id()) else {
            return Err(AuthError::Token(token.unknown_key()));
        };
        let claims = Arc::new(token.verify(key).map_err(AuthError::Token)?);
        if let Some(place) = place {
            place.fill(key, &claims);
        }
        Ok(claims)
    }

    /// The keys to verify `token` with: those there are, or newer ones when they lack its key.
    fn keys_for(
        &self,
        token: &UnverifiedToken<'_>,
        keys: Result<Arc<KeySet>, Unavailable>,
    ) -> Result<Arc<KeySet>, AuthError> {
        let keys = match keys {
            Ok(keys) if keys.get(token.key_id()).is_some() => Ok(keys),
            Ok(keys) => self.jwks.newer_than(Some(&keys)),
            Err(Unavailable::Keys { .. }) => self.jwks.newer_than(None),
            Err(clock) => Err(clock),
        };
        keys.map_err(AuthError::Unavailable)
    }
}

#[cfg(test)]
mod tests;
