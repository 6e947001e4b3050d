//! A `CryptoProvider` for jsonwebtoken that uses ring. It only verifies, and only with the
//! supported algorithms.
//!
//! ring is linked anyway, for ureq's TLS. A second crypto library would make the binary larger.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::algorithm;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory,
    // Only jsonwebtoken's JWK conversions use these, and postern parses key sets itself.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Installs the provider for the whole process. May be called more than once.
///
/// If a program that uses this crate has installed another provider before, that one stays.
pub fn install() {
    let _ = PROVIDER.install_default();
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let algorithm = algorithm::for_jsonwebtoken(*algorithm);
    let verifier = algorithm.and_then(|algorithm| (algorithm.verifier)(key));
    verifier.ok_or_else(|| ErrorKind::InvalidAlgorithm.into())
}
