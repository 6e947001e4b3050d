//! The byte stream under a connection.

use std::io::{self, IoSlice};
use std::time::Instant;

/// A byte stream that never waits: a socket, or a stand-in for tests.
pub trait Transport {
    /// Reads the available bytes; 0 if the peer has closed.
    ///
    /// # Errors
    /// `WouldBlock` if there are none; else what the socket says.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; else what the socket says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// The same for several pieces. May write less than there is room for.
    ///
    /// # Errors
    /// The same.
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(pieces.first().map_or(&[], |piece| piece))
    }
    /// Tells the peer that nothing more will be written.
    ///
    /// # Errors
    /// What the socket says.
    fn close_write(&mut self) -> io::Result<()>;
    /// Whether the peer has read most of what was written.
    fn has_room(&self) -> bool {
        true
    }
    /// The clock for deadlines. A stand-in may let time pass without waiting.
    fn now(&self) -> Instant {
        Instant::now()
    }
}
