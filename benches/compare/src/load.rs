//! The load: wrk, whose every answer must be the expected one.

use std::net::SocketAddr;
use std::path::Path;

use crate::Result;
use crate::plan::Condition;
use crate::processes;
use crate::support::wrk::{self, Errors, Summary};

/// After how many seconds an answer that has not come is a failure.
const TIMEOUT: u64 = 10;

/// Makes requests for `seconds`, with the tokens in this file if any. `meanwhile` is called once
/// they are being made, and shall return before the time is over. What wrk saw, and the CPU seconds
/// it used itself.
pub fn make(
    condition: Condition,
    (addr, path): (SocketAddr, &'static str),
    tokens: Option<&Path>,
    seconds: u64,
    meanwhile: impl FnOnce(),
) -> Result<(Summary, f64)> {
    let load = wrk::Load {
        addr,
        path,
        connections: condition.connections,
        seconds,
        timeout: TIMEOUT,
        close: condition.close,
        tls: condition.tls,
        tokens: tokens.map(Path::to_owned),
    };
    let wrk = load.start().map_err(|error| format!("wrk: {error}"))?;
    meanwhile();
    processes::wait_for_end(wrk.child());
    let cpu_seconds = processes::cpu_seconds(wrk.child().id());
    let summary = wrk.finish()?;
    check_errors(summary.errors)?;
    if summary.answers == 0 {
        return Err("wrk got no answer at all".into());
    }
    Ok((summary, cpu_seconds))
}

fn check_errors(errors: Errors) -> Result<()> {
    let kinds = [
        (errors.status, "answers with a status of 400 or more"),
        (errors.connect, "failures to connect"),
        (errors.read, "failures to read"),
        (errors.write, "failures to write"),
        (errors.timeout, "timeouts"),
    ];
    let seen: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    if seen.is_empty() {
        Ok(())
    } else {
        Err(format!("wrk saw {}", seen.join(", ")))
    }
}
