//! Deadlines of connections, earliest first.
//!
//! Each connection number has at most one deadline, which may be earlier than the real one. When it
//! is due, its connection checks the real one. So a deadline that moves into the future is not
//! updated here, and a request costs nothing.

use std::time::Instant;

/// Not in the heap.
const NONE: u32 = u32::MAX;

/// A binary heap with an index from numbers to entries.
#[derive(Debug, Default)]
pub struct Timers {
    heap: Vec<(Instant, u32)>,
    /// Where in `heap` each number is.
    positions: Vec<u32>,
}

impl Timers {
    /// Sets the deadline of `number` to `time`, unless it has an earlier one. Returns whether it is
    /// now the first.
    pub fn set(&mut self, number: u32, time: Instant) -> bool {
        let index = number as usize;
        if self.positions.len() <= index {
            self.positions.resize(index + 1, NONE);
        }
        let at = match self.positions[index] {
            NONE => {
                self.heap.push((time, number));
                self.heap.len() - 1
            }
            at if self.heap[at as usize].0 <= time => return false,
            at => {
                self.heap[at as usize].0 = time;
                at as usize
            }
        };
        self.rise(at) == 0
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(time, _)| *time)
    }

    /// Removes the first entry, if it is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (time, number) = *self.heap.first()?;
        if time > now {
            return None;
        }
        self.positions[number as usize] = NONE;
        let last = self.heap.pop()?;
        if !self.heap.is_empty() {
            self.heap[0] = last;
            self.sink(0);
        }
        Some(number)
    }

    /// Moves an entry up to its place. Returns its new index.
    fn rise(&mut self, mut at: usize) -> usize {
        let entry = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        self.put(at, entry);
        at
    }

    /// Moves an entry down to its place.
    fn sink(&mut self, mut at: usize) {
        let entry = self.heap[at];
        loop {
            let left = 2 * at + 1;
            let children = self.heap.get(left..(left + 2).min(self.heap.len()));
            let Some(child) = children.and_then(|children| children.iter().min()) else {
                break;
            };
            if entry.0 <= child.0 {
                break;
            }
            let below = self.positions[child.1 as usize] as usize;
            self.put(at, self.heap[below]);
            at = below;
        }
        self.put(at, entry);
    }

    fn put(&mut self, at: usize, entry: (Instant, u32)) {
        self.heap[at] = entry;
        self.positions[entry.1 as usize] = at as u32;
    }
}

#[cfg(test)]
mod tests;
