//! A server that speaks TLS, and what its clients need.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::TempDir;
use super::certificates::ServerFiles;
use super::client::Client;
use super::postern::{Builder, Postern};
use super::tenant::Tenant;

/// A server with a certificate of a private CA, and its tenant.
#[derive(Debug)]
pub struct Https {
    /// The server.
    pub postern: Postern,
    /// Its tenant.
    pub tenant: Tenant,
    /// Its certificate, its key and its CA.
    pub files: ServerFiles,
    /// What clients use that trust the CA.
    pub config: Arc<ClientConfig>,
    _dir: TempDir,
}

impl Https {
    /// Starts a server.
    pub fn start() -> Https {
        Https::start_with(|builder| builder)
    }

    /// Starts a server with other settings.
    pub fn start_with(change: impl FnOnce(Builder) -> Builder) -> Https {
        let tenant = Tenant::start();
        let dir = TempDir::new();
        let files = ServerFiles::new(dir.path());
        let postern = change(secured(Postern::builder(&tenant), &files)).start();
        let config = Arc::new(client_config(files.root.pem(), rustls::ALL_VERSIONS));
        Https {
            postern,
            tenant,
            files,
            config,
            _dir: dir,
        }
    }

    /// A connection with its handshake done.
    pub fn client(&self) -> Client {
        Client::secure(self.postern.addr(), &self.config)
    }
}

/// The settings of a server with these files.
pub fn secured(builder: Builder, files: &ServerFiles) -> Builder {
    let settings = files.settings().into_iter();
    settings.fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// The configuration of a client that trusts this root and speaks these versions.
pub fn client_config(root: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("a PEM");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions of the provider")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
