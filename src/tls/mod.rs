//! TLS of the server's side: the certificate with its key, their renewal, and what sessions may be.
//! Knows nothing of sockets, nor of requests.
//!
//! ```text
//! certificate  two PEM files, read and checked
//! renewal      the certificate in force, and the thread that renews it
//! probe        the client's side, for the server's own probes
//! validity     how long a certificate is valid
//! ```

pub mod certificate;
pub mod pem;
pub mod probe;
pub mod renewal;
pub mod validity;
mod x509;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use log::warn;
use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::NoServerSessionStorage;

pub use self::certificate::{Fault, Files, Pair};
pub use self::renewal::Certificate;
use self::validity::Validity;

/// The only protocol spoken over TLS (RFC 7301). A client that offers others only is refused with
/// the alert `no_application_protocol`; one that offers none is served.
const PROTOCOL: &[u8] = b"http/1.1";

/// Who issued a DER certificate, as far as its name tells, and when it is valid; `None` if that is
/// not what it is.
pub fn issuer_and_validity(certificate: &[u8]) -> Option<(String, Validity)> {
    let fields = x509::fields(certificate)?;
    Some((x509::name_text(fields.issuer), fields.validity))
}

/// What the sessions of a server with this certificate may be: TLS 1.3 or 1.2 with ring's suites,
/// HTTP/1.1, resumed by tickets, without early data.
pub fn server_config(certificate: Arc<Certificate>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        // Only a provider without suites for one of the versions is refused.
        .expect("ring has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // All suites are equally strong, so that a client may well choose. But testers of TLS take a
    // server that lets it choose for one that would follow it to a weak suite.
    config.ignore_client_order = true;
    // A session is in its ticket, sealed with a key that is replaced every 6 hours. So clients that
    // come again take no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        // Without random numbers no handshake would succeed either.
        Err(error) => warn!("no TLS session will be resumed: {error}"),
    }
    // Early data can be replayed (RFC 8446 §8).
    config.max_early_data_size = 0;
    // The features that would compress certificates are off; another crate might turn them on.
    config.cert_compressors = Vec::new();
    config.cert_decompressors = Vec::new();
    Arc::new(config)
}
