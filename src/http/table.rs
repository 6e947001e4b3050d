//! Connections by number, each behind a lock of its own.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// How many slots are allocated at once, when the first of them is needed.
const CHUNK: usize = 256;

/// Holds a connection that waits. While a worker serves the connection, the slot is empty.
#[derive(Debug)]
pub struct Slot<T> {
    /// Distinguishes successive connections with this number.
    pub generation: u32,
    /// The connection.
    pub value: Option<Box<T>>,
    /// When the timer of this number is due, if it is set.
    pub timer: Option<Instant>,
}

/// The slots. They never move, and are never freed.
#[derive(Debug)]
pub struct Table<T> {
    chunks: Box<[Chunk<T>]>,
}

type Chunk<T> = OnceLock<Box<[Mutex<Slot<T>>]>>;

impl<T> Table<T> {
    /// A table for numbers below `count`.
    pub fn new(count: usize) -> Table<T> {
        let chunks = (0..count.div_ceil(CHUNK)).map(|_| OnceLock::new());
        Table {
            chunks: chunks.collect(),
        }
    }

    /// The slot of a number, allocated if needed. `None` if the number is out of range.
    pub fn lock(&self, number: u32) -> Option<MutexGuard<'_, Slot<T>>> {
        let number = number as usize;
        let chunk = self.chunks.get(number / CHUNK)?;
        let slots = chunk.get_or_init(|| (0..CHUNK).map(|_| Mutex::new(Slot::default())).collect());
        // No change under the lock is left half done by a panic.
        let slot = slots[number % CHUNK].lock();
        Some(slot.unwrap_or_else(PoisonError::into_inner))
    }

    /// The numbers whose slots are allocated.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let made = self.chunks.iter().enumerate();
        made.filter(|(_, chunk)| chunk.get().is_some())
            .flat_map(|(at, _)| at * CHUNK..(at + 1) * CHUNK)
            .map(|number| number as u32)
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot {
            generation: 0,
            value: None,
            timer: None,
        }
    }
}
