//! Accepts connections and gives each a thread.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{info, warn};

use super::connection::{self, Service, Transport};

/// After an `accept` that failed: the cause (no descriptors, no memory) seldom passes faster.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// A bound socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
}

impl Listener {
    /// Binds `address`. Connections queue from here on.
    ///
    /// # Errors
    /// What the system says: the port is taken, the address is not this host's, ...
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        let local_addr = socket.local_addr()?;
        Ok(Listener { socket, local_addr })
    }

    /// The address bound, with the port the system chose when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts and serves connections. Does not return.
    pub fn run(self, service: Service) {
        info!("listening on http://{}", self.local_addr);
        let service = Arc::new(service);
        loop {
            match self.socket.accept() {
                Ok((stream, peer)) => start(stream, peer, Arc::clone(&service)),
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    thread::sleep(ACCEPT_BACK_OFF);
                }
            }
        }
    }
}

fn start(stream: TcpStream, peer: SocketAddr, service: Arc<Service>) {
    let serve = move || {
        // Answers are written whole: there is nothing to wait for (RFC 896).
        if let Err(error) = stream.set_nodelay(true) {
            warn!("{peer}: cannot set TCP_NODELAY: {error}");
        }
        connection::serve(TcpTransport(stream), &peer, &service);
    };
    if let Err(error) = thread::Builder::new()
        .name("connection".into())
        .spawn(serve)
    {
        warn!("{peer}: no thread to serve it: {error}");
    }
}

struct TcpTransport(TcpStream);

impl Read for TcpTransport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TcpTransport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Transport for TcpTransport {
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(timeout))
    }

    fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.0.set_write_timeout(Some(timeout))
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}
