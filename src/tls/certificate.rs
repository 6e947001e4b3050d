//! A certificate chain and its key: two PEM files, read and checked together.
//!
//! Each fault is one line that says what to do. An expired certificate is no fault: a device whose
//! clock is wrong must still start. [`renewal`](super::renewal) warns of it.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::signature::RsaKeyPair;
use rustls::Error;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::validity::{Standing, Validity};
use super::{pem, x509};
use crate::escape::Escaped;

/// The setting that names the file of the certificates.
pub const CERTIFICATE_SETTING: &str = "TLS_CERTIFICATE_FILE";
/// The setting that names the file of the key.
pub const KEY_SETTING: &str = "TLS_KEY_FILE";

/// The most certificates in a chain: clients follow no longer ones, and each of them gets it whole.
const MAX_CHAIN: usize = 10;
/// How many bytes of a path are shown at most.
const MAX_SHOWN: usize = 300;
/// Access of users other than the owner and the group.
const OTHERS: u32 = 0o007;

/// Where a certificate chain and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificates: the server's first, then each time the one that issued it.
    pub certificate: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// A certificate chain and its key, read and checked.
#[derive(Clone)]
pub struct Pair {
    pub(super) files: Files,
    /// The files as they were just before they were read.
    pub(super) stamps: Stamps,
    pub(super) certified: Arc<CertifiedKey>,
    /// The validity of the server's certificate. The others in the chain do not count: clients may
    /// know a newer one of the same issuer, or trust it whatever its end.
    pub(super) validity: Validity,
    /// The mode of the key's file, if other users have access to it.
    pub(super) exposed: Option<u32>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("files", &self.files)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// From when to when the server's certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// What the certificate deserves to be said of; empty if it is valid.
    pub(super) fn warning(&self, standing: Standing) -> String {
        let (begin, end) = (self.validity.not_before, self.validity.not_after);
        match standing {
            Standing::Valid => String::new(),
            Standing::NotYet => format!("the TLS certificate is not valid before {begin}"),
            Standing::Over => format!("the TLS certificate has expired on {end}"),
            Standing::Soon(days) => {
                let time = match days {
                    0 => "less than a day".to_owned(),
                    1 => "1 day".to_owned(),
                    days => format!("{days} days"),
                };
                format!("the TLS certificate expires in {time}, on {end}")
            }
        }
    }

    /// The same with the setting and the file, and what to do; `None` if it is valid.
    pub fn concern(&self, standing: Standing) -> Option<Fault> {
        let hint = match standing {
            Standing::Valid => return None,
            Standing::NotYet => ": is this host's clock right?",
            Standing::Over => ": clients refuse it, renew it (or is this host's clock wrong?)",
            Standing::Soon(_) => ": renew it",
        };
        let advice = self.warning(standing) + hint;
        let file = &self.files.certificate;
        Some(Fault::new(CERTIFICATE_SETTING, file, advice))
    }

    /// A fault if other users have access to the key.
    pub fn exposure(&self) -> Option<Fault> {
        let mode = self.exposed?;
        let advice = format!(
            "other users of this host have access to it (mode {mode:04o}): take it from them with \
             chmod o-rwx"
        );
        Some(Fault::new(KEY_SETTING, &self.files.key, advice))
    }
}

/// What is wrong with one of the files. Its `Display` is one line, which names the setting and the
/// file, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    setting: &'static str,
    path: PathBuf,
    advice: String,
}

impl Fault {
    /// A fault of the file that `setting` names. `advice` says what is wrong and what to do.
    pub(super) fn new(setting: &'static str, path: &Path, advice: String) -> Fault {
        Fault {
            setting,
            path: path.to_owned(),
            advice,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        let path = Escaped::new(&path, MAX_SHOWN);
        write!(f, "{} is \"{path}\": {}", self.setting, self.advice)
    }
}

impl std::error::Error for Fault {}

impl Files {
    /// Reads and checks both files.
    ///
    /// # Errors
    /// Everything that is wrong, for each file the first fault. It is never empty.
    pub fn load(&self) -> Result<Pair, Vec<Fault>> {
        // Before they are read: what is written meanwhile counts as a change.
        let stamps = Stamps::of(self);
        let certificate_fault = |advice| Fault::new(CERTIFICATE_SETTING, &self.certificate, advice);
        let key_fault = |advice| Fault::new(KEY_SETTING, &self.key, advice);
        let chain = chain(&self.certificate).map_err(certificate_fault);
        let key = signing_key(&self.key).map_err(key_fault);
        let ((chain, validity), key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            // `Unknown` is among these. It cannot be, as each key of ring tells its public half. If
            // it were, clients would be the first to find out.
            Err(Error::InconsistentKeys(_)) => {
                return Err(vec![key_fault(self.stranger(&certified))]);
            }
            Err(error) => {
                let why = match &error {
                    // Its own text says that the certificate is a peer's.
                    Error::InvalidCertificate(error) => error.to_string(),
                    error => error.to_string(),
                };
                return Err(vec![certificate_fault(format!(
                    "its certificate 1 cannot be used ({why}); write {CHAIN}"
                ))]);
            }
        }
        Ok(Pair {
            files: self.clone(),
            certified: Arc::new(certified),
            validity,
            exposed: stamps.key.and_then(|key| key.exposed()),
            stamps,
        })
    }

    /// What is wrong with a key that is not the first certificate's.
    fn stranger(&self, certified: &CertifiedKey) -> String {
        let path = self.certificate.to_string_lossy();
        let path = Escaped::new(&path, MAX_SHOWN);
        let belongs = |certificate: &CertificateDer<'static>| {
            let chain = vec![certificate.clone()];
            let alone = CertifiedKey::new(chain, Arc::clone(&certified.key));
            alone.keys_match().is_ok()
        };
        let owner = certified.cert.iter().zip(1..);
        let owner = owner.skip(1).find(|(certificate, _)| belongs(certificate));
        match owner {
            Some((_, number)) => format!(
                "its key belongs to certificate {number} in \"{path}\", not to the first; write \
                 the path of the first one's key"
            ),
            None => format!(
                "its key does not belong to the first certificate in \"{path}\"; write the path of \
                 that one's key"
            ),
        }
    }
}

/// What the files should hold.
const CHAIN: &str =
    "the path of a PEM file with the server's certificate, then the one that issued it, and so on";
const KEY: &str = "the path of a PEM file with the certificate's private key";
const KINDS: &str = "RSA with 2048 to 4096 bits, P-256, P-384 and Ed25519";

/// The certificates in a file, in order, and the validity of the first.
fn chain(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Validity), String> {
    let text = pem::read(path).map_err(|fault| format!("{fault}; write {CHAIN}"))?;
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let number = chain.len() + 1;
        let certificate = certificate.map_err(|error| {
            let fault = pem::fault(&error);
            format!("its certificate {number} is broken ({fault}); write {CHAIN}")
        })?;
        if number > MAX_CHAIN {
            return Err(format!(
                "it has more than {MAX_CHAIN} certificates; write {CHAIN}"
            ));
        }
        chain.push(certificate);
    }
    let mut all = Vec::new();
    for (certificate, number) in chain.iter().zip(1..) {
        all.push(x509::fields(certificate).ok_or_else(|| {
            format!("its certificate {number} is not a certificate of X.509; write {CHAIN}")
        })?);
    }
    for (pair, number) in all.windows(2).zip(1..) {
        if pair[0].issuer != pair[1].subject {
            let next = number + 1;
            return Err(format!(
                "its certificate {next} is not the one that issued certificate {number}; write \
                 {CHAIN}"
            ));
        }
    }
    let first = all.first().ok_or_else(|| {
        format!(
            "it has no certificate between -----BEGIN CERTIFICATE----- and its END; write {CHAIN}"
        )
    })?;
    if !first.is_version_3 {
        return Err(format!(
            "its certificate 1 is not of X.509 version 3; make one that is, with subjectAltName, \
             or write {CHAIN}"
        ));
    }
    let validity = first.validity;
    Ok((chain, validity))
}

/// The key in a file: the first, if there are several.
fn signing_key(path: &Path) -> Result<Arc<dyn SigningKey>, String> {
    let text = pem::read(path).map_err(|fault| format!("{fault}; write {KEY}"))?;
    if is_encrypted(&text) {
        return Err(format!(
            "its key is encrypted, and nobody is there to type a passphrase; write {KEY} as \
             openssl pkey -in ENCRYPTED -out PLAIN writes it"
        ));
    }
    let Some(der) = PrivateKeyDer::pem_slice_iter(&text).next() else {
        return Err(format!(
            "it has no key between -----BEGIN PRIVATE KEY----- and its END; write {KEY}"
        ));
    };
    let der = der.map_err(|error| {
        let fault = pem::fault(&error);
        format!("its key is broken ({fault}); write {KEY}")
    })?;
    any_supported_type(&der).map_err(|_| unsupported(&der))
}

/// Whether a PEM file has an encrypted key, as PKCS#8 (RFC 5958 §3) or as OpenSSL wrote it before.
fn is_encrypted(text: &[u8]) -> bool {
    let has = |mark| memchr::memmem::find(text, mark).is_some();
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// What is wrong with a key that cannot sign.
fn unsupported(der: &PrivateKeyDer<'_>) -> String {
    let rsa = match der {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).err(),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).err(),
        _ => None,
    };
    // ring has no other way to tell.
    let fault = match rsa.map(|rejected| rejected.to_string()).as_deref() {
        Some("TooSmall") => "its RSA key has fewer than 2048 bits",
        Some("TooLarge") => "its RSA key has more than 4096 bits",
        _ => "its key is broken, or of a kind that is not supported",
    };
    format!("{fault}; supported are {KINDS}: make such a key, and have a certificate made for it")
}

/// What tells that one of the files has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamps {
    certificate: Option<Stamp>,
    key: Option<Stamp>,
}

impl Stamps {
    /// The files as they are now. Where a path is a link, the file behind it counts.
    pub(super) fn of(files: &Files) -> Stamps {
        let stamp = |path| fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        Stamps {
            certificate: stamp(&files.certificate),
            key: stamp(&files.key),
        }
    }
}

/// One file at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Its metadata, too: a file that could not be read may have got another mode.
    changed: (i64, i64),
    mode: u32,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode() & 0o7777,
        }
    }

    fn exposed(&self) -> Option<u32> {
        (self.mode & OTHERS != 0).then_some(self.mode)
    }
}

#[cfg(test)]
mod tests;
