//! Log lines on standard error: one per record, whatever its message holds, and no line ever stops
//! the server.
//!
//! [`simple_logger`] decides which records are printed. Its own output is not used: it panics when
//! the disk is full or the pipe is closed, and waits for a reader that has stopped. Here, control
//! characters are escaped, so that text from the network cannot forge a line or steer a terminal; a
//! line has a greatest length; and a thread of its own writes the lines (`queue.rs`).

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use simple_logger::SimpleLogger;
use time::OffsetDateTime;

use crate::escape::{Escaper, escape_into};

mod queue;
mod throttle;

use self::queue::{MAX_WRITE, Queue};
pub use self::throttle::{STRANGERS_LOG_INTERVAL, Throttle};

/// The libraries that log. Everything else is postern, or the program that it is a part of.
const LIBRARIES: [&str; 3] = ["rustls", "ureq", "ureq_proto"];

/// The greatest length of a message in bytes, its ellipsis included.
const MAX_MESSAGE: usize = 2000;

/// The greatest length of a text that [`complain`] prints: its line fits into one write.
const MAX_FAULT: usize = MAX_WRITE - 64;

thread_local! {
    /// The buffer for a line. It is taken out while a message is formatted, so that a `Display`
    /// that itself logs gets another one.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// The lines on their way to standard error.
static QUEUE: Queue = Queue::new(Duration::from_millis(20));

/// How long [`flush`] waits for a reader of standard error that reads nothing.
const READER_TIME: Duration = Duration::from_millis(200);

/// Sends the records of the `log` crate to standard error, from `level` on. They are written once
/// [`start`] has been called.
///
/// Records of postern's libraries appear from `warn` on only, unless `level` is `trace`. Under the
/// systemd journal, which notes the time itself, lines begin with their priority instead. A second
/// call changes nothing.
pub fn init(level: LevelFilter) {
    let others = match level {
        LevelFilter::Trace => LevelFilter::Trace,
        _ => level.min(LevelFilter::Warn),
    };
    let new = SimpleLogger::new().with_level(level);
    let filter = LIBRARIES.iter().fold(new, |filter, library| {
        filter.with_module_level(library, others)
    });
    let max_level = filter.max_level();
    let logger = Logger {
        filter,
        form: Form::of_stderr(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(max_level);
    }
}

/// Starts the thread that writes, unless it is running.
///
/// For a server, call it once the server has started: with glibc, each new thread takes up to
/// 64 MiB of address space, until the server has adapted to what there is.
///
/// # Errors
/// If the thread cannot be started. Then nothing is logged.
pub fn start() -> io::Result<()> {
    let form = Form::of_stderr();
    let is_file = stderr_metadata().is_some_and(|metadata| metadata.is_file());
    QUEUE.start(Stderr, is_file, move |lost, line| {
        let args = format_args!("{lost} log lines were lost: standard error did not take them");
        let record = Record::builder()
            .level(Level::Warn)
            .target(module_path!())
            .args(args)
            .build();
        form.print(&record, line);
    })
}

/// Makes every panic one line on standard error.
///
/// Call it before anything that can panic. The hook does not use `log`: a panic inside a panic hook
/// aborts the process.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        write_fault(&panic_message(info), MAX_MESSAGE);
        // It may be the last thing this process does.
        flush();
    }));
}

/// Tells why the program cannot go on: one line on standard error, whether or not [`init`] has been
/// called. Call [`flush`] before the process ends.
pub fn complain(text: &str) {
    write_fault(text, MAX_FAULT);
}

/// Waits until all lines are written. Gives up if the reader of standard error reads nothing for
/// 200 ms, and after 2 s in any case.
pub fn flush() {
    QUEUE.flush(READER_TIME);
}

/// How many lines were dropped since the start, because standard error did not take them.
pub fn dropped() -> u64 {
    QUEUE.dropped()
}

fn write_fault(text: &str, max_bytes: usize) {
    let priority = if stderr_is_journal() { "<3>" } else { "" };
    let mut line = format!("{priority}postern: ");
    escape_into(&mut line, text, max_bytes);
    line.push('\n');
    match start() {
        Ok(()) => QUEUE.push(&line),
        Err(_) => write_if_ready(&line),
    }
}

/// Writes a line if standard error takes it at once. For a process that can start no thread.
fn write_if_ready(line: &str) {
    let stderr = std::io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: READER_TIME.subsec_nanos().into(),
    };
    // A pipe that is ready takes `MAX_WRITE` bytes.
    if poll(&mut ready, Some(&time)).is_ok_and(|count| count > 0) {
        let _ = Stderr.write(line.as_bytes());
    }
}

/// Standard error without the lock of [`std::io::stderr`], which a write that waits would hold.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = std::io::stderr();
        loop {
            match rustix::io::write(&stderr, bytes) {
                // Another process that shares it has made it non-blocking.
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    form: Form,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A thread that is ending has no buffer any more.
        let mut line = BUFFER.try_with(Cell::take).unwrap_or_default();
        line.clear();
        self.form.print(record, &mut line);
        QUEUE.push(&line);
        let _ = BUFFER.try_with(|buffer| buffer.set(line));
    }

    fn flush(&self) {
        flush();
    }
}

/// What a line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// With its priority, for the journal.
    Journal,
    /// With the time, as simple_logger prints it.
    Timestamp,
}

impl Form {
    fn of_stderr() -> Form {
        match stderr_is_journal() {
            true => Form::Journal,
            false => Form::Timestamp,
        }
    }

    /// Appends the line of `record`.
    fn print(self, record: &Record<'_>, line: &mut String) {
        let (level, target) = (record.level(), record.target());
        let _ = match self {
            Form::Journal => write!(line, "{} ", priority(level)),
            Form::Timestamp => write!(line, "{} ", Timestamp(OffsetDateTime::now_utc())),
        };
        let _ = write!(line, "{level:<5} [{target}] ");
        let _ = Escaper::new(line, MAX_MESSAGE).write_fmt(*record.args());
        line.push('\n');
    }
}

/// How the journal is told the priority of a line (`sd-daemon(3)`).
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
/// both are compared with the descriptor's. If they cannot be, the variable alone decides.
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
    let metadata = stderr_metadata()?;
    Some((metadata.dev(), metadata.ino()))
}

fn stderr_metadata() -> Option<fs::Metadata> {
    // A duplicate, because a `File` closes what it holds.
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
    File::from(stderr).metadata().ok()
}

#[cfg(test)]
mod tests;
