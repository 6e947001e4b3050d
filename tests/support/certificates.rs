//! Certificates of a private CA, and the files that a server with one of them reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// Keys that `rcgen` cannot make, as PEM, and a certificate.
pub mod keys {
    /// PKCS#8.
    pub const RSA_1024: &str = include_str!("keys/rsa-1024.pem");
    /// PKCS#8.
    pub const RSA_2048: &str = include_str!("keys/rsa-2048.pem");
    /// The same key as PKCS#1.
    pub const RSA_2048_PKCS1: &str = include_str!("keys/rsa-2048-pkcs1.pem");
    /// PKCS#8.
    pub const RSA_3072: &str = include_str!("keys/rsa-3072.pem");
    /// PKCS#8.
    pub const RSA_4096: &str = include_str!("keys/rsa-4096.pem");
    /// PKCS#8.
    pub const RSA_5120: &str = include_str!("keys/rsa-5120.pem");
    /// PKCS#8.
    pub const P256: &str = include_str!("keys/p256.pem");
    /// The same key as SEC1, behind its parameters.
    pub const P256_SEC1: &str = include_str!("keys/p256-sec1.pem");
    /// PKCS#8.
    pub const P384: &str = include_str!("keys/p384.pem");
    /// The same key as SEC1.
    pub const P384_SEC1: &str = include_str!("keys/p384-sec1.pem");
    /// PKCS#8.
    pub const P521: &str = include_str!("keys/p521.pem");
    /// PKCS#8, without the public half, which those of `rcgen` have.
    pub const ED25519: &str = include_str!("keys/ed25519.pem");
    /// PKCS#8, encrypted.
    pub const ENCRYPTED: &str = include_str!("keys/encrypted.pem");
    /// PKCS#1, encrypted.
    pub const ENCRYPTED_PKCS1: &str = include_str!("keys/encrypted-pkcs1.pem");
    /// A certificate of X.509 version 1 for the key `P256`, signed by itself.
    pub const VERSION_1: &str = include_str!("keys/version-1.pem");
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A root of this name.
    pub fn new(name: &str) -> Authority {
        let (params, key) = Authority::params(name);
        let pem = params.self_signed(&key).expect("P-256 keys sign").pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// An authority of this name below this one.
    pub fn intermediate(&self, name: &str) -> Authority {
        let (params, key) = Authority::params(name);
        let certificate = params.signed_by(&key, &self.issuer);
        let pem = certificate.expect("P-256 keys sign").pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        (params, key)
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate for these names and addresses. Without a validity, it is valid now
    /// and for long.
    pub fn issue(
        &self,
        names: &[&str],
        validity: Option<(SystemTime, SystemTime)>,
        key: &KeyPair,
    ) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let common_name = names[0].clone();
        let mut params = CertificateParams::new(names).expect("valid names");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if let Some((begin, end)) = validity {
            params.not_before = begin.into();
            params.not_after = end.into();
        }
        params
            .signed_by(key, &self.issuer)
            .expect("the CA's key signs")
    }
}

/// A private CA, and the two files of a server on this host: its certificate with the one that
/// issued it, and its key.
#[derive(Debug)]
pub struct ServerFiles {
    /// What clients must trust.
    pub root: Authority,
    /// What issues the server's certificates.
    pub intermediate: Authority,
    /// `TLS_CERTIFICATE_FILE`.
    pub certificate: PathBuf,
    /// `TLS_KEY_FILE`.
    pub key: PathBuf,
}

impl ServerFiles {
    /// Makes the files in this folder, with a new certificate.
    pub fn new(folder: &Path) -> ServerFiles {
        let root = Authority::new("postern test root");
        let files = ServerFiles {
            intermediate: root.intermediate("postern test intermediate"),
            root,
            certificate: folder.join("chain.pem"),
            key: folder.join("key.pem"),
        };
        files.renew(None);
        files
    }

    /// The settings of a server with these files.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let path = |path: &Path| path.display().to_string();
        [
            ("TLS_CERTIFICATE_FILE", path(&self.certificate)),
            ("TLS_KEY_FILE", path(&self.key)),
        ]
    }

    /// Replaces both files, with a new certificate and a new key.
    pub fn renew(&self, validity: Option<(SystemTime, SystemTime)>) {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        self.write_certificate(validity, &key);
        self.write_key(&key.serialize_pem());
    }

    /// Replaces the file of the certificate, with a new one for this key.
    pub fn write_certificate(&self, validity: Option<(SystemTime, SystemTime)>, key: &KeyPair) {
        let names = ["localhost", "127.0.0.1", "::1"];
        let certificate = self.intermediate.issue(&names, validity, key);
        replace(
            &self.certificate,
            &(certificate.pem() + self.intermediate.pem()),
        );
    }

    /// Replaces the file of the key.
    pub fn write_key(&self, pem: &str) {
        replace(&self.key, pem);
    }
}

/// Replaces a file, at once for whoever looks at it. Only its owner can read it.
pub fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("the folder takes a file");
    set_mode(&new, 0o600);
    fs::rename(&new, path).expect("a file can be renamed in its folder");
}

/// Sets who may do what with a file.
pub fn set_mode(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).expect("the file is ours");
}
