//! A server without work does not wake up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::house::House;
use crate::support::usage::wake_ups;
use crate::support::{TempDir, wait_until};
use crate::table::Table;

const TIME: Duration = Duration::from_secs(60);
const MOST: f64 = 5.0;
/// What may wait, of the calls that a server makes.
const WAITS: &str = "trace=epoll_wait,epoll_pwait,epoll_pwait2,poll,ppoll,select,pselect6,futex,\
                     nanosleep,clock_nanosleep,read,recvfrom,recvmsg,accept,accept4,\
                     rt_sigtimedwait";

/// Two servers sleep at the same time, because strace wakes the one that it looks at.
pub fn run(table: &mut Table) {
    let [watched, traced] = [(); 2].map(|()| House::open(&[]));
    for house in [&watched, &traced] {
        house.settled_usage();
    }
    let trace = Trace::of(traced.postern.pid());
    let before = wake_ups(watched.postern.pid());
    thread::sleep(TIME);
    let after = wake_ups(watched.postern.pid());
    let waits = trace.finish();

    let woken = after.iter().map(|(thread, count)| {
        // One that was not there before has done all of it since.
        count - before.get(thread).copied().unwrap_or_default()
    });
    let woken: u64 = woken.sum();
    table.at_most(
        "wake-ups in 60 s (context switches)",
        woken as f64,
        MOST,
        "",
    );
    table.at_most("waits that ended in 60 s (strace)", waits as f64, MOST, "");
}

/// strace, at a process and all its threads. It is killed on drop.
struct Trace {
    strace: Child,
    output: PathBuf,
    /// When the waits that strace itself has ended have begun again.
    from: f64,
    _folder: TempDir,
}

impl Trace {
    fn of(pid: u32) -> Trace {
        let folder = TempDir::new();
        let output = folder.path().join("trace");
        let strace = Command::new("strace")
            .args(["-f", "-ttt", "-e", WAITS, "-p", &pid.to_string(), "-o"])
            .arg(&output)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed");
        wait_until("strace sees the process", || is_traced(pid));
        thread::sleep(Duration::from_secs(1));
        Trace {
            strace,
            output,
            from: now(),
            _folder: folder,
        }
    }

    /// How many waits have ended since; not those that end with the trace.
    fn finish(mut self) -> usize {
        let until = now();
        let ended = self.strace.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "strace has ended: {ended:?}");
        let killed = Command::new("kill")
            .args(["-s", "INT", &self.strace.id().to_string()])
            .status();
        assert!(killed.expect("`kill` is there on every Unix").success());
        self.strace.wait().expect("a child of ours");
        ended_waits(&self.output, self.from, until)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Both fail only when it has been reaped already.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn is_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a child of ours");
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// Lines are `THREAD TIME CALL(ARGUMENTS) = RESULT`. A call that is still going on when another
/// thread makes one ends in `<unfinished ...>`, and has a line of its own when it ends.
fn ended_waits(output: &Path, from: f64, until: f64) -> usize {
    let text = fs::read_to_string(output).expect("strace has written it");
    let is_meant = |line: &&str| {
        let time = line
            .split_whitespace()
            .nth(1)
            .and_then(|time| time.parse().ok());
        time.is_some_and(|time: f64| (from..until).contains(&time))
    };
    let lines = text.lines().filter(is_meant);
    lines.filter(|line| line.contains(" = ")).count()
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs_f64()
}
