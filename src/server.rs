//! Puts the parts together: keys, API, listener.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use log::error;

use crate::api::Api;
use crate::auth::fetch::Fetcher;
use crate::auth::{Authenticator, Jwks, Verifier};
use crate::config::Config;
use crate::http::connection::{Service, Timeouts};
use crate::http::cors::Cors;
use crate::http::listener::Listener;

/// A running server.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    acceptor: JoinHandle<()>,
}

/// Why the server cannot start. Its `Display` says what to do about it.
#[derive(Debug)]
pub enum StartError {
    /// The listening socket cannot be had.
    Bind(SocketAddr, io::Error),
    /// A thread that everything else needs cannot be started.
    Thread(io::Error),
}

impl StartError {
    /// The process's exit code: 78 (`EX_CONFIG`) when only another setting helps, 1 when another
    /// try may.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Bind(_, error) if error.kind() != io::ErrorKind::AddrNotAvailable => 78,
            _ => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(address, error) => {
                let (host, port) = (address.ip(), address.port());
                match error.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "PORT is {port}, which another program on this host listens on: write a free port \
                         (0 takes any)"
                    ),
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        "PORT is {port}, which this user may not listen on: write one from 1024 to 65535"
                    ),
                    io::ErrorKind::AddrNotAvailable => write!(
                        f,
                        "HOST is {host}, which is not an address of this host (now): write one that is, or \
                         0.0.0.0 or :: for all"
                    ),
                    _ => write!(
                        f,
                        "HOST is {host} and PORT is {port}, cannot listen there: {error}"
                    ),
                }
            }
            StartError::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Server {
    /// Binds the listening socket, starts the threads and returns. The keys are fetched in the
    /// background.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Result<Server, StartError> {
        let bind_error = |error| StartError::Bind(config.listen, error);
        let listener = Listener::bind(config.listen).map_err(bind_error)?;
        let local_addr = listener.local_addr();
        let fetcher = Fetcher::new(&config.domain, config.extra_roots.clone());
        let jwks = Jwks::start(fetcher, config.jwks_cooldown).map_err(StartError::Thread)?;
        let verifier = Verifier::new(
            config.issuer(),
            config.audience.clone(),
            config.clock_leeway,
        );
        let service = Service {
            handler: Box::new(Api::new(Authenticator::new(verifier, jwks))),
            cors: Cors::new(config.origins.clone()),
            timeouts: Timeouts {
                head: config.head_timeout,
                idle: config.idle_timeout,
                write: config.write_timeout,
            },
        };
        let acceptor = thread::Builder::new()
            .name("accept".into())
            .spawn(move || listener.run(service))
            .map_err(StartError::Thread)?;
        Ok(Server {
            local_addr,
            acceptor,
        })
    }

    /// The address the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Blocks until the server has stopped.
    pub fn wait(self) {
        if self.acceptor.join().is_err() {
            error!("the accept thread panicked");
        }
    }
}
