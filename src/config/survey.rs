//! The settings as far as they are right, for commands that go on when some are wrong.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ureq::Proxy;
use ureq::tls::Certificate;

use super::proxy::needs_none;
use super::report::Report;
use super::settings::{Right, Written};
use super::{places, tls};
use crate::tls::Pair;

/// The settings as far as they are right. `None` is what a setting that is wrong, or missing and
/// required, is part of.
#[derive(Debug)]
pub struct Survey {
    /// What is wrong, one line for each; without what is wrong with the certificate.
    pub problems: Vec<String>,
    /// Where the keys are fetched.
    pub tenant: Option<Tenant>,
    /// The API identifier that a token's `aud` must contain.
    pub audience: Option<String>,
    /// Clock difference tolerated in `exp` and `nbf`.
    pub clock_leeway: Option<Duration>,
    /// How long past its freshness the last good key set serves.
    pub jwks_max_stale: Option<Duration>,
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// The folder in which the last good key set is kept, if there is one.
    pub state_directory: Option<Option<PathBuf>>,
    /// The certificate with its key, if there is one, or what is wrong with them, one line each.
    pub certificate: Option<Result<Option<Pair>, Vec<String>>>,
}

/// The tenant, and the way to it.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its host (and port), lower-cased.
    pub domain: String,
    /// Roots trusted in addition to Mozilla's.
    pub extra_roots: Vec<Certificate<'static>>,
    /// The proxy through which the keys are fetched; none: directly.
    pub proxy: Option<Proxy>,
}

impl Tenant {
    /// The issuer of its tokens, exactly as their `iss` must be.
    pub fn issuer(&self) -> String {
        format!("https://{}/", self.domain)
    }
}

impl Survey {
    /// Reads the environment of the process and `.env`, as
    /// [`Config::from_environment`](super::Config::from_environment) does.
    pub fn of_environment() -> Survey {
        let mut report = Report::default();
        let places = places(&mut report);
        Survey::of_places(places, report)
    }

    pub(super) fn of_places<const N: usize>(
        places: [Vec<(String, String)>; N],
        mut report: Report,
    ) -> Survey {
        let written = Written::in_places(places);
        let right = written.check(&mut report);
        let mut problems = report.take_problems();
        // What is wrong with the two paths is among the problems.
        let has_paths = right.tls_certificate_file.is_some() && right.tls_key_file.is_some();
        let pair = tls::pair(&written, &mut report);
        let faults = report.take_problems();
        let certificate = match has_paths {
            true if faults.is_empty() => Some(Ok(pair)),
            true => Some(Err(faults)),
            false => {
                problems.extend(faults);
                None
            }
        };
        Survey {
            problems,
            audience: right.auth0_audience.clone(),
            clock_leeway: right.clock_leeway_seconds,
            jwks_max_stale: right.jwks_max_stale_seconds,
            listen: right.host.zip(right.port).map(SocketAddr::from),
            state_directory: right.state_directory.clone(),
            certificate,
            tenant: tenant(right),
        }
    }
}

fn tenant(right: Right) -> Option<Tenant> {
    let domain = right.auth0_domain?;
    let needs_proxy = !needs_none(&right.no_proxy?, &domain);
    Some(Tenant {
        domain,
        extra_roots: right.ssl_cert_file?,
        proxy: right.https_proxy?.filter(|_| needs_proxy),
    })
}

#[cfg(test)]
mod tests;
