//! Reads the bearer token from the `Authorization` header (RFC 6750 §2.1).

use std::error::Error;
use std::fmt;

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
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut parts = value.split(is_space).filter(|part| !part.is_empty());
    let scheme = parts.next().ok_or(BearerError::Missing)?;
    let token = parts.next().ok_or(BearerError::Malformed)?;
    if parts.next().is_some() {
        return Err(BearerError::Malformed);
    }
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(BearerError::Missing);
    }
    // A list of credentials, as from a proxy that joins header lines. No token contains a comma.
    if token.contains(&b',') {
        return Err(BearerError::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
