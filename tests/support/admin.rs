//! The admin address of a server, as those who watch use it.

use std::net::SocketAddr;

use super::client::{self, Response};
use super::exposition::Metrics;
use super::postern::Postern;

/// The setting for any free port.
pub const ANY: (&str, &str) = ("ADMIN_LISTEN", "127.0.0.1:0");

/// The admin address of a server with [`ANY`], from its log.
pub fn admin_addr(postern: &Postern) -> SocketAddr {
    let line = postern.wait_for_log("health and metrics at http://");
    let (_, addr) = line.split_once("http://").expect("it was waited for");
    addr.parse().expect("an address")
}

/// What `/metrics` has at this address.
#[track_caller]
pub fn metrics(addr: SocketAddr) -> Metrics {
    Metrics::parse(scrape(addr).text())
}

/// The answer of `/metrics`.
#[track_caller]
pub fn scrape(addr: SocketAddr) -> Response {
    let response = client::get(addr, "/metrics", &[]);
    assert_eq!(response.status, 200, "{}", response.text());
    let content_type = response.header("Content-Type");
    let expected = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(content_type, Some(expected));
    response
}

/// The status and the line that `/readyz` answers.
#[track_caller]
pub fn readiness(addr: SocketAddr) -> (u16, String) {
    let response = client::get(addr, "/readyz", &[]);
    let line = response.text().strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "{line}");
    (response.status, line.to_owned())
}
