//! A connection with its socket and its state in the engine.

use std::time::{Duration, Instant};

use crate::http::channel::Channel;
use crate::http::connection::{Connection, Interest};
use crate::http::service::Timeouts;
use crate::http::socket::Peer;
use crate::http::transport::Transport;

/// A connection of the engine.
pub struct Member {
    /// Its protocol state.
    pub connection: Connection,
    /// Its transport.
    pub channel: Channel,
    /// The other end.
    pub peer: Peer,
    /// When it got its place; `None` for a newcomer.
    pub placed: Option<Instant>,
    /// Whether it is registered with the poller.
    pub is_registered: bool,
    /// Whether its place has been given back.
    pub has_left: bool,
    /// The time for a TLS handshake. It counts as a head.
    handshake_time: Duration,
}

impl Member {
    /// A connection without a place.
    pub fn new(channel: Channel, peer: Peer, now: Instant, timeouts: &Timeouts) -> Member {
        Member {
            connection: Connection::new(now, timeouts),
            channel,
            peer,
            placed: None,
            is_registered: false,
            has_left: false,
            handshake_time: timeouts.head,
        }
    }

    /// Gives it a place. It begins to wait for a request.
    pub fn place(&mut self, now: Instant, timeouts: &Timeouts) {
        self.placed = Some(now);
        self.connection = Connection::new(now, timeouts);
    }

    /// When it is to be looked at, unless its peer does something before.
    pub fn deadline(&self) -> Instant {
        let deadline = self.connection.deadline();
        let handshake = self.handshake_deadline();
        handshake.map_or(deadline, |handshake| deadline.min(handshake))
    }

    /// When its TLS handshake must be done, if it is not.
    pub fn handshake_deadline(&self) -> Option<Instant> {
        let placed = self.placed.filter(|_| self.channel.is_handshaking())?;
        Some(placed + self.handshake_time)
    }

    /// Since when it has waited for its peer; `None` if it has work to do.
    pub fn waits_since(&self) -> Option<Instant> {
        let waits = match self.connection.awaits() {
            // A connection with a request in its socket does not wait.
            Interest::Read => !self.channel.has_input(),
            // A connection whose answers are not read waits, even with a request.
            Interest::Write => true,
            Interest::Turn => !self.channel.has_room(),
        };
        waits.then(|| self.connection.waits_since())
    }
}
