//! Makes access tokens, valid and invalid ones.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::key::Key;
use super::tenant::Tenant;

/// The API identifier that tokens are for.
pub const AUDIENCE: &str = "https://hello-world.example.com";

/// The `sub` of every token unless changed.
pub const SUBJECT: &str = "auth0|5f7c8ec7c33c6c004bbafe82";

const DAY: u64 = 24 * 60 * 60;

/// An access token to be signed. Each method changes one part of it.
#[derive(Debug, Clone)]
pub struct Token {
    header: Part,
    payload: Part,
    key: Key,
}

#[derive(Debug, Clone)]
enum Part {
    Members(Map<String, Value>),
    Raw(Vec<u8>),
}

impl Token {
    /// A user's token, valid for a day, as the tenant issues it now: signed with its current key.
    pub fn user(tenant: &Tenant) -> Token {
        let issuer = tenant.issuer();
        let key = tenant.key();
        let now = now();
        Token {
            header: Part::of(json!({"alg": "RS256", "typ": "JWT", "kid": key.kid()})),
            payload: Part::of(json!({
                "aud": [AUDIENCE, format!("{issuer}userinfo")],
                "iss": issuer,
                "sub": SUBJECT,
                "iat": now,
                "exp": now + DAY,
                "azp": "my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy",
                "scope": "openid profile",
                "permissions": [],
            })),
            key,
        }
    }

    /// With the permission `read:admin-messages`.
    pub fn admin(self) -> Token {
        self.claim("permissions", json!(["read:admin-messages"]))
    }

    /// Issued two days ago and expired a day ago.
    pub fn expired(self) -> Token {
        let now = now();
        self.claim("iat", json!(now - 2 * DAY))
            .claim("exp", json!(now - DAY))
    }

    /// With this header member, added or replaced.
    pub fn header(mut self, name: &str, value: Value) -> Token {
        self.header.members().insert(name.into(), value);
        self
    }

    /// Without this header member.
    pub fn without_header(mut self, name: &str) -> Token {
        self.header.members().remove(name);
        self
    }

    /// With this claim, added or replaced.
    pub fn claim(mut self, name: &str, value: Value) -> Token {
        self.payload.members().insert(name.into(), value);
        self
    }

    /// Without this claim.
    pub fn without_claim(mut self, name: &str) -> Token {
        self.payload.members().remove(name);
        self
    }

    /// With these bytes as the header: duplicates, nesting, invalid JSON or UTF-8. Members cannot
    /// be changed afterwards.
    pub fn raw_header(mut self, bytes: impl Into<Vec<u8>>) -> Token {
        self.header = Part::Raw(bytes.into());
        self
    }

    /// With these bytes as the payload; otherwise like [`Token::raw_header`].
    pub fn raw_payload(mut self, bytes: impl Into<Vec<u8>>) -> Token {
        self.payload = Part::Raw(bytes.into());
        self
    }

    /// The header's JSON text, to make a raw one from. Panics if it is not UTF-8.
    pub fn header_text(&self) -> String {
        String::from_utf8(self.header.bytes()).expect("the header is UTF-8")
    }

    /// The payload's JSON text, to make a raw one from. Panics if it is not UTF-8.
    pub fn payload_text(&self) -> String {
        String::from_utf8(self.payload.bytes()).expect("the payload is UTF-8")
    }

    /// The compact form, signed with the key that was the tenant's current one in [`Token::user`].
    pub fn sign(&self) -> String {
        self.sign_with(&self.key)
    }

    /// The compact form, signed with another key; `kid` stays as it is.
    pub fn sign_with(&self, key: &Key) -> String {
        self.sign_by(|input| key.sign(input))
    }

    /// The compact form. `signer` gets the signing input and returns the signature.
    pub fn sign_by(&self, signer: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let mut token = URL_SAFE_NO_PAD.encode(self.header.bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(self.payload.bytes(), &mut token);
        let signature = signer(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

impl Part {
    fn of(object: Value) -> Part {
        match object {
            Value::Object(members) => Part::Members(members),
            other => panic!("{other} is not an object"),
        }
    }

    fn members(&mut self) -> &mut Map<String, Value> {
        match self {
            Part::Members(members) => members,
            Part::Raw(_) => panic!("raw bytes have no members to change"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Part::Members(members) => serde_json::to_vec(members).expect("JSON values encode"),
            Part::Raw(bytes) => bytes.clone(),
        }
    }
}

/// Seconds since 1970, as `iat` and `exp` count them.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_secs()
}
