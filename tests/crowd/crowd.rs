//! postern and crowds: how many connections it keeps, what it makes of more than that, and what
//! that costs. `tests/crowd/run` calls this, in namespaces of its own, with the names of scenarios.

#[path = "../support/mod.rs"]
mod support;

mod asleep;
mod fetch;
mod house;
mod idle;
mod overload;
mod proxies;
mod start;
mod table;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use support::usage::raise_descriptor_limit;
use table::Table;

/// Measures something and adds rows to the table.
type Scenario = fn(&mut Table);

const SCENARIOS: [(&str, Scenario); 6] = [
    ("idle", idle::run),
    ("asleep", asleep::run),
    ("overload", overload::run),
    ("proxies", proxies::run),
    ("fetch", fetch::run),
    ("start", start::run),
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
    for (name, scenario) in SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            table.scenario(name);
            let ended = panic::catch_unwind(AssertUnwindSafe(|| scenario(&mut table)));
            if ended.is_err() {
                table.broken();
            }
        }
    }
    table.end()
}
