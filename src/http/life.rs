//! The server's life: it runs, drains and ends.

use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::lock::lock;

/// How long, in a drain, a connection without an answer so far may still send a request.
const DRAIN_REQUEST_TIME: Duration = Duration::from_secs(2);

/// The stage of the server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It accepts connections.
    Running,
    /// It has been ending its connections since this time.
    Draining(Instant),
    /// No connection is left.
    Finished,
}

/// The stage, and those who wait for its change.
pub struct Life {
    stage: Mutex<Stage>,
    changed: Condvar,
    /// Set when a drain begins: the deadline for a first request.
    drain: OnceLock<Instant>,
    on_finished: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Life {
    /// A server that runs.
    pub fn new() -> Life {
        Life {
            stage: Mutex::new(Stage::Running),
            changed: Condvar::new(),
            drain: OnceLock::new(),
            on_finished: OnceLock::new(),
        }
    }

    /// Starts a drain. Returns whether the server was running.
    pub fn begin_drain(&self) -> bool {
        let mut stage = lock(&self.stage);
        let was_running = *stage == Stage::Running;
        if was_running {
            let now = Instant::now();
            *stage = Stage::Draining(now);
            // Nothing else sets it.
            let _ = self.drain.set(now + DRAIN_REQUEST_TIME);
            self.changed.notify_all();
        }
        was_running
    }

    /// In a drain: until when a connection without an answer so far may still send a request.
    pub fn drain(&self) -> Option<Instant> {
        self.drain.get().copied()
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Ends it.
    pub fn finish(&self) {
        *lock(&self.stage) = Stage::Finished;
        self.changed.notify_all();
        if let Some(on_finished) = self.on_finished.get() {
            on_finished();
        }
    }

    /// Sets an `action` to call at the end. Only the first one counts.
    pub fn on_finished(&self, action: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_finished.set(Box::new(action));
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        *lock(&self.stage)
    }

    /// Waits until the stage is no longer `stage`, or until `time` has passed.
    pub fn wait_for_stage_after(&self, stage: Stage, time: Option<Duration>) -> Stage {
        let current = lock(&self.stage);
        let is_same = |current: &mut Stage| *current == stage;
        *match time {
            None => self
                .changed
                .wait_while(current, is_same)
                .unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.changed.wait_timeout_while(current, time, is_same);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
