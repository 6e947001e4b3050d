//! Log lines on standard error, one per record whatever a message holds, and none of them able to
//! stop the server.
//!
//! [`simple_logger`] says which records are printed, and what a line looks like. It is written
//! here: control characters are escaped, so that nothing from the network can forge a line or steer
//! a terminal; a line has a greatest length, and goes out in one piece. simple_logger's `eprintln!`
//! makes two system calls of it, the second for the line break, and panics when the disk is full or
//! the pipe closed.

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::{
    cell::Cell,
    fmt::{self, Write as _},
    fs::File,
    io::Write as _,
    os::{fd::AsFd, unix::fs::MetadataExt},
    panic::{self, PanicHookInfo},
    thread,
};
use time::OffsetDateTime;

/// The greatest length of a message in bytes, its ellipsis included.
const MAX_MESSAGE: usize = 2000;

const ELLIPSIS: char = '…';

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

/// Appends `text` to `out` with its control characters escaped, in at most `max_bytes` bytes.
///
/// Escaped are C0 (`\n`, `\r`, `\t`, `\0`, else `\x1b`), DEL, C1, the line separators U+2028 and
/// U+2029, and the invisible characters that reorder or hide text (`\u{202e}`). Text that does
/// not fit is cut between two characters, never inside an escape, and ends in `…`, which counts.
pub fn escape_into(out: &mut String, text: &str, max_bytes: usize) {
    Escaper::new(out, max_bytes).push(text);
}

/// Text from the network as a log line shows it: escaped and cut, as by [`escape_into`].
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max_bytes: usize,
}

impl<'a> Escaped<'a> {
    /// `text` in at most `max_bytes` bytes.
    pub fn new(text: &'a str, max_bytes: usize) -> Self {
        Escaped { text, max_bytes }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.len() <= self.max_bytes && self.text.bytes().all(is_plain) {
            return f.write_str(self.text);
        }
        let mut escaped = String::new();
        escape_into(&mut escaped, self.text, self.max_bytes);
        f.write_str(&escaped)
    }
}

/// Whether a byte stands for itself in a log line.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Escapes what is formatted through it, and drops what no longer fits.
struct Escaper<'a> {
    out: &'a mut String,
    /// The length `out` may reach.
    limit: usize,
    /// The greatest length reached so far that leaves room for the ellipsis.
    cut: usize,
    full: bool,
}

impl<'a> Escaper<'a> {
    fn new(out: &'a mut String, max_bytes: usize) -> Self {
        Escaper {
            limit: out.len().saturating_add(max_bytes),
            cut: out.len(),
            out,
            full: false,
        }
    }

    fn push(&mut self, text: &str) {
        let room = self.limit - self.out.len();
        // Nearly every message: nothing to escape, and room for it and an ellipsis to come.
        if !self.full && text.bytes().all(is_plain) && text.len() + ELLIPSIS.len_utf8() <= room {
            self.out.push_str(text);
            self.cut = self.out.len();
            return;
        }
        for character in text.chars() {
            if self.full {
                return;
            }
            self.push_char(character);
        }
    }

    fn push_char(&mut self, character: char) {
        let _ = match character {
            '\n' => self.out.write_str("\\n"),
            '\r' => self.out.write_str("\\r"),
            '\t' => self.out.write_str("\\t"),
            '\0' => self.out.write_str("\\0"),
            _ if character.is_control() => write!(self.out, "\\x{:02x}", u32::from(character)),
            _ if misleads(character) => write!(self.out, "\\u{{{:x}}}", u32::from(character)),
            _ => self.out.write_char(character),
        };
        if self.out.len() > self.limit {
            self.full = true;
            self.out.truncate(self.cut);
            if self.cut + ELLIPSIS.len_utf8() <= self.limit {
                self.out.push(ELLIPSIS);
            }
        } else if self.out.len() + ELLIPSIS.len_utf8() <= self.limit {
            self.cut = self.out.len();
        }
    }
}

impl fmt::Write for Escaper<'_> {
    /// Never fails, full or not: some `Display` implementations panic when a write does.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// Whether a character ends a line, reorders the text around it or cannot be seen.
fn misleads(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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
mod tests {
    use super::*;

    fn escape(text: &str, max_bytes: usize) -> String {
        let mut out = String::new();
        escape_into(&mut out, text, max_bytes);
        out
    }

    #[test]
    fn control_characters_are_escaped() {
        let cases = [
            ("", ""),
            (
                "GET /api/messages/public 200",
                "GET /api/messages/public 200",
            ),
            ("a\nb\r\tc\0", r"a\nb\r\tc\0"),
            ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
            ("\x7f", r"\x7f"),
            ("\u{80}\u{85}\u{9b}31m", r"\x80\x85\x9b31m"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            (
                "\u{202e}gnp\u{200b}\u{feff}",
                r"\u{202e}gnp\u{200b}\u{feff}",
            ),
            ("Zürich 東京", "Zürich 東京"),
        ];
        for (text, expected) in cases {
            assert_eq!(escape(text, 2000), expected, "{text:?}");
        }
    }

    #[test]
    fn every_character_of_unicode_gives_one_printable_line() {
        for character in '\0'..=char::MAX {
            let escaped = escape(&character.to_string(), 20);
            assert!(!escaped.chars().any(char::is_control), "{character:?}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let cases = [
            ("12345678", 8, "12345678"),
            ("123456789", 8, "12345…"),
            ("üüüü", 8, "üüüü"),
            ("üüüüü", 8, "üü…"),
            // An escape is left out whole.
            ("1234\n\n\n", 8, "1234…"),
            ("\n\n\n\n", 8, r"\n\n\n\n"),
            ("\n\n\n\n\n", 8, r"\n\n…"),
            ("1234", 3, "…"),
            // No room even for the ellipsis.
            ("1234", 2, ""),
            ("1", 0, ""),
            ("", 0, ""),
        ];
        for (text, max_bytes, expected) in cases {
            let escaped = escape(text, max_bytes);
            assert_eq!(escaped, expected, "{text:?} in {max_bytes}");
            assert!(escaped.len() <= max_bytes);
        }
    }

    #[test]
    fn the_limit_counts_what_is_appended() {
        let mut out = String::from("path ");
        escape_into(&mut out, "123456789", 8);
        assert_eq!(out, "path 12345…");
        escape_into(&mut out, "abc", usize::MAX);
        assert_eq!(out, "path 12345…abc");
    }

    #[test]
    fn a_message_written_in_pieces_is_cut_once() {
        let mut out = String::new();
        let mut escaper = Escaper::new(&mut out, 8);
        for piece in ["12345", "67", "89", "and more", "\n"] {
            escaper.write_str(piece).unwrap();
        }
        assert_eq!(out, "12345…");
    }

    #[test]
    fn journal_stream_is_read() {
        assert_eq!(device_and_inode("9:12345"), Some((9, 12345)));
        for wrong in ["", "9", "9:", ":1", "a:b", "9:1:2"] {
            assert_eq!(device_and_inode(wrong), None, "{wrong}");
        }
    }

    fn line(for_journal: bool, level: Level, message: &str) -> String {
        let filter = SimpleLogger::new();
        let logger = Logger {
            filter,
            for_journal,
            out: None,
        };
        let mut line = String::new();
        logger.print(
            &Record::builder()
                .level(level)
                .target("postern::x")
                .args(format_args!("{message}"))
                .build(),
            &mut line,
        );
        line
    }

    #[test]
    fn lines_for_the_journal_begin_with_their_priority() {
        for (level, begin) in [
            (Level::Error, "<3> ERROR"),
            (Level::Warn, "<4> WARN "),
            (Level::Info, "<6> INFO "),
            (Level::Debug, "<7> DEBUG"),
            (Level::Trace, "<7> TRACE"),
        ] {
            let expected = format!("{begin} [postern::x] a\\nb\n");
            assert_eq!(line(true, level, "a\nb"), expected);
        }
    }

    #[test]
    fn other_lines_begin_with_the_time() {
        let line = line(false, Level::Info, "a message");
        let (time, rest) = line.split_at("2026-11-23T20:29:27.000Z".len());
        assert_eq!(rest, " INFO  [postern::x] a message\n");
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
        let at = |seconds| Timestamp(OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        assert_eq!(at(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_795_465_767).to_string(), "2026-11-23T20:29:27.000Z");
    }

    #[test]
    fn a_message_has_its_greatest_length_whatever_stands_before_it() {
        let long = "x".repeat(3 * MAX_MESSAGE);
        for for_journal in [true, false] {
            let line = line(for_journal, Level::Info, &long);
            let (_, message) = line.split_once("] ").unwrap();
            assert_eq!(message.trim_end().len(), MAX_MESSAGE);
            // `PIPE_BUF`: what a pipe of Linux takes in one piece.
            assert!(line.len() < 4096);
        }
    }
}
