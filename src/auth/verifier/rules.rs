//! The rules for access tokens that need neither settings nor keys, one function each.

use super::{Header, Payload, TokenError, quoted};
use crate::auth::algorithm::{self, Algorithm};
use crate::auth::json::Member;

/// The parts of a compact token, still encoded.
pub(super) struct Parts<'a> {
    /// Header and payload with the dot between them, which the signature is for.
    pub(super) message: &'a str,
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(token: &'a [u8]) -> Result<Parts<'a>, TokenError> {
        let token = std::str::from_utf8(token).map_err(|_| TokenError::NotCompact)?;
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::NotCompact)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::NotCompact)?;
        match payload.contains('.') {
            true => Err(TokenError::NotCompact),
            false => Ok(Parts {
                message,
                header,
                payload,
                signature,
            }),
        }
    }
}

pub(super) fn check_algorithm(header: &Header<'_>) -> Result<&'static Algorithm, TokenError> {
    let named = header.alg.as_str().and_then(algorithm::named);
    named.ok_or_else(|| TokenError::Algorithm {
        found: quoted(&header.alg),
        expected: algorithm::names(),
    })
}

pub(super) fn check_type(header: &Header<'_>) -> Result<(), TokenError> {
    // The last two are from RFC 9068 §2.1; Auth0 issues `JWT` by default.
    let is_access_token = match &header.typ {
        Member::Absent => true,
        Member::String(typ) => ["JWT", "at+jwt", "application/at+jwt"]
            .iter()
            .any(|known| typ.eq_ignore_ascii_case(known)),
        _ => false,
    };
    match is_access_token {
        true => Ok(()),
        false => Err(TokenError::Type(quoted(&header.typ))),
    }
}

pub(super) fn check_critical(header: &Header<'_>) -> Result<(), TokenError> {
    match header.crit.is_absent() {
        true => Ok(()),
        false => Err(TokenError::Critical),
    }
}

pub(super) fn check_key_id<'a>(header: &'a Header<'_>) -> Result<&'a str, TokenError> {
    header.kid.as_str().ok_or(TokenError::NoKeyId)
}

pub(super) fn expires_at(payload: &Payload<'_>) -> Result<f64, TokenError> {
    match payload.exp {
        Member::Number(time) => Ok(time),
        _ => Err(TokenError::NotATime("exp")),
    }
}

pub(super) fn not_before(payload: &Payload<'_>) -> Result<Option<f64>, TokenError> {
    match payload.nbf {
        Member::Absent => Ok(None),
        Member::Number(time) => Ok(Some(time)),
        _ => Err(TokenError::NotATime("nbf")),
    }
}
