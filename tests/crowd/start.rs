//! A server that starts with keys on disk: how fast it answers, and what it takes when idle.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::house::{is_static, loopback};
use crate::support::admin::ANY;
use crate::support::besieged::MIB;
use crate::support::postern::{Postern, binary, free_addr};
use crate::support::record::ask_anew;
use crate::support::tenant::Tenant;
use crate::support::token::Token;
use crate::support::usage::settled_usage;
use crate::support::{PATIENCE, TempDir};
use crate::table::Table;

const STARTS: usize = 21;
/// The memory of this many is measured, too, when they are idle.
const SETTLED: usize = 3;
/// 2.3 MiB, with TLS in the binary.
const MOST_BYTES: f64 = 2_411_724.0;

pub fn run(table: &mut Table) {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    let mut times = Vec::new();
    let mut resident = 0;
    for number in 0..STARTS {
        let (postern, time) = start(&tenant, state.path(), &token, &[]);
        times.push(time);
        if number < SETTLED {
            resident = resident.max(settled_usage(postern.pid()).resident);
        }
    }
    times.sort();
    let median = times[STARTS / 2];
    let bound = Duration::from_millis(10);
    table.within("start to the first answer 200, median", Some(median), bound);

    let (watched, _) = start(&tenant, state.path(), &token, &[ANY]);
    let watched = settled_usage(watched.pid()).resident;
    let [resident, watched] = [resident, watched].map(|bytes| bytes as f64 / MIB as f64);
    let bytes = fs::metadata(binary()).expect("it has just run").len() as f64;
    if is_static() {
        table.at_most("VmRSS, idle", resident, 2.2, "MiB");
        table.at_most("VmRSS, idle, with an admin address", watched, 2.4, "MiB");
        table.at_most("binary", bytes, MOST_BYTES, "bytes");
    } else {
        table.tell("VmRSS, idle (not static)", &format!("{resident:.2} MiB"));
        table.tell(
            "VmRSS, idle, with an admin address (not static)",
            &format!("{watched:.2} MiB"),
        );
        table.tell("binary (not static)", &format!("{bytes} bytes"));
    }
}

/// Starts a server with these settings, and asks until it answers.
fn start(
    tenant: &Tenant,
    state: &Path,
    token: &str,
    settings: &[(&str, &str)],
) -> (Postern, Duration) {
    let addr = free_addr();
    let mut builder = Postern::builder(tenant)
        .state(state)
        .env("PORT", addr.port().to_string())
        .env("RUST_LOG", "warn");
    for (name, value) in settings {
        builder = builder.env(name, *value);
    }
    let started = Instant::now();
    let postern = builder.launch();
    while let Err(error) = ask_anew(loopback(1), addr, token) {
        assert!(started.elapsed() < PATIENCE, "no answer: {error}");
        thread::sleep(Duration::from_micros(200));
    }
    (postern, started.elapsed())
}
