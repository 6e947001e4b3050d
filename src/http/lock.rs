//! A lock without poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex of this room. No change under one is left half done by a panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
