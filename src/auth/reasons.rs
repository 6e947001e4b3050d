//! The kind of each refusal, for counters, and its reason in a few words, for the log.

use std::fmt;

use super::jwks::Unavailable;
use super::{AuthError, BearerError, TokenError};
use crate::escape::Escaped;
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

/// The most bytes of a claim that the log shows.
const MAX_LOGGED: usize = 64;

/// Displays why a request was refused, in a few words.
#[derive(Debug)]
pub struct InShort<'a>(pub &'a AuthError);

impl fmt::Display for InShort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AuthError::Bearer(BearerError::Missing) => f.write_str("no token"),
            AuthError::Bearer(BearerError::Malformed) => {
                f.write_str("Authorization is not Bearer <token>")
            }
            AuthError::Unavailable(Unavailable::Keys { .. }) => f.write_str("no keys"),
            AuthError::Unavailable(Unavailable::Clock { .. }) => f.write_str("clock not set"),
            AuthError::Token(error) => token_error(error, f),
        }
    }
}

fn token_error(error: &TokenError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        TokenError::NotCompact => f.write_str("not a JWT of three parts"),
        TokenError::Malformed { part, not } => {
            write!(f, "{part} is not {}", Escaped::new(not, MAX_LOGGED))
        }
        TokenError::Algorithm { found, expected } => {
            write!(f, "alg is {}, expected {expected}", Claim(found))
        }
        TokenError::Type(found) => write!(f, "typ is {}", Claim(found)),
        TokenError::Critical => f.write_str("has a crit header"),
        TokenError::NoKeyId => f.write_str("names no key (kid)"),
        TokenError::UnknownKey(id) => write!(f, "key {} is not in the set", Claim(id)),
        TokenError::Signature => f.write_str("signature is not valid"),
        TokenError::Issuer { found, expected } => {
            write!(
                f,
                "issuer is {}, expected {}",
                Claim(found),
                Claim(expected)
            )
        }
        TokenError::Audience { found, expected } => {
            write!(
                f,
                "audience is {}, expected {}",
                Claim(found),
                Claim(expected)
            )
        }
        TokenError::NotATime(claim) => write!(f, "{claim} is missing or not a number"),
        TokenError::Expired { seconds } => write!(f, "expired {seconds} s ago"),
        TokenError::NotYetValid { seconds } => write!(f, "not valid for another {seconds} s"),
    }
}

/// A claim in quotes, or what the error says in place of one.
struct Claim<'a>(&'a str);

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "missing" | "not a string" => f.write_str(self.0),
            text => write!(f, "\"{}\"", Escaped::new(text, MAX_LOGGED)),
        }
    }
}
