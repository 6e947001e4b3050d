//! Lets code that is about to block tell the thread pool that runs it.
//!
//! Requests are served by about as many threads as there are processors. A handler that blocks on
//! anything but the processor takes one of these threads away. So it announces the wait first, and
//! another thread replaces it until the wait ends. On a thread outside a pool, an announcement does
//! nothing.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A pool whose threads can be replaced while they wait.
#[doc(hidden)]
pub trait Standby: Send + Sync {
    /// Called on one of its threads, which is about to wait. Starts a replacement if needed.
    ///
    /// # Errors
    /// [`TooManyWait`].
    fn begin_wait(&self) -> Result<(), TooManyWait>;
    /// The thread has stopped waiting.
    fn end_wait(&self);
}

/// The limit of waiting threads is reached, or a replacement cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyWait;

impl fmt::Display for TooManyWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many requests wait already")
    }
}

impl Error for TooManyWait {}

thread_local! {
    /// The pool that this thread belongs to.
    static POOL: RefCell<Option<Arc<dyn Standby>>> = const { RefCell::new(None) };
}

/// Makes this thread one of `pool`.
#[doc(hidden)]
pub fn join(pool: Arc<dyn Standby>) {
    POOL.with(|current| *current.borrow_mut() = Some(pool));
}

/// Announces that this thread is about to wait, until the value is dropped.
///
/// # Errors
/// [`TooManyWait`]: then it must not wait.
pub fn begin_wait() -> Result<Wait, TooManyWait> {
    let pool = POOL.with(|current| current.borrow().clone());
    if let Some(pool) = &pool {
        pool.begin_wait()?;
    }
    Ok(Wait(pool))
}

/// A wait that has been announced.
pub struct Wait(Option<Arc<dyn Standby>>);

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wait")
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.end_wait();
        }
    }
}
