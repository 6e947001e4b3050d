//! The surroundings of a connection: the handler that answers it, its time limits, the server's
//! life.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::cors::Cors;
use super::request::Request;
use super::response::Response;

/// The handler's answer to a request.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// The `sub` of the request's valid token, for the log.
    pub subject: Option<Arc<str>>,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Reply {
        Reply {
            response,
            subject: None,
        }
    }
}

/// Answers requests. If it panics, the answer is 500. A handler that blocks announces that with
/// [`blocking::begin_wait`](crate::blocking::begin_wait), so that other connections are served
/// meanwhile.
pub trait Handler: Send + Sync {
    /// The answer to one request.
    fn handle(&self, request: &Request<'_>) -> Reply;
}

/// What a connection needs to know of the server.
pub trait Lifecycle {
    /// Whether the current answer must be the last: a newcomer needs the place, or the server
    /// drains.
    fn is_last_answer(&self) -> bool;
}

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a head, from its first byte to its last.
    pub head: Duration,
    /// For the wait for a first byte.
    pub idle: Duration,
    /// For writing a response.
    pub write: Duration,
}

/// What all connections share.
pub struct Service {
    /// Answers the requests.
    pub handler: Box<dyn Handler>,
    /// Which browser origins may read the answers.
    pub cors: Cors,
    /// The deadlines.
    pub timeouts: Timeouts,
    /// The configuration of TLS; none: plain HTTP. Unix sockets never speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// A path whose requests are not logged: that of the server's own probes.
    pub unlogged_path: Option<String>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("cors", &self.cors)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// The surroundings of a step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What all connections share.
    pub service: &'a Service,
    /// The other end, for the log.
    pub peer: &'a dyn fmt::Display,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// Decides whether an answer is the last.
    pub lifecycle: &'a dyn Lifecycle,
}
