//! The threads that serve connections: one per processor, and one more for each thread that is
//! [blocked](crate::blocking).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use crate::blocking::{self, Standby, TooManyWait};

/// Address space for a thread's stack. A request touches a few pages of it.
pub const STACK_SIZE: usize = 256 * 1024;
/// The most threads that may wait at one time.
pub const MAX_WAITING: usize = 64;

/// How many threads there are.
#[derive(Debug, Default)]
struct Count {
    /// Threads that serve a connection or wait for an event.
    serving: usize,
    /// Threads that have announced a wait.
    waiting: usize,
}

/// The threads. Each runs `work` until it returns.
pub struct Crew {
    name: &'static str,
    size: usize,
    count: Mutex<Count>,
    /// A copy of [`Count::serving`], to be read without the lock.
    serving: AtomicUsize,
    work: OnceLock<Box<dyn Fn() + Send + Sync>>,
    itself: Weak<Crew>,
}

impl Crew {
    /// A crew with one thread per processor, and at least two: one slow handler must not stop
    /// everything.
    pub fn new() -> Arc<Crew> {
        let processors = thread::available_parallelism().map_or(1, |count| count.get());
        Crew::of("worker", processors.max(2))
    }

    /// A crew of one thread, for handlers that never wait.
    pub fn of_one(name: &'static str) -> Arc<Crew> {
        Crew::of(name, 1)
    }

    fn of(name: &'static str, size: usize) -> Arc<Crew> {
        Arc::new_cyclic(|itself| Crew {
            name,
            size,
            count: Mutex::default(),
            serving: AtomicUsize::new(0),
            work: OnceLock::new(),
            itself: Weak::clone(itself),
        })
    }

    /// How many threads serve connections.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Starts the threads. Call it once.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub fn start(&self, work: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
        // After a second call, the first call's work would run on more threads.
        let _ = self.work.set(Box::new(work));
        (0..self.size).try_for_each(|_| self.add_thread())
    }

    /// Whether this thread is surplus and must end now. Call it before each wait for an event.
    pub fn dismisses_me(&self) -> bool {
        if self.serving.load(Ordering::Relaxed) <= self.size {
            return false;
        }
        let mut count = self.lock();
        let is_surplus = count.serving > self.size;
        if is_surplus {
            count.serving -= 1;
            self.publish(&count);
        }
        is_surplus
    }

    /// Counts a thread that could not be started.
    fn end_thread(&self) {
        let mut count = self.lock();
        count.serving -= 1;
        self.publish(&count);
    }

    fn add_thread(&self) -> io::Result<()> {
        {
            // Counted before it runs: it may find itself surplus and subtract itself at once.
            let mut count = self.lock();
            count.serving += 1;
            self.publish(&count);
        }
        let crew = self.itself.upgrade();
        let thread = thread::Builder::new()
            .name(self.name.into())
            .stack_size(STACK_SIZE);
        let started = thread.spawn(move || {
            let Some(crew) = crew else { return };
            blocking::join(Arc::clone(&crew) as Arc<dyn Standby>);
            if let Some(work) = crew.work.get() {
                work();
            }
        });
        started.map(drop).inspect_err(|_| self.end_thread())
    }

    fn publish(&self, count: &Count) {
        self.serving.store(count.serving, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        // Nothing under the lock panics.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standby for Crew {
    fn begin_wait(&self) -> Result<(), TooManyWait> {
        let is_short = {
            let mut count = self.lock();
            if count.waiting >= MAX_WAITING {
                return Err(TooManyWait);
            }
            count.waiting += 1;
            count.serving -= 1;
            self.publish(&count);
            count.serving < self.size
        };
        if is_short && self.add_thread().is_err() {
            self.end_wait();
            return Err(TooManyWait);
        }
        Ok(())
    }

    fn end_wait(&self) {
        let mut count = self.lock();
        count.waiting -= 1;
        count.serving += 1;
        self.publish(&count);
    }
}

#[cfg(test)]
mod tests;
