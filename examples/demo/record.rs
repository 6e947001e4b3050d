//! What happened, for the page: the lines that postern logged, and the exchanges that the relay
//! passed on. Only the latest of each are kept.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How many lines are kept, and how many exchanges.
const KEPT_LINES: usize = 500;
const KEPT_EXCHANGES: usize = 50;

/// A request and its answer, byte for byte.
#[derive(Debug, Clone, Serialize)]
pub struct Exchange {
    pub request: String,
    pub answer: String,
    /// The time until the answer was complete.
    pub micros: u64,
    /// The peer as postern sees and logs it.
    pub peer: String,
}

/// A place in the record: what came later than it is new.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Mark {
    pub exchange: usize,
    pub line: usize,
}

/// The record of both.
#[derive(Debug, Default)]
pub struct Record {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Tail<String>,
    exchanges: Tail<Exchange>,
    /// No more lines follow.
    has_ended: bool,
}

/// The latest of many.
#[derive(Debug)]
struct Tail<T> {
    kept: VecDeque<T>,
    /// How many there were before those that are kept.
    dropped: usize,
}

impl<T> Default for Tail<T> {
    fn default() -> Tail<T> {
        Tail {
            kept: VecDeque::new(),
            dropped: 0,
        }
    }
}

impl<T: Clone> Tail<T> {
    fn push(&mut self, item: T, most: usize) {
        if self.kept.len() == most {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(item);
    }

    fn count(&self) -> usize {
        self.dropped + self.kept.len()
    }

    fn since(&self, mark: usize) -> impl Iterator<Item = &T> {
        self.kept.iter().skip(mark.saturating_sub(self.dropped))
    }
}

impl Record {
    /// A line that postern has logged.
    pub fn log(&self, line: String) {
        self.lock().lines.push(line, KEPT_LINES);
        self.changed.notify_all();
    }

    /// Standard error of postern is closed.
    pub fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// An exchange that is complete.
    pub fn exchange(&self, exchange: Exchange) {
        self.lock().exchanges.push(exchange, KEPT_EXCHANGES);
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        let state = self.lock();
        Mark {
            exchange: state.exchanges.count(),
            line: state.lines.count(),
        }
    }

    /// The exchanges since a mark.
    pub fn exchanges(&self, since: Mark) -> Vec<Exchange> {
        let state = self.lock();
        state.exchanges.since(since.exchange).cloned().collect()
    }

    /// The lines since a mark, once they are enough, or after this time. `None` if they are not
    /// enough and no more follow.
    pub fn lines(
        &self,
        since: Mark,
        time: Duration,
        are_enough: impl Fn(&[String]) -> bool,
    ) -> Option<Vec<String>> {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let lines: Vec<String> = state.lines.since(since.line).cloned().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if are_enough(&lines) || left.is_zero() {
                return Some(lines);
            }
            if state.has_ended {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
