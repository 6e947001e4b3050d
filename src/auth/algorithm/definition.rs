//! What must be known of a signature algorithm.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::JwtVerifier;

use crate::auth::json::Member;

/// A signature algorithm (RFC 7518 §3.1).
pub struct Algorithm {
    /// Its `alg`, in tokens and keys.
    pub name: &'static str,
    /// The `kty` of its keys.
    pub key_type: &'static str,
    /// The members of a JWK that its keys are made of.
    pub members: &'static [&'static str],
    /// Makes a key of those members, or says what is wrong with them, in words that go behind the
    /// key's name.
    pub read_key: fn(&KeyMembers<'_>) -> Result<PublicKey, &'static str>,
    /// What jsonwebtoken calls it.
    pub jsonwebtoken: jsonwebtoken::Algorithm,
    /// Makes what verifies with a key that `read_key` made.
    pub verifier: fn(&DecodingKey) -> Option<Box<dyn JwtVerifier>>,
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A public key that was read from a JWK.
pub struct PublicKey {
    /// As jsonwebtoken takes it.
    pub decoding_key: DecodingKey,
    /// All it consists of: two keys of an algorithm are the same exactly when these are.
    pub parts: Vec<Vec<u8>>,
}

/// The members of a JWK that a key may be made of.
#[derive(Debug, Default)]
pub struct KeyMembers<'a>(Vec<(&'static str, Member<'a>)>);

impl<'a> KeyMembers<'a> {
    /// Where the member of that name goes.
    pub fn entry(&mut self, name: &'static str) -> &mut Member<'a> {
        let found = self.0.iter().position(|(other, _)| *other == name);
        let at = found.unwrap_or_else(|| {
            self.0.push((name, Member::Absent));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// The bytes of the member of that name, if it is a string of base64url without padding.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let (_, member) = self.0.iter().find(|(other, _)| *other == name)?;
        URL_SAFE_NO_PAD.decode(member.as_str()?).ok()
    }
}
