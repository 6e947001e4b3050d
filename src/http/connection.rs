//! One connection, from its first byte to its last.
//!
//! ```text
//!            +------------------------- kept alive ------------------------+
//!            v                                                             |
//! open -> read a head -> parse it -> ask the handler -> write the answer --+--> discard -> close
//!            |               |                                                     ^
//!            | too late, too   large, not HTTP: the error is the last answer ------+
//!            +-> idle too long, or the peer is gone: close
//! ```
//!
//! Nothing here knows TCP: a [`Transport`] is anything to read from and write to with a time limit.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, error, info};

use super::cors::Cors;
use super::request::{self, HeadError, HeadScanner, MAX_HEAD, MAX_HEADERS, Request};
use super::response::{self, Connection, Response};
use crate::escape::Escaped;

/// How long what still comes in after the last answer is read and thrown away. Closing at once
/// would reset the connection, and the reset can overtake the answer (RFC 9112 §9.6).
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// How long a write may take before its connection counts as waiting for the peer, which can then
/// be evicted. A response nearly always fits the socket's buffer: who does not read stalls it.
const STALL_TIME: Duration = Duration::from_millis(10);
/// Enough for most heads at once.
const SMALL_BUFFER: usize = 2 * 1024;
/// The longest logged path, in bytes.
const MAX_LOGGED_PATH: usize = 256;

/// A byte stream with time limits: a socket, or a test's stand-in for one.
pub trait Transport: Read + Write {
    /// The longest a `read` may block; not zero.
    ///
    /// # Errors
    /// What the socket says.
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()>;
    /// The longest a `write` may block; not zero.
    ///
    /// # Errors
    /// What the socket says.
    fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()>;
    /// Tells the peer that nothing more will be written.
    ///
    /// # Errors
    /// What the socket says.
    fn close_write(&mut self) -> io::Result<()>;
    /// The clock that the limits are measured by; a stand-in may let time pass without waiting.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// What the handler makes of a request.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// Whom the request was made for, for the log: the `sub` of a valid token.
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

/// Answers requests. A panic in it is a 500.
pub trait Handler: Send + Sync {
    /// The answer to one request.
    fn handle(&self, request: &Request<'_>) -> Reply;
}

/// What a connection and the listener tell each other.
pub trait Lifecycle {
    /// A complete request is there. `false` when the connection has to make way for another: then
    /// there is no answer.
    fn serving(&self) -> bool;
    /// The connection waits for its peer. `false` when it has to make way: then it must close.
    fn waiting(&self, waiting: Waiting) -> bool;
    /// Whether the answer that is made now is the last one: the connection has to make way after it,
    /// or the server is about to stop.
    fn is_ending(&self) -> bool;
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Its first request. A drain leaves it some time: it has been answered nothing yet.
    Fresh = 0,
    /// A further request, of which nothing has come. A drain ends it at once.
    Idle = 1,
    /// The rest of a head.
    Head = 2,
    /// The peer's close: the last answer has been written.
    Leaving = 3,
    /// The peer to read what was written before, so that there is room for the rest.
    Writing = 4,
}

/// How long the parts of a connection's life may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// A head, from its first byte to its last, however slowly it drips.
    pub head: Duration,
    /// The wait for a first byte.
    pub idle: Duration,
    /// A response.
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

/// Why a connection ends without a further answer.
#[derive(Debug)]
enum End {
    /// The peer closed between two requests, or was idle too long.
    Idle,
    /// The last answer has been written: what still comes in is discarded.
    Answered,
    /// It has to make way for another.
    Evicted,
    /// The peer is gone, or does not read.
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Broken(error)
    }
}

/// Serves the requests that come over `transport`, one after another, until it should be closed.
/// `peer` is for the log.
pub fn serve(
    transport: impl Transport,
    peer: &dyn fmt::Display,
    service: &Service,
    lifecycle: &dyn Lifecycle,
) {
    let mut connection = ServedConnection {
        transport,
        peer,
        service,
        lifecycle,
        received: Received::new(),
        has_answered: false,
        read_timeout: None,
    };
    match connection.run() {
        End::Idle | End::Evicted => {}
        End::Answered => connection.discard(),
        End::Broken(error) => debug!("{peer} gone: {error}"),
    }
}

struct ServedConnection<'a, T> {
    transport: T,
    peer: &'a dyn fmt::Display,
    service: &'a Service,
    lifecycle: &'a dyn Lifecycle,
    received: Received,
    /// Whether a request has been answered on it.
    has_answered: bool,
    /// The read timeout in force, so that it is set only when it changes.
    read_timeout: Option<Duration>,
}

impl<T: Transport> ServedConnection<'_, T> {
    fn run(&mut self) -> End {
        if let Err(error) = self.transport.set_write_timeout(STALL_TIME) {
            return End::Broken(error);
        }
        loop {
            if let Err(end) = self.serve_one() {
                return end;
            }
        }
    }

    /// One request and its answer. `Ok` when another may follow.
    fn serve_one(&mut self) -> Result<(), End> {
        let length = match self.read_head()? {
            Ok(length) => length,
            Err(refusal) => return self.refuse(refusal),
        };
        let started = Instant::now();
        let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let request = match Request::parse(self.received.head(length), &mut storage) {
            Ok(request) => request,
            Err(error) => return self.refuse(error.into()),
        };
        if !self.lifecycle.serving() {
            return Err(End::Evicted);
        }
        let Reply {
            mut response,
            subject,
        } = self.ask_handler(&request);
        let keep_alive = request.keep_alive && !self.lifecycle.is_ending();
        let says = match (keep_alive, request.version.1) {
            (false, _) => Connection::Close,
            (true, 0) => Connection::KeepAlive,
            (true, _) => Connection::Implied,
        };
        self.service.cors.apply(Some(&request), &mut response);
        let status = response.status();
        let without_body = request.method == tiny_http::Method::Head;
        let wire = response::print(response, without_body, says);
        // Logged before it is written: who has the answer finds the line.
        if self.service.unlogged_path.as_deref() != Some(request.path) {
            self.log(&request, status, started, subject.as_deref());
        }
        self.write_response(&wire)?;
        if !keep_alive {
            return Err(End::Answered);
        }
        self.received.consume(length);
        self.has_answered = true;
        if !self.received.is_empty() {
            // Who sends requests ahead would use up the time of the others, and of those to come.
            thread::yield_now();
        }
        Ok(())
    }

    /// The line of a request that was answered.
    fn log(&self, request: &Request<'_>, status: u16, started: Instant, subject: Option<&str>) {
        info!(
            "{} {} {} {status} {:.3} ms{}",
            self.peer,
            Escaped::new(request.method.as_str(), MAX_LOGGED_PATH),
            Escaped::new(request.path, MAX_LOGGED_PATH),
            started.elapsed().as_secs_f64() * 1e3,
            LoggedSubject(subject),
        );
    }

    /// Waits for a whole head; its length, or why there will be none to answer in the usual way.
    fn read_head(&mut self) -> Result<Result<usize, Refusal>, End> {
        let mut scanner = HeadScanner::default();
        let mut deadline = None;
        loop {
            if !self.received.is_empty() {
                match scanner.find_end(self.received.bytes()) {
                    Ok(Some(length)) => return Ok(Ok(length)),
                    Ok(None) => {}
                    Err(error) => return Ok(Err(error.into())),
                }
                let head = self.service.timeouts.head;
                let deadline = *deadline.get_or_insert_with(|| self.transport.now() + head);
                let left = deadline.saturating_duration_since(self.transport.now());
                if left.is_zero() {
                    return Ok(Err(Refusal::Late));
                }
                self.wait(Waiting::Head)?;
                self.set_read_timeout(left)?;
            } else {
                if self.has_answered {
                    self.wait(Waiting::Idle)?;
                }
                self.set_read_timeout(self.service.timeouts.idle)?;
            }
            match self.received.read_from(&mut self.transport) {
                Ok(0) => return Err(End::Idle),
                Ok(_) => {}
                // A signal, or the head's time is up: the deadline above decides.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && self.received.is_empty() => {
                    return Err(End::Idle);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask_handler(&self, request: &Request<'_>) -> Reply {
        // The handler's state is its own to keep whole: what it shares is behind locks and `Arc`s
        // that it replaces, never changes half-way.
        catch_unwind(AssertUnwindSafe(|| self.service.handler.handle(request))).unwrap_or_else(
            |_| {
                error!(
                    "a handler panicked at {}",
                    Escaped::new(request.path, MAX_LOGGED_PATH)
                );
                response::error(500, "Internal Server Error").into()
            },
        )
    }

    /// Answers what cannot be read as a request, and ends the connection: where the next request
    /// would begin is not known.
    fn refuse(&mut self, refusal: Refusal) -> Result<(), End> {
        if !self.lifecycle.serving() {
            return Err(End::Evicted);
        }
        let (status, message) = refusal.status();
        debug!("{} {status} {refusal:?}", self.peer);
        let mut response = response::error(status, message);
        self.service.cors.apply(None, &mut response);
        let without_body = request::begins_with_head(self.received.bytes());
        let wire = response::print(response, without_body, Connection::Close);
        self.write_response(&wire)?;
        Err(End::Answered)
    }

    /// The connection waits for its peer from here on, if it may.
    fn wait(&self, waiting: Waiting) -> Result<(), End> {
        match self.lifecycle.waiting(waiting) {
            true => Ok(()),
            false => Err(End::Evicted),
        }
    }

    /// Writes a response out within the time for one.
    fn write_response(&mut self, wire: &[u8]) -> Result<(), End> {
        let mut rest = wire;
        let deadline = self.transport.now() + self.service.timeouts.write;
        let mut is_stalled = false;
        loop {
            match self.transport.write(rest) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // The deadline below decides.
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if rest.is_empty() {
                break;
            }
            let left = deadline.saturating_duration_since(self.transport.now());
            if left.is_zero() {
                return Err(io::Error::from(ErrorKind::TimedOut).into());
            }
            self.wait(Waiting::Writing)?;
            self.transport.set_write_timeout(left)?;
            is_stalled = true;
        }
        if is_stalled {
            self.transport.set_write_timeout(STALL_TIME)?;
        }
        Ok(())
    }

    /// Reads and forgets what the peer still sends, for a short time.
    fn discard(&mut self) {
        if self.transport.close_write().is_err() {
            return;
        }
        if self.wait(Waiting::Leaving).is_err() {
            return;
        }
        let deadline = self.transport.now() + DISCARD_TIME;
        loop {
            let left = deadline.saturating_duration_since(self.transport.now());
            if left.is_zero() || self.set_read_timeout(left).is_err() {
                return;
            }
            self.received.clear();
            match self.received.read_from(&mut self.transport) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        if self.read_timeout != Some(timeout) {
            self.transport.set_read_timeout(timeout)?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }
}

/// Why a request is answered without having been read.
#[derive(Debug)]
enum Refusal {
    Head(HeadError),
    /// The head was not complete in time.
    Late,
}

impl Refusal {
    fn status(&self) -> (u16, &'static str) {
        match self {
            Refusal::Head(error) => error.status(),
            Refusal::Late => (408, "Request Timeout"),
        }
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Refusal {
        Refusal::Head(error)
    }
}

/// Whether a read ended at its time limit: the one kind on Linux, the other elsewhere.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The bytes received and not yet consumed.
struct Received {
    /// On the stack of the connection's thread: an idle connection has nothing on the heap, which
    /// allocators are slow to give back once hundreds of threads have used it.
    small: [u8; SMALL_BUFFER],
    /// In place of it while more than fits there is at hand; else empty.
    large: Vec<u8>,
    start: usize,
    end: usize,
}

impl Received {
    fn new() -> Received {
        Received {
            small: [0; SMALL_BUFFER],
            large: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn bytes(&self) -> &[u8] {
        let buffer: &[u8] = match &self.large[..] {
            [] => &self.small,
            large => large,
        };
        &buffer[self.start..self.end]
    }

    fn buffer(&mut self) -> &mut [u8] {
        match &mut self.large[..] {
            [] => &mut self.small,
            large => large,
        }
    }

    fn head(&self, length: usize) -> &[u8] {
        &self.bytes()[..length]
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        if self.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.large = Vec::new();
    }

    /// One `read` behind the bytes already here. There is always room: a head that fills
    /// [`MAX_HEAD`] is refused before more is read.
    fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let (start, end) = (self.start, self.end);
        let buffer = self.buffer();
        if end == buffer.len() && start > 0 {
            buffer.copy_within(start..end, 0);
            (self.start, self.end) = (0, end - start);
        } else if end == buffer.len() {
            let mut larger = buffer.to_vec();
            larger.resize((buffer.len() * 2).min(MAX_HEAD), 0);
            self.large = larger;
        }
        let end = self.end;
        let count = source.read(&mut self.buffer()[end..])?;
        self.end += count;
        Ok(count)
    }
}

/// The end of a request's log line.
struct LoggedSubject<'a>(Option<&'a str>);

impl fmt::Display for LoggedSubject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(subject) => write!(f, " sub={}", Escaped::new(subject, MAX_LOGGED_PATH)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
