//! What the commands print: lines with a verdict, fit for a terminal and for a file.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::escape::Escaped;

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
    pub(super) fn wait(&self, what: impl Display) {
        if self.0.shows_waits {
            self.end_wait();
            self.0.is_waiting.store(true, Ordering::Relaxed);
            let what = what.to_string();
            let what = Escaped::new(&what, MAX_WAIT);
            let _ = write!(io::stderr(), "{:WIDTH$}{what} ...", "");
        }
    }

    /// The line is overwritten.
    fn end_wait(&self) {
        if self.0.is_waiting.swap(false, Ordering::Relaxed) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// A line of a step or a rule, and what is to be said of it below.
    pub(super) fn verdict(&self, verdict: Verdict, text: impl Display, more: &[String]) {
        if verdict >= Verdict::Failed {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
        let word = format!("{:WIDTH$}", verdict.word());
        let word = match self.0.has_colours {
            true => format!("\x1b[{}m{word}\x1b[m", verdict.colour()),
            false => word,
        };
        self.print(&word, &text.to_string());
        for text in more {
            self.print(&" ".repeat(WIDTH), text);
        }
    }

    /// A line of text.
    pub(super) fn line(&self, text: impl Display) {
        self.print("", &text.to_string());
    }

    fn print(&self, begin: &str, text: &str) {
        self.end_wait();
        let text = Escaped::new(text, MAX_TEXT);
        let _ = writeln!(io::stdout(), "{begin}{text}");
    }
}
