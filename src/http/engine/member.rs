//! A connection with its socket and its state in the engine.

use std::time::Instant;

use crate::http::connection::{Connection, Interest};
use crate::http::socket::{Peer, Socket};
use crate::http::transport::Transport;

/// A connection of the engine.
pub struct Member {
    /// Its protocol state.
    pub connection: Connection,
    /// Its socket.
    pub socket: Socket,
    /// The other end.
    pub peer: Peer,
    /// When it got its place; `None` for a newcomer.
    pub placed: Option<Instant>,
    /// Whether it is registered with the poller.
    pub is_registered: bool,
    /// Whether its place has been given back.
    pub has_left: bool,
}

impl Member {
    /// Since when it has waited for its peer; `None` if it has work to do.
    pub fn waits_since(&self) -> Option<Instant> {
        let waits = match self.connection.awaits() {
            // A connection with a request in its socket does not wait.
            Interest::Read => !self.socket.has_input(),
            // A connection whose answers are not read waits, even with a request.
            Interest::Write => true,
            Interest::Turn => !self.socket.has_room(),
        };
        waits.then(|| self.connection.waits_since())
    }
}
