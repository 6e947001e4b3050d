//! What the state of the keys has to say, as values: logged once the lock on it is released.

use std::time::Duration;

use log::Level;

use crate::auth::clock::BootTime;

/// The least time between two lines that strangers can cause by sending tokens.
const TOKEN_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A kind of line that a token can cause, if it causes the fetch that the line is about.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// When the last one was logged.
    logged: Option<BootTime>,
    /// How many have been left out since.
    left_out: u32,
}

impl Repeated {
    /// Whether to log one now, and then how many were left out before it.
    pub(super) fn next(&mut self, by_token: bool, now: BootTime) -> Option<u32> {
        let is_due = |logged| now.since(logged) >= TOKEN_LOG_INTERVAL;
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
    /// How much it matters.
    pub(super) level: Level,
    /// What it says.
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
