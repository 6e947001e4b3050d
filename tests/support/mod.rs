//! The base of the black-box tests, the benchmarks and the demo: a stand-in Auth0 tenant, its
//! tokens, a raw HTTP client and, for the tests, the spawned server.

// Only some of the tests need it.
#[allow(dead_code)]
pub mod admin;
pub mod besieged;
// Not all of its users need all kinds of keys.
#[allow(dead_code)]
pub mod certificates;
pub mod client;
pub mod contract;
pub mod crowd;
// The tests of the admin address use it.
#[allow(dead_code)]
pub mod exposition;
pub mod forge;
// Only the tests need it.
#[allow(dead_code)]
pub mod https;
pub mod key;
pub mod postern;
// The siege and the crowd use it.
#[allow(dead_code)]
pub mod record;
pub mod sockets;
pub mod tenant;
pub mod token;
// The crowd and the comparison use it.
#[allow(dead_code)]
pub mod unchecked;
pub mod usage;
pub mod verdict;
pub mod wall_clock;
// The crowd and the comparison use it.
#[allow(dead_code)]
pub mod wrk;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails: far more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `holds` returns true; panics if that takes longer than [`PATIENCE`]. `what`
/// describes the condition.
#[track_caller]
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, holds);
}

/// The same with another patience.
#[track_caller]
pub fn wait_until_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not in {patience:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A new, empty folder, removed with all it holds on drop.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes the folder; panics if the system's temporary folder is not writable.
    pub fn new() -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("postern-{}-{count}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return TempDir(path),
                // Left by a killed process that had the same id.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot make {}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Best effort: a leftover folder fails no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sets a flag when it goes out of scope, also by a panic, so that threads which check it end.
#[derive(Debug)]
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A value that threads change and wait for.
#[derive(Debug)]
struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    fn new(value: T) -> Watched<T> {
        Watched {
            value: Mutex::new(value),
            changed: Condvar::new(),
        }
    }

    /// Locks the value, even if a thread has panicked: that panic is reported anyway.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the value and wakes the threads that wait for it.
    fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `ready`, for any time.
    fn wait_until(&self, ready: impl Fn(&T) -> bool) -> MutexGuard<'_, T> {
        self.changed
            .wait_while(self.lock(), |value| !ready(value))
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until `ready`, for [`PATIENCE`] at most. Returns the value and whether it is ready.
    fn wait_bounded(&self, ready: impl Fn(&T) -> bool) -> (MutexGuard<'_, T>, bool) {
        let (guard, _) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |value| !ready(value))
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let is_ready = ready(&guard);
        (guard, is_ready)
    }
}
