//! What the commands print: lines with a verdict, fit for a terminal and for a file.

use std::fmt::{Arguments, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::escape::Escaper;

/// The longest text of a line, in bytes.
const MAX_TEXT: usize = 1000;
/// The longest text of what is waited for: to be overwritten, it must fit into a terminal's line.
const MAX_WAIT: usize = 75;
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
    /// The length of what is shown of it now, in bytes.
    waiting: AtomicUsize,
    has_failed: AtomicBool,
}

impl Output {
    /// Colours are for a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>).
    /// A terminal that says it is dumb gets lines of text only.
    pub(super) fn new() -> Output {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Output(Arc::new(Inner {
            has_colours: io::stdout().is_terminal() && !no_colour && !is_dumb,
            shows_waits: io::stderr().is_terminal() && !is_dumb,
            waiting: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// Whether a step has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Relaxed)
    }

    /// Says on a terminal what a slow step waits for, until the next line. How far that is stands
    /// in the column of verdicts.
    pub(super) fn wait(&self, how_far: &str, what: Arguments<'_>) {
        if self.0.shows_waits {
            self.end_wait();
            let mut line = format!("{how_far:WIDTH$}");
            let left = MAX_WAIT.saturating_sub(line.len());
            let _ = Escaper::new(&mut line, left).write_fmt(what);
            line.push_str(" ...");
            self.0.waiting.store(line.len(), Ordering::Relaxed);
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// The line is overwritten, without an escape sequence for the sake of `NO_COLOR`. No character
    /// takes more columns than bytes.
    fn end_wait(&self) {
        let length = self.0.waiting.swap(0, Ordering::Relaxed);
        if length > 0 {
            let _ = io::stderr().write_all(format!("\r{:length$}\r", "").as_bytes());
        }
    }

    /// A line of a step or a rule.
    pub(super) fn verdict(&self, verdict: Verdict, text: Arguments<'_>) {
        if verdict >= Verdict::Failed {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
        let word = format!("{:WIDTH$}", verdict.word());
        self.print(self.coloured(verdict, word), text);
    }

    /// The line that says how all ended: a word in the colour of a verdict, and the rest.
    pub(super) fn end(&self, verdict: Verdict, word: &str, text: Arguments<'_>) {
        self.print(self.coloured(verdict, word.to_owned()), text);
    }

    fn coloured(&self, verdict: Verdict, word: String) -> String {
        match self.0.has_colours {
            true => format!("\x1b[{}m{word}\x1b[m", verdict.colour()),
            false => word,
        }
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
