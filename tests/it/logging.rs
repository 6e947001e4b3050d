//! Standard error whose reader stops reading: requests are answered, the end is in time, and what
//! is missing from the log is told in it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::contract::PUBLIC;
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::{PATIENCE, wait_until};

const REQUESTS: usize = 2000;

/// A server whose standard error only the test reads.
struct Observed {
    postern: Postern,
    reader: Option<BufReader<File>>,
    /// The end that the server writes to: the same open file description as its standard error.
    writer: OwnedFd,
    _tenant: Tenant,
}

/// As a shell makes it, and as systemd does.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Pipe,
    Socket,
}

impl Observed {
    /// Starts a server and reads what it logs until it has keys, and has nothing more to say.
    fn start(kind: Kind) -> Observed {
        let (reader, writer): (OwnedFd, OwnedFd) = match kind {
            Kind::Pipe => {
                let (reader, writer) = std::io::pipe().unwrap();
                (reader.into(), writer.into())
            }
            Kind::Socket => {
                let (reader, writer) = UnixStream::pair().unwrap();
                (reader.into(), writer.into())
            }
        };
        let tenant = Tenant::start();
        let postern = Postern::builder(&tenant).stderr(writer.try_clone().unwrap());
        let mut observed = Observed {
            postern: postern.start(),
            reader: Some(BufReader::new(File::from(reader))),
            writer,
            _tenant: tenant,
        };
        observed.read_until(|line| line.contains(" fetched "));
        observed
    }

    /// Reads lines until one is the last; panics when that takes longer than [`PATIENCE`].
    fn read_until(
        &mut self,
        mut is_last: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Vec<String> {
        let mut reader = self.reader.take().expect("the last reading has ended");
        let (done, result) = mpsc::channel();
        thread::spawn(move || {
            let mut lines: Vec<String> = Vec::new();
            while !lines.last().is_some_and(|line| is_last(line)) {
                let mut line = String::new();
                reader.read_line(&mut line).expect("the log is UTF-8");
                assert!(line.ends_with('\n'), "cut off: {line:?}");
                lines.push(line);
            }
            let _ = done.send((lines, reader));
        });
        let (lines, reader) = result.recv_timeout(PATIENCE).expect("the last line");
        self.reader = Some(reader);
        lines
    }

    /// Asks for long paths that are not there, whose lines are more than anything can hold.
    fn request_without_a_reader(&self) -> Client {
        let mut client = Client::connect(self.postern.addr());
        for number in 0..REQUESTS {
            assert_eq!(client.request("GET", &path(number), &[]).status, 404);
        }
        client
    }

    /// The flags of the writing end, `O_NONBLOCK` among them.
    fn flags(&self) -> String {
        let path = format!("/proc/self/fdinfo/{}", self.writer.as_raw_fd());
        let info = fs::read_to_string(path).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.unwrap().trim().to_owned()
    }

    /// The end comes in time, whether or not anybody reads.
    fn assert_ends(mut self) {
        self.postern.signal("TERM");
        let signalled = Instant::now();
        assert_eq!(self.postern.wait_exit().code(), Some(0));
        let taken = signalled.elapsed();
        assert!(taken < Duration::from_secs(5), "{taken:?}");
    }
}

fn path(number: usize) -> String {
    format!("/{number:0>4}/{}", "x".repeat(240))
}

/// How many lines a line says are missing.
fn lost(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" log lines were lost")?;
    assert!(line.contains(" WARN  [postern::logging] "), "{line}");
    before.rsplit(' ').next()?.parse().ok()
}

#[test]
fn without_a_reader_all_requests_are_answered_and_the_end_is_in_time() {
    for kind in [Kind::Pipe, Kind::Socket] {
        let observed = Observed::start(kind);
        let flags = observed.flags();
        drop(observed.request_without_a_reader());
        assert_eq!(observed.postern.get(PUBLIC, &[]).status, 200);
        assert_eq!(observed.flags(), flags, "{kind:?}");
        observed.assert_ends();
    }
}

#[test]
fn a_reader_that_reads_again_learns_how_many_lines_are_missing_and_where() {
    for kind in [Kind::Pipe, Kind::Socket] {
        let mut observed = Observed::start(kind);
        let mut client = observed.request_without_a_reader();
        let mut lines = observed.read_until(|line| lost(line).is_some());
        // On the same connection: no line of an earlier request comes later.
        assert_eq!(client.request("GET", "/after", &[]).status, 404);
        drop(client);
        lines.extend(observed.read_until(|line| line.contains(" /after 404 ")));

        let mut next = 0;
        let mut missing = 0;
        for line in &lines {
            if let Some(lost) = lost(line) {
                missing += lost;
                next += lost;
            } else if line.contains("/xxx") {
                let request = format!(" GET {} 404 ", path(next));
                assert!(line.contains(&request), "{line}");
                assert!(line.contains("Z INFO  [postern"), "{line}");
                next += 1;
            }
        }
        assert!(missing > 0, "{kind:?}: nothing was lost");
        assert_eq!(next, REQUESTS, "{kind:?}: {missing} are missing");
        observed.assert_ends();
    }
}

#[test]
fn an_idle_server_wakes_no_thread_to_log() {
    let observed = Observed::start(Kind::Pipe);
    let tasks = format!("/proc/{}/task", observed.postern.pid());
    let named_log = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "log")
    };
    let mut tasks = fs::read_dir(tasks)
        .unwrap()
        .map(|task| task.unwrap().path());
    let task = tasks.find(named_log).expect("a thread that writes the log");
    let wakeups = || {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let line = |line: &str| {
            line.strip_prefix("voluntary_ctxt_switches:")
                .map(str::to_owned)
        };
        status.lines().find_map(line).unwrap()
    };
    let mut seen = wakeups();
    let mut since = Instant::now();
    wait_until("a second passes without a wakeup", || {
        let now = wakeups();
        if now != seen {
            seen = now;
            since = Instant::now();
        }
        since.elapsed() > Duration::from_secs(1)
    });
    observed.assert_ends();
}
