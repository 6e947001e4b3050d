//! Root certificates from a PEM file.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use ureq::tls::Certificate;

use super::values::{MAX_FILE_MIB, tidy};
use super::variable::shown;
use crate::file;

/// What is wrong with a PEM file. The error itself would print a line as a list of byte values,
/// whatever its length.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it has no -----END line".to_owned(),
        pem::Error::IllegalSectionStart { line } => {
            let line = String::from_utf8_lossy(line);
            format!("it begins with \"{}\"", shown(&line))
        }
        error => shown(&error.to_string()),
    }
}

/// The certificates of a PEM file; each must be usable as a root.
pub(super) fn extra_roots(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let instead = "write the path of a PEM file of root certificates";
    tidy(path)?;
    let pem = file::read(Path::new(path), MAX_FILE_MIB);
    let pem = pem.map_err(|fault| format!("it {fault}; {instead}"))?;
    if pem.is_empty() {
        return Err(format!("it is empty; {instead}"));
    }
    // A byte order mark would hide the first certificate.
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&pem);
    let mut roots = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let number = roots.len() + 1;
        let der = der.map_err(|error| {
            let fault = pem_fault(&error);
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
