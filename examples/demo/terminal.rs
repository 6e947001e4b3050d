//! What the demo prints: colour on a terminal, plain text elsewhere.

use std::env;
use std::io::{self, IsTerminal, Write};

/// Colours for one stream.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// On if the stream is a terminal that can show them, and `NO_COLOR` is not set
    /// (<https://no-color.org>).
    pub fn of(stream: &impl IsTerminal) -> Paint {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint {
            is_on: stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb,
        }
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// A link stands out most.
    pub fn link(self, text: &str) -> String {
        self.with("1;4;36", text)
    }

    /// A line of postern's log: `2026-11-23T20:29:27.000Z INFO  [target] message`.
    pub fn log_line(self, line: &str) -> String {
        let parts = || {
            let (time, rest) = line.split_once(' ')?;
            let (level, rest) = rest.split_at_checked(5)?;
            let (target, message) = rest.strip_prefix(' ')?.split_once("] ")?;
            Some((time, level, format!("{target}]"), message))
        };
        let Some((time, level, target, message)) = parts() else {
            return line.to_owned();
        };
        let level = match level {
            "ERROR" => self.bad(level),
            "WARN " => self.with("33", level),
            _ => self.dim(level),
        };
        format!("{} {level} {} {message}", self.dim(time), self.dim(&target))
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.is_on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// The steps of the start, told on standard error if that is a terminal.
pub struct Steps {
    done: usize,
    all: usize,
    is_told: bool,
}

impl Steps {
    pub fn of(all: usize) -> Steps {
        Steps {
            done: 0,
            all,
            is_told: io::stderr().is_terminal(),
        }
    }

    /// The next step begins.
    pub fn begin(&mut self, what: &str) {
        self.done += 1;
        if self.is_told {
            let paint = Paint::of(&io::stderr());
            let count = paint.dim(&format!("[{}/{}]", self.done, self.all));
            complain(&format!("{count} {what}"));
        }
    }
}

/// To standard output, in one piece; a closed one stops nothing.
pub fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// A line to standard error; a closed one stops nothing.
pub fn complain(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
