//! What the commands print: lines with a verdict, fit for a terminal and for a file.

use std::fmt::{Arguments, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::escape::Escaper;

/// The longest text of a line, in bytes.
const MAX_TEXT: usize = 1000;
/// The longest text of what is waited for: to be overwritten, it must fit into a terminal's line.
const MAX_WAIT: usize = 66;
/// How wide the column of verdicts is.
const WIDTH: usize = 9;

/// How a step or a rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Not tried, because something else failed.
    Skipped,
    /// Works, but somebody should look at it.
    Warning,
    /// Does not work.
    Failed,
    /// A token breaks this rule.
    Refused,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Skipped => "skipped",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
            Verdict::Refused => "REFUSED",
        }
    }

    /// Its colour on a terminal (ECMA-48 §8.3.117).
    fn colour(self) -> &'static str {
        match self {
            Verdict::Ok => "32",
            Verdict::Skipped => "2",
            Verdict::Warning => "33",
            Verdict::Failed | Verdict::Refused => "1;31",
        }
    }
}

/// Standard output, and standard error for what is waited for. If one of them is closed, it is not
/// an error.
#[derive(Debug, Clone)]
pub(super) struct Output(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whether verdicts are coloured.
    has_colours: bool,
    /// Whether what is waited for is shown.
    shows_waits: bool,
    /// Whether it is shown now.
    is_waiting: AtomicBool,
    has_failed: AtomicBool,
}

impl Output {
    /// Colours are for a terminal, unless `NO_COLOR` is set to something.
    pub(super) fn new() -> Output {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output(Arc::new(Inner {
            has_colours: io::stdout().is_terminal() && !no_colour,
            shows_waits: io::stderr().is_terminal(),
            is_waiting: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// Whether a step has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Relaxed)
    }

    /// Says on a terminal what a slow step waits for, until the next line.
    pub(super) fn wait(&self, what: Arguments<'_>) {
        if self.0.shows_waits {
            self.end_wait();
            self.0.is_waiting.store(true, Ordering::Relaxed);
            let mut line = " ".repeat(WIDTH);
            let _ = Escaper::new(&mut line, MAX_WAIT).write_fmt(what);
            line.push_str(" ...");
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// The line is overwritten.
    fn end_wait(&self) {
        if self.0.is_waiting.swap(false, Ordering::Relaxed) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// A line of a step or a rule.
    pub(super) fn verdict(&self, verdict: Verdict, text: Arguments<'_>) {
        if verdict >= Verdict::Failed {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
        let mut line = format!("{:WIDTH$}", verdict.word());
        if self.0.has_colours {
            line = format!("\x1b[{}m{line}\x1b[m", verdict.colour());
        }
        self.print(line, text);
    }

    /// A line below that of a step, with more about it.
    pub(super) fn more(&self, text: Arguments<'_>) {
        self.print(" ".repeat(WIDTH), text);
    }

    /// A line of text.
    pub(super) fn line(&self, text: Arguments<'_>) {
        self.print(String::new(), text);
    }

    fn print(&self, mut line: String, text: Arguments<'_>) {
        self.end_wait();
        let _ = Escaper::new(&mut line, MAX_TEXT).write_fmt(text);
        line.push('\n');
        let _ = io::stdout().write_all(line.as_bytes());
    }
}
