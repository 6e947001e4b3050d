//! TLS under a connection: a [`Transport`] over a [`Transport`].
//!
//! The connection above sees plaintext, and waits while the handshake goes on. The session below
//! is rustls's, which does no I/O of its own.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use rustls::{AlertDescription, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};

use super::request::begins_with_head;
use super::transport::Transport;

/// The most bytes that a peer may send in a handshake. Without certificates of clients, a handshake
/// takes 2 KiB.
const MAX_HANDSHAKE: usize = 16 * 1024;
/// The most bytes that are encrypted at a time: a record.
const MAX_RECORD: usize = 16 * 1024;
/// The size of the first read. A `ClientHello` usually fits.
const FIRST_READ: usize = 4096;
/// The most bytes that are discarded after a failure, so that the close does not become a reset,
/// which could overtake the alert.
const MAX_DISCARDED: usize = 64 * 1024;

/// How far a connection is.
enum State {
    /// Nothing has been received.
    New(Arc<ServerConfig>),
    /// The handshake goes on, or is done.
    Session(Box<ServerConnection>),
    /// The peer speaks plain HTTP.
    PlainHttp {
        /// Whether its request is a `HEAD`.
        is_head: bool,
    },
}

/// A TLS connection of the server over a transport.
pub struct TlsStream<T> {
    state: State,
    transport: T,
    /// Bytes received in the handshake.
    received: usize,
    /// Decrypted bytes that have not been read.
    unread: usize,
    /// Whether `close_notify` has come and the end has not been read.
    has_unread_end: bool,
    /// Plaintext that has been encrypted, but whose record is not sent completely.
    unsent: usize,
    /// Whether nothing more will be written.
    is_closing: bool,
    is_write_closed: bool,
}

impl<T: Transport> TlsStream<T> {
    /// A connection that waits for its handshake.
    pub fn new(transport: T, config: Arc<ServerConfig>) -> TlsStream<T> {
        TlsStream {
            state: State::New(config),
            transport,
            received: 0,
            unread: 0,
            has_unread_end: false,
            unsent: 0,
            is_closing: false,
            is_write_closed: false,
        }
    }

    /// The transport below.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport below, to be changed.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives up TLS, for an answer to a peer that speaks plain HTTP.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Whether the handshake is not done.
    pub fn is_handshaking(&self) -> bool {
        match &self.state {
            State::New(_) => true,
            State::Session(session) => session.is_handshaking(),
            State::PlainHttp { .. } => false,
        }
    }

    /// Whether the peer speaks plain HTTP, and if so, whether its request is a `HEAD`.
    pub fn plain_http(&self) -> Option<bool> {
        match self.state {
            State::PlainHttp { is_head } => Some(is_head),
            _ => None,
        }
    }

    /// Whether something can be read that the transport has given up already: decrypted bytes, or
    /// the end.
    pub fn has_input(&self) -> bool {
        self.unread > 0 || self.has_unread_end
    }

    /// Whether there are records to send.
    pub fn wants_write(&self) -> bool {
        match &self.state {
            State::Session(session) => session.wants_write(),
            _ => false,
        }
    }

    /// Goes on with the handshake as far as possible. Until it is done, nothing can be read.
    ///
    /// # Errors
    /// What the transport says, and why the handshake has failed.
    pub fn handshake(&mut self) -> io::Result<()> {
        match self.shake_hands() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => match self.flush() {
                // What cannot be sent now is sent when there is room.
                Err(late) if late.kind() != ErrorKind::WouldBlock => Err(late),
                _ => Ok(()),
            },
            result => result,
        }
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        self.begin()?;
        while let State::Session(session) = &mut self.state
            && session.is_handshaking()
        {
            self.received += match session.read_tls(&mut Wire(&mut self.transport))? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => count,
            };
            if self.received > MAX_HANDSHAKE {
                self.fail();
                let text = "the handshake is too long";
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            self.process()?;
        }
        Ok(())
    }

    /// The version and the kind of the handshake, once it is done.
    pub fn agreed(&self) -> Option<(ProtocolVersion, HandshakeKind)> {
        match &self.state {
            State::Session(session) if !session.is_handshaking() => {
                Some((session.protocol_version()?, session.handshake_kind()?))
            }
            _ => None,
        }
    }

    /// Looks at the first bytes of the peer, and begins the session.
    fn begin(&mut self) -> io::Result<()> {
        let State::New(config) = &self.state else {
            return Ok(());
        };
        let mut first = [0; FIRST_READ];
        let count = self.transport.read(&mut first)?;
        let mut first = &first[..count];
        self.received = count;
        match first.first() {
            None => return Err(ErrorKind::UnexpectedEof.into()),
            // No record begins with a letter, every request does.
            Some(b'A'..=b'Z' | b'a'..=b'z') => {
                let is_head = begins_with_head(first);
                self.state = State::PlainHttp { is_head };
                return Ok(());
            }
            Some(_) => {}
        }
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut session = Box::new(session);
        while !first.is_empty() {
            session.read_tls(&mut first)?;
        }
        self.state = State::Session(session);
        self.process()
    }

    /// Handles the records that have been received.
    fn process(&mut self) -> io::Result<()> {
        let State::Session(session) = &mut self.state else {
            return Ok(());
        };
        match session.process_new_packets() {
            Ok(state) => {
                self.unread = state.plaintext_bytes_to_read();
                self.has_unread_end = state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                let text = match self.fail() {
                    Some(alert) => format!("{error}, alert {alert:?}"),
                    None => error.to_string(),
                };
                Err(io::Error::new(ErrorKind::InvalidData, text))
            }
        }
    }

    /// Sends the alert, and gives it a chance to arrive. Returns it, unless it is encrypted.
    fn fail(&mut self) -> Option<AlertDescription> {
        let mut records = Vec::new();
        if let State::Session(session) = &mut self.state {
            // Writing to memory does not fail.
            let _ = session.write_tls(&mut records);
        }
        // The peer may be gone. What there is no room for is lost.
        let _ = self.transport.write(&records);
        let _ = self.transport.close_write();
        let mut discarded = 0;
        let mut buffer = [0; FIRST_READ];
        while discarded < MAX_DISCARDED
            && let Ok(count @ 1..) = self.transport.read(&mut buffer)
        {
            discarded += count;
        }
        // A record with a fatal alert (RFC 8446 §6): type, version, length, level, description.
        match records.last_chunk() {
            Some([0x15, _, _, 0, 2, 2, description]) => Some((*description).into()),
            _ => None,
        }
    }

    /// Sends the records that are ready.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room for all of them; else what the transport says.
    fn flush(&mut self) -> io::Result<()> {
        if let State::Session(session) = &mut self.state {
            let mut wire = Wire(&mut self.transport);
            while session.wants_write() {
                session.write_tls(&mut wire)?;
            }
        }
        if self.is_closing && !self.is_write_closed {
            self.is_write_closed = true;
            self.transport.close_write()?;
        }
        Ok(())
    }
}

impl<T: Transport> Transport for TlsStream<T> {
    /// Leaves a handshake to [`handshake`](TlsStream::handshake), whose caller bounds and counts
    /// them.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            let State::Session(session) = &mut self.state else {
                return Err(ErrorKind::WouldBlock.into());
            };
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the connection ended without close_notify";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                result => {
                    self.unread -= *result.as_ref().unwrap_or(&0);
                    self.has_unread_end &= !matches!(result, Ok(0));
                    return result;
                }
            }
            match session.read_tls(&mut Wire(&mut self.transport)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What cannot be sent now is sent when there is room.
                    return match self.flush() {
                        Err(late) if late.kind() != ErrorKind::WouldBlock => Err(late),
                        _ => Err(error),
                    };
                }
                Err(error) => return Err(error),
            }
            self.process()?;
        }
    }

    /// After `WouldBlock` the same bytes must be written again, as their record waits.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let State::Session(session) = &mut self.state else {
            return Err(ErrorKind::NotConnected.into());
        };
        if self.unsent == 0 {
            let record = &bytes[..bytes.len().min(MAX_RECORD)];
            self.unsent = session.writer().write(record)?;
        }
        self.flush()?;
        Ok(std::mem::take(&mut self.unsent))
    }

    fn close_write(&mut self) -> io::Result<()> {
        if let State::Session(session) = &mut self.state {
            session.send_close_notify();
        }
        self.is_closing = true;
        match self.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    fn has_room(&self) -> bool {
        self.transport.has_room()
    }

    fn now(&self) -> Instant {
        self.transport.now()
    }
}

/// A transport for rustls.
struct Wire<'a, T>(&'a mut T);

impl<T: Transport> io::Read for Wire<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<T: Transport> io::Write for Wire<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(records)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
