//! What tests of certificates share: a folder, a private CA, clients.

// Not all of it is used here.
#[allow(dead_code)]
#[path = "../../tests/support/certificates.rs"]
pub(crate) mod certificates;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use self::certificates::{Authority, ServerFiles};
use super::Files;

/// A folder that goes away with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("postern-tls-{process}-{number}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl From<&ServerFiles> for Files {
    fn from(files: &ServerFiles) -> Files {
        Files {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        }
    }
}

/// A client that trusts this root, of these versions.
pub(crate) fn client(
    root: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    client_of(default_provider(), root, versions)
}

/// The same with this provider.
pub(crate) fn client_of(
    provider: CryptoProvider,
    root: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
