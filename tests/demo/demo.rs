//! The demo, as a new user sees it: what it prints, and its page in headless Chromium.
//! `tests/demo/run` calls this in namespaces of its own.
//!
//! With `--screenshots DIR` it makes two pictures of the page there.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod house;
mod keyboard;
mod looks;
mod page;
mod terminal;
mod visit;
mod webdriver;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

type Scenario = (&'static str, fn());

const SCENARIOS: [(&str, &[Scenario]); 4] = [
    ("terminal", terminal::SCENARIOS),
    ("page", page::SCENARIOS),
    ("keyboard", keyboard::SCENARIOS),
    ("looks", looks::SCENARIOS),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let folder = match args.as_slice() {
        [] => None,
        [flag, folder] if flag == "--screenshots" => Some(PathBuf::from(folder)),
        _ => {
            eprintln!("Usage: tests/demo/run [--screenshots DIR]");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    let mut run = |what: &str, scenario: &dyn Fn()| {
        let started = Instant::now();
        let ended = panic::catch_unwind(AssertUnwindSafe(scenario));
        let seconds = started.elapsed().as_secs_f64();
        let verdict = if ended.is_ok() { "ok" } else { "FAILED" };
        println!("  {verdict} {seconds:5.1} s  {what}");
        failed |= ended.is_err();
    };
    for (room, scenarios) in SCENARIOS {
        println!("{room}");
        for (what, scenario) in scenarios {
            run(what, scenario);
        }
    }
    if let Some(folder) = folder {
        run("makes screenshots", &|| looks::make_screenshots(&folder));
    }
    webdriver::end();
    match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
