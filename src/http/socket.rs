//! Sockets, TCP and Unix alike: those that listen, and those of connections.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::connection::Transport;

/// A socket that listens.
#[derive(Debug)]
pub enum Listening {
    /// On an address and a port.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A path; none for a socket without a name in the file system.
    Unix(Option<PathBuf>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "http://{address}"),
            Address::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Address::Unix(None) => f.write_str("an unnamed Unix socket"),
        }
    }
}

/// The other end of a connection, as the log names it.
#[derive(Debug, Clone, Copy)]
pub enum Peer {
    /// An address and a port.
    Tcp(SocketAddr),
    /// Somebody on this host.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

impl Listening {
    /// Accepts a connection, made ready for blocking use.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when there is none.
    pub fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // Inherited from the listener on some systems, though not on Linux.
                #[cfg(not(target_os = "linux"))]
                stream.set_nonblocking(false)?;
                // Answers are written whole: there is nothing to wait for. A peer that is gone
                // already is found out by the first read.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Peer::Tcp(peer)))
            }
            Listening::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                #[cfg(not(target_os = "linux"))]
                stream.set_nonblocking(false)?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }

    /// Whether [`accept`](Listening::accept) waits for a connection.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Listening::Tcp(listener) => listener.set_nonblocking(nonblocking),
            Listening::Unix(listener) => listener.set_nonblocking(nonblocking),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Listening::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Listening::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Into::into)))
            }
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listening::Tcp(listener) => listener.as_fd(),
            Listening::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A connected socket, shared by the thread that serves it and the table that may close it.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// On this host.
    Unix(UnixStream),
}

/// The same expression for either kind of socket.
macro_rules! either {
    ($socket:expr, $stream:ident => $use:expr) => {
        match $socket {
            Socket::Tcp($stream) => $use,
            Socket::Unix($stream) => $use,
        }
    };
}

impl Socket {
    /// Ends reading, writing or both; a thread that waits in either wakes up.
    ///
    /// # Errors
    /// What the system says: the peer is gone already, as a rule.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, stream => stream.shutdown(how))
    }

    /// Whether the peer has closed, or is gone, and has left nothing to read.
    pub fn is_over(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match either!(self, stream => recv(stream, &mut [0_u8], flags)) {
            Ok((_, length)) => length == 0,
            Err(error) => error != Errno::AGAIN && error != Errno::INTR,
        }
    }

    /// Whether reading and writing wait.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        either!(self, stream => stream.set_nonblocking(nonblocking))
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => (&*stream).read(buffer))
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => (&*stream).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket as one connection's thread uses it.
#[derive(Debug)]
pub struct SocketTransport(pub Arc<Socket>);

impl Read for SocketTransport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for SocketTransport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for SocketTransport {
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        either!(&*self.0, stream => stream.set_read_timeout(Some(timeout)))
    }

    fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        either!(&*self.0, stream => stream.set_write_timeout(Some(timeout)))
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_peer_is_over_when_it_has_closed_and_all_is_read() {
        let over = |prepare: fn(&mut UnixStream)| {
            let (socket, mut peer) = UnixStream::pair().unwrap();
            prepare(&mut peer);
            let socket = Socket::Unix(socket);
            (socket.is_over(), socket)
        };
        assert!(!over(|peer| peer.write_all(b"x").unwrap()).0);
        assert!(over(|peer| peer.shutdown(Shutdown::Write).unwrap()).0);
        let (before, socket) = over(|peer| {
            peer.write_all(b"x").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(!before, "what it has sent wants an answer");
        assert_eq!((&socket).read(&mut [0; 2]).unwrap(), 1);
        assert!(socket.is_over());
    }

    #[test]
    fn a_peer_that_has_reset_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let socket = Socket::Tcp(socket);
        assert!(!socket.is_over());
        let reset = socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO));
        reset.unwrap();
        drop(peer);
        while !socket.is_over() {
            thread::yield_now();
        }
    }
}
