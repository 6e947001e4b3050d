//! The way of a fetch to the tenant: name resolution, connection and TLS.
//!
//! It is ureq's, except that TLS is made here: ureq's own does not tell which certificate the
//! tenant shows, least of all one that is refused.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme, StreamOwned,
};
use ureq::Error;
use ureq::http::Uri;
use ureq::tls::Certificate;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs};
use ureq::unversioned::transport::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Either, LazyBuffers, NextTimeout,
    TcpConnector, Transport, TransportAdapter,
};

// The traits, whose names are those of the things here.
pub(super) use ureq::unversioned::resolver::Resolver;
pub(super) use ureq::unversioned::transport::Connector;

/// How far a fetch has come.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The name has these addresses. With a proxy, it is the proxy's name.
    Resolved(&'a [SocketAddr]),
    /// There is a connection to the tenant. With a proxy, it is a tunnel.
    Connected,
    /// The tenant, or who stands in its place, has shown this certificate. It is not checked yet.
    Shown(&'a CertificateDer<'a>),
    /// The certificate is trusted, and TLS of this version made.
    Secured(&'static str),
}

/// What is told how far a fetch has come; by default nothing.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Tell>>);

type Tell = dyn Fn(Progress<'_>) + Send + Sync;

impl Watch {
    /// Tells `tell`.
    pub fn new(tell: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Watch {
        Watch(Some(Arc::new(tell)))
    }

    fn tell(&self, progress: Progress<'_>) {
        if let Some(tell) = &self.0 {
            tell(progress);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// Makes connections to the tenant, through a proxy if ureq's configuration has one. It trusts
/// Mozilla's roots and `extra_roots`.
pub(super) fn connector(extra_roots: &[Certificate<'static>], watch: &Watch) -> impl Connector {
    let tls = Tls {
        config: tls_config(extra_roots, watch),
        watch: watch.clone(),
    };
    ().chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(tls)
}

fn tls_config(extra_roots: &[Certificate<'static>], watch: &Watch) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    let extra_roots = extra_roots.iter().map(|root| root.der().to_vec().into());
    roots.add_parsable_certificates(extra_roots);
    let provider = default_provider();
    let verifier = Verifier {
        roots,
        algorithms: provider.signature_verification_algorithms,
        watch: watch.clone(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        // Only a provider without suites for one of the versions is refused.
        .expect("ring has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Arc::new(config)
}

/// Resolves names as ureq does.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) resolver: DefaultResolver,
    pub(super) watch: Watch,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.resolver.resolve(uri, config, timeout)?;
        self.watch.tell(Progress::Resolved(&addresses));
        Ok(addresses)
    }
}

/// Makes TLS over a connection to the tenant.
struct Tls {
    config: Arc<ClientConfig>,
    watch: Watch,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Secured>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else {
            return Err(Error::ConnectionFailed);
        };
        // The connection to a proxy itself.
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        self.watch.tell(Progress::Connected);
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Error::Tls("the tenant's host is no name"))?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut socket =
            TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(time_left(details));
        session.complete_io(&mut socket)?;
        self.watch
            .tell(Progress::Secured(match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            }));
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let stream = StreamOwned::new(session, socket);
        Ok(Some(Either::B(Secured { buffers, stream })))
    }
}

/// What is left of the time that began before the connection was made.
fn time_left(details: &ConnectionDetails<'_>) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (Instant::Exact(begun), Instant::Exact(now), Duration::Exact(time)) =
        (details.now, (details.current_time)(), timeout.after)
    {
        let passed = now.saturating_duration_since(begun);
        timeout.after = Duration::Exact(time.saturating_sub(passed));
    }
    timeout
}

/// TLS over a connection.
struct Secured {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured")
    }
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        use std::io::Write as _;
        self.stream.sock.set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        use std::io::Read as _;
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Checks certificates as rustls's own verifier does without revocation lists, with the same
/// functions, and tells of the one that is shown.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
    watch: Watch,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.watch.tell(Progress::Shown(end_entity));
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
