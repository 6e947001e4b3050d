//! The admin address: health, metrics, and a life of its own.

mod counts;
mod drain;
mod socket;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::TempDir;
use crate::support::admin::{ANY, admin_addr, metrics, readiness, scrape};
use crate::support::client::{self, Client};
use crate::support::contract::PUBLIC;
use crate::support::crowd::{Stalled, are_under_way, assert_served, in_time};
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::token::Token;
use crate::support::wait_until;
use crate::support::wall_clock::WallClock;

/// A server with an admin address.
fn watched(builder: Builder) -> (Postern, SocketAddr) {
    let postern = builder.env(ANY.0, ANY.1).start();
    let addr = admin_addr(&postern);
    (postern, addr)
}

#[test]
fn it_answers_alive_ready_and_metrics() {
    let tenant = Tenant::start();
    let (postern, addr) = watched(Postern::builder(&tenant));
    postern.wait_for_keys();
    let alive = client::get(addr, "/livez", &[]);
    assert_eq!((alive.status, alive.text()), (200, "ok\n"));
    let content_type = alive.header("Content-Type");
    assert_eq!(content_type, Some("text/plain; charset=utf-8"));
    assert_eq!(readiness(addr), (200, "ready".to_owned()));
    scrape(addr);
    for path in ["/livez", "/readyz", "/metrics"] {
        let head = client::request(addr, "HEAD", path, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let post = client::request(addr, "POST", path, &[]);
        let allow = post.header("Allow");
        assert_eq!((post.status, allow), (405, Some("GET, HEAD, OPTIONS")));
    }
    for path in ["/", "/metrics/", "/livez/x", PUBLIC] {
        assert_eq!(client::get(addr, path, &[]).status, 404, "{path}");
    }
    // A connection is kept, as Prometheus does it.
    let mut client = Client::connect(addr);
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/metrics", &[]).status, 200);
    }
}

#[test]
fn nothing_of_it_is_on_the_public_address() {
    let tenant = Tenant::start();
    let (postern, _) = watched(Postern::builder(&tenant));
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(postern.get(path, &[]).status, 404, "{path}");
    }
}

#[test]
fn without_the_setting_there_is_none() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    let logs = postern.into_logs();
    let tells = |line: &&String| line.contains("health and metrics");
    assert_eq!(logs.iter().find(tells), None);
}

#[test]
fn its_requests_are_logged_at_debug_only() {
    for level in ["info", "debug"] {
        let tenant = Tenant::start();
        let (postern, addr) = watched(Postern::builder(&tenant).env("RUST_LOG", level));
        assert_eq!(client::get(addr, "/livez", &[]).status, 200);
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        let logs = postern.into_logs();
        let count = |text: &str| logs.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count("GET /livez 200"), usize::from(level == "debug"));
        assert_eq!(count("GET /api/messages/public 200"), 1);
        let drains = if level == "debug" { 2 } else { 1 };
        assert_eq!(count("draining "), drains, "{logs:#?}");
    }
}

#[test]
fn it_is_ready_when_it_has_usable_keys() {
    let tenant = Tenant::start();
    tenant.answer(Behaviour::Status(500));
    let (postern, addr) = watched(Postern::builder(&tenant));
    let none = "no keys: no key set has been fetched";
    assert_eq!(readiness(addr), (503, none.to_owned()));
    tenant.set_keys(vec![]);
    tenant.answer(Behaviour::Keys);
    postern.signal("HUP");
    let unusable = "no keys: the tenant's key set has no usable one";
    wait_until("the empty set is there", || {
        readiness(addr) == (503, unusable.to_owned())
    });
    assert_eq!(metrics(addr).get("postern_ready"), 0.0);
    tenant.set_keys(vec![tenant.key().jwk()]);
    postern.signal("HUP");
    wait_until("a key is there", || {
        readiness(addr) == (200, "ready".to_owned())
    });
    let token = Token::user(&tenant).sign();
    assert_eq!(postern.get_protected(&token).status, 200);
    let metrics = metrics(addr);
    assert_eq!(metrics.get("postern_ready"), 1.0);
    assert_eq!(metrics.get("postern_keys"), 1.0);
}

#[test]
fn it_is_not_ready_with_keys_that_are_too_old() {
    let mut tenant = Tenant::start();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    tenant.stop();
    let copy = state.path().join("jwks.json");
    let text = std::fs::read(&copy).unwrap();
    let mut stored: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let fetched = stored["fetched"].as_u64().unwrap();
    stored["fetched"] = json!(fetched - 10 * 86_400);
    std::fs::write(&copy, stored.to_string()).unwrap();
    let (postern, addr) = watched(Postern::builder(&tenant).state(state.path()));
    let (status, line) = readiness(addr);
    assert_eq!(status, 503);
    let begin = "keys too stale: they serve no longer since ";
    assert!(line.starts_with(begin), "{line}");
    let token = Token::user(&tenant).sign();
    assert_eq!(postern.get_protected(&token).status, 503);
    let metrics = metrics(addr);
    assert!(metrics.get("postern_keys_age_seconds") > 9.0 * 86_400.0);
    assert!(metrics.get("postern_keys_fresh_seconds") < 0.0);
    assert!(metrics.get("postern_keys_serve_seconds") < 0.0);
}

#[test]
fn it_is_not_ready_with_a_clock_that_is_not_set() {
    let Some(clock) = WallClock::new() else {
        return;
    };
    let tenant = Tenant::start();
    let (postern, addr) = watched(clock.rule(Postern::builder(&tenant)));
    postern.wait_for_keys();
    assert_eq!(readiness(addr).0, 200);
    let offset = || metrics(addr).get("postern_clock_offset_seconds");
    // `Date` has whole seconds, and this machine may be slow.
    assert!((-1.0..30.0).contains(&offset()), "{}", offset());
    clock.jump(-10 * 86_400);
    let (status, line) = readiness(addr);
    assert_eq!(status, 503);
    assert!(line.starts_with("clock: "), "{line}");
    assert!((-864_001.0..-863_900.0).contains(&offset()), "{}", offset());
    clock.jump(0);
    assert_eq!(readiness(addr).0, 200);
}

#[test]
fn it_answers_while_the_public_address_is_full() {
    in_time(|| {
        let stalled = Stalled::start(&[("MAX_CONNECTIONS", "2"), ANY]);
        let addr = admin_addr(&stalled.postern);
        let mut holders = stalled.hold(crate::support::crowd::A, 2);
        let _newcomers: Vec<_> = (0..2)
            .map(|_| Client::connect_from(crate::support::crowd::B, stalled.addr()))
            .collect();
        wait_until("the newcomers wait", || {
            metrics(addr).get("postern_connections{state=\"waiting\"}") == 2.0
        });
        are_under_way(&holders)?;
        let metrics = metrics(addr);
        assert_eq!(client::get(addr, "/livez", &[]).status, 200);
        assert_eq!(metrics.get("postern_connections{state=\"placed\"}"), 2.0);
        assert_eq!(metrics.get("postern_connection_places"), 2.0);
        stalled.release_all(&mut holders)?;
        Ok(())
    });
}

#[test]
fn a_crowd_at_it_takes_nothing_of_the_public_address() {
    let tenant = Tenant::start();
    let (postern, addr) = watched(Postern::builder(&tenant).env("MAX_CONNECTIONS", "1"));
    let mut public = Client::connect(postern.addr());
    assert_served(&mut public);
    let mut crowd: Vec<_> = (0..16).map(|_| Client::connect(addr)).collect();
    for client in &mut crowd {
        assert_eq!(client.request("GET", "/livez", &[]).status, 200);
    }
    // Its own places are taken: the next one gets that of the longest-waiting.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(client::get(addr, "/livez", &[]).status, 200);
    crowd[0].assert_closed();
    assert_served(&mut public);
    let metrics = metrics(addr);
    assert_eq!(metrics.get("postern_connections{state=\"placed\"}"), 1.0);
    assert_eq!(metrics.get("postern_connections_accepted_total"), 1.0);
    assert_eq!(metrics.get("postern_connections_evicted_total"), 0.0);
}
