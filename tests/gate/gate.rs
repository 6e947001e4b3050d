//! The gate behind real proxies, with the configurations that docs/gate.md names. `tests/gate/run`
//! calls this in namespaces of its own.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod backend;
mod house;
mod proxies;
mod scenarios;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use self::house::House;
use self::proxies::KINDS;
use self::scenarios::SCENARIOS;

fn main() -> ExitCode {
    let mut failed = false;
    for kind in &KINDS {
        println!("{}", kind.name);
        let mut house = House::open(kind);
        for (what, scenario) in SCENARIOS {
            let started = Instant::now();
            let ended = panic::catch_unwind(AssertUnwindSafe(|| scenario(&mut house)));
            let seconds = started.elapsed().as_secs_f64();
            if ended.is_err() {
                eprintln!("FAILED after {seconds:.1} s: {what}");
                eprintln!("{}", house.proxy.log());
                failed = true;
                break;
            }
            println!("  ok {seconds:5.1} s  {what}");
        }
    }
    match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
