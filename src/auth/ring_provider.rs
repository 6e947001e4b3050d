//! jsonwebtoken's `CryptoProvider` over ring: verify only, and no algorithm but those of the table.
//!
//! ring is linked anyway, for ureq's TLS; a second crypto library would double the binary.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::algorithm;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory,
    // Only jsonwebtoken's JWK conversions ask for these, and postern reads its key sets itself.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring what `jsonwebtoken::crypto::verify` uses, for the whole process. May be called again.
///
/// A provider installed earlier by a program that uses this crate stays.
pub fn install() {
    let _ = PROVIDER.install_default();
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let algorithm = algorithm::for_jsonwebtoken(*algorithm);
    let verifier = algorithm.and_then(|algorithm| (algorithm.verifier)(key));
    verifier.ok_or_else(|| ErrorKind::InvalidAlgorithm.into())
}
