//! The body of a request, while it comes in.

use std::time::{Duration, Instant};

use crate::http::body::{BodyError, Collector};

/// Each time so many bytes of a body have come, the time for the next ones begins.
const BYTES_PER_TIME: usize = 64 * 1024;

/// A request whose handler waits for its body.
#[derive(Debug)]
pub(super) struct Collecting {
    /// Its head, which is parsed again when the body is there.
    pub(super) head: Vec<u8>,
    collector: Collector,
    /// When the time for the current bytes began, and with how many.
    began: Instant,
    bytes_then: usize,
}

impl Collecting {
    /// Begins now.
    pub(super) fn new(head: &[u8], collector: Collector, now: Instant) -> Collecting {
        Collecting {
            head: head.to_vec(),
            collector,
            began: now,
            bytes_then: 0,
        }
    }

    /// Takes what belongs to the body, and returns how many bytes these are.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) -> Result<usize, BodyError> {
        let taken = self.collector.take(bytes)?;
        let length = self.collector.body().len();
        if length - self.bytes_then >= BYTES_PER_TIME {
            (self.began, self.bytes_then) = (now, length);
        }
        Ok(taken)
    }

    /// The body, if it is complete.
    pub(super) fn body(&self) -> Option<&[u8]> {
        let collector = &self.collector;
        collector.is_complete().then(|| collector.body())
    }

    /// Until when the next bytes may take.
    pub(super) fn deadline(&self, time: Duration) -> Instant {
        self.began + time
    }
}
