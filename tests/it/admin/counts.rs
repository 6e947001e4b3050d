//! What is counted, and that no client makes labels.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::watched;
use crate::service::Manager;
use crate::support::admin::{ANY, admin_addr, metrics};
use crate::support::client::{self, Client, bearer};
use crate::support::contract::{ADMIN, PROTECTED, PUBLIC};
use crate::support::https::Https;
use crate::support::postern::Postern;
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::token::Token;
use crate::support::wait_until;

#[test]
fn requests_count_by_route_and_status() {
    let tenant = Tenant::start();
    let (postern, addr) = watched(Postern::builder(&tenant));
    postern.wait_for_keys();
    let user = bearer(&Token::user(&tenant).sign());
    let admin = bearer(&Token::user(&tenant).admin().sign());
    let token = |token: &str| [("Authorization", token.to_owned())];
    let get = |path: &str, headers: &[(&str, String)]| {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        postern.get(path, &headers).status
    };
    (0..3).for_each(|_| assert_eq!(get(PUBLIC, &[]), 200));
    assert_eq!(get(&format!("{PUBLIC}?x=y"), &[]), 200);
    assert_eq!(
        client::request(postern.addr(), "HEAD", PUBLIC, &[]).status,
        200
    );
    assert_eq!(
        client::request(postern.addr(), "POST", PUBLIC, &[]).status,
        405
    );
    assert_eq!(get(PROTECTED, &[]), 401);
    (0..5).for_each(|_| assert_eq!(get(PROTECTED, &token(&user)), 200));
    assert_eq!(get(ADMIN, &token(&admin)), 200);
    (0..2).for_each(|_| assert_eq!(get(ADMIN, &token(&user)), 403));
    assert_eq!(get("/nowhere", &[]), 404);
    let metrics = metrics(addr);
    for (route, status, count) in [
        (PUBLIC, 200, 5.0),
        (PUBLIC, 405, 1.0),
        (PROTECTED, 401, 1.0),
        (PROTECTED, 200, 5.0),
        (ADMIN, 200, 1.0),
        (ADMIN, 403, 2.0),
        ("other", 404, 1.0),
    ] {
        assert_eq!(metrics.requests(route, status), count, "{route} {status}");
    }
    assert_eq!(metrics.refusals("no_token"), 1.0);
    assert_eq!(metrics.refusals("permission"), 2.0);
    let name = "postern_http_request_duration_seconds";
    assert_eq!(metrics.get(&format!("{name}_count")), 16.0);
    assert!(metrics.get(&format!("{name}_sum")) > 0.0);
    // The tokens of the user and of the admin were each verified once.
    assert_eq!(metrics.get("postern_token_cache_misses_total"), 2.0);
    assert_eq!(metrics.get("postern_token_cache_hits_total"), 6.0);
    assert_eq!(metrics.get("postern_token_cache_entries"), 2.0);
}

#[test]
fn refusals_count_by_reason() {
    let tenant = Tenant::start();
    let (postern, addr) = watched(Postern::builder(&tenant));
    postern.wait_for_keys();
    let user = || Token::user(&tenant);
    let forged = user().sign_by(|_| vec![0x55; 256]);
    let tokens = [
        ("not_compact", "opaque".to_owned()),
        ("malformed", user().raw_payload("[]").sign()),
        ("algorithm", user().header("alg", json!("HS256")).sign()),
        ("type", user().header("typ", json!("dpop+jwt")).sign()),
        ("critical", user().header("crit", json!(["b64"])).sign()),
        ("no_key_id", user().without_header("kid").sign()),
        ("unknown_key", user().header("kid", json!("other")).sign()),
        ("signature", forged),
        ("issuer", user().claim("iss", json!("https://x/")).sign()),
        ("audience", user().claim("aud", json!("x")).sign()),
        ("time", user().without_claim("exp").sign()),
        ("expired", user().expired().sign()),
        ("not_yet_valid", user().claim("nbf", json!(1e12)).sign()),
    ];
    for (reason, token) in &tokens {
        assert_eq!(postern.get_protected(token).status, 401, "{reason}");
        assert_eq!(metrics(addr).refusals(reason), 1.0, "{reason}");
    }
    let malformed = postern.get(PROTECTED, &[("Authorization", "Bearer a b")]);
    assert_eq!(malformed.status, 400);
    let metrics = metrics(addr);
    assert_eq!(metrics.refusals("bad_header"), 1.0);
    let refused = tokens.len() as f64;
    assert_eq!(metrics.requests(PROTECTED, 401), refused);
    for reason in ["no_token", "permission", "no_keys", "clock"] {
        assert_eq!(metrics.refusals(reason), 0.0, "{reason}");
    }
}

#[test]
fn the_gate_is_a_route() {
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant).env("FORWARD_AUTH_PATH", "/auth");
    let (postern, addr) = watched(builder);
    postern.wait_for_keys();
    let user = bearer(&Token::user(&tenant).sign());
    let headers = [("Authorization", user.as_str())];
    for (path, headers, status) in [
        ("/auth", &headers[..], 200),
        ("/auth?permission=x", &headers, 403),
        ("/auth", &[], 401),
    ] {
        assert_eq!(postern.get(path, headers).status, status, "{path}");
        assert_eq!(metrics(addr).requests("gate", status), 1.0, "{path}");
    }
    assert_eq!(metrics(addr).refusals("permission"), 1.0);
    assert_eq!(metrics(addr).refusals("no_token"), 1.0);
}

#[test]
fn an_outage_counts_as_one() {
    let tenant = Tenant::start();
    tenant.answer(Behaviour::Status(500));
    let (postern, addr) = watched(Postern::builder(&tenant));
    let token = Token::user(&tenant).sign();
    assert_eq!(postern.get_protected(&token).status, 503);
    let fetches = |outcome: &str| {
        metrics(addr).get(&format!(
            "postern_key_fetches_total{{outcome=\"{outcome}\"}}"
        ))
    };
    wait_until("the failed fetch is counted", || fetches("status") >= 1.0);
    assert_eq!(metrics(addr).refusals("no_keys"), 1.0);
    assert!(!metrics(addr).has_family("postern_keys_age_seconds"));
    tenant.answer(Behaviour::Keys);
    postern.signal("HUP");
    wait_until("the keys are counted", || {
        metrics(addr).get("postern_keys") == 2.0
    });
    assert_eq!(fetches("new"), 1.0);
    let metrics = metrics(addr);
    let age = metrics.get("postern_keys_age_seconds");
    assert!((0.0..60.0).contains(&age), "{age}");
    let fresh = metrics.get("postern_keys_fresh_seconds");
    assert!((fresh + age - 600.0).abs() < 0.01, "{fresh} {age}");
    let serves = metrics.get("postern_keys_serve_seconds");
    assert!((serves - fresh - 86_400.0).abs() < 0.01, "{serves}");
    let took = "postern_key_fetch_duration_seconds_count";
    assert!(metrics.get(took) >= 2.0);
    assert!(metrics.has_family("postern_clock_offset_seconds"));
}

#[test]
fn no_text_of_a_client_becomes_a_label() {
    let tenant = Tenant::start();
    let (postern, addr) = watched(Postern::builder(&tenant));
    postern.wait_for_keys();
    let series = |metrics: &crate::support::exposition::Metrics| metrics.samples.len();
    let heads: [fn(usize) -> String; 7] = [
        |n| format!("GET /marker{n} HTTP/1.1\r\nHost: x\r\n\r\n"),
        |n| format!("GET {PUBLIC}/marker{n}\"}} HTTP/1.1\r\nHost: x\r\n\r\n"),
        |n| format!("GET {PUBLIC}?marker{n} HTTP/1.1\r\nHost: x\r\n\r\n"),
        |n| format!("MARKER{n} {PUBLIC} HTTP/1.1\r\nHost: x\r\n\r\n"),
        |n| format!("GET {PROTECTED} HTTP/1.1\r\nHost: x\r\nAuthorization: marker{n} x\r\n\r\n"),
        |n| format!("GET {PUBLIC} HTTP/1.1\r\nHost: marker {n}\r\n\r\n"),
        |n| format!("GET {PUBLIC} HTTP/9.{}\r\nHost: marker\r\n\r\n", n % 10),
    ];
    let ask = |n| {
        for head in heads {
            let mut client = Client::connect(postern.addr());
            client.send(head(n));
            client.response();
        }
        let hostile = Token::user(&tenant)
            .claim("iss", json!(format!("marker{n}\"\n")))
            .sign();
        assert_eq!(postern.get_protected(&hostile).status, 401);
    };
    ask(0);
    let first = metrics(addr);
    (1..50).for_each(ask);
    let last = metrics(addr);
    assert_eq!(series(&first), series(&last));
    let marked = last
        .samples
        .keys()
        .find(|series| series.to_ascii_lowercase().contains("marker"));
    assert_eq!(marked, None);
    let routes = BTreeSet::from([PUBLIC, PROTECTED, "other"]);
    assert_eq!(last.label_values("route"), routes);
    // Paths that are unknown, and heads that are no requests.
    assert_eq!(last.requests("other", 404), 100.0);
    assert_eq!(last.requests("other", 400), 50.0);
    assert_eq!(last.requests("other", 505), 50.0);
    assert_eq!(last.requests(PUBLIC, 405), 50.0);
    assert_eq!(last.requests(PUBLIC, 200), 50.0);
}

#[test]
fn probes_of_the_watchdog_do_not_count() {
    let manager = Manager::new();
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant).env("WATCHDOG_USEC", "300000");
    let (_postern, addr) = watched(manager.supervise(builder));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    let metrics = metrics(addr);
    assert_eq!(metrics.requests("other", 404), 0.0);
    let count = "postern_http_request_duration_seconds_count";
    assert_eq!(metrics.get(count), 0.0);
}

#[test]
fn handshakes_count_by_how_they_end() {
    let https =
        Https::start_with(|builder| builder.env(ANY.0, ANY.1).env("HEAD_TIMEOUT_SECONDS", "3"));
    let addr = admin_addr(&https.postern);
    let handshakes = |outcome: &str| {
        let family = "postern_tls_handshakes_total";
        metrics(addr).get(&format!("{family}{{outcome=\"{outcome}\"}}"))
    };
    // The first leaves tickets to the client, so the second resumes.
    for _ in 0..2 {
        let response = https.client().request("GET", PUBLIC, &[]);
        assert_eq!(response.status, 200);
    }
    assert_eq!((handshakes("full"), handshakes("resumed")), (1.0, 1.0));
    let plain = client::get(https.postern.addr(), PUBLIC, &[]);
    assert_eq!((plain.status, handshakes("plain_http")), (400, 1.0));
    let mut broken = Client::connect(https.postern.addr());
    broken.send([0xff; 16]);
    wait_until("a failure is counted", || handshakes("failed") == 1.0);
    let _silent = Client::connect(https.postern.addr());
    wait_until("a late one is counted", || handshakes("late") == 1.0);
    let end = metrics(addr).get("postern_tls_certificate_not_after_timestamp_seconds");
    assert!(end > crate::support::token::now() as f64, "{end}");
    // A renewal moves it.
    let hours = |count: u64| Duration::from_secs(3600 * count);
    let now = std::time::SystemTime::now();
    https.files.renew(Some((now - hours(1), now + hours(1))));
    https.postern.signal("HUP");
    wait_until("the new end is there", || {
        metrics(addr).get("postern_tls_certificate_not_after_timestamp_seconds") != end
    });
}

#[test]
fn evicted_and_refused_connections_count() {
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant).env("MAX_CONNECTIONS", "1");
    let (postern, addr) = watched(builder);
    let mut idle = Client::connect(postern.addr());
    assert_eq!(idle.request("GET", PUBLIC, &[]).status, 200);
    // It gets the place when the other has waited for a second.
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    idle.assert_closed();
    let metrics = metrics(addr);
    assert_eq!(metrics.get("postern_connections_evicted_total"), 1.0);
    assert_eq!(metrics.get("postern_connections_accepted_total"), 2.0);
    assert_eq!(metrics.get("postern_connections_refused_total"), 0.0);
}

#[test]
fn the_process_is_described() {
    let tenant = Tenant::start();
    let (postern, addr) = watched(Postern::builder(&tenant));
    postern.wait_for_keys();
    let seen = metrics(addr);
    let usage = crate::support::usage::usage(postern.pid());
    assert_eq!(seen.get("process_threads"), usage.threads as f64);
    // The connection of the scrape is closed by now, or not.
    let descriptors = seen.get("process_open_fds");
    let now = usage.descriptors as f64;
    assert!(
        (now - 2.0..=now + 2.0).contains(&descriptors),
        "{descriptors} {now}"
    );
    assert!(seen.get("process_resident_memory_bytes") > 1e6);
    assert!(seen.get("process_cpu_seconds_total") > 0.0);
    let start = seen.get("process_start_time_seconds");
    let age = crate::support::token::now() as f64 - start;
    assert!((-2.0..60.0).contains(&age), "{age}");
    let again = metrics(addr).get("process_start_time_seconds");
    assert_eq!(again, start);
    let version = env!("CARGO_PKG_VERSION");
    let arch = std::env::consts::ARCH;
    let info = format!("postern_build_info{{version=\"{version}\",arch=\"{arch}\"}}");
    assert_eq!(seen.get(&info), 1.0);
    assert_eq!(seen.get("postern_log_lines_dropped_total"), 0.0);
}
