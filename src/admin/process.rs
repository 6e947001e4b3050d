//! What this process uses.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::auth::Moment;
use crate::auth::clock::BootTime;

/// What this process uses at one moment. What cannot be found out is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Memory that is in RAM, in bytes.
    pub resident: Option<u64>,
    /// Address space, in bytes.
    pub address_space: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// How many of them there may be; none: any number.
    pub most_descriptors: Option<u64>,
    /// Processor time, in seconds.
    pub processor: f64,
    /// When it started, in seconds since 1970.
    pub started: f64,
}

impl Process {
    /// What it uses now.
    pub fn look() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let processor = clock_gettime(ClockId::ProcessCPUTime);
        // The folder is open itself while it is read.
        let descriptors = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64 - 1);
        Process {
            resident: field(&status, "VmRSS:").map(|kib| kib * 1024),
            address_space: field(&status, "VmSize:").map(|kib| kib * 1024),
            threads: field(&status, "Threads:"),
            descriptors: descriptors.ok(),
            most_descriptors: getrlimit(Resource::Nofile).current,
            processor: processor.tv_sec as f64 + processor.tv_nsec as f64 / 1e9,
            started: started(),
        }
    }
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// When this process has started, or nearly so.
static START: OnceLock<BootTime> = OnceLock::new();

/// Notes that this process starts now. Only the first note counts.
pub fn note_start() {
    START.get_or_init(BootTime::now);
}

/// When the process started, by the wall clock as it is now: it may have been set since. It is the
/// same each time until the clock is set, as a change would be taken for a restart.
fn started() -> f64 {
    /// The latest answer, in milliseconds.
    static TOLD: AtomicU64 = AtomicU64::new(0);
    /// The clock was set if the start moves by so much.
    const JUMP: u64 = 1_000;
    let now = Moment::now();
    let since_1970 = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let running = START
        .get()
        .map_or(Duration::ZERO, |start| now.boot.since(*start));
    let milliseconds = since_1970.saturating_sub(running).as_millis();
    let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
    if TOLD.load(Ordering::Relaxed).abs_diff(milliseconds) > JUMP {
        TOLD.store(milliseconds, Ordering::Relaxed);
    }
    TOLD.load(Ordering::Relaxed) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        note_start();
        let process = Process::look();
        assert!(process.resident.unwrap() > 100_000);
        assert!(process.address_space >= process.resident);
        assert!(process.threads.unwrap() >= 1);
        assert!(process.descriptors.unwrap() >= 3);
        assert!(process.processor > 0.0);
    }

    #[test]
    fn the_start_does_not_move() {
        note_start();
        let first = started();
        let now = Moment::now().wall.duration_since(UNIX_EPOCH).unwrap();
        assert!((first - now.as_secs_f64()).abs() < 3600.0);
        for _ in 0..1_000 {
            assert_eq!(started(), first);
        }
    }

    #[test]
    fn a_field_is_the_number_after_its_name() {
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(2048));
        assert_eq!(field(status, "Threads:"), Some(7));
        assert_eq!(field(status, "VmSize:"), None);
    }
}
