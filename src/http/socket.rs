//! Listening and connected sockets, TCP and Unix.
//!
//! A peer can also make the kernel's buffers grow. [`BUFFER_SIZE`] bounds them in both directions.
//! But the kernel appends to the last buffer of a queue past that limit. So each answer is sent as
//! a record of its own (`MSG_EOR`), to which nothing is appended. `TCP_USER_TIMEOUT` bounds how
//! long unread answers are kept, also after the close.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size, set_tcp_nodelay,
    set_tcp_user_timeout, socket_error,
};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, accept_with, acceptfrom_with,
    recv, send, sendmsg, shutdown,
};

use super::transport::Transport;

/// The size of a connection's kernel buffer in each direction, in bytes. The kernel doubles it, for
/// its own overhead.
pub const BUFFER_SIZE: usize = 12 * 1024;

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
    /// A path; `None` for a socket without a name in the file system.
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
    /// A process on this host.
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
    /// Accepts a connection. Never waits, if [`prepare`](Listening::prepare) has been called.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if no connection is waiting.
    pub fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listening::Tcp(listener) => {
                let (fd, address) = acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
                let address = address.and_then(|address| address.try_into().ok());
                let address = address.ok_or(io::ErrorKind::ConnectionAborted)?;
                Ok((Socket { fd, is_tcp: true }, Peer::Tcp(address)))
            }
            Listening::Unix(listener) => {
                let fd = accept_with(listener, SocketFlags::CLOEXEC)?;
                // Not inherited from the listener.
                set_buffers(&fd)?;
                Ok((Socket { fd, is_tcp: false }, Peer::Unix))
            }
        }
    }

    /// Sets the options that connections inherit, and makes [`accept`](Listening::accept) not wait.
    /// The kernel keeps unread answers for `write_timeout`.
    ///
    /// # Errors
    /// What the system says.
    pub fn prepare(&self, write_timeout: Duration) -> io::Result<()> {
        match self {
            Listening::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                set_buffers(listener)?;
                set_tcp_options(listener, write_timeout)
            }
            Listening::Unix(listener) => listener.set_nonblocking(true),
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

fn set_buffers(socket: &impl AsFd) -> io::Result<()> {
    set_socket_send_buffer_size(socket, BUFFER_SIZE)?;
    Ok(set_socket_recv_buffer_size(socket, BUFFER_SIZE)?)
}

fn set_tcp_options(socket: &impl AsFd, write_timeout: Duration) -> io::Result<()> {
    // Answers are written whole, so Nagle's algorithm would only delay them.
    set_tcp_nodelay(socket, true)?;
    let milliseconds = u32::try_from(write_timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(socket, milliseconds)?)
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    is_tcp: bool,
}

impl Socket {
    /// Sets the options that a connection would have inherited, if it arrived before its listener
    /// was [prepared](Listening::prepare); all but the size of its receive buffer. The kernel has
    /// promised the peer a larger one, and can starve a connection whose buffer is smaller than
    /// that: what arrives beyond it is dropped together with the acknowledgements.
    pub fn prepare(&self, write_timeout: Duration) {
        if self.is_tcp {
            // They fail if the peer is gone; the first read finds that, too.
            let _ = set_socket_send_buffer_size(self, BUFFER_SIZE);
            let _ = set_tcp_options(self, write_timeout);
        }
    }

    /// Whether it is a TCP socket.
    pub fn is_tcp(&self) -> bool {
        self.is_tcp
    }

    fn send_flags(&self) -> SendFlags {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match self.is_tcp {
            true => flags | SendFlags::EOR,
            false => flags,
        }
    }

    /// Whether the peer is gone, or has closed and left nothing to read.
    pub fn is_over(&self) -> bool {
        // After a reset, earlier bytes can still be read, but not answered.
        if !matches!(socket_error(&self.fd), Ok(Ok(()))) {
            return true;
        }
        match self.peek() {
            Ok(length) => length == 0,
            Err(error) => error != Errno::AGAIN && error != Errno::INTR,
        }
    }

    /// Whether there are unread bytes of the peer.
    pub fn has_input(&self) -> bool {
        self.peek().is_ok_and(|length| length > 0)
    }

    fn peek(&self) -> Result<usize, Errno> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(&self.fd, &mut [0_u8], flags).map(|(_, length)| length)
    }

    /// Makes the close discard what the peer has not read, and send a reset.
    pub fn reset_on_close(&self) {
        // It fails if the peer is gone, which then needs no reset.
        let _ = set_socket_linger(&self.fd, Some(Duration::ZERO));
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Transport for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, count) = recv(&self.fd, buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.fd, bytes, self.send_flags())?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing = SendAncillaryBuffer::default();
        Ok(sendmsg(&self.fd, pieces, &mut nothing, self.send_flags())?)
    }

    fn close_write(&mut self) -> io::Result<()> {
        Ok(shutdown(&self.fd, Shutdown::Write)?)
    }

    /// As the poller tells it: with little room left there is none.
    fn has_room(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.fd, PollFlags::OUT)];
        poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests;
