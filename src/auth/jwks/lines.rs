//! Log lines as values: collected under the lock of the key set, written after it is released.

use log::Level;

use crate::auth::clock::BootTime;
use crate::logging::STRANGERS_LOG_INTERVAL;

/// Limits how often a kind of line is logged when tokens cause it.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// When the last line was logged.
    logged: Option<BootTime>,
    /// How many lines have been left out since.
    left_out: u32,
}

impl Repeated {
    /// Returns `None` if the line is to be left out, else how many were left out before it. Only a
    /// line that a token caused is left out.
    pub(super) fn next(&mut self, by_token: bool, now: BootTime) -> Option<u32> {
        let is_due = |logged| now.since(logged) >= STRANGERS_LOG_INTERVAL;
        if by_token && !self.logged.is_none_or(is_due) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// A line for the log.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: String,
}

impl Line {
    pub(super) fn error(text: String) -> Line {
        let level = Level::Error;
        Line { level, text }
    }

    pub(super) fn warn(text: String) -> Line {
        let level = Level::Warn;
        Line { level, text }
    }

    pub(super) fn info(text: String) -> Line {
        let level = Level::Info;
        Line { level, text }
    }
}

pub(super) fn not_logged(count: u32) -> String {
    match count {
        0 => String::new(),
        count => format!(" {count} times before without a line;"),
    }
}
