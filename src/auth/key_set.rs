//! Parses a tenant's JWK Set (RFC 7517 §5) into the keys that may verify tokens.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use jsonwebtoken::DecodingKey;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::algorithm::{self, Algorithm, KeyMembers};
use super::json::{self, Member};
use crate::escape::Escaped;

/// The most keys that a set may have, usable or not.
pub const MAX_KEYS: usize = 100;
/// The length at which a logged key id is cut, in bytes.
const MAX_LOGGED_ID: usize = 100;

/// A key that may verify tokens.
pub struct Key {
    id: String,
    algorithm: &'static Algorithm,
    bits: usize,
    decoding_key: DecodingKey,
    fingerprint: Fingerprint,
}

/// A digest of a key's `kid`, algorithm and public numbers. Two keys are the same if and only if
/// their fingerprints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    fn of(id: &str, algorithm: &Algorithm, parts: &[Vec<u8>]) -> Fingerprint {
        let mut digest = Context::new(&SHA256);
        let names = [id.as_bytes(), algorithm.name.as_bytes()];
        for part in names.into_iter().chain(parts.iter().map(Vec::as_slice)) {
            // The length comes before each part, so that different parts give different input.
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = digest.finish();
        Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.id)
    }
}

impl Key {
    /// Its `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The `alg` of the tokens it verifies.
    pub fn algorithm_name(&self) -> &'static str {
        self.algorithm.name
    }

    /// Its length as it is usually given: of an RSA key, that of the modulus.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// The only algorithm whose signatures it verifies.
    pub(super) fn algorithm(&self) -> &'static Algorithm {
        self.algorithm
    }

    /// The key as jsonwebtoken takes it.
    pub fn decoding_key(&self) -> &DecodingKey {
        &self.decoding_key
    }

    /// The key's fingerprint, the same in every set.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// The usable keys of a tenant.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    remarks: Vec<String>,
}

/// Why a text is not a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetError {
    /// Not a JSON object with an array `keys`; what it is not.
    NotAKeySet(String),
    /// More than [`MAX_KEYS`] keys.
    TooManyKeys,
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySetError::NotAKeySet(not) => write!(f, "the answer is not {not}"),
            KeySetError::TooManyKeys => write!(f, "the key set has more than {MAX_KEYS} keys"),
        }
    }
}

impl std::error::Error for KeySetError {}

impl KeySet {
    /// Parses a JWK Set. Keys that cannot verify a token are left out, each with a
    /// [remark](KeySet::remarks). The set may end up empty.
    ///
    /// # Errors
    /// [`KeySetError`], if the text is not a key set with at most [`MAX_KEYS`] keys.
    pub fn parse(text: &[u8]) -> Result<KeySet, KeySetError> {
        let set: JwkSet<'_> = json::object(text).map_err(KeySetError::NotAKeySet)?;
        if set.keys.0.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys: Vec<Key> = Vec::new();
        let mut remarks = Vec::new();
        let mut ids = HashSet::new();
        for jwk in &set.keys.0 {
            match jwk.usable() {
                Ok(key) if ids.insert(key.id.clone()) => keys.push(key),
                Ok(_) => remarks.push(format!(
                    "{} is there twice, the first one counts",
                    jwk.name()
                )),
                Err(reason) => remarks.push(format!("{} is skipped: {reason}", jwk.name())),
            }
        }
        Ok(KeySet { keys, remarks })
    }

    /// Whether it has no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many usable keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The usable keys, in the order of the set.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key with that `kid`.
    pub fn get(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Whether it has this very key, not only one with the same `kid`.
    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// Which keys were left out and why, one line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

/// The number of keys and their ids, for the log.
impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no usable key");
        }
        let plural = if self.keys.len() == 1 { "" } else { "s" };
        write!(f, "{} key{plural} (", self.keys.len())?;
        for (at, key) in self.keys.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{}", Escaped::new(&key.id, MAX_LOGGED_ID))?;
        }
        f.write_str(")")
    }
}

#[derive(Deserialize)]
struct JwkSet<'a> {
    #[serde(borrow)]
    keys: JwkList<'a>,
}

struct JwkList<'a>(Vec<Jwk<'a>>);

/// One element of `keys`, of any type: a malformed one makes itself unusable, not the set.
#[derive(Default)]
struct Jwk<'a> {
    is_object: bool,
    kty: Member<'a>,
    usage: Member<'a>,
    key_ops: Member<'a>,
    alg: Member<'a>,
    kid: Member<'a>,
    key: KeyMembers<'a>,
}

impl Jwk<'_> {
    fn name(&self) -> String {
        match self.kid.as_str() {
            Some(id) => format!("key {}", Escaped::new(id, MAX_LOGGED_ID)),
            None => "a key without kid".to_owned(),
        }
    }

    fn usable(&self) -> Result<Key, &'static str> {
        if !self.is_object {
            return Err("not an object");
        }
        let algorithm = algorithm::of_key(&self.kty, &self.alg)?;
        if !self.usage.is_absent() && self.usage.as_str() != Some("sig") {
            return Err("its use is not sig");
        }
        check_operations(&self.key_ops, !self.usage.is_absent())?;
        let id = self.kid.as_str().ok_or("no token can name it")?;
        let key = (algorithm.read_key)(&self.key)?;
        Ok(Key {
            id: id.to_owned(),
            algorithm,
            bits: key.bits,
            fingerprint: Fingerprint::of(id, algorithm, &key.parts),
            decoding_key: key.decoding_key,
        })
    }
}

/// Checks `key_ops` (RFC 7517 §4.3). A `use` is known to be `sig` here. With one, only `sign` and
/// `verify` are allowed: other operations contradict it, or may.
fn check_operations(key_ops: &Member<'_>, has_use: bool) -> Result<(), &'static str> {
    let operations = match key_ops {
        Member::Absent => return Ok(()),
        Member::Strings(operations) => operations,
        _ => return Err("its key_ops is not an array of strings"),
    };
    let mut seen = HashSet::new();
    if !operations.iter().all(|operation| seen.insert(operation)) {
        return Err("its key_ops names an operation twice");
    }
    if !operations.contains("verify") {
        return Err("its key_ops lacks verify");
    }
    let is_for_signatures = |operation| matches!(operation, "sign" | "verify");
    if has_use && !operations.iter().all(is_for_signatures) {
        return Err("its use and its key_ops disagree");
    }
    Ok(())
}

impl<'de: 'a, 'a> Deserialize<'de> for JwkList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(JwkListVisitor).map(JwkList)
    }
}

struct JwkListVisitor;

impl<'de> Visitor<'de> for JwkListVisitor {
    type Value = Vec<Jwk<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while keys.len() <= MAX_KEYS {
            match elements.next_element()? {
                Some(key) => keys.push(key),
                None => return Ok(keys),
            }
        }
        // Too many keys: the rest is skipped.
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(keys)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Jwk<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JwkVisitor)
    }
}

struct JwkVisitor;

impl<'de> Visitor<'de> for JwkVisitor {
    type Value = Jwk<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut jwk = Jwk {
            is_object: true,
            ..Jwk::default()
        };
        while let Some(name) = members.next_key::<Name<'de>>()? {
            let member = match &*name.0 {
                "kty" => &mut jwk.kty,
                "use" => &mut jwk.usage,
                "key_ops" => &mut jwk.key_ops,
                "alg" => &mut jwk.alg,
                "kid" => &mut jwk.kid,
                name => match algorithm::key_member(name) {
                    Some(name) => jwk.key.entry(name),
                    None => {
                        members.next_value::<IgnoredAny>()?;
                        continue;
                    }
                },
            };
            let value = members.next_value()?;
            // If a member is there twice, neither counts.
            *member = if member.is_absent() {
                value
            } else {
                Member::Other
            };
        }
        Ok(jwk)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Jwk::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Jwk::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Jwk::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Jwk::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Jwk::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Jwk::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Jwk::default())
    }
}

/// A member's name, copied only if it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Member::deserialize(deserializer)? {
            Member::String(name) => Ok(Name(name)),
            _ => Err(D::Error::custom("a member's name is not a string")),
        }
    }
}

#[cfg(test)]
mod tests;
