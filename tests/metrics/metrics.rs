//! postern under those who watch it: promtool, Prometheus, HAProxy, curl. `tests/metrics/run` calls
//! this, in namespaces of its own. What docs/monitoring.md shows is used as it stands there, but for
//! addresses and intervals.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod haproxy;
mod page;
mod prometheus;
mod tools;

use std::panic;
use std::process::ExitCode;
use std::time::Instant;

type Scenario = (&'static str, fn());

const SCENARIOS: [Scenario; 7] = [
    (
        "promtool accepts the alert rules, and they fire when they should",
        prometheus::rules,
    ),
    (
        "promtool accepts the scrape configuration",
        prometheus::configuration,
    ),
    ("promtool accepts the metrics", prometheus::exposition),
    (
        "docs/monitoring.md has each family and no other",
        page::families,
    ),
    (
        "Prometheus scrapes a server, answers a query for each family, and an alert fires",
        prometheus::scrapes,
    ),
    (
        "a service waits until the server is ready",
        haproxy::waiting_service,
    ),
    (
        "HAProxy fails no request while its servers restart",
        haproxy::restarts,
    ),
];

fn main() -> ExitCode {
    for (what, scenario) in SCENARIOS {
        let started = Instant::now();
        let ended = panic::catch_unwind(scenario);
        let seconds = started.elapsed().as_secs_f64();
        if ended.is_err() {
            eprintln!("FAILED after {seconds:.1} s: {what}");
            return ExitCode::FAILURE;
        }
        println!("ok {seconds:5.1} s  {what}");
    }
    ExitCode::SUCCESS
}
