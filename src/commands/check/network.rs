//! The steps on the way to the tenant: one fetch of the keys, told as it goes.

use std::fmt::{self, Arguments};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::auth::clock::{TOLERANCE, program_date};
use crate::auth::fetch::{
    Answer, FETCH_TIME, FetchError, Fetched, Fetcher, NewKeys, Progress, Question, Watch,
};
use crate::auth::key_set::KeySet;
use crate::commands::output::{Output, Verdict};
use crate::config::{Survey, Tenant};
use crate::escape::Escaped;
use crate::tls;
use crate::tls::validity::Validity;

/// The steps of a fetch, in their order.
const STEPS: [&str; 4] = ["name resolution", "connection", "TLS", "key set"];
/// How many steps of the check come before them.
const BEFORE: usize = 3;
const NAMES: usize = 0;
const CONNECTION: usize = 1;
const TLS: usize = 2;
const KEY_SET: usize = 3;
const CLOCK: &str = "clock";

/// The length at which a `kid` is cut, in bytes.
const MAX_ID: usize = 100;

/// A fetch under way.
struct Way {
    tenant: Tenant,
    /// The step that is waited for.
    step: usize,
    /// Who issued the certificate that was shown, and when it is valid.
    shown: Option<(String, Validity)>,
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
                let (the, host) = match &self.tenant.proxy {
                    Some(proxy) => ("the proxy ", proxy.host()),
                    None => ("", host(&self.tenant.domain)),
                };
                let addresses = List(addresses);
                self.pass(format_args!("{the}{host} is {addresses}"));
            }
            Progress::Connected => {
                let domain = &self.tenant.domain;
                match &self.tenant.proxy {
                    Some(proxy) => {
                        let (host, port) = (proxy.host(), proxy.port());
                        self.pass(format_args!("to {domain}, through {host}:{port}"));
                    }
                    None => self.pass(format_args!("to {domain}")),
                }
            }
            Progress::Shown(certificate) => {
                self.shown = tls::issuer_and_validity(certificate);
                return;
            }
            Progress::Secured(version) => {
                let shown = Shown(&self.shown);
                self.pass(format_args!("version {version}, {shown}"));
            }
        }
        self.step = KEY_SET.min(self.step + 1);
        self.wait();
    }

    /// The step that was waited for is done.
    fn pass(&self, text: Arguments<'_>) {
        let step = STEPS[self.step];
        self.output
            .verdict(Verdict::Ok, format_args!("{step}: {text}"));
    }

    fn wait(&self) {
        let (step, domain) = (STEPS[self.step], &self.tenant.domain);
        let most = FETCH_TIME.as_secs();
        self.output.wait(
            &super::how_far(BEFORE + self.step),
            format_args!("{step}: waiting up to {most} s for {domain}"),
        );
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
        let (step, output) = (STEPS[self.step], &self.output);
        let reason = error.reason();
        output.verdict(Verdict::Failed, format_args!("{step}: {reason}"));
        if self.step == TLS && self.shown.is_some() {
            output.more(format_args!("Shown was {}.", Shown(&self.shown)));
        }
        output.more(format_args!("{}", advice(error, self.step)));
        for later in &STEPS[self.step + 1..] {
            output.verdict(Verdict::Skipped, format_args!("{later}: needs {step}"));
        }
    }
}

/// The certificate that was shown.
struct Shown<'a>(&'a Option<(String, Validity)>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((issuer, validity)) => {
                let end = validity.not_after;
                write!(f, "a certificate issued by {issuer} that ends on {end}")
            }
            None => f.write_str("a certificate that cannot be read"),
        }
    }
}

/// Addresses, with commas between them.
struct List<'a>(&'a [SocketAddr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{}", address.ip())?;
        }
        Ok(())
    }
}

fn key_set(keys: &KeySet, output: &Output) {
    let verdict = match (keys.is_empty(), keys.remarks().is_empty()) {
        (false, true) => Verdict::Ok,
        (false, false) => Verdict::Warning,
        (true, _) => Verdict::Failed,
    };
    let (step, count) = (STEPS[KEY_SET], keys.keys().len());
    let plural = if count == 1 { "" } else { "s" };
    output.verdict(verdict, format_args!("{step}: {count} usable key{plural}"));
    for key in keys.keys() {
        let id = Escaped::new(key.id(), MAX_ID);
        let (algorithm, bits) = (key.algorithm_name(), key.bits());
        output.more(format_args!("key {id}: {algorithm}, {bits} bits"));
    }
    for remark in keys.remarks() {
        output.more(format_args!("{remark}"));
    }
    if keys.is_empty() {
        output.more(format_args!(
            "Nobody is let in until the tenant has a signing key for RS256: rotate its keys at \
             Auth0."
        ));
    }
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
        FetchError::Tls(text) if text.contains("xpired") => {
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
    let set = format_args!("Set this host's clock: is time synchronisation running?");
    let (seconds, is_ahead) = apart(SystemTime::now(), program_date()).unwrap_or_default();
    if !is_ahead && Duration::from_secs(seconds) > TOLERANCE {
        let text = format_args!("{CLOCK}: before this program was made, nobody is let in");
        output.verdict(Verdict::Failed, text);
        return output.more(set);
    }
    let (date, now) = match answer {
        Some((Some(date), now, _)) => (date, now),
        Some((None, _, true)) => {
            let text = format_args!("{CLOCK}: the tenant's answer has no Date to compare it with");
            output.verdict(Verdict::Warning, text);
            return output.more(format_args!(
                "All that is known is that it is not before the date of this program."
            ));
        }
        Some((None, _, false)) => {
            let text = format_args!("{CLOCK}: needs an answer of the tenant");
            return output.verdict(Verdict::Skipped, text);
        }
        None => return super::skip(CLOCK, output),
    };
    let Some((seconds, is_ahead)) = apart(now, date) else {
        return output.verdict(Verdict::Ok, format_args!("{CLOCK}: as the tenant's"));
    };
    let leeway = survey.clock_leeway.unwrap_or_default();
    let off = Duration::from_secs(seconds);
    let (verdict, effect) = match is_ahead {
        _ if off <= leeway => (Verdict::Ok, ""),
        _ if off <= TOLERANCE => (Verdict::Warning, ""),
        true => (Verdict::Failed, ", tokens count as expired"),
        false => (Verdict::Failed, ", nobody is let in"),
    };
    let side = if is_ahead { "ahead of" } else { "behind" };
    output.verdict(
        verdict,
        format_args!("{CLOCK}: {seconds} s {side} the tenant's{effect}"),
    );
    if verdict == Verdict::Warning {
        let leeway = leeway.as_secs();
        output.more(format_args!(
            "That is more than CLOCK_LEEWAY_SECONDS, {leeway}."
        ));
    }
    if verdict != Verdict::Ok {
        output.more(set);
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
            super::advice(&error, TLS)
        };
        let clock = "Set this host's clock.";
        assert_eq!(advice(CertificateError::NotValidYet), clock);
        assert!(advice(CertificateError::Expired).starts_with("Set this host's clock;"));
        assert!(advice(CertificateError::UnknownIssuer).contains("SSL_CERT_FILE"));
        assert!(advice(CertificateError::NotValidForName).contains("for other names"));
        assert!(advice(CertificateError::Revoked).contains("may not be the tenant"));
    }
}
