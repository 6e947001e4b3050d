//! Root certificates from a PEM file.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::Certificate;

use super::values::{MAX_FILE_MIB, tidy};
use crate::file;
use crate::tls::pem;

/// The certificates of a PEM file; each must be usable as a root.
pub(super) fn extra_roots(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let instead = "write the path of a PEM file of root certificates";
    tidy(path)?;
    let text = file::read(Path::new(path), MAX_FILE_MIB);
    let text = text.map_err(|fault| format!("it {fault}; {instead}"))?;
    if text.is_empty() {
        return Err(format!("it is empty; {instead}"));
    }
    let text = pem::without_mark(&text);
    let mut roots = Vec::new();
    for der in CertificateDer::pem_slice_iter(text) {
        let number = roots.len() + 1;
        let der = der.map_err(|error| {
            let fault = pem::fault(&error);
            format!("its certificate {number} is broken ({fault}); {instead}")
        })?;
        RootCertStore::empty()
            .add(der.clone())
            .map_err(|e| format!("its certificate {number} cannot be a root ({e}); {instead}"))?;
        roots.push(Certificate::from_der(&der).to_owned());
    }
    if roots.is_empty() {
        return Err(format!(
            "it has no certificate between -----BEGIN CERTIFICATE----- and its END; {instead}"
        ));
    }
    Ok(roots)
}
