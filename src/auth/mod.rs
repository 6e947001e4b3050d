//! Turns an access token into its claims. Knows nothing of sockets.

mod algorithm;
pub mod bearer;
pub mod cache;
pub mod clock;
pub mod disk;
pub mod fetch;
mod json;
pub mod jwks;
pub mod key_set;
mod reasons;
mod ring_provider;
pub mod strings;
pub mod verifier;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use self::cache::Lookup;
use self::key_set::Key;
use self::verifier::UnverifiedToken;

pub use self::bearer::BearerError;
pub use self::cache::TokenCache;
pub use self::clock::Moment;
pub use self::jwks::{Jwks, Unavailable};
pub use self::key_set::KeySet;
pub use self::reasons::InShort;
pub use self::verifier::{Claims, TokenError, Verifier};

/// Why a request is not authenticated.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthError {
    /// It has no bearer token.
    Bearer(BearerError),
    /// Whether its token is valid cannot be checked at the moment.
    Unavailable(Unavailable),
    /// Its token is not valid.
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

/// Authenticates requests by their access tokens.
#[derive(Debug)]
pub struct Authenticator {
    verifier: Verifier,
    jwks: Jwks,
    cache: Option<TokenCache>,
}

impl Authenticator {
    /// Checks tokens against the rules of `verifier` and the keys in `jwks`. `cache`, if there is
    /// one, keeps the tokens that passed.
    pub fn new(verifier: Verifier, jwks: Jwks, cache: Option<TokenCache>) -> Authenticator {
        Authenticator {
            verifier,
            jwks,
            cache,
        }
    }

    /// Returns the claims of the token in a request's `Authorization` header values. If the only
    /// thing missing is the token's key, waits for a fetch of the keys, up to 2 s.
    ///
    /// # Errors
    /// [`AuthError`]. Checked in this order: the token is there, the clock and the keys are, the
    /// token is valid.
    pub fn authenticate<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Arc<Claims>, AuthError> {
        let token = bearer::token(authorization).map_err(AuthError::Bearer)?;
        self.check(token, Moment::now())
    }

    /// Whom a request's token names that was refused, for the log: one in the cache, or else one that
    /// anyone may have written.
    pub fn named<'a>(&self, authorization: impl Iterator<Item = &'a [u8]>) -> Option<Named> {
        let token = bearer::token(authorization).ok()?;
        let keys = self.jwks.current(Moment::now()).ok();
        let cached = keys.and_then(|keys| self.cache.as_ref()?.look_up(token).find(&keys));
        match cached {
            Some(claims) => Some(Named {
                subject: claims.subject.as_deref()?.to_owned(),
                is_verified: true,
            }),
            None => Some(Named {
                subject: self.verifier.unverified_subject(token)?,
                is_verified: false,
            }),
        }
    }

    /// The clock and the keys come first: without them, not even a cached token is accepted. A
    /// cache hit counts only while its signing key is in the current set. A miss means full
    /// verification.
    fn check(&self, token: &[u8], now: Moment) -> Result<Arc<Claims>, AuthError> {
        let keys = self.jwks.current(now);
        let lookup = self.cache.as_ref().map(|cache| cache.look_up(token));
        if let (Ok(keys), Some(lookup)) = (&keys, &lookup)
            && let Some(claims) = lookup.get(keys)
        {
            let times = self.verifier.check_times(&claims, now.wall);
            return times.map(|()| claims).map_err(AuthError::Token);
        }
        // A token that is not valid for another reason neither causes a fetch nor waits for one.
        let seen = match (self.verifier.read(token, now.wall), keys) {
            (Ok(read), Ok(keys)) => match keys.get(read.key_id()) {
                Some(key) => return verify(read, key, lookup),
                None => Some(keys),
            },
            (Err(error), Ok(_)) => return Err(AuthError::Token(error)),
            (Ok(_), Err(Unavailable::Keys { .. })) => None,
            (_, Err(unavailable)) => return Err(AuthError::Unavailable(unavailable)),
        };
        // Many requests may wait here. So that each holds no more than the bytes of its token, what
        // was read of it has been dropped, and it is read again afterwards.
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

/// Whom a token names that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its `sub`.
    pub subject: String,
    /// Whether its signature has been checked. If not, anyone may have written this.
    pub is_verified: bool,
}

/// Checks the signature, the last step, and puts a token that passes into the cache.
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
