//! RSA keys that sign tokens. Made at run time; none is in the repository.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rsa::pkcs8::EncodePrivateKey;
use rsa::rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

/// An RSA key pair and its public half as a tenant serves it.
#[derive(Debug, Clone)]
pub struct Key(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    pair: RsaKeyPair,
    jwk: Value,
}

impl Key {
    /// The key number `index` of this process: 2048 bits, the same at each call up to index 7, so
    /// that tests share the cost of making it; fresh beyond.
    pub fn shared(index: usize) -> Key {
        static POOL: [OnceLock<Key>; 8] = [const { OnceLock::new() }; 8];
        match POOL.get(index) {
            Some(slot) => slot.get_or_init(|| Key::with_bits(2048)).clone(),
            None => Key::with_bits(2048),
        }
    }

    /// A key of its own with a modulus of 2048 to 4096 bits (ring signs with no other).
    pub fn with_bits(bits: usize) -> Key {
        let private = rsa::PrivateKey::new(&mut SystemRng, bits).expect("bits are within bounds");
        let pkcs8 = private.to_pkcs8_der().expect("an RSA key encodes");
        let pair = RsaKeyPair::from_pkcs8(pkcs8.as_bytes()).expect("ring takes 2048 to 4096 bits");
        let certificate = self_signed(pkcs8.as_bytes());
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        // As long as Auth0's.
        let kid = &URL_SAFE_NO_PAD.encode(digest(&SHA256, &public.n))[..21];
        let jwk = json!({
            "kty": "RSA",
            "use": "sig",
            "n": URL_SAFE_NO_PAD.encode(&public.n),
            "e": URL_SAFE_NO_PAD.encode(&public.e),
            "kid": kid,
            "x5t": URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate)),
            "x5c": [STANDARD.encode(&certificate)],
            "alg": "RS256",
        });
        Key(Arc::new(Parts { pair, jwk }))
    }

    /// The key's name in the key set.
    pub fn kid(&self) -> &str {
        self.0.jwk["kid"].as_str().expect("with_bits sets a string")
    }

    /// The public half as a JSON Web Key, with the members Auth0 gives.
    pub fn jwk(&self) -> Value {
        self.0.jwk.clone()
    }

    /// The RS256 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.0.pair.public().modulus_len()];
        self.0
            .pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .expect("the buffer has the modulus' length");
        signature
    }
}

/// The DER of a self-signed certificate, as Auth0 puts into `x5c`.
fn self_signed(pkcs8: &[u8]) -> Vec<u8> {
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &rcgen::PKCS_RSA_SHA256)
        .expect("rcgen takes the key ring took");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "stand-in.eu.auth0.com");
    let certificate = params.self_signed(&pair).expect("RSA keys sign");
    certificate.der().to_vec()
}

/// The system's random bytes for `rsa`, which exports no such source itself.
struct SystemRng;

impl TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        SystemRandom::new()
            .fill(bytes)
            .expect("the system gives random bytes");
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}
