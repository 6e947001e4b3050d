//! Worker threads: reused, started on demand, ended when idle.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use log::warn;

/// Address space for a thread's stack, of which a connection touches a few pages.
pub const STACK_SIZE: usize = 256 * 1024;
/// How long a thread waits for more work before it ends.
const MAX_IDLE: Duration = Duration::from_secs(10);

/// What a worker does.
pub type Job = Box<dyn FnOnce() + Send>;

/// A pool of worker threads. The last one never ends, so that a host that has run out of threads is
/// served slowly rather than not at all.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    max_threads: usize,
}

struct Shared {
    state: Mutex<State>,
    queued: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("max_threads", &self.max_threads)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of at most `max_threads`, one of them started if that is possible now.
    pub fn new(max_threads: usize) -> Pool {
        let pool = Pool {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                queued: Condvar::new(),
            }),
            max_threads,
        };
        if let Err(error) = pool.add_thread() {
            warn!("no thread for connections yet: {error}");
        }
        pool
    }

    /// Has `job` done, by a thread that is idle or a new one.
    ///
    /// # Errors
    /// When no thread is idle and none can be started. The job stays queued for the next thread
    /// that is free; [`take_back`](Pool::take_back) gets it out again.
    pub fn execute(&self, job: Job) -> io::Result<()> {
        let mut state = self.lock();
        state.jobs.push_back(job);
        // At the greatest number of threads one is about to be free: there are no more connections
        // than threads, and the new one counts.
        if state.idle >= state.jobs.len() || state.threads >= self.max_threads {
            self.shared.queued.notify_one();
            return Ok(());
        }
        drop(state);
        self.add_thread()
    }

    /// The job last queued, when no thread has begun it.
    pub fn take_back(&self) -> Option<Job> {
        self.lock().jobs.pop_back()
    }

    fn add_thread(&self) -> io::Result<()> {
        // Counted before it runs, so that it never counts itself out first.
        self.lock().threads += 1;
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK_SIZE);
        let started = thread.spawn(move || work(&shared)).map(drop);
        started.inspect_err(|_| self.lock().threads -= 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock, and nothing under it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a worker.
fn work(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // The panic hook has printed it; the thread serves on.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = shared.lock();
            continue;
        }
        state.idle += 1;
        let waited = shared.queued.wait_timeout(state, MAX_IDLE);
        let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state = after;
        state.idle -= 1;
        if timeout.timed_out() && state.jobs.is_empty() && state.threads > 1 {
            state.threads -= 1;
            return;
        }
    }
}
