//! The definition of a signature algorithm.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::JwtVerifier;

use crate::auth::json::Member;

/// A signature algorithm (RFC 7518 §3.1).
pub struct Algorithm {
    /// Its `alg` value in tokens and keys.
    pub name: &'static str,
    /// The `kty` of its keys.
    pub key_type: &'static str,
    /// The JWK members that its keys are read from.
    pub members: &'static [&'static str],
    /// Reads a key from those members. The error says what is wrong with the key, for a log line
    /// that starts with its name.
    pub read_key: fn(&KeyMembers<'_>) -> Result<PublicKey, &'static str>,
    /// jsonwebtoken's value for it.
    pub jsonwebtoken: jsonwebtoken::Algorithm,
    /// Returns a verifier for a key that `read_key` returned.
    pub verifier: fn(&DecodingKey) -> Option<Box<dyn JwtVerifier>>,
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A public key read from a JWK.
pub struct PublicKey {
    /// The key for jsonwebtoken.
    pub decoding_key: DecodingKey,
    /// Its length as it is usually given.
    pub bits: usize,
    /// All its numbers. Two keys of an algorithm are the same if and only if these are.
    pub parts: Vec<Vec<u8>>,
}

/// The JWK members that a key may be read from.
#[derive(Debug, Default)]
pub struct KeyMembers<'a>(Vec<(&'static str, Member<'a>)>);

impl<'a> KeyMembers<'a> {
    /// The member of that name, to be set.
    pub fn entry(&mut self, name: &'static str) -> &mut Member<'a> {
        let found = self.0.iter().position(|(other, _)| *other == name);
        let at = found.unwrap_or_else(|| {
            self.0.push((name, Member::Absent));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// The decoded member of that name, if it is base64url without padding.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let (_, member) = self.0.iter().find(|(other, _)| *other == name)?;
        URL_SAFE_NO_PAD.decode(member.as_str()?).ok()
    }
}
