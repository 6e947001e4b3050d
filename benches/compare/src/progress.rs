//! How far a run is, on standard error: a line for each measurement that is done, and on a terminal
//! one for what is under way, which is overwritten. Nothing is written while a load is made.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The columns of a terminal that does not tell.
const COLUMNS: usize = 80;
/// How wide the bar is.
const BAR: usize = 16;
/// What a measurement takes besides the load: start, check, warm-up and stop of the server.
const OVERHEAD: Duration = Duration::from_millis(1500);

/// What standard error is fit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// The columns of a line that can be overwritten; none if it cannot.
    columns: Option<usize>,
    has_colours: bool,
}

impl Terminal {
    /// What it is.
    pub fn here() -> Terminal {
        let stderr = io::stderr();
        let columns = stderr.is_terminal().then(|| {
            let size = rustix::termios::tcgetwinsize(&stderr);
            size.map_or(0, |size| usize::from(size.ws_col))
        });
        let (term, no_colour) = (env::var_os("TERM"), env::var_os("NO_COLOR"));
        Terminal::with(columns, term.as_deref(), no_colour.as_deref())
    }

    /// Colours are for a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>).
    /// A terminal that says it is dumb gets lines only.
    fn with(columns: Option<usize>, term: Option<&OsStr>, no_colour: Option<&OsStr>) -> Terminal {
        let columns = columns.filter(|_| term.is_none_or(|term| term != "dumb"));
        Terminal {
            columns: columns.map(|columns| if columns == 0 { COLUMNS } else { columns }),
            has_colours: columns.is_some() && no_colour.is_none_or(OsStr::is_empty),
        }
    }

    /// This text in a colour (ECMA-48 §8.3.117), if it may have one.
    pub fn paint(self, colour: &str, text: impl Display) -> String {
        match self.has_colours {
            true => format!("\x1b[{colour}m{text}\x1b[m"),
            false => text.to_string(),
        }
    }
}

/// Colours.
pub const ERROR: &str = "1;31";
const RATE: &str = "1";
const WARNING: &str = "33";
const FAINT: &str = "2";

/// Says how far a run is. It erases what is under way on drop.
#[derive(Debug)]
pub struct Progress<W: Write> {
    out: W,
    terminal: Terminal,
    started: Instant,
    /// How many measurements there are in all rounds, and how many are done.
    all: usize,
    done: usize,
    /// How long a measurement takes until the first one is done.
    each: Duration,
    /// The columns taken by what is under way.
    shown: usize,
}

impl<W: Write> Progress<W> {
    pub fn new(out: W, terminal: Terminal) -> Progress<W> {
        Progress {
            out,
            terminal,
            started: Instant::now(),
            all: 0,
            done: 0,
            each: Duration::ZERO,
            shown: 0,
        }
    }

    /// A step of the preparation begins.
    pub fn prepare(&mut self, what: &str) {
        match self.terminal.columns {
            Some(_) => self.show(&format!("{what} ...")),
            None => self.line(&format!("{what} ...")),
        }
    }

    /// So many measurements begin, with a load of so many seconds each.
    pub fn start(&mut self, all: usize, seconds: u64) {
        self.started = Instant::now();
        self.all = all;
        self.each = Duration::from_secs(seconds) + OVERHEAD;
    }

    /// A measurement begins.
    pub fn begin(&mut self, name: &str) {
        if self.terminal.columns.is_some() {
            let full = BAR * self.done / self.all.max(1);
            let bar = "#".repeat(full) + &"-".repeat(BAR - full);
            let (number, far) = (self.done + 1, self.times(self.started.elapsed()));
            self.show(&format!("[{bar}] {number} of {}, {far}: {name}", self.all));
        }
    }

    /// It has ended, in this round. `others` is the part of the CPU time that others had.
    pub fn end(&mut self, name: &str, round: usize, per_second: f64, others: f64) {
        self.done += 1;
        let far = format!("{:>4} of {}, ", self.done, self.all);
        let far = far + &self.times(self.started.elapsed()) + &format!(", round {round}");
        let mut line = format!(
            "{}  {}  {name}",
            self.terminal.paint(FAINT, far),
            self.terminal
                .paint(RATE, format_args!("{per_second:7.0}/s"))
        );
        if others >= 0.1 {
            let note = format!("(others had {:.0} % of the CPU time)", 100.0 * others);
            line = format!("{line}  {}", self.terminal.paint(WARNING, note));
        }
        self.line(&line);
    }

    /// How much time has passed, and about how much is left.
    fn times(&self, elapsed: Duration) -> String {
        let rest = (self.all - self.done) as u32;
        let left = match self.done as u32 {
            0 => self.each * rest,
            done => elapsed * rest / done,
        };
        format!("{} passed, {} left", clock(elapsed), clock(left))
    }

    /// A line that stays.
    pub fn line(&mut self, line: &str) {
        self.clear();
        // A closed standard error does not end a comparison.
        let _ = writeln!(self.out, "{line}");
    }

    /// A line that is overwritten by the next one.
    fn show(&mut self, text: &str) {
        self.clear();
        // A full line would wrap.
        let most = self.terminal.columns.unwrap_or(COLUMNS).saturating_sub(1);
        let cut: String = text.chars().take(most).collect();
        self.shown = cut.chars().count();
        let _ = write!(self.out, "{cut}").and_then(|()| self.out.flush());
    }

    /// Erases what is under way, without an escape sequence for the sake of `NO_COLOR`.
    pub fn clear(&mut self) {
        if self.shown > 0 {
            let _ = write!(self.out, "\r{:1$}\r", "", self.shown);
            let _ = self.out.flush();
            self.shown = 0;
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests;
