//! A process and all that descend from it, as `/proc` shows them.

use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How long a server may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

/// CPU seconds used so far by a process, its descendants, and those of them it has waited for.
pub fn cpu_seconds(root: u32) -> f64 {
    seconds(family(root).iter().map(|stat| stat.ticks).sum())
}

/// CPU seconds of the whole machine since it started.
#[derive(Debug, Clone, Copy)]
pub struct MachineSeconds {
    /// Those used by processes, and those that the machine's host did not give to it.
    pub used: f64,
    /// All there were.
    pub all: f64,
}

/// Reads them. `/proc/stat` alone would not do: kernels differ in whether what a process does on
/// the loopback interface is the process's time or nobody's.
pub fn machine_seconds() -> MachineSeconds {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let numbers = first.split_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user.
    let ticks: Vec<u64> = numbers.take(8).filter_map(|n| n.parse().ok()).collect();
    let stolen = ticks.get(7).copied().unwrap_or_default();
    let processes: u64 = everybody().iter().map(|stat| stat.ticks).sum();
    MachineSeconds {
        used: seconds(processes + stolen),
        all: seconds(ticks.iter().sum()),
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Resident memory (`VmRSS`) of a process and its descendants, in bytes. What they share is counted
/// for each of them.
pub fn resident_bytes(root: u32) -> u64 {
    let kib = |stat: &Stat| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", stat.pid)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    // One that has gone meanwhile uses none.
    1024 * family(root).iter().filter_map(kib).sum::<u64>()
}

/// Waits until a child has ended, but leaves it to be waited for: until then its `/proc` entry
/// tells what it used.
pub fn wait_for_end(child: &Child) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // Fails only when it is not our child any more, and so has ended.
    let _ = waitid(WaitId::Pid(pid(child.id())), options);
}

/// Asks a child to stop, then makes it and its descendants.
pub fn stop(child: &mut Child) {
    let family = family(child.id());
    let _ = kill_process(pid(child.id()), Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(2));
    }
    if matches!(child.try_wait(), Ok(None)) {
        for stat in &family {
            let _ = kill_process(pid(stat.pid), Signal::KILL);
        }
        let _ = child.wait();
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id as i32).expect("no process has the id 0")
}

/// A process and its descendants.
fn family(root: u32) -> Vec<Stat> {
    let mut rest = everybody();
    let mut family: Vec<Stat> = rest.extract_if(.., |stat| stat.pid == root).collect();
    let mut done = 0;
    while done < family.len() {
        let parent = family[done].pid;
        family.extend(rest.extract_if(.., |stat| stat.parent == parent));
        done += 1;
    }
    family
}

fn everybody() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which is in parentheses and may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // utime, stime, cutime, cstime.
    let ticks = fields
        .get(11..15)?
        .iter()
        .filter_map(|n| n.parse::<u64>().ok());
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks.sum(),
    })
}
