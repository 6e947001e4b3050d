//! A bound on how often one kind of line is logged.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines of a kind that anybody can cause: clients, and tokens.
pub const STRANGERS_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line through per interval, and counts the others.
///
/// For lines that a peer can cause as often as it likes. Use one `static` for each kind of line.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the latest line was let through.
    passed: Option<Instant>,
    /// Lines left out since.
    left_out: u64,
}

impl Throttle {
    /// At most one line per `interval`. The first one passes.
    pub const fn new(interval: Duration) -> Throttle {
        Throttle {
            interval,
            state: Mutex::new(State {
                passed: None,
                left_out: 0,
            }),
        }
    }

    /// Whether a line may be logged at `now`: `Some` with the number of lines left out since the
    /// latest one that passed, or `None` if this one is to be left out, too.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        // Nothing panics under the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |passed| now.saturating_duration_since(passed) < self.interval;
        if state.passed.is_some_and(is_early) {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.passed = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests;
