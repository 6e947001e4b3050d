//! Measures heap use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicIsize};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static PAUSED: AtomicBool = AtomicBool::new(true);

/// The system's allocator, counting what is [counted]. For one thread.
pub struct Counting;

fn count(change: isize) {
    if !PAUSED.load(Relaxed) {
        let live = LIVE.fetch_add(change, Relaxed) + change;
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there while one is copied to the other.
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Begins to count from nothing.
pub fn reset() {
    LIVE.store(0, Relaxed);
    PEAK.store(0, Relaxed);
}

/// How many of the bytes counted since [`reset`] are allocated now.
pub fn live() -> isize {
    LIVE.load(Relaxed)
}

/// The most bytes that were allocated at once since [`reset`].
pub fn peak() -> isize {
    PEAK.load(Relaxed)
}

/// Runs `run`, and counts what it allocates and frees.
pub fn counted<T>(run: impl FnOnce() -> T) -> T {
    with_paused(false, run)
}

/// Runs `run` without counting: for what only the fuzz target allocates, and keeps.
pub fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    with_paused(true, run)
}

fn with_paused<T>(paused: bool, run: impl FnOnce() -> T) -> T {
    let before = PAUSED.swap(paused, Relaxed);
    let result = run();
    PAUSED.store(before, Relaxed);
    result
}
