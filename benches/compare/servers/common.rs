//! What the axum and the tiny_http server have in common: the messages, the headers, and the check
//! of a token with jsonwebtoken and a key set that is read once.

use std::collections::HashMap;
use std::{env, fs};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

pub const PUBLIC: &str =
    r#"{"message":"The API doesn't require an access token to share this message."}"#;
pub const PROTECTED: &str = r#"{"message":"The API successfully validated your access token."}"#;
pub const ADMIN: &str = r#"{"message":"The API successfully recognized you as an admin."}"#;

/// The headers of every response, except `Date` and `Content-Length`.
pub const FIXED_HEADERS: [(&str, &str); 10] = [
    ("server", "postern"),
    (
        "cache-control",
        "no-cache, no-store, max-age=0, must-revalidate",
    ),
    ("pragma", "no-cache"),
    ("expires", "0"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "deny"),
    ("x-xss-protection", "0"),
    (
        "content-security-policy",
        "default-src 'self'; frame-ancestors 'none';",
    ),
    ("referrer-policy", "no-referrer"),
    ("content-type", "application/json; charset=utf-8"),
];

/// The claims that the API needs.
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub sub: Option<String>,
    #[serde(default)]
    permissions: Vec<String>,
}

impl Claims {
    pub fn require(&self, permission: &str) -> Result<(), Refusal> {
        if self.permissions.iter().any(|has| has == permission) {
            Ok(())
        } else {
            Err(Refusal::Permission)
        }
    }
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    Missing,
    Malformed,
    Token,
    Permission,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Refusal::Missing | Refusal::Token => 401,
            Refusal::Malformed => 400,
            Refusal::Permission => 403,
        }
    }

    pub fn body(self) -> &'static str {
        match self {
            Refusal::Missing => r#"{"message":"Requires authentication"}"#,
            Refusal::Malformed => {
                r#"{"message":"Requires authentication","error":"invalid_request"}"#
            }
            Refusal::Token => r#"{"message":"Bad credentials","error":"invalid_token"}"#,
            Refusal::Permission => {
                concat!(
                    r#"{"message":"Permission denied","error":"insufficient_scope","#,
                    r#""error_description":"Requires read:admin-messages"}"#,
                )
            }
        }
    }

    pub fn challenge(self) -> &'static str {
        match self {
            Refusal::Missing => r#"Bearer realm="api""#,
            Refusal::Malformed => r#"Bearer realm="api", error="invalid_request""#,
            Refusal::Token => r#"Bearer realm="api", error="invalid_token""#,
            Refusal::Permission => {
                r#"Bearer realm="api", error="insufficient_scope", scope="read:admin-messages""#
            }
        }
    }
}

/// Checks tokens, each one anew.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl Verifier {
    /// From the key set in `JWKS_FILE`, for `ISSUER` and `AUDIENCE`.
    pub fn from_environment() -> Verifier {
        let text = fs::read(variable("JWKS_FILE")).expect("JWKS_FILE can be read");
        let set: JwkSet = serde_json::from_slice(&text).expect("JWKS_FILE is a key set");
        let keys = set.keys.iter().filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            Some((kid, DecodingKey::from_jwk(jwk).ok()?))
        });
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[variable("ISSUER")]);
        validation.set_audience(&[variable("AUDIENCE")]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = 5;
        Verifier {
            keys: keys.collect(),
            validation,
        }
    }

    /// Whose request has this `Authorization` header.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<Claims, Refusal> {
        let value = authorization.ok_or(Refusal::Missing)?;
        let (scheme, token) = value.split_once(' ').ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(Refusal::Missing);
        }
        if token.contains([' ', ',']) {
            return Err(Refusal::Malformed);
        }
        let header = decode_header(token).map_err(|_| Refusal::Token)?;
        let kid = header.kid.ok_or(Refusal::Token)?;
        let key = self.keys.get(&kid).ok_or(Refusal::Token)?;
        let token = decode(token, key, &self.validation).map_err(|_| Refusal::Token)?;
        Ok(token.claims)
    }
}

/// Where to listen.
pub fn address() -> String {
    format!("127.0.0.1:{}", variable("PORT"))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
