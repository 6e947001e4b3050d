//! RS256: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3), verified with ring.

use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use super::definition::{Algorithm, KeyMembers, PublicKey};

pub(super) static RS256: Algorithm = Algorithm {
    name: "RS256",
    key_type: "RSA",
    members: &["n", "e"],
    read_key,
    jsonwebtoken: jsonwebtoken::Algorithm::RS256,
    verifier,
};

/// RFC 7518 §6.3.1.
fn read_key(members: &KeyMembers<'_>) -> Result<PublicKey, &'static str> {
    let n = members.bytes("n").ok_or("its n is not base64url")?;
    let e = members.bytes("e").ok_or("its e is not base64url")?;
    let bits = check_modulus(&n)?;
    check_exponent(&e)?;
    Ok(PublicKey {
        decoding_key: DecodingKey::from_rsa_raw_components(&n, &e),
        bits,
        parts: vec![n, e],
    })
}

/// The length of a big-endian number in bits. `None` if it is empty or has leading zero bytes: ring
/// rejects such keys only when they verify a token.
fn bits(number: &[u8]) -> Option<usize> {
    let first = number.first().filter(|first| **first != 0)?;
    Some(number.len() * 8 - first.leading_zeros() as usize)
}

/// Returns its length in bits.
fn check_modulus(n: &[u8]) -> Result<usize, &'static str> {
    if n.last().is_some_and(|last| last % 2 == 0) {
        return Err("its modulus is even");
    }
    match bits(n) {
        None => Err("its modulus is empty or has leading zero bytes"),
        Some(..2048) => Err("its modulus is shorter than 2048 bits"),
        Some(8193..) => Err("its modulus is longer than 8192 bits"),
        Some(bits) => Ok(bits),
    }
}

fn check_exponent(e: &[u8]) -> Result<(), &'static str> {
    match (bits(e), e.last()) {
        (None, _) | (_, None) => Err("its exponent is empty or has leading zero bytes"),
        (Some(34..), _) => Err("its exponent is longer than 33 bits"),
        (_, Some(last)) if last % 2 == 0 => Err("its exponent is even"),
        _ if e == [1] => Err("its exponent is 1"),
        _ => Ok(()),
    }
}

fn verifier(key: &DecodingKey) -> Option<Box<dyn JwtVerifier>> {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => Some(Box::new(Rs256 {
            components: RsaPublicKeyComponents {
                n: n.clone(),
                e: e.clone(),
            },
        })),
        _ => None,
    }
}

struct Rs256 {
    components: RsaPublicKeyComponents<Vec<u8>>,
}

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        self.components
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| Error::new())
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        RS256.jsonwebtoken
    }
}
