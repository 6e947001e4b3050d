//! Closed connections for which the kernel may still hold unsent answers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock::lock;

/// The close times of such connections.
#[derive(Debug)]
pub struct Orphans {
    max: usize,
    /// The kernel gives up on an answer after this time.
    write_timeout: Duration,
    closed: Mutex<VecDeque<Instant>>,
}

impl Orphans {
    /// Bounds them to `max` at a time.
    pub fn new(max: usize, write_timeout: Duration) -> Orphans {
        Orphans {
            max,
            write_timeout,
            closed: Mutex::default(),
        }
    }

    /// Whether a connection whose last answer was written at this time may leave it to the kernel.
    pub fn take(&self, last_answer: Instant) -> bool {
        let now = Instant::now();
        let is_over = |time: Instant| time + self.write_timeout < now;
        // If it was not acknowledged within that time, the kernel has ended the connection.
        if is_over(last_answer) {
            return true;
        }
        let mut closed = lock(&self.closed);
        while closed.front().is_some_and(|time| is_over(*time)) {
            closed.pop_front();
        }
        let is_one_more = closed.len() < self.max;
        if is_one_more {
            closed.push_back(now);
        }
        is_one_more
    }
}
