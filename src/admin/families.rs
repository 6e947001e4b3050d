//! The families of metrics.

use super::Admin;
use super::process::Process;
use crate::auth::Moment;
use crate::auth::jwks::Status;
use crate::logging;
use crate::metrics::text::Exposition;
use crate::metrics::{self, Fetch, Handshake, Reason};

/// All families.
pub fn print(admin: &Admin, process: &Process) -> String {
    let mut out = Exposition::default();
    let status = admin.jwks.status(Moment::now());
    about(admin, &mut out);
    requests(&mut out);
    connections(admin, &mut out);
    handshakes(admin, &mut out);
    tokens(&mut out);
    keys(&status, &mut out);
    fetches(&mut out);
    of_process(process, &mut out);
    out.into_text()
}

fn about(admin: &Admin, out: &mut Exposition) {
    out.gauge("postern_build_info", "The version of postern. Always 1.")
        .sample(
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("arch", std::env::consts::ARCH),
            ],
            1,
        );
    let is_ready = admin.not_ready().is_none();
    out.gauge("postern_ready", "Whether /readyz answers 200: 1 or 0.")
        .value(u64::from(is_ready));
    let help = "Lines of the log that standard error did not take.";
    out.counter("postern_log_lines_dropped_total", help)
        .value(logging::dropped());
}

fn requests(out: &mut Exposition) {
    let help = "Requests by the path of their route and the status of their answer.";
    let mut family = out.counter("postern_http_requests_total", help);
    for counted in metrics::requests() {
        let status = counted.status.map(|status| status.to_string());
        let status = status.as_deref().unwrap_or("other");
        let labels = [("route", counted.route), ("status", status)];
        family.sample(&labels, counted.count);
    }
    let help = "Requests that were refused by the checks of access, by reason.";
    let mut family = out.counter("postern_http_refusals_total", help);
    for reason in Reason::ALL {
        let labels = [("reason", reason.text())];
        family.sample(&labels, metrics::refusals(*reason));
    }
    let help = "Time from the last byte of a request until its answer is written.";
    let name = "postern_http_request_duration_seconds";
    out.histogram(name, help, &metrics::latencies());
}

fn connections(admin: &Admin, out: &mut Exposition) {
    let counts = admin.running.connections();
    let help = "Connections: with a place, waiting for one, and leaving after their last answer.";
    let mut family = out.gauge("postern_connections", help);
    for (state, count) in [
        ("placed", counts.placed),
        ("waiting", counts.waiting),
        ("leaving", counts.leaving),
    ] {
        family.sample(&[("state", state)], count as u64);
    }
    let help = "Places for connections.";
    out.gauge("postern_connection_places", help)
        .value(counts.capacity as u64);
    for (name, help, number) in [
        (
            "postern_connections_accepted_total",
            "Connections accepted.",
            &metrics::ACCEPTED,
        ),
        (
            "postern_connections_evicted_total",
            "Connections closed to give their places to others.",
            &metrics::EVICTED,
        ),
        (
            "postern_connections_refused_total",
            "Connections that got no place.",
            &metrics::REFUSED,
        ),
    ] {
        out.counter(name, help).value(number.get());
    }
}

fn handshakes(admin: &Admin, out: &mut Exposition) {
    let help = "TLS handshakes by how they ended.";
    let mut family = out.counter("postern_tls_handshakes_total", help);
    for outcome in Handshake::ALL {
        let count = metrics::HANDSHAKES[*outcome as usize].get();
        family.sample(&[("outcome", outcome.text())], count);
    }
    if let Some(certificate) = &admin.certificate {
        let help = "The end of the TLS certificate, in seconds since 1970.";
        let name = "postern_tls_certificate_not_after_timestamp_seconds";
        out.gauge(name, help)
            .value(certificate.not_after().0 as f64);
    }
}

fn tokens(out: &mut Exposition) {
    let (hits, misses) = metrics::cache_lookups();
    let help = "Tokens that had been verified before.";
    out.counter("postern_token_cache_hits_total", help)
        .value(hits);
    let help = "Tokens that were not in the cache, valid or not.";
    out.counter("postern_token_cache_misses_total", help)
        .value(misses);
    let help = "Verified tokens in the cache.";
    out.gauge("postern_token_cache_entries", help)
        .value(metrics::CACHED_TOKENS.get());
}

fn keys(status: &Status, out: &mut Exposition) {
    let help = "Usable signing keys, however old.";
    out.gauge("postern_keys", help).value(status.keys as u64);
    if let Some(ages) = status.ages {
        for (name, help, value) in [
            (
                "postern_keys_age_seconds",
                "Time since the tenant has confirmed the signing keys.",
                ages.age,
            ),
            (
                "postern_keys_fresh_seconds",
                "Time until the signing keys are stale. Negative when they are.",
                ages.fresh_for,
            ),
            (
                "postern_keys_serve_seconds",
                "Time until the signing keys are too stale to serve. Negative when they are.",
                ages.serves_for,
            ),
        ] {
            out.gauge(name, help).value(value);
        }
    }
    if let Some(offset) = status.clock_offset {
        let help = "How far the clock is ahead of the tenant's, by the Date of its latest answer. \
                    That has whole seconds.";
        out.gauge("postern_clock_offset_seconds", help)
            .value(offset);
    }
}

fn fetches(out: &mut Exposition) {
    let help = "Fetches of the signing keys by how they ended: new and unchanged, or what failed.";
    let mut family = out.counter("postern_key_fetches_total", help);
    for outcome in Fetch::ALL {
        let count = metrics::FETCHES[*outcome as usize].get();
        family.sample(&[("outcome", outcome.text())], count);
    }
    let help = "How long fetches of the signing keys took.";
    let observed = metrics::FETCH_TIMES.observed();
    out.histogram("postern_key_fetch_duration_seconds", help, &observed);
}

fn of_process(process: &Process, out: &mut Exposition) {
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            process.resident,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            process.address_space,
        ),
        ("process_threads", "Number of threads.", process.threads),
        (
            "process_open_fds",
            "Number of open file descriptors.",
            process.descriptors,
        ),
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            process.most_descriptors,
        ),
    ] {
        if let Some(value) = value {
            out.gauge(name, help).value(value);
        }
    }
    let help = "Total user and system CPU time spent in seconds.";
    out.counter("process_cpu_seconds_total", help)
        .value(process.processor);
    let help = "Start time of the process since unix epoch in seconds.";
    out.gauge("process_start_time_seconds", help)
        .value(process.started);
}
