//! A tenant's signing keys: JWK Set JSON (RFC 7517 §5) to the keys that may verify a token.

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

/// The most keys a set may have, usable or not.
pub const MAX_KEYS: usize = 100;
/// The longest key id that is logged, in bytes.
const MAX_LOGGED_ID: usize = 100;

/// A key that may verify tokens.
pub struct Key {
    id: String,
    algorithm: &'static Algorithm,
    decoding_key: DecodingKey,
    fingerprint: Fingerprint,
}

/// What a key is: its `kid`, its algorithm and all it consists of, in one digest. Two keys are the
/// same exactly when these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    fn of(id: &str, algorithm: &Algorithm, parts: &[Vec<u8>]) -> Fingerprint {
        let mut digest = Context::new(&SHA256);
        let names = [id.as_bytes(), algorithm.name.as_bytes()];
        for part in names.into_iter().chain(parts.iter().map(Vec::as_slice)) {
            // The length before each part, so that no byte can move from one to the next.
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
    /// The only algorithm whose signatures it verifies.
    pub(super) fn algorithm(&self) -> &'static Algorithm {
        self.algorithm
    }

    /// The key as jsonwebtoken takes it.
    pub fn decoding_key(&self) -> &DecodingKey {
        &self.decoding_key
    }

    /// What the key is, whatever set it is in.
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

/// Why there is no key set in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetError {
    /// Not a JSON object with an array `keys`.
    NotAKeySet(String),
    /// More than [`MAX_KEYS`].
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
    /// Reads a JWK Set. Keys that cannot verify a token are left out, each with a
    /// [remark](KeySet::remarks). It is a set even when none is left.
    ///
    /// # Errors
    /// [`KeySetError`], when the text is not a key set of a sane size.
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

    /// Whether no key in it may verify a token.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with that `kid`.
    pub fn get(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Whether it has exactly this key: not only one of the same `kid`.
    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// What was left out and why, a line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

/// How many keys, and which: for the log.
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
    keys: Jwks<'a>,
}

struct Jwks<'a>(Vec<Jwk<'a>>);

/// One element of `keys`, of whatever type: a strange one spoils itself, not the set.
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
            fingerprint: Fingerprint::of(id, algorithm, &key.parts),
            decoding_key: key.decoding_key,
        })
    }
}

/// `key_ops`, RFC 7517 §4.3. Beside a `use`, which is `sig` here, it may name nothing but what
/// signatures are for: of an operation unknown here, nobody can tell that the two agree.
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

impl<'de: 'a, 'a> Deserialize<'de> for Jwks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(JwksVisitor).map(Jwks)
    }
}

struct JwksVisitor;

impl<'de> Visitor<'de> for JwksVisitor {
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
        // One too many to count: the rest is only skipped.
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
            // Of two members with one name neither counts.
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

/// A member's name, copied only when it has escapes.
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
