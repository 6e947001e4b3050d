//! A token to claims. Knows nothing of sockets.

mod algorithm;
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

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use cache::Lookup;
use key_set::Key;
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

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthError::Bearer(error) => error.fmt(f),
            AuthError::Unavailable(error) => error.fmt(f),
            AuthError::Token(error) => error.fmt(f),
        }
    }
}

impl Error for AuthError {}

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

    /// Without a clock and keys nobody is let in, so they come before the cache. A hit counts only
    /// while its signing key is in the current set. A miss means full verification.
    fn check(&self, token: &[u8], now: Moment) -> Result<Arc<Claims>, AuthError> {
        let keys = self.jwks.current(now);
        let lookup = self.cache.as_ref().map(|cache| cache.look_up(token));
        if let (Ok(keys), Some(lookup)) = (&keys, &lookup)
            && let Some(claims) = lookup.get(keys)
        {
            let times = self.verifier.check_times(&claims, now.wall);
            return times.map(|()| claims).map_err(AuthError::Token);
        }
        // A token that is refused anyway neither causes a fetch nor waits for one.
        let seen = match (self.verifier.read(token, now.wall), keys) {
            (Ok(read), Ok(keys)) => match keys.get(read.key_id()) {
                Some(key) => return verify(read, key, lookup),
                None => Some(keys),
            },
            (Err(error), Ok(_)) => return Err(AuthError::Token(error)),
            (Ok(_), Err(Unavailable::Keys { .. })) => None,
            (_, Err(unavailable)) => return Err(AuthError::Unavailable(unavailable)),
        };
        // Many requests may wait here, and the claims that were read can take many times the bytes
        // of their token. So they have been dropped, and the token is read again.
        let newer = self.jwks.newer_than(seen.as_ref());
        let keys = newer.map_err(AuthError::Unavailable)?;
        let read = self.verifier.read(token, now.wall);
        let read = read.map_err(AuthError::Token)?;
        match keys.get(read.key_id()) {
            Some(key) => verify(read, key, lookup),
            None => Err(AuthError::Token(read.unknown_key())),
        }
    }
}

/// The last step: the signature. A token that passes is remembered in `lookup`.
fn verify(
    token: UnverifiedToken<'_>,
    key: &Key,
    lookup: Option<Lookup<'_>>,
) -> Result<Arc<Claims>, AuthError> {
    let claims = Arc::new(token.verify(key).map_err(AuthError::Token)?);
    if let Some(lookup) = lookup {
        lookup.fill(key, &claims);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests;
