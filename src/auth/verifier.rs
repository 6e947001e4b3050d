//! Verifies an access token and returns its [`Claims`].
//!
//! A token is a JWT (RFC 7519) in compact JWS form (RFC 7515 §7.1), with the claims of an Auth0
//! access token. Header and claims are parsed into structs of our own; jsonwebtoken checks the
//! signature. Its `decode` is not used: it treats `crit: null` as absent, accepts claims in an
//! array, and accepts an `iss` in an array.

mod examine;
mod rules;

use std::error::Error;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::algorithm::{self, Algorithm};
use super::json::{self, Member};
use super::key_set::Key;
use super::strings::Strings;

use self::rules::{
    Parts, check_algorithm, check_critical, check_key_id, check_type, expires_at, not_before,
};

pub use self::examine::{Examination, Finding, Kind, Rule};

/// The length at which an error cuts a claim value, in characters.
const MAX_QUOTED: usize = 200;

/// The claims of a valid token that handlers need.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// `sub`. Shared, so that a request's log line need not copy it.
    pub subject: Option<Arc<str>>,
    /// Which application the token was issued to: `azp`, or without one `client_id` (RFC 9068
    /// §2.2).
    pub client: Option<Box<str>>,
    /// `permissions`; empty if the claim is not an array of strings.
    pub permissions: Strings,
    /// `exp`, in seconds since 1970.
    pub expires_at: f64,
    /// `nbf`, in seconds since 1970.
    pub not_before: Option<f64>,
}

impl Claims {
    /// Whether the token grants exactly this permission.
    pub fn has_permission(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }
}

/// Why a token is refused. Its `Display` is for the sender of the token.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenError {
    /// The token does not have three parts.
    NotCompact,
    /// A part is malformed.
    Malformed {
        /// `header` or `payload`.
        part: &'static str,
        /// What it is not.
        not: String,
    },
    /// `alg` is not a supported algorithm, or not that of the key.
    Algorithm {
        /// What the token says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// `typ` is present and not one of an access token.
    Type(String),
    /// `crit` is present.
    Critical,
    /// `kid` is missing or not a string.
    NoKeyId,
    /// The key set has no key with this `kid`.
    UnknownKey(String),
    /// The signature is not one of the named key.
    Signature,
    /// `iss` is not the tenant's.
    Issuer {
        /// What the token says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// `aud` does not name this API.
    Audience {
        /// What the token says.
        found: String,
        /// What it should contain.
        expected: String,
    },
    /// A time claim is missing or not a number.
    NotATime(&'static str),
    /// `exp` has passed.
    Expired {
        /// How long ago, in seconds.
        seconds: u64,
    },
    /// `nbf` has not passed.
    NotYetValid {
        /// How long until then, in seconds.
        seconds: u64,
    },
}

static ALGORITHM_SUMMARY: LazyLock<String> =
    LazyLock::new(|| format!("The access token is not signed with {}", algorithm::names()));

impl TokenError {
    /// A fixed sentence for each kind of error, safe to put into a header.
    pub fn summary(&self) -> &'static str {
        match self {
            TokenError::NotCompact | TokenError::Malformed { .. } => {
                "The access token is malformed"
            }
            TokenError::Algorithm { .. } => &ALGORITHM_SUMMARY,
            TokenError::Type(_) => "The token is not an access token",
            TokenError::Critical => "The access token uses an extension this API does not know",
            TokenError::NoKeyId => "The access token does not name its signing key",
            TokenError::UnknownKey(_) => "The access token is signed with an unknown key",
            TokenError::Signature => "The access token has an invalid signature",
            TokenError::Issuer { .. } => "The access token is from another issuer",
            TokenError::Audience { .. } => "The access token is for another audience",
            TokenError::NotATime(_) => "The access token lacks a valid time claim",
            TokenError::Expired { .. } => "The access token expired",
            TokenError::NotYetValid { .. } => "The access token is not valid yet",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::NotCompact => f.write_str(
                "The access token is not a signed JWT of three parts; Auth0 issues one only to a \
                 client that asks for this API's audience.",
            ),
            TokenError::Malformed { part, not } => {
                write!(f, "The access token's {part} is not {not}.")
            }
            TokenError::Algorithm { found, expected } => {
                write!(
                    f,
                    "The access token is signed with {found}, this API expects {expected}."
                )
            }
            TokenError::Type(found) => {
                write!(
                    f,
                    "The token's typ is {found}, this API expects an access token (at+jwt or JWT)."
                )
            }
            TokenError::Critical => {
                f.write_str("The access token has a crit header, this API knows no extensions.")
            }
            TokenError::NoKeyId => {
                f.write_str("The access token's header names no signing key (kid).")
            }
            TokenError::UnknownKey(id) => {
                write!(
                    f,
                    "The access token's signing key {id} is not in the tenant's key set."
                )
            }
            TokenError::Signature => f.write_str("The access token's signature is not valid."),
            TokenError::Issuer { found, expected } => {
                write!(
                    f,
                    "The token's issuer is {found}, this API expects {expected}."
                )
            }
            TokenError::Audience { found, expected } => {
                write!(
                    f,
                    "The token's audience is {found}, this API expects {expected}."
                )
            }
            TokenError::NotATime(claim) => {
                write!(f, "The access token's {claim} is missing or not a number.")
            }
            TokenError::Expired { seconds } => {
                write!(f, "The access token expired {seconds} s ago.")
            }
            TokenError::NotYetValid { seconds } => {
                write!(f, "The access token is not valid for another {seconds} s.")
            }
        }
    }
}

impl Error for TokenError {}

/// The rules that a token is checked against.
#[derive(Debug, Clone)]
pub struct Verifier {
    issuer: String,
    audience: String,
    leeway: f64,
}

/// A token that passed all checks but that of its signature. Only [`UnverifiedToken::verify`] gives
/// access to its claims.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    algorithm: &'static Algorithm,
    key_id: String,
    message: &'a str,
    signature: &'a str,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow, default)]
    alg: Member<'a>,
    #[serde(borrow, default)]
    typ: Member<'a>,
    #[serde(borrow, default)]
    kid: Member<'a>,
    #[serde(borrow, default)]
    crit: Member<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    iss: Member<'a>,
    #[serde(borrow, default)]
    aud: Member<'a>,
    #[serde(borrow, default)]
    sub: Member<'a>,
    #[serde(borrow, default)]
    azp: Member<'a>,
    #[serde(borrow, default)]
    client_id: Member<'a>,
    #[serde(borrow, default)]
    exp: Member<'a>,
    #[serde(borrow, default)]
    nbf: Member<'a>,
    #[serde(borrow, default)]
    permissions: Member<'a>,
}

impl Verifier {
    /// Tokens must be issued by `issuer` for `audience`. `leeway` is the tolerance for `exp` and
    /// `nbf`.
    pub fn new(issuer: String, audience: String, leeway: Duration) -> Verifier {
        super::ring_provider::install();
        Verifier {
            issuer,
            audience,
            leeway: leeway.as_secs_f64(),
        }
    }

    /// What a token's `aud` must contain.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The `sub` of a token that nobody has checked.
    pub fn unverified_subject(&self, token: &[u8]) -> Option<String> {
        let payload = decode("payload", Parts::of(token).ok()?.payload).ok()?;
        let payload: Payload<'_> = object("payload", &payload).ok()?;
        payload.sub.as_str().map(str::to_owned)
    }

    /// Parses `token` and checks all that can be checked without a key.
    ///
    /// # Errors
    /// [`TokenError`], except `UnknownKey` and `Signature`.
    pub fn read<'a>(
        &self,
        token: &'a [u8],
        now: SystemTime,
    ) -> Result<UnverifiedToken<'a>, TokenError> {
        let parts = Parts::of(token)?;
        let header = decode("header", parts.header)?;
        let (algorithm, key_id) = check_header(&object("header", &header)?)?;
        let payload = decode("payload", parts.payload)?;
        let claims = self.check_claims(object("payload", &payload)?)?;
        self.check_times(&claims, now)?;
        Ok(UnverifiedToken {
            algorithm,
            key_id,
            message: parts.message,
            signature: parts.signature,
            claims,
        })
    }

    /// Checks `exp` and `nbf` with the leeway, the only checks whose result changes with time.
    ///
    /// # Errors
    /// [`TokenError::Expired`] and [`TokenError::NotYetValid`].
    pub fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<(), TokenError> {
        let now = unix_seconds(now);
        self.check_expiry(claims.expires_at, now)?;
        self.check_begin(claims.not_before, now)
    }

    fn check_expiry(&self, expires_at: f64, now: f64) -> Result<(), TokenError> {
        match expires_at <= now - self.leeway {
            // A cast from float to integer saturates, so a claim of any size is safe.
            true => Err(TokenError::Expired {
                seconds: (now - expires_at) as u64,
            }),
            false => Ok(()),
        }
    }

    fn check_begin(&self, not_before: Option<f64>, now: f64) -> Result<(), TokenError> {
        match not_before {
            Some(time) if time > now + self.leeway => Err(TokenError::NotYetValid {
                seconds: (time - now).ceil() as u64,
            }),
            _ => Ok(()),
        }
    }

    fn check_claims(&self, payload: Payload<'_>) -> Result<Claims, TokenError> {
        self.check_issuer(&payload)?;
        self.check_audience(&payload)?;
        Ok(Claims {
            expires_at: expires_at(&payload)?,
            not_before: not_before(&payload)?,
            subject: payload.sub.as_str().map(Arc::from),
            client: [&payload.azp, &payload.client_id]
                .into_iter()
                .find_map(|claim| claim.as_str().map(Box::from)),
            permissions: match payload.permissions {
                Member::Strings(permissions) => permissions,
                _ => Strings::default(),
            },
        })
    }

    fn check_issuer(&self, payload: &Payload<'_>) -> Result<(), TokenError> {
        match payload.iss.as_str() == Some(&self.issuer) {
            true => Ok(()),
            false => Err(TokenError::Issuer {
                found: quoted(&payload.iss),
                expected: self.issuer.clone(),
            }),
        }
    }

    fn check_audience(&self, payload: &Payload<'_>) -> Result<(), TokenError> {
        let is_for_us = match &payload.aud {
            Member::String(audience) => *audience == self.audience,
            Member::Strings(audiences) => audiences.contains(&self.audience),
            _ => false,
        };
        match is_for_us {
            true => Ok(()),
            false => Err(TokenError::Audience {
                found: quoted(&payload.aud),
                expected: self.audience.clone(),
            }),
        }
    }
}

impl UnverifiedToken<'_> {
    /// The `kid` of the token's header.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Checks the signature with `key`, which is the one with the token's [`key_id`](Self::key_id).
    ///
    /// # Errors
    /// [`TokenError::Algorithm`], if the key is for another algorithm than the token's.
    /// [`TokenError::Signature`], also if the signature is not base64url.
    pub fn verify(self, key: &Key) -> Result<Claims, TokenError> {
        check_signature(self.algorithm, self.message, self.signature, key)?;
        Ok(self.claims)
    }

    /// The error for a token whose key the tenant does not have.
    pub fn unknown_key(&self) -> TokenError {
        TokenError::UnknownKey(cut(&self.key_id))
    }
}

fn check_header(header: &Header<'_>) -> Result<(&'static Algorithm, String), TokenError> {
    let algorithm = check_algorithm(header)?;
    check_type(header)?;
    check_critical(header)?;
    Ok((algorithm, check_key_id(header)?.to_owned()))
}

fn check_signature(
    algorithm: &Algorithm,
    message: &str,
    signature: &str,
    key: &Key,
) -> Result<(), TokenError> {
    let keys = key.algorithm();
    if algorithm.name != keys.name {
        return Err(TokenError::Algorithm {
            found: algorithm.name.to_owned(),
            expected: keys.name.to_owned(),
        });
    }
    match jsonwebtoken::crypto::verify(
        signature,
        message.as_bytes(),
        key.decoding_key(),
        keys.jsonwebtoken,
    ) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

/// Decodes base64url without padding (RFC 7515 §2). This engine also rejects non-zero trailing
/// bits.
fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Malformed {
            part,
            not: "base64url".to_owned(),
        })
}

fn object<'a, T: Deserialize<'a>>(part: &'static str, bytes: &'a [u8]) -> Result<T, TokenError> {
    json::object(bytes).map_err(|not| TokenError::Malformed { part, not })
}

/// Seconds since 1970. Negative before it, as on a host whose clock has no battery.
fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// The text of a claim for an error, cut to a length.
fn quoted(member: &Member<'_>) -> String {
    match member {
        Member::Absent => "missing".to_owned(),
        Member::String(text) => cut(text),
        Member::Number(number) => cut(&number.to_string()),
        Member::Strings(texts) => {
            let mut joined = String::new();
            for (at, text) in texts.iter().enumerate() {
                let separator = if at == 0 { "" } else { ", " };
                joined.extend([separator, text]);
            }
            cut(&joined)
        }
        Member::Other => "not a string".to_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
