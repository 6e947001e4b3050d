//! The load: wrk, and what it says of the answers.

use crate::plan::Condition;
use crate::processes;
use crate::{Result, said_by};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wrk.lua");

/// What wrk saw.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    pub seconds: f64,
    pub requests: u64,
    /// Of all answers, heads included.
    pub bytes: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// CPU seconds of wrk itself.
    pub cpu_seconds: f64,
}

/// Makes requests for `seconds`, with the tokens in this file if any. `meanwhile` is called once
/// they are being made, and shall return before the time is over.
pub fn make(
    condition: Condition,
    (addr, path): (SocketAddr, &str),
    tokens: Option<&Path>,
    seconds: u64,
    meanwhile: impl FnOnce(),
) -> Result<Summary> {
    let threads = condition.connections.min(2).to_string();
    let mut command = Command::new("wrk");
    command
        .env("WRK_THREADS", &threads)
        .args([
            "--threads",
            &threads,
            "--script",
            SCRIPT,
            "--timeout",
            "10s",
        ])
        .args(["--connections", &condition.connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg(format!("http://{addr}{path}"))
        .arg("--")
        .arg(tokens.unwrap_or(Path::new("-")))
        .args(condition.close.then_some("close"));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("wrk: {error}"))?;
    meanwhile();
    processes::wait_for_end(&child);
    let cpu_seconds = processes::cpu_seconds(child.id());
    let output = child.wait_with_output().map_err(|e| format!("wrk: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("summary "));
    let numbers: Option<Vec<u64>> =
        line.and_then(|line| line.split(' ').map(|n| n.parse().ok()).collect());
    match numbers.as_deref() {
        Some(&[micros, requests, bytes, p50, p99, ref errors @ ..]) if output.status.success() => {
            check_errors(errors)?;
            if requests == 0 {
                return Err("wrk got no answer at all".into());
            }
            Ok(Summary {
                seconds: micros as f64 / 1e6,
                requests,
                bytes,
                p50_ms: p50 as f64 / 1e3,
                p99_ms: p99 as f64 / 1e3,
                cpu_seconds,
            })
        }
        _ => Err(said_by("wrk", &output)),
    }
}

fn check_errors(errors: &[u64]) -> Result<()> {
    let kinds = [
        "answers with a status of 400 or more",
        "failures to connect",
        "failures to read",
        "failures to write",
        "timeouts",
    ];
    let seen: Vec<String> = errors
        .iter()
        .zip(kinds)
        .filter(|(count, _)| **count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    if seen.is_empty() {
        Ok(())
    } else {
        Err(format!("wrk saw {}", seen.join(", ")))
    }
}
