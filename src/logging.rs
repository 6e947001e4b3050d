//! Log lines on standard error, one per record whatever a message holds, and none of them able to
//! stop the server.
//!
//! [`simple_logger`] says which records are printed, and what a line looks like. It is written
//! here: control characters are escaped, so that nothing from the network can forge a line or steer
//! a terminal; a line has a greatest length, and goes out in one piece. simple_logger's `eprintln!`
//! makes two system calls of it, the second for the line break, and panics when the disk is full or
//! the pipe closed.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, PanicHookInfo};
use std::thread;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use time::OffsetDateTime;

use crate::escape::{Escaper, escape_into};

mod throttle;

pub use throttle::Throttle;

/// The greatest length of a message in bytes, its ellipsis included.
const MAX_MESSAGE: usize = 2000;

thread_local! {
    /// The buffer a message is escaped into; empty while a message is being written, so that a
    /// `Display` which itself logs gets a buffer of its own.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Sends the records of the `log` crate to standard error, those of postern from `level` on.
///
/// Records of dependencies appear from `warn` on only, unless `level` is `trace`. Under the
/// systemd journal, which notes the time itself, lines begin with their priority instead of it. A second call changes
/// nothing.
pub fn init(level: LevelFilter) {
    let others = match level {
        LevelFilter::Trace => LevelFilter::Trace,
        _ => level.min(LevelFilter::Warn),
    };
    let filter = SimpleLogger::new()
        .with_level(others)
        .with_module_level("postern", level);
    let max_level = filter.max_level();
    let logger = Logger {
        filter,
        for_journal: stderr_is_journal(),
        out: unlocked_stderr(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(max_level);
    }
}

/// Makes every panic one line on standard error.
///
/// To be called before anything that can panic. The hook never goes through `log`: a panic inside
/// a panic hook aborts the process.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        write_fault(&panic_message(info), MAX_MESSAGE);
    }));
}

/// Why the program cannot go on: one line on standard error, whether [`init`] has been called or
/// not. One that is full or closed changes nothing.
pub fn complain(text: &str) {
    write_fault(text, usize::MAX);
}

fn write_fault(text: &str, max_bytes: usize) {
    let priority = if stderr_is_journal() { "<3>" } else { "" };
    let mut line = format!("{priority}postern: ");
    escape_into(&mut line, text, max_bytes);
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn panic_message(info: &PanicHookInfo<'_>) -> String {
    let mut text = String::from("panic");
    let thread = thread::current();
    if let Some(name) = thread.name() {
        let _ = write!(text, " in thread {name}");
    }
    if let Some(location) = info.location() {
        let _ = write!(text, " at {location}");
    }
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let _ = write!(text, ": {message}");
    text
}

struct Logger {
    filter: SimpleLogger,
    for_journal: bool,
    /// Standard error; `None` when there was no descriptor left for a duplicate.
    out: Option<File>,
}

impl Logger {
    /// The line of `record`, as simple_logger prints it.
    fn print(&self, record: &Record<'_>, line: &mut String) {
        let (level, target) = (record.level(), record.target());
        let _ = match self.for_journal {
            true => write!(line, "{} ", priority(level)),
            false => write!(line, "{} ", Timestamp(OffsetDateTime::now_utc())),
        };
        let _ = write!(line, "{level:<5} [{target}] ");
        let _ = Escaper::new(line, MAX_MESSAGE).write_fmt(*record.args());
        line.push('\n');
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A thread that is ending may have lost its buffer already.
        let mut line = BUFFER.try_with(Cell::take).unwrap_or_default();
        line.clear();
        self.print(record, &mut line);
        // One system call, as a line is shorter than what a pipe takes at once; a second one, for
        // the line break, made a request take a tenth more processor time with the log in a file,
        // a fifth with a pipe. A standard error that cannot be written stops nothing.
        let _ = match &self.out {
            Some(out) => (&mut &*out).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        let _ = BUFFER.try_with(|buffer| buffer.set(line));
    }

    fn flush(&self) {}
}

/// What the journal reads a line's priority from (`sd-daemon(3)`).
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// `2026-11-23T20:29:27.000Z`
struct Timestamp(OffsetDateTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second, milli) = self.0.to_hms_milli();
        let month = u8::from(month);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// Whether standard error goes to the systemd journal: `JOURNAL_STREAM` names its device and
/// inode (`systemd.exec(5)`). A child with a redirected standard error inherits the variable, so
/// the two are compared; where they cannot be, the variable alone decides.
pub fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM").filter(|stream| !stream.is_empty())
    else {
        return false;
    };
    match (stream.to_str().and_then(device_and_inode), stderr_inode()) {
        (Some(named), Some(actual)) => named == actual,
        _ => true,
    }
}

fn device_and_inode(stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn stderr_inode() -> Option<(u64, u64)> {
    let metadata = unlocked_stderr()?.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Standard error without the lock that `std::io::stderr` takes. The system keeps the one write of a
/// line whole by itself; a lock held meanwhile makes the threads wait for each other, which cost a
/// request 8 % more processor time with 64 connections and the log in a file.
fn unlocked_stderr() -> Option<File> {
    // A duplicate, because a `File` closes what it holds.
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    stderr.ok().map(File::from)
}

#[cfg(test)]
mod tests;
