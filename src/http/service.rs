//! The surroundings of a connection: the handler that answers it, its time limits, the server's
//! life.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::{Level, error};
use rustls::ServerConfig;

use super::body::Bodies;
use super::cors::Cors;
use super::forwarded::Forwarded;
use super::request::Request;
use super::response::Response;
use super::socket::Peer;

/// Answers requests.
///
/// It is called on a thread of the server, of which there are about as many as processors. A handler
/// that waits for anything but the processor announces that with
/// [`blocking::begin_wait`](crate::blocking::begin_wait), so that other connections are served
/// meanwhile. If it panics, the answer is 500.
pub trait Handler: Send + Sync {
    /// The answer to one request. The body of an answer to `HEAD` is not sent.
    ///
    /// # Errors
    /// What ends it early: see [`Interruption`].
    fn handle(&self, request: &Request<'_>) -> Answer;
}

/// A handler's answer.
pub type Answer = Result<Response, Interruption>;

/// Why a handler ends before it has an answer of its own: with an error, which is answered, or for
/// want of the request's body, after which the handler is called again. `?` passes it on.
///
/// Every [`Response`] can be one: `return Err(Response::error(409, "Already on").into())`.
#[derive(Debug)]
pub struct Interruption(pub(crate) Cause);

#[derive(Debug)]
pub(crate) enum Cause {
    /// The answer is this error.
    Error(Response),
    /// The body is needed, of at most so many bytes.
    Body(usize),
}

impl Interruption {
    /// The body is needed, of at most `limit` bytes.
    pub(crate) fn wants_body(limit: usize) -> Interruption {
        Interruption(Cause::Body(limit))
    }
}

/// The answer is 500, and the log says why.
impl From<io::Error> for Interruption {
    fn from(error: io::Error) -> Interruption {
        error!("a handler failed: {error}");
        Response::internal_error().into()
    }
}

impl From<Response> for Interruption {
    fn from(response: Response) -> Interruption {
        Interruption(Cause::Error(response))
    }
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

/// What the connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The API. Its requests are logged, and all is counted.
    Public,
    /// The administration of this server. Its requests are logged at `debug`, and nothing is
    /// counted.
    Admin,
}

impl Role {
    /// The level at which requests are logged, and how the server does.
    pub fn log_level(self) -> Level {
        match self {
            Role::Public => Level::Info,
            Role::Admin => Level::Debug,
        }
    }

    /// Whether the metrics count it.
    pub fn is_counted(self) -> bool {
        self == Role::Public
    }
}

/// What all connections share.
pub struct Service {
    /// What they are for.
    pub role: Role,
    /// Answers the requests.
    pub handler: Box<dyn Handler>,
    /// Which browser origins may read the answers.
    pub cors: Cors,
    /// The deadlines.
    pub timeouts: Timeouts,
    /// The memory of the bodies that are being collected.
    pub bodies: Arc<Bodies>,
    /// The configuration of TLS; none: plain HTTP. Unix sockets never speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// A path whose requests are not logged: that of the server's own probes.
    pub unlogged_path: Option<String>,
    /// Whose word about clients the log takes.
    pub forwarded: Forwarded,
}

impl Service {
    /// For everybody, without CORS, TLS and proxies.
    pub fn new(handler: Box<dyn Handler>, timeouts: Timeouts) -> Service {
        Service {
            role: Role::Public,
            handler,
            timeouts,
            cors: Cors::default(),
            bodies: Arc::default(),
            tls: None,
            unlogged_path: None,
            forwarded: Forwarded::default(),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("role", &self.role)
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
    pub peer: Peer,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// Decides whether an answer is the last.
    pub lifecycle: &'a dyn Lifecycle,
}
