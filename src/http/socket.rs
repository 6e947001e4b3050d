//! A connection's socket, as a [`Transport`].

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::connection::Transport;

/// A connected socket, shared by the thread that serves it and the table that may close it.
#[derive(Debug)]
pub struct Socket(pub TcpStream);

impl Socket {
    /// Ends reading, writing or both; a thread that waits in either wakes up.
    ///
    /// # Errors
    /// What the system says: the peer is gone already, as a rule.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }
}

/// A socket as one connection's thread uses it.
#[derive(Debug)]
pub struct SocketTransport(pub Arc<Socket>);

impl Read for SocketTransport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0.0).read(buffer)
    }
}

impl Write for SocketTransport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for SocketTransport {
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.0.0.set_read_timeout(Some(timeout))
    }

    fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.0.0.set_write_timeout(Some(timeout))
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}
