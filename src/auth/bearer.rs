//! Reads the bearer token from the `Authorization` header (RFC 6750 §2.1).

use std::error::Error;
use std::fmt;

use memchr::{memchr, memchr2};

/// Why there is no token to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerError {
    /// No credentials, or another scheme than Bearer. The client is only told to authenticate.
    Missing,
    /// Not `Bearer <token>`.
    Malformed,
}

impl fmt::Display for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BearerError::Missing => "the request has no bearer token",
            BearerError::Malformed => "the Authorization header is not Bearer and one token",
        })
    }
}

impl Error for BearerError {}

/// Returns the token from the values of all `Authorization` headers of a request. It is any bytes
/// without white space; the verifier decides whether they are a valid token.
///
/// The scheme is case-insensitive (RFC 9110 §11.1); spaces and tabs separate it from the token.
///
/// # Errors
/// [`BearerError`], if there is no header, several, or one that is not `Bearer <token>`.
pub fn token<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], BearerError> {
    let value = values.next().ok_or(BearerError::Missing)?;
    if values.next().is_some() {
        return Err(BearerError::Malformed);
    }
    let (scheme, rest) = word(value);
    let (token, rest) = word(rest);
    let (more, _) = word(rest);
    if scheme.is_empty() {
        return Err(BearerError::Missing);
    }
    if token.is_empty() || !more.is_empty() {
        return Err(BearerError::Malformed);
    }
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(BearerError::Missing);
    }
    // A list of credentials, as from a proxy that joins header lines. No token contains a comma.
    if memchr(b',', token).is_some() {
        return Err(BearerError::Malformed);
    }
    Ok(token)
}

/// The first word of `value`, which is empty if there is none, and what is behind it. Tokens are
/// long, so they are searched with SIMD.
fn word(value: &[u8]) -> (&[u8], &[u8]) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_space(byte)).count();
    let value = &value[start..];
    value.split_at(memchr2(b' ', b'\t', value).unwrap_or(value.len()))
}

#[cfg(test)]
mod tests;
