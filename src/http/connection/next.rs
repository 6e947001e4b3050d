//! Why a step is made, and what follows it.

use std::time::Instant;

/// The reason for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The transport may be ready.
    Ready,
    /// The deadline has passed.
    Deadline,
    /// The server drains. A connection without an answer so far may still send one request until
    /// this time.
    Drain(Instant),
}

/// What to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Make the next step when the transport is ready for this, or at the deadline.
    Wait(Interest),
    /// Close the transport.
    Close(Close),
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Input.
    Read,
    /// Room to write.
    Write,
    /// Its next turn, and room to write: it has received bytes that are not parsed yet.
    Turn,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The peer has closed, or is gone.
    ByPeer,
    /// The server closes. The kernel may still have to send an answer.
    ByServer,
    /// The peer does not read.
    Stalled,
}
