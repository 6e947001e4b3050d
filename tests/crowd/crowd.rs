//! postern and crowds: how many connections it keeps, what it makes of more than that, and what
//! that costs. `tests/crowd/run` calls this, in namespaces of its own, with the names of scenarios.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod asleep;
mod fetch;
mod handshakes;
mod house;
mod idle;
mod overload;
mod proxies;
mod start;
mod table;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use self::table::Table;
use crate::support::usage::raise_descriptor_limit;

/// Measures something and adds rows to the table.
type Part = fn(&mut Table);

/// The parts of each scenario. If one panics, the others are still measured.
const SCENARIOS: [(&str, &[Part]); 7] = [
    ("idle", &[idle::one_address, idle::four_addresses]),
    ("asleep", &[asleep::run]),
    ("overload", &[overload::public, overload::warm]),
    ("proxies", &[proxies::nginx, proxies::haproxy]),
    ("fetch", &[fetch::run]),
    ("start", &[start::run]),
    (
        "handshakes",
        &[
            handshakes::completed,
            handshakes::abandoned,
            handshakes::memory,
        ],
    ),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    let known = SCENARIOS.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("{unknown} is none of {}", known.join(", "));
        return ExitCode::from(64);
    }
    raise_descriptor_limit();
    let mut table = Table::begin();
    for (name, parts) in SCENARIOS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        table.scenario(name);
        for part in parts {
            if panic::catch_unwind(AssertUnwindSafe(|| part(&mut table))).is_err() {
                table.broken();
            }
        }
    }
    table.end()
}
