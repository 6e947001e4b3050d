//! Runs wrk, the load generator, which must be installed, and reads its results.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::TempDir;

/// A load made by wrk: on each connection one request after another, as fast as the server
/// answers.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server's address.
    pub addr: SocketAddr,
    /// The path of the requests.
    pub path: &'static str,
    /// Connections at once, shared by two threads.
    pub connections: usize,
    /// How long it lasts.
    pub seconds: u64,
    /// After how many seconds wrk counts a missing answer as a timeout. It still waits for it.
    pub timeout: u64,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// Whether to speak TLS. wrk trusts any certificate and resumes sessions.
    pub tls: bool,
    /// A file with tokens, one per line, which are sent in turn.
    pub tokens: Option<PathBuf>,
}

/// wrk's results.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// How long the load lasted.
    pub seconds: f64,
    /// Answers, whatever their status.
    pub answers: u64,
    /// The bytes of all answers, including heads.
    pub bytes: u64,
    /// The median time to an answer, in milliseconds.
    pub p50_ms: f64,
    /// The time within which 99 % of the answers were received, in milliseconds.
    pub p99_ms: f64,
    /// The errors.
    pub errors: Errors,
}

/// Counts of errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errors {
    /// Answers with a status of 400 or more.
    pub status: u64,
    /// Connections that could not be made.
    pub connect: u64,
    /// Connections that ended before an answer.
    pub read: u64,
    /// Requests that could not be sent.
    pub write: u64,
    /// Answers that took longer than [`Load::timeout`].
    pub timeout: u64,
}

impl Summary {
    /// Answers per second with a status below 400.
    pub fn good_per_second(&self) -> f64 {
        (self.answers - self.errors.status) as f64 / self.seconds
    }
}

/// A running wrk. It is killed on drop.
#[derive(Debug)]
pub struct Wrk {
    child: Option<Child>,
    _script: TempDir,
}

impl Load {
    /// Starts wrk.
    pub fn start(&self) -> io::Result<Wrk> {
        let folder = TempDir::new();
        let script = folder.path().join("wrk.lua");
        fs::write(&script, include_str!("wrk.lua"))?;
        let threads = self.connections.min(2).to_string();
        let scheme = if self.tls { "https" } else { "http" };
        let child = Command::new("wrk")
            .env("WRK_THREADS", &threads)
            .args(["--threads", &threads])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{}s", self.seconds)])
            .args(["--timeout", &format!("{}s", self.timeout)])
            .arg("--script")
            .arg(script)
            .arg(format!("{scheme}://{}{}", self.addr, self.path))
            .arg("--")
            .arg(self.tokens.as_deref().unwrap_or(Path::new("-")))
            .args(self.close.then_some("close"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Wrk {
            child: Some(child),
            _script: folder,
        })
    }
}

impl Wrk {
    /// The process.
    pub fn child(&self) -> &Child {
        self.child.as_ref().expect("only `finish` takes it")
    }

    /// Waits until wrk has ended, and returns its results; if it failed, what it printed.
    pub fn finish(mut self) -> Result<Summary, String> {
        let child = self.child.take().expect("only `finish` takes it");
        let output = child
            .wait_with_output()
            .map_err(|error| format!("wrk: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("summary "));
        let summary = line.and_then(Summary::parse);
        let summary = summary.filter(|_| output.status.success());
        summary.ok_or_else(|| printed(&output))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only if it has been reaped already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Summary {
    fn parse(line: &str) -> Option<Summary> {
        let numbers: Option<Vec<u64>> = line.split(' ').map(|n| n.parse().ok()).collect();
        let numbers = <[u64; 10]>::try_from(numbers?).ok()?;
        let [micros, answers, bytes, p50, p99, ref errors @ ..] = numbers;
        let [status, connect, read, write, timeout] = *errors;
        Some(Summary {
            seconds: micros as f64 / 1e6,
            answers,
            bytes,
            p50_ms: p50 as f64 / 1e3,
            p99_ms: p99 as f64 / 1e3,
            errors: Errors {
                status,
                connect,
                read,
                write,
                timeout,
            },
        })
    }
}

fn printed(output: &Output) -> String {
    format!(
        "wrk: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
