//! A bound on TLS handshakes, the most expensive thing that a stranger can ask for.
//!
//! While requests wait, at most half of the workers make handshakes at a time. The other
//! connections that want one are put off; each worker takes the next of them when it has finished
//! one.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lock::lock;

/// Connections are named by number and generation.
type Name = (u32, u32);

/// The workers that make handshakes, and the connections that are put off.
#[derive(Debug)]
pub struct Handshakes {
    /// How many may run while requests wait.
    most: usize,
    state: Mutex<State>,
    /// The length of [`State::put_off`], to be read without the lock.
    put_off: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Oldest first. While it is not empty, as many run as may.
    put_off: VecDeque<Name>,
}

impl Handshakes {
    /// A bound for so many workers.
    pub fn new(workers: usize) -> Handshakes {
        Handshakes {
            most: (workers / 2).max(1),
            state: Mutex::default(),
            put_off: AtomicUsize::new(0),
        }
    }

    /// Begins a handshake, unless as many run as may. Then call [`end`](Handshakes::end).
    pub fn begin(&self) -> bool {
        let mut state = lock(&self.state);
        let may = state.running < self.most;
        state.running += usize::from(may);
        may
    }

    /// Begins a handshake although as many run as may, because no request waits. Then call
    /// [`end`](Handshakes::end).
    pub fn begin_one_more(&self) {
        lock(&self.state).running += 1;
    }

    /// Puts a handshake off. If it may begin by now, begins it and returns false.
    pub fn put_off(&self, name: Name) -> bool {
        let mut state = lock(&self.state);
        let must_wait = state.running >= self.most;
        match must_wait {
            true => state.put_off.push_back(name),
            false => state.running += 1,
        }
        self.put_off.store(state.put_off.len(), Ordering::Relaxed);
        must_wait
    }

    /// Begins the handshake that was put off first, if it may. Then call
    /// [`end`](Handshakes::end).
    pub fn next(&self) -> Option<Name> {
        if self.put_off.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = lock(&self.state);
        if state.running >= self.most {
            return None;
        }
        let name = state.put_off.pop_front()?;
        state.running += 1;
        self.put_off.store(state.put_off.len(), Ordering::Relaxed);
        Some(name)
    }

    /// Ends a handshake, or its next part.
    pub fn end(&self) {
        lock(&self.state).running -= 1;
    }
}

#[cfg(test)]
mod tests;
