//! PEM files: read whole, and what is wrong with them in one line.

use std::path::Path;

use rustls::pki_types::pem;

use crate::escape::Escaped;
use crate::file;

/// The largest file, in MiB.
const MAX_MIB: u64 = 1;
/// How many bytes of a line are shown at most.
const MAX_SHOWN: usize = 103;

/// The content of a PEM file, or what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut pem = file::read_regular(path, MAX_MIB).map_err(|fault| format!("it {fault}"))?;
    if pem.is_empty() {
        return Err("it is empty".to_owned());
    }
    let start = pem.len() - without_mark(&pem).len();
    pem.drain(..start);
    Ok(pem)
}

/// Text without the byte order mark, which would hide the first section.
pub fn without_mark(pem: &[u8]) -> &[u8] {
    pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem)
}

/// What is wrong with a section. The error itself would print a line as a list of byte values,
/// whatever its length.
pub fn fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it has no -----END line".to_owned(),
        pem::Error::IllegalSectionStart { line } => {
            let line = String::from_utf8_lossy(line);
            format!("it begins with \"{}\"", Escaped::new(&line, MAX_SHOWN))
        }
        error => Escaped::new(&error.to_string(), MAX_SHOWN).to_string(),
    }
}
