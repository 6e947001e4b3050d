//! What a process uses, according to `/proc`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, wait_until};

/// What a process uses at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Anonymous memory in bytes: allocations and stacks, without the program.
    pub memory: u64,
    /// Resident memory in bytes, including the program.
    #[allow(dead_code)] // The siege and the crowd print it.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// What the process with this id uses; panics if there is none.
pub fn usage(pid: u32) -> Usage {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let field = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {path}"))
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a child of ours")
        .count();
    Usage {
        memory: field("RssAnon") * 1024,
        resident: field("VmRSS") * 1024,
        threads: field("Threads"),
        descriptors: descriptors as u64,
    }
}

/// The processor time used by the current threads of a process. Unlike the clock ticks in
/// `/proc/PID/stat`, it includes times shorter than a tick.
#[allow(dead_code)] // For the crowd.
pub fn processor_time(pid: u32) -> Duration {
    let nanoseconds = |folder: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(folder.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a child of ours");
    // A thread that has ended meanwhile is skipped.
    Duration::from_nanos(tasks.flatten().filter_map(nanoseconds).sum())
}

/// How often each thread of a process has gone to sleep, which is once per wake-up.
#[allow(dead_code)] // For the crowd.
pub fn wake_ups(pid: u32) -> BTreeMap<OsString, u64> {
    let count = |task: fs::DirEntry| -> Option<(OsString, u64)> {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((task.file_name(), line.trim().parse().ok()?))
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a child of ours");
    tasks.flatten().filter_map(count).collect()
}

/// Waits until the usage of a process is as wanted, and returns it. Panics if it never is.
pub fn wait_for_usage(pid: u32, wanted: impl Fn(Usage) -> bool) -> Usage {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let usage = usage(pid);
        if wanted(usage) {
            return usage;
        }
        assert!(Instant::now() < deadline, "stays at {usage:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The usage of a process after its number of threads has not changed for a second.
#[allow(dead_code)] // For the siege and the crowd.
pub fn settled_usage(pid: u32) -> Usage {
    let given_up = Instant::now() + PATIENCE;
    let mut since = Instant::now();
    let mut last = usage(pid);
    while since.elapsed() < Duration::from_secs(1) && Instant::now() < given_up {
        thread::sleep(Duration::from_millis(20));
        let now = usage(pid);
        if now.threads != last.threads {
            since = Instant::now();
        }
        last = now;
    }
    last
}

/// Waits until all threads of the process with this id sleep. A server that has sent an answer may
/// still have work to do for its connection.
pub fn wait_until_asleep(pid: u32) {
    let is_asleep = |task: io::Result<fs::DirEntry>| {
        let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
        // The state follows the name, which is in parentheses and may contain some. A thread that
        // has just ended does not run.
        stat.map_or(true, |stat| {
            let (_, rest) = stat.rsplit_once(')').expect("a name");
            rest.starts_with(" S")
        })
    };
    wait_until("all threads sleep", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a child of ours");
        tasks.into_iter().all(is_asleep)
    });
}

/// Raises this process's limit of descriptors as far as it may.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
}
