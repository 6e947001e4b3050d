//! RSA keys that sign tokens. They are made at run time: the repository contains none.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use rsa::BoxedUint;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use serde_json::{Value, json};

/// An RSA key pair and its public half as a tenant serves it.
#[derive(Debug, Clone)]
pub struct Key(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    private: rsa::PrivateKey,
    /// `None` for a key that ring does not sign with.
    pair: Option<RsaKeyPair>,
    jwk: Value,
}

impl Key {
    /// The key number `index` of this process: 2048 bits, the same at each call up to index 7, so
    /// that tests share the cost of making it; a new key above.
    pub fn shared(index: usize) -> Key {
        static POOL: [OnceLock<Key>; 8] = [const { OnceLock::new() }; 8];
        match POOL.get(index) {
            Some(slot) => slot.get_or_init(|| Key::with_bits(2048)).clone(),
            None => Key::with_bits(2048),
        }
    }

    /// A new key with a modulus of 2048 to 4096 bits (ring signs with no other).
    pub fn with_bits(bits: usize) -> Key {
        let private = rsa::PrivateKey::new(&mut SystemRng, bits).expect("bits are within bounds");
        let pkcs8 = private.to_pkcs8_der().expect("an RSA key encodes");
        let pair = RsaKeyPair::from_pkcs8(pkcs8.as_bytes()).expect("ring takes 2048 to 4096 bits");
        let certificate = self_signed(pkcs8.as_bytes());
        let mut jwk = public_jwk(&private);
        jwk["x5t"] = URL_SAFE_NO_PAD
            .encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate))
            .into();
        jwk["x5c"] = json!([STANDARD.encode(&certificate)]);
        Key(Arc::new(Parts {
            private,
            pair: Some(pair),
            jwk,
        }))
    }

    /// A new key that is too weak for ring to sign with: of 1024 bits or more, and any odd exponent
    /// from 3. It has no certificate, and supports only [`Key::power`].
    pub fn weak(bits: usize, exponent: u64) -> Key {
        let exponent = BoxedUint::from(exponent);
        let private = rsa::PrivateKey::new_with_exp(&mut SystemRng, bits, exponent)
            .expect("bits and exponent are within bounds");
        let jwk = public_jwk(&private);
        Key(Arc::new(Parts {
            private,
            pair: None,
            jwk,
        }))
    }

    /// The key's name in the key set.
    pub fn kid(&self) -> &str {
        self.0.jwk["kid"].as_str().expect("with_bits sets a string")
    }

    /// The public half as a JSON Web Key, with the members Auth0 gives.
    pub fn jwk(&self) -> Value {
        self.0.jwk.clone()
    }

    /// The modulus, without leading zero bytes.
    pub fn modulus(&self) -> Vec<u8> {
        self.0.private.n_bytes().into()
    }

    /// The public half as DER, a `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        let public = self.0.private.to_public_key().to_public_key_der();
        public.expect("an RSA key encodes").into_vec()
    }

    /// The RS256 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(&RSA_PKCS1_SHA256, message)
    }

    /// The signature of `message` by another of RSA's schemes.
    pub fn sign_as(&self, scheme: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let pair = self.0.pair.as_ref().expect("the key is not a weak one");
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(scheme, &SystemRandom::new(), message, &mut signature)
            .expect("the buffer has the modulus' length");
        signature
    }

    /// The private-key operation on a block with any content: a signature, if it is padded
    /// correctly. The block has the length of the modulus, and is less as a number.
    pub fn power(&self, block: &[u8]) -> Vec<u8> {
        let private = &self.0.private;
        assert_eq!(block.len(), private.size());
        let block = BoxedUint::from_be_slice_vartime(block);
        assert!(block < *private.n().as_ref(), "RSA cannot sign this block");
        let signature = block.pow_mod(private.d(), private.n_params().modulus());
        let bytes = signature.to_be_bytes();
        bytes[bytes.len() - private.size()..].to_vec()
    }
}

/// The members every key has.
fn public_jwk(private: &rsa::PrivateKey) -> Value {
    let n = private.n_bytes();
    // Of the same length as Auth0's.
    let kid = &URL_SAFE_NO_PAD.encode(digest(&SHA256, &n))[..21];
    json!({
        "kty": "RSA",
        "use": "sig",
        "n": URL_SAFE_NO_PAD.encode(&n),
        "e": URL_SAFE_NO_PAD.encode(private.e_bytes()),
        "kid": kid,
        "alg": "RS256",
    })
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

/// The system's random bytes for `rsa`, which has no such source itself.
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
