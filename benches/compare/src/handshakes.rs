//! The load of TLS handshakes, and whether the servers count them as the clients do.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::{Condition, Load};
use crate::processes;
use crate::servers::Running;
use crate::support::PATIENCE;
use crate::support::wrk::{Errors, Summary};
use crate::{Result, said_by};

/// How many connections each client makes for a server to count.
const COUNTED: usize = 20;

/// Makes handshakes for `seconds`. `meanwhile` is called once they are being made, and shall return
/// before the time is over. What the clients saw, and the CPU seconds they used themselves.
pub fn make(
    condition: Condition,
    addr: SocketAddr,
    load: Load,
    seconds: u64,
    meanwhile: impl FnOnce(),
) -> Result<(Summary, f64)> {
    let clients = Clients::start(condition, addr, load, &format!("{seconds}s"))?;
    meanwhile();
    clients.finish()
}

/// Makes some handshakes of a server that logs their kinds, and compares. The server's counts.
pub fn check(running: &Running, condition: Condition, load: Load) -> Result<String> {
    let before = settled(running);
    Clients::start(condition, running.addr(), load, &COUNTED.to_string())?.finish()?;
    let clients = condition.connections;
    let wanted = match load {
        Load::FullHandshakes => Counts {
            full: COUNTED * clients,
            resumed: 0,
        },
        // Each client makes one full handshake for its first ticket.
        _ => Counts {
            full: clients,
            resumed: COUNTED * clients,
        },
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = Counts::of(&running.logged()).since(before);
        let text = format!("{} full, {} resumed", counts.full, counts.resumed);
        if counts == wanted {
            return Ok(text);
        }
        // A line may be written after the client has gone.
        if Instant::now() > deadline || counts.all() >= wanted.all() {
            return Err(format!("the server counted {text}, not {wanted:?}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The server's counts once it has logged the handshakes of its start, which may take a moment.
fn settled(running: &Running) -> Counts {
    loop {
        let before = Counts::of(&running.logged());
        thread::sleep(Duration::from_millis(250));
        if Counts::of(&running.logged()) == before {
            return before;
        }
    }
}

/// Handshakes of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    full: usize,
    resumed: usize,
}

impl Counts {
    /// Those in a log. nginx's line has nothing else.
    fn of(log: &str) -> Counts {
        let count = |postern: &str, nginx: &str| {
            let is_one = |line: &&str| line.ends_with(postern) || *line == nginx;
            log.lines().filter(is_one).count()
        };
        Counts {
            full: count("TLS handshake: TLSv1_3, Full", "TLSv1.3 ."),
            resumed: count("TLS handshake: TLSv1_3, Resumed", "TLSv1.3 r"),
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            full: self.full - before.full,
            resumed: self.resumed - before.resumed,
        }
    }

    fn all(self) -> usize {
        self.full + self.resumed
    }
}

/// The program that makes handshakes. It is killed on drop.
struct Clients(Option<Child>);

impl Clients {
    fn start(condition: Condition, addr: SocketAddr, load: Load, end: &str) -> Result<Clients> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let kind = match load {
            Load::FullHandshakes => "full",
            _ => "resumed",
        };
        let (addr, clients) = (addr.to_string(), condition.connections.to_string());
        let child = Command::new(this.with_file_name("handshakes"))
            .args([&*addr, kind, &clients, end])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("handshakes: {error}"))?;
        Ok(Clients(Some(child)))
    }

    fn finish(mut self) -> Result<(Summary, f64)> {
        let child = self.0.take().expect("only `finish` takes it");
        processes::wait_for_end(&child);
        let cpu_seconds = processes::cpu_seconds(child.id());
        let output = child
            .wait_with_output()
            .map_err(|error| format!("handshakes: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("summary "));
        let summary = line.and_then(parse).filter(|_| output.status.success());
        let summary = summary.ok_or_else(|| said_by("handshakes", &output))?;
        if summary.answers == 0 {
            return Err("no handshake was made at all".into());
        }
        Ok((summary, cpu_seconds))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Both fail only when it has been reaped already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Microseconds, handshakes, and the median and the 99th percentile of their microseconds.
fn parse(line: &str) -> Option<Summary> {
    let numbers: Option<Vec<u64>> = line.split(' ').map(|n| n.parse().ok()).collect();
    let [micros, answers, p50, p99] = numbers?.try_into().ok()?;
    Some(Summary {
        seconds: micros as f64 / 1e6,
        answers,
        bytes: 0,
        p50_ms: p50 as f64 / 1e3,
        p99_ms: p99 as f64 / 1e3,
        // The first one ends the program.
        errors: Errors::default(),
    })
}
