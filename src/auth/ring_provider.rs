//! jsonwebtoken's `CryptoProvider` over ring: RS256, verify only.
//!
//! ring is linked anyway, for ureq's TLS; a second crypto library would double the binary.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory,
    // Only jsonwebtoken's JWK conversions ask for these, and postern reads its key sets itself.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring what `jsonwebtoken::crypto::verify` uses, for the whole process. May be called again.
///
/// A provider installed earlier by a program that uses this crate stays: it verifies RS256 too.
pub fn install() {
    let _ = PROVIDER.install_default();
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => Ok(Box::new(Rs256 {
            components: RsaPublicKeyComponents {
                n: n.clone(),
                e: e.clone(),
            },
        })),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-256, RFC 7518 §3.3, moduli of 2048 to 8192 bits.
struct Rs256 {
    components: RsaPublicKeyComponents<Vec<u8>>,
}

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.components
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| Error::new())
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}
