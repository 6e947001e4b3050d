//! The certificate and the key of TLS, which count together only.

use super::report::Report;
use super::settings::Written;
use super::values::path;
use super::variable::shown;
use crate::tls::certificate::{CERTIFICATE_SETTING, KEY_SETTING};
use crate::tls::{Files, Pair};

/// The pair that two settings name, read and checked; `None` if neither is set, and after a
/// problem.
pub(super) fn pair(written: &Written, report: &mut Report) -> Option<Pair> {
    let (certificate, key) = (
        written.value(CERTIFICATE_SETTING),
        written.value(KEY_SETTING),
    );
    match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            // The settings' own checks report a value that is no path.
            let files = Files {
                certificate: path(certificate).ok()??,
                key: path(key).ok()??,
            };
            let faults = match files.load() {
                Ok(pair) => return Some(pair),
                Err(faults) => faults,
            };
            faults
                .iter()
                .for_each(|fault| report.problem(fault.to_string()));
            None
        }
        (Some(value), None) => {
            let what = "the path of the certificate's key";
            alone(CERTIFICATE_SETTING, value, (KEY_SETTING, what), report);
            None
        }
        (None, Some(value)) => {
            let what = "the path of the key's certificate";
            alone(KEY_SETTING, value, (CERTIFICATE_SETTING, what), report);
            None
        }
    }
}

/// Reports that one setting is set without the other.
fn alone(name: &str, value: &str, (other, what): (&str, &str), report: &mut Report) {
    if path(value).is_ok() && !report.may_be_unread(other) {
        let value = shown(value);
        report.problem(format!(
            "{name} is \"{value}\": it needs {other}, which is not set; write {what} there, or \
             unset both for plain HTTP"
        ));
    }
}

#[cfg(test)]
mod tests;
