//! A body on its way to the handler that has asked for it.

use std::time::Duration;

use postern_fuzz::body::{self, End, MAX_REST, Reading};
use postern_fuzz::http::{Framing, Head};

use super::HEAD;
use super::peer::{self, Peer};

/// Each time so many bytes of a body have come, the time for the next ones begins.
const BYTES_PER_TIME: usize = 64 * 1024;
/// More than a flood can have of a line that is refused.
const FLOOD_BEHIND_BODY: usize = 20 * 1024;

pub struct Collection {
    /// How long its head is.
    head: usize,
    /// Where in the stream it begins.
    pub start: usize,
    framing: Framing,
    limit: usize,
    stream: Vec<u8>,
    pub reading: Reading,
    /// When the time for the current bytes began, and with how many.
    began: Duration,
    bytes_then: usize,
}

impl Collection {
    /// The body behind `head`, whose first byte is at `at`.
    pub fn new(
        peer: &Peer<'_>,
        (head, length): (&Head<'_>, usize),
        at: usize,
        limit: usize,
        began: Duration,
    ) -> Collection {
        let start = at + length;
        let flood = match peer.end() {
            peer::End::Flood => limit + FLOOD_BEHIND_BODY,
            _ => 0,
        };
        let stream = peer.seen(start, peer.stream.len() + flood);
        Collection {
            head: length,
            start,
            framing: head.framing,
            limit,
            reading: body::read(&stream, head.framing, limit),
            stream,
            began,
            bytes_then: 0,
        }
    }

    /// A step at that time has brought it to the first `taken` bytes of the stream.
    pub fn advance(&mut self, taken: usize, now: Duration) {
        let decoded = self.reading.decoded(taken - self.start);
        if decoded - self.bytes_then >= BYTES_PER_TIME {
            (self.began, self.bytes_then) = (now, decoded);
        }
    }

    pub fn deadline(&self) -> Duration {
        self.began + HEAD
    }

    pub fn end(&self, taken: usize) -> End {
        self.reading.end(taken - self.start)
    }

    pub fn body(&self) -> Vec<u8> {
        self.reading.body(&self.stream)
    }

    /// The most of the memory of all bodies that it may take.
    pub fn most_granted(&self, taken: usize) -> usize {
        let decoded = self.reading.decoded(taken - self.start);
        body::most_granted(self.framing, self.limit, decoded)
    }

    /// What a connection may take of the heap in a wait for more of it: the head, what is granted,
    /// an incomplete line in a buffer that may be twice as large, and little else.
    pub fn most_heap(&self, taken: usize, granted: usize) -> isize {
        let is_whole = taken == self.start || self.reading.is_in_run(taken - self.start);
        let line = if is_whole { 0 } else { 2 * MAX_REST };
        (self.head + granted + line + 512) as isize
    }
}
