//! The transport of a connection: a socket, or TLS over one.

use std::io;
use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use super::connection::Interest;
use super::poller::Readiness;
use super::socket::Socket;
use super::tls::TlsStream;
use super::transport::Transport;

/// A socket, or TLS over one.
pub enum Channel {
    /// Plain HTTP.
    Plain(Socket),
    /// HTTPS.
    Tls(Box<TlsStream<Socket>>),
}

impl Channel {
    /// The channel of an accepted connection. Unix sockets never speak TLS.
    pub fn new(socket: Socket, tls: Option<&Arc<ServerConfig>>) -> Channel {
        match tls {
            Some(config) if socket.is_tcp() => {
                Channel::Tls(Box::new(TlsStream::new(socket, Arc::clone(config))))
            }
            _ => Channel::Plain(socket),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        match self {
            Channel::Plain(socket) => socket,
            Channel::Tls(stream) => stream.transport(),
        }
    }

    /// Whether it speaks TLS, or is to.
    pub fn is_tls(&self) -> bool {
        matches!(self, Channel::Tls(_))
    }

    /// Whether it must make its handshake first.
    pub fn is_handshaking(&self) -> bool {
        match self {
            Channel::Plain(_) => false,
            Channel::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// Goes on with the handshake as far as possible.
    ///
    /// # Errors
    /// What the socket says, and why the handshake has failed.
    pub fn handshake(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(_) => Ok(()),
            Channel::Tls(stream) => stream.handshake(),
        }
    }

    /// What a handshake has agreed on, once it is done.
    pub fn agreed(&self) -> Option<(ProtocolVersion, HandshakeKind)> {
        match self {
            Channel::Plain(_) => None,
            Channel::Tls(stream) => stream.agreed(),
        }
    }

    /// If the peer of a TLS connection speaks plain HTTP: whether its request is a `HEAD`.
    pub fn plain_http(&self) -> Option<bool> {
        match self {
            Channel::Plain(_) => None,
            Channel::Tls(stream) => stream.plain_http(),
        }
    }

    /// The same socket without TLS.
    pub fn into_plain(self) -> Channel {
        match self {
            Channel::Plain(socket) => Channel::Plain(socket),
            Channel::Tls(stream) => Channel::Plain(stream.into_transport()),
        }
    }

    /// Whether there are bytes of the peer that the connection has not read.
    pub fn has_input(&self) -> bool {
        let is_received = match self {
            Channel::Plain(_) => false,
            Channel::Tls(stream) => stream.has_input(),
        };
        is_received || self.socket().has_input()
    }

    /// The state of the socket to wait for, when a connection waits for `interest`.
    pub fn readiness(&self, interest: Interest, reads_ahead: bool) -> Readiness {
        match (interest, self) {
            (Interest::Write, _) if reads_ahead => Readiness::Any,
            // Bytes that have been received already do not make a socket readable.
            (Interest::Write | Interest::Turn, _) => Readiness::Writable,
            (Interest::Read, Channel::Tls(stream)) if stream.has_input() => Readiness::Writable,
            (Interest::Read, Channel::Tls(stream)) if stream.wants_write() => Readiness::Any,
            (Interest::Read, _) => Readiness::Readable,
        }
    }
}

impl Transport for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.read(buffer),
            Channel::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(socket) => socket.write(bytes),
            Channel::Tls(stream) => stream.write(bytes),
        }
    }

    fn close_write(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(socket) => socket.close_write(),
            Channel::Tls(stream) => stream.close_write(),
        }
    }

    fn has_room(&self) -> bool {
        self.socket().has_room()
    }
}
