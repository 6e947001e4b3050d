//! The steps on the way to the tenant: one fetch of the keys, told as it goes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::auth::clock::{TOLERANCE, program_date};
use crate::auth::fetch::{
    Answer, FetchError, Fetched, Fetcher, NewKeys, Progress, Question, Watch,
};
use crate::auth::key_set::{Key, KeySet};
use crate::commands::output::{Output, Verdict};
use crate::config::{Survey, Tenant};
use crate::escape::Escaped;
use crate::tls;

/// The steps of a fetch, in their order.
const STEPS: [&str; 4] = ["name resolution", "connection", "TLS", "key set"];
const NAMES: usize = 0;
const CONNECTION: usize = 1;
const KEY_SET: usize = 3;
const CLOCK: &str = "clock";

/// The length at which a `kid` is cut, in bytes.
const MAX_ID: usize = 100;

/// A fetch under way.
struct Way {
    tenant: Tenant,
    /// The step that is waited for.
    step: usize,
    /// Who issued the certificate that was shown, and until when it is valid.
    shown: Option<String>,
    output: Output,
}

/// All steps from name resolution to the clock.
pub(super) fn steps(survey: &Survey, output: &Output) {
    let Some(tenant) = &survey.tenant else {
        STEPS.iter().for_each(|step| super::skip(step, output));
        return clock(None, survey, output);
    };
    let way = Arc::new(Mutex::new(Way {
        tenant: tenant.clone(),
        step: NAMES,
        shown: None,
        output: output.clone(),
    }));
    lock(&way).wait();
    let answer = fetch(tenant, &way);
    let now = SystemTime::now();
    let way = lock(&way);
    let date = match &answer {
        Ok(fetched) => fetched.date.and_then(|date| date.checked_add(fetched.age)),
        Err(failure) => failure.date,
    };
    way.conclude(&answer);
    clock(Some((date, now, answer.is_ok())), survey, output);
}

fn fetch(tenant: &Tenant, way: &Arc<Mutex<Way>>) -> Answer {
    let told = Arc::clone(way);
    let watch = Watch::new(move |progress| lock(&told).tell(progress));
    let Tenant {
        domain,
        extra_roots,
        proxy,
    } = tenant.clone();
    // Past caches, as at an operator's request.
    let question = Question {
        etag: None,
        no_cache: true,
    };
    Fetcher::new(&domain, extra_roots, proxy)
        .watched_by(watch)
        .fetch(&question)
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    // Nothing panics under the lock.
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    fn tell(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Resolved(addresses) => {
                let host = match &self.tenant.proxy {
                    Some(proxy) => format!("the proxy {}", proxy.host()),
                    None => host(&self.tenant.domain).to_owned(),
                };
                self.pass(format!("{host} is {}", list(addresses)));
            }
            Progress::Connected => {
                let through = match &self.tenant.proxy {
                    Some(proxy) => format!(", through {}:{}", proxy.host(), proxy.port()),
                    None => String::new(),
                };
                self.pass(format!("to {}{through}", self.tenant.domain));
            }
            Progress::Shown(certificate) => {
                let found = tls::issuer_and_validity(certificate);
                self.shown = found.map(|(issuer, validity)| {
                    let issuer = match &*issuer {
                        "" => "somebody without a name",
                        issuer => issuer,
                    };
                    let end = validity.not_after;
                    format!("the certificate is issued by {issuer} and ends on {end}")
                });
            }
            Progress::Secured(version) => {
                let version = version.and_then(|version| version.as_str());
                let version = version.unwrap_or("TLS").replace('_', ".");
                let shown = self.shown.take();
                let shown = shown.map_or(String::new(), |shown| format!(", {shown}"));
                self.pass(format!("{version}{shown}"));
            }
        }
    }

    /// The step that was waited for is done.
    fn pass(&mut self, text: String) {
        let step = STEPS[self.step];
        self.output
            .verdict(Verdict::Ok, format_args!("{step}: {text}"), &[]);
        self.step += 1;
        self.wait();
    }

    fn wait(&self) {
        let (step, domain) = (STEPS[self.step], &self.tenant.domain);
        self.output
            .wait(format_args!("{step}: waiting for {domain}"));
    }

    /// The end of the fetch.
    fn conclude(&self, answer: &Answer) {
        match answer {
            Ok(Fetched {
                new: Some(NewKeys { keys, .. }),
                ..
            }) => key_set(keys, &self.output),
            // No question has an ETag.
            Ok(Fetched { new: None, .. }) => {}
            Err(failure) => self.fail(&failure.error),
        }
    }

    fn fail(&self, error: &FetchError) {
        let step = STEPS[self.step];
        let mut more = Vec::new();
        more.extend(self.shown.clone().map(|shown| sentence(&shown)));
        more.push(advice(error, self.step).to_owned());
        let text = format!("{step}: {}", error.reason());
        self.output.verdict(Verdict::Failed, text, &more);
        for later in &STEPS[self.step + 1..] {
            let text = format!("{later}: needs {step}");
            self.output.verdict(Verdict::Skipped, text, &[]);
        }
    }
}

fn key_set(keys: &KeySet, output: &Output) {
    let key = |key: &Key| {
        let id = Escaped::new(key.id(), MAX_ID).to_string();
        format!("key {id}: {}, {} bits", key.algorithm_name(), key.bits())
    };
    let mut more: Vec<String> = keys.keys().iter().map(key).collect();
    more.extend(keys.remarks().iter().cloned());
    let step = STEPS[KEY_SET];
    let text = match keys.keys().len() {
        0 => format!("{step}: no usable key, nobody is let in"),
        1 => format!("{step}: 1 usable key"),
        count => format!("{step}: {count} usable keys"),
    };
    let verdict = match (keys.is_empty(), keys.remarks().is_empty()) {
        (false, true) => Verdict::Ok,
        (false, false) => Verdict::Warning,
        (true, _) => {
            let advice = "The tenant needs a signing key for RS256: rotate its keys at Auth0.";
            more.push(advice.to_owned());
            Verdict::Failed
        }
    };
    output.verdict(verdict, text, &more);
}

/// What to do about a failure at a step.
fn advice(error: &FetchError, step: usize) -> &'static str {
    match error {
        FetchError::Resolve(_) => "Check AUTH0_DOMAIN, then the network and the DNS of this host.",
        FetchError::Connect(_) => {
            "Check AUTH0_DOMAIN and the firewall; behind a proxy, set HTTPS_PROXY."
        }
        FetchError::Proxy(_) => {
            "Check HTTPS_PROXY, its user name and password, and ask the log of the proxy."
        }
        FetchError::Tls(text) if text.contains("UnknownIssuer") => {
            "A private CA, or a proxy that opens TLS: put its root certificate into a PEM file, \
             and name that in SSL_CERT_FILE."
        }
        FetchError::Tls(text) if text.to_lowercase().contains("expired") => {
            "Set this host's clock; if it is right, the tenant has to renew its certificate."
        }
        FetchError::Tls(text) if text.contains("alid yet") || text.contains("alidYet") => {
            "Set this host's clock."
        }
        FetchError::Tls(text) if text.contains("for name") || text.contains("ForName") => {
            "Check AUTH0_DOMAIN: what answers there has a certificate for other names."
        }
        FetchError::Tls(_) => "Check AUTH0_DOMAIN: what answers there may not be the tenant.",
        FetchError::Timeout(_) if step == NAMES => {
            "The DNS of this host does not answer: check its network."
        }
        FetchError::Timeout(_) if step == CONNECTION => {
            "Packets get lost: check the firewall; behind a proxy, set HTTPS_PROXY."
        }
        FetchError::Timeout(_) | FetchError::Broken(_) => {
            "Try again. If it stays, a firewall on the way, or the tenant itself, is at fault."
        }
        FetchError::Status(300..400 | 404) => "Check AUTH0_DOMAIN: it is not the tenant's host.",
        FetchError::Status(429 | 500..) => {
            "The tenant is at fault, or asked too often. postern tries again by itself."
        }
        FetchError::Panicked => {
            "Raise the limits of threads and memory (ulimit -u, TasksMax=, MemoryMax=)."
        }
        FetchError::Status(_)
        | FetchError::Http(_)
        | FetchError::TooLarge
        | FetchError::KeySet(_) => {
            "Check AUTH0_DOMAIN: what answers there is no tenant, or stands in front of it."
        }
    }
}

/// This host's clock. Of an answer: the tenant's time, this host's, and whether it had keys.
fn clock(answer: Option<(Option<SystemTime>, SystemTime, bool)>, survey: &Survey, output: &Output) {
    let now = SystemTime::now();
    let set = "Set this host's clock: is time synchronisation running?".to_owned();
    if apart(now, program_date())
        .is_some_and(|(seconds, is_ahead)| !is_ahead && seconds > TOLERANCE.as_secs())
    {
        let text = format!("{CLOCK}: before this program was made, nobody is let in");
        return output.verdict(Verdict::Failed, text, &[set]);
    }
    let (date, now) = match answer {
        Some((Some(date), now, _)) => (date, now),
        Some((None, _, true)) => {
            let text = format!("{CLOCK}: the tenant's answer has no Date to compare it with");
            let more = "All that is known is that it is not before the date of this program.";
            return output.verdict(Verdict::Warning, text, &[more.to_owned()]);
        }
        Some((None, _, false)) => {
            let text = format!("{CLOCK}: needs an answer of the tenant");
            return output.verdict(Verdict::Skipped, text, &[]);
        }
        None => return super::skip(CLOCK, output),
    };
    let Some((seconds, is_ahead)) = apart(now, date) else {
        let text = format!("{CLOCK}: as the tenant's");
        return output.verdict(Verdict::Ok, text, &[]);
    };
    let side = if is_ahead { "ahead of" } else { "behind" };
    let text = format!("{CLOCK}: {seconds} s {side} the tenant's");
    let leeway = survey.clock_leeway.unwrap_or_default();
    if Duration::from_secs(seconds) > TOLERANCE {
        let text = match is_ahead {
            true => format!("{text}, tokens count as expired"),
            false => format!("{text}, nobody is let in"),
        };
        output.verdict(Verdict::Failed, text, &[set]);
    } else if Duration::from_secs(seconds) > leeway {
        let more = format!(
            "That is more than CLOCK_LEEWAY_SECONDS, {}.",
            leeway.as_secs()
        );
        output.verdict(Verdict::Warning, text, &[more, set]);
    } else {
        output.verdict(Verdict::Ok, text, &[]);
    }
}

/// How many seconds a clock differs from a date, and whether it is ahead. `None` if it is within a
/// second: a `Date` has no fractions.
fn apart(clock: SystemTime, date: SystemTime) -> Option<(u64, bool)> {
    let (apart, is_ahead) = match clock.duration_since(date) {
        Ok(ahead) => (ahead, true),
        Err(behind) => (behind.duration(), false),
    };
    (apart >= Duration::from_secs(2)).then_some((apart.as_secs(), is_ahead))
}

/// The host in `host` or `host:port`, without the brackets of an IPv6 address.
fn host(domain: &str) -> &str {
    match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => domain.split(':').next().unwrap_or(domain),
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let addresses = addresses.iter().map(|address| address.ip().to_string());
    addresses.collect::<Vec<_>>().join(", ")
}

/// A text that begins with "the" as a sentence.
fn sentence(text: &str) -> String {
    match text.strip_prefix("the ") {
        Some(rest) => format!("The {rest}."),
        None => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_no_difference() {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (milliseconds, expected) in [(0, None), (1999, None), (2000, Some(2)), (9999, Some(9))]
        {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(
                apart(date + time, date),
                expected.map(|seconds| (seconds, true))
            );
            assert_eq!(
                apart(date - time, date),
                expected.map(|seconds| (seconds, false))
            );
        }
    }

    #[test]
    fn the_host_stands_before_the_port() {
        for (domain, expected) in [
            ("tenant.eu.auth0.com", "tenant.eu.auth0.com"),
            ("localhost:8443", "localhost"),
            ("[::1]", "::1"),
            ("[::1]:8443", "::1"),
        ] {
            assert_eq!(host(domain), expected);
        }
    }

    #[test]
    fn a_certificate_that_does_not_hold_has_its_own_advice() {
        use rustls::CertificateError;
        let advice = |error: CertificateError| {
            let error = FetchError::Tls(rustls::Error::InvalidCertificate(error).to_string());
            super::advice(&error, 2)
        };
        let clock = "Set this host's clock.";
        assert_eq!(advice(CertificateError::NotValidYet), clock);
        assert!(advice(CertificateError::Expired).starts_with("Set this host's clock;"));
        assert!(advice(CertificateError::UnknownIssuer).contains("SSL_CERT_FILE"));
        assert!(advice(CertificateError::NotValidForName).contains("for other names"));
        assert!(advice(CertificateError::Revoked).contains("may not be the tenant"));
    }
}
