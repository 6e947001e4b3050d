//! One connection, from its first byte to its last, as a value with one step.
//!
//! ```text
//!          +------------------ kept alive ------------------+
//!          v                                                |
//! new -> HEAD --> parse it, ask the handler --> WRITING ----+--> LEAVING --> close
//!          |                                       ^                ^
//!          | too late, too large, not HTTP: -------+                |
//!          |   the error is the last answer                         |
//!          +-> idle too long, or the peer is gone: close            |
//!                              what the peer still sends is discarded
//! ```
//!
//! [`Connection::step`] goes as far as it can without waiting, and returns what the connection
//! waits for next. This file knows nothing of sockets, threads or TLS: a [`Transport`] is anything
//! that reads and writes without waiting.

use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{Level, debug, error, info, log_enabled};

use super::cors::Cors;
use super::request::{self, HeadError, HeadScanner, MAX_HEAD, MAX_HEADERS, Request};
use super::response::{self, Response};
use crate::escape::Escaped;

/// How long input is discarded after the last answer. Closing at once would reset the connection,
/// and the reset can overtake the answer (RFC 9112 §9.6).
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// The most requests that one step answers, so that a client that pipelines does not starve others.
const MAX_ANSWERS: usize = 16;
/// That many answers together take a few KiB.
const FEW_ANSWERS: u32 = 8;
/// The most reads that one step discards.
const MAX_DISCARDS: usize = 4;
/// The longest logged path, in bytes.
const MAX_LOGGED_PATH: usize = 256;

/// A byte stream that never waits: a socket, or a stand-in for tests.
pub trait Transport {
    /// Reads the available bytes; 0 if the peer has closed.
    ///
    /// # Errors
    /// `WouldBlock` if there are none; else what the socket says.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; else what the socket says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Tells the peer that nothing more will be written.
    ///
    /// # Errors
    /// What the socket says.
    fn close_write(&mut self) -> io::Result<()>;
    /// Whether the peer has read most of what was written.
    fn has_room(&self) -> bool {
        true
    }
    /// The clock for deadlines. A stand-in may let time pass without waiting.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

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

/// The buffers of a worker. It lends them to the connection that it serves, so that a waiting
/// connection needs none.
#[derive(Debug)]
pub struct Buffers {
    input: Box<[u8]>,
    output: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers {
            input: vec![0; MAX_HEAD].into(),
            output: Vec::new(),
        }
    }
}

/// The surroundings of a step.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What all connections share.
    pub service: &'a Service,
    /// The other end, for the log.
    pub peer: &'a dyn fmt::Display,
    /// Decides whether an answer is the last.
    pub lifecycle: &'a dyn Lifecycle,
}

/// The reason for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The transport may be ready.
    Ready,
    /// The deadline has passed.
    Deadline,
    /// The server drains. A connection without an answer so far may still send one request until
    /// this time.
    Drain(Instant),
}

/// What to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Make the next step when the transport is ready for this, or at the deadline.
    Wait(Interest),
    /// Close the transport.
    Close(Close),
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Input.
    Read,
    /// Room to write.
    Write,
    /// Its next turn, and room to write: it has received bytes that are not parsed yet.
    Turn,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The peer has closed, or is gone.
    ByPeer,
    /// The server closes. The kernel may still have to send an answer.
    ByServer,
    /// The peer does not read.
    Stalled,
}

/// The phase of a connection.
#[derive(Debug)]
enum Phase {
    /// It waits for a request, or for the rest of its head.
    Head,
    /// The rest of an answer waits until the peer reads.
    Writing { rest: Vec<u8>, is_last: bool },
    /// The last answer has been written. Input is discarded.
    Leaving,
    /// The peer has closed its side, and has not read much of its answers. A close now would leave
    /// them to the kernel, or discard them.
    Closing,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    /// Bytes received and not consumed. Between requests it is empty and has no memory.
    received: Vec<u8>,
    /// Whether `received` has bytes that the scanner has not seen.
    has_news: bool,
    /// Whether the peer has closed its side while an answer waited.
    input_ended: bool,
    scanner: HeadScanner,
    /// When the first byte of the current head arrived.
    head_began: Option<Instant>,
    /// Answers written, as far as they can be counted.
    answers: u32,
    deadline: Instant,
    waits_since: Instant,
    /// Until when a request may still arrive in a drain.
    drain: Option<Instant>,
}

/// A connection ends without a further answer.
#[derive(Debug)]
enum End {
    Close(Close),
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Broken(error)
    }
}

/// The state of a connection after an answer.
enum Answered {
    /// The answer is written, and another request may follow.
    KeptAlive,
    /// The answer was the last one, or its rest must be written later.
    Busy(Interest),
}

impl Connection {
    /// A connection that begins to wait for its first request now.
    pub fn new(now: Instant, timeouts: &Timeouts) -> Connection {
        Connection {
            phase: Phase::Head,
            received: Vec::new(),
            has_news: false,
            input_ended: false,
            scanner: HeadScanner::default(),
            head_began: None,
            answers: 0,
            deadline: now + timeouts.idle,
            waits_since: now,
            drain: None,
        }
    }

    /// When a step with [`Event::Deadline`] is due, unless another step comes first.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What it waits for since its latest step.
    pub fn awaits(&self) -> Interest {
        match self.phase {
            Phase::Writing { .. } | Phase::Closing => Interest::Write,
            _ if self.has_news => Interest::Turn,
            _ => Interest::Read,
        }
    }

    /// Since when it waits for its peer, if it does: for a complete request, or until the peer
    /// reads an answer. In a turn it waits for its peer only when there is no room for an answer.
    pub fn waits_since(&self) -> Instant {
        self.waits_since
    }

    /// Whether it takes what comes while it waits for the peer to read an answer.
    pub fn reads_ahead(&self) -> bool {
        self.is_writing() && self.received.len() < MAX_HEAD && !self.input_ended
    }

    /// Whether it waits for the peer to read an answer.
    pub fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing { .. })
    }

    /// Whether its last answer has been written.
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Closing)
    }

    /// Whether it knows that the server drains.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// When its latest answer was written, if there was one.
    pub fn last_answer(&self) -> Option<Instant> {
        (self.answers > 0).then_some(self.waits_since)
    }

    /// Writes `wire` as its only answer, whatever the request was.
    pub fn dismiss(&mut self, wire: &[u8], transport: &mut impl Transport) -> Next {
        // Reads the input: a close with unread input would reset the connection.
        let _ = transport.read(&mut [0; 4096]);
        let written = match write(transport, wire) {
            Ok(count) if count == wire.len() => self.leave(transport),
            // The first answer is short. If there is no room for it, the peer does not read.
            Ok(_) => Err(End::Close(Close::Stalled)),
            Err(end) => Err(end),
        };
        match written {
            Ok(interest) => Next::Wait(interest),
            Err(End::Close(close)) => Next::Close(close),
            Err(End::Broken(_)) => Next::Close(Close::ByPeer),
        }
    }

    /// Goes as far as possible without waiting.
    pub fn step(
        &mut self,
        event: Event,
        transport: &mut impl Transport,
        buffers: &mut Buffers,
        context: Context<'_>,
    ) -> Next {
        if let Event::Drain(until) = event {
            self.drain = Some(until);
        }
        let waited_since = self.waits_since;
        // Available input is served first, even at a deadline.
        let mut outcome = self.advance(transport, buffers, context);
        if let Err(End::Close(Close::ByPeer)) = outcome {
            outcome = self.close_by_peer(transport, context);
        }
        if let Ok(interest @ (Interest::Read | Interest::Write)) = outcome {
            // A wait that has just begun cannot have expired.
            let is_new = self.waits_since != waited_since;
            outcome = self.expire(interest, is_new, transport, &mut buffers.output, context);
        }
        match outcome {
            Ok(interest) => Next::Wait(interest),
            Err(End::Close(close)) => Next::Close(close),
            Err(End::Broken(error)) => {
                debug!("{} gone: {error}", context.peer);
                Next::Close(Close::ByPeer)
            }
        }
    }

    fn advance(
        &mut self,
        transport: &mut impl Transport,
        buffers: &mut Buffers,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        if let Phase::Writing { .. } = self.phase {
            match self.write_rest(transport)? {
                Answered::KeptAlive => {}
                Answered::Busy(interest) => return Ok(interest),
            }
        }
        match self.phase {
            Phase::Leaving => discard(transport, &mut buffers.input),
            Phase::Closing => Err(End::Close(Close::ByPeer)),
            _ => self.read_requests(transport, buffers, context),
        }
    }

    /// Ends a wait whose deadline has passed; else returns `interest`.
    fn expire(
        &mut self,
        interest: Interest,
        is_new: bool,
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        let is_idle = self.received.is_empty();
        if let (Phase::Head, Some(until)) = (&self.phase, self.drain) {
            if is_idle && self.answers > 0 {
                return Err(End::Close(Close::ByServer));
            }
            self.deadline = self.deadline.min(until);
        }
        if is_new || transport.now() < self.deadline {
            return Ok(interest);
        }
        match self.phase {
            Phase::Head if is_idle => Err(End::Close(Close::ByServer)),
            Phase::Head if self.drain.is_some() => Err(End::Close(Close::ByServer)),
            Phase::Head => {
                let head = std::mem::take(&mut self.received);
                self.refuse(Refusal::Late, &head, transport, output, context)
            }
            Phase::Writing { .. } | Phase::Closing => Err(End::Close(Close::Stalled)),
            Phase::Leaving => Err(End::Close(Close::ByServer)),
        }
    }

    /// Reads once, unless there are unparsed bytes, and answers the complete requests.
    fn read_requests(
        &mut self,
        transport: &mut impl Transport,
        buffers: &mut Buffers,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        if self.received.is_empty() {
            return self.read_into(transport, buffers, context);
        }
        let mut received = std::mem::take(&mut self.received);
        if !std::mem::take(&mut self.has_news) {
            let length = received.len();
            // There is room: a head that fills MAX_HEAD is refused before more is read.
            let room = (length * 2).clamp(1024, MAX_HEAD);
            received.reserve_exact(room - length);
            received.resize(room, 0);
            let count = read(transport, &mut received[length..]);
            received.truncate(length + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                self.received = received;
                return Ok(Interest::Read);
            }
        }
        let output = &mut buffers.output;
        let (interest, consumed) = self.serve(&received, transport, output, context)?;
        received.drain(..consumed);
        if received.is_empty() {
            received = Vec::new();
        }
        self.keep(received, interest, transport, context);
        Ok(interest)
    }

    /// Reads into the worker's buffer, as most heads arrive in one piece.
    fn read_into(
        &mut self,
        transport: &mut impl Transport,
        buffers: &mut Buffers,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        let Buffers { input, output } = buffers;
        let count = read(transport, input)?;
        let (interest, consumed) = self.serve(&input[..count], transport, output, context)?;
        let rest = input[consumed..count].to_vec();
        self.keep(rest, interest, transport, context);
        Ok(interest)
    }

    /// Keeps the bytes that are not consumed, and sets the next deadline.
    fn keep(
        &mut self,
        rest: Vec<u8>,
        interest: Interest,
        transport: &impl Transport,
        context: Context<'_>,
    ) {
        let timeouts = &context.service.timeouts;
        self.received = rest;
        match interest {
            Interest::Read if self.is_leaving() => self.received = Vec::new(),
            Interest::Read if self.received.is_empty() => {
                self.deadline = self.waits_since + timeouts.idle;
            }
            Interest::Read => {
                let began = *self.head_began.get_or_insert_with(|| transport.now());
                self.deadline = began + timeouts.head;
            }
            Interest::Write => self.has_news = !self.received.is_empty(),
            Interest::Turn => {
                self.has_news = true;
                self.deadline = self.waits_since + timeouts.write;
            }
        }
    }

    /// Answers the complete requests in `bytes` in order. Returns how many bytes they took.
    fn serve(
        &mut self,
        bytes: &[u8],
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<(Interest, usize), End> {
        let mut consumed = 0;
        if bytes.is_empty() {
            return Ok((Interest::Read, 0));
        }
        for _ in 0..MAX_ANSWERS {
            let rest = &bytes[consumed..];
            let length = match self.scanner.find_end(rest) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok((Interest::Read, consumed)),
                Err(error) => {
                    let interest = self.refuse(error.into(), rest, transport, output, context)?;
                    return Ok((interest, bytes.len()));
                }
            };
            let answered = self.answer(&rest[..length], transport, output, context)?;
            consumed += length;
            if let Answered::Busy(interest) = answered {
                return Ok((interest, consumed));
            }
            if consumed == bytes.len() {
                return Ok((Interest::Read, consumed));
            }
        }
        Ok((Interest::Turn, consumed))
    }

    /// Answers one request.
    fn answer(
        &mut self,
        head: &[u8],
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<Answered, End> {
        self.scanner = HeadScanner::default();
        self.head_began = None;
        let service = context.service;
        // For the log only, as reading the clock is not free.
        let started = log_enabled!(Level::Info).then(|| transport.now());
        let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let request = match Request::parse(head, &mut storage) {
            Ok(request) => request,
            Err(error) => {
                let refused = self.refuse(error.into(), head, transport, output, context);
                return refused.map(Answered::Busy);
            }
        };
        let reply = ask_handler(service, &request);
        let mut response = reply.response;
        let keep_alive =
            request.keep_alive && self.drain.is_none() && !context.lifecycle.is_last_answer();
        let says = match (keep_alive, request.version.1) {
            (false, _) => response::Connection::Close,
            (true, 0) => response::Connection::KeepAlive,
            (true, _) => response::Connection::Implied,
        };
        service.cors.apply(Some(&request), &mut response);
        let status = response.status();
        let without_body = request.method == tiny_http::Method::Head;
        output.clear();
        response::print(response, without_body, says, output);
        // Logged before it is written, so that the line exists when the client has the answer.
        if service.unlogged_path.as_deref() != Some(request.path) {
            info!(
                "{} {} {} {status} {:.3} ms{}",
                context.peer,
                Escaped::new(request.method.as_str(), MAX_LOGGED_PATH),
                Escaped::new(request.path, MAX_LOGGED_PATH),
                started.map_or(0.0, |started| (transport.now() - started).as_secs_f64()
                    * 1e3),
                LoggedSubject(reply.subject.as_deref()),
            );
        }
        self.write(output, !keep_alive, transport, context)
    }

    /// Answers a malformed or late request and ends the connection, as the start of the next
    /// request is unknown.
    fn refuse(
        &mut self,
        refusal: Refusal,
        received: &[u8],
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        let (status, message) = refusal.status();
        debug!("{} {status} {refusal:?}", context.peer);
        let mut response = response::error(status, message);
        context.service.cors.apply(None, &mut response);
        let without_body = request::begins_with_head(received);
        output.clear();
        let says = response::Connection::Close;
        response::print(response, without_body, says, output);
        match self.write(output, true, transport, context)? {
            Answered::Busy(interest) => Ok(interest),
            Answered::KeptAlive => Ok(Interest::Read),
        }
    }

    /// Writes an answer, as far as there is room.
    fn write(
        &mut self,
        wire: &[u8],
        is_last: bool,
        transport: &mut impl Transport,
        context: Context<'_>,
    ) -> Result<Answered, End> {
        let written = write(transport, wire)?;
        self.waits_since = transport.now();
        if written < wire.len() {
            let rest = wire[written..].to_vec();
            self.phase = Phase::Writing { rest, is_last };
            self.deadline = self.waits_since + context.service.timeouts.write;
            return Ok(Answered::Busy(Interest::Write));
        }
        self.answers = self.answers.saturating_add(1);
        if is_last {
            return self.leave(transport).map(Answered::Busy);
        }
        Ok(Answered::KeptAlive)
    }

    /// Writes the rest of an answer, as far as there is room.
    fn write_rest(&mut self, transport: &mut impl Transport) -> Result<Answered, End> {
        let Phase::Writing { rest, is_last } = &mut self.phase else {
            return Ok(Answered::KeptAlive);
        };
        let is_last = *is_last;
        let written = write(transport, rest)?;
        rest.drain(..written);
        if !rest.is_empty() {
            self.read_ahead(transport)?;
            return Ok(Answered::Busy(Interest::Write));
        }
        self.answers = self.answers.saturating_add(1);
        self.waits_since = transport.now();
        if is_last {
            return self.leave(transport).map(Answered::Busy);
        }
        self.phase = Phase::Head;
        Ok(Answered::KeptAlive)
    }

    /// Reads a head's worth of what comes while an answer waits to be written. If nothing were read,
    /// the kernel would drop packets for want of room, and with them the acknowledgements that the
    /// answer waits for.
    fn read_ahead(&mut self, transport: &mut impl Transport) -> Result<(), End> {
        if !self.reads_ahead() {
            return Ok(());
        }
        let length = self.received.len();
        self.received.reserve_exact(MAX_HEAD - length);
        self.received.resize(MAX_HEAD, 0);
        let count = match read(transport, &mut self.received[length..]) {
            Err(End::Close(Close::ByPeer)) => {
                self.input_ended = true;
                Ok(0)
            }
            result => result,
        };
        self.received
            .truncate(length + *count.as_ref().unwrap_or(&0));
        self.has_news = !self.received.is_empty();
        count.map(drop)
    }

    /// Begins to leave after the last answer: tells the peer, and gives it some time to close.
    fn leave(&mut self, transport: &mut impl Transport) -> Result<Interest, End> {
        self.phase = Phase::Leaving;
        self.received = Vec::new();
        self.has_news = false;
        self.waits_since = transport.now();
        self.deadline = self.waits_since + DISCARD_TIME;
        transport.close_write()?;
        Ok(Interest::Read)
    }

    /// Handles the end of the peer's side: closes once it has read most of its answers.
    fn close_by_peer(
        &mut self,
        transport: &mut impl Transport,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        if self.answers <= FEW_ANSWERS || transport.has_room() {
            return Err(End::Close(Close::ByPeer));
        }
        self.phase = Phase::Closing;
        self.received = Vec::new();
        self.has_news = false;
        self.deadline = self.waits_since + context.service.timeouts.write;
        Ok(Interest::Write)
    }
}

fn ask_handler(service: &Service, request: &Request<'_>) -> Reply {
    // A panic cannot leave the handler's state half changed: what it shares is behind locks, or in
    // `Arc`s that are replaced whole.
    let reply = catch_unwind(AssertUnwindSafe(|| service.handler.handle(request)));
    reply.unwrap_or_else(|_| {
        error!(
            "a handler panicked at {}",
            Escaped::new(request.path, MAX_LOGGED_PATH)
        );
        response::error(500, "Internal Server Error").into()
    })
}

/// Reads the available bytes; 0 if there are none.
fn read(transport: &mut impl Transport, buffer: &mut [u8]) -> Result<usize, End> {
    loop {
        match transport.read(buffer) {
            Ok(0) => return Err(End::Close(Close::ByPeer)),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes until all is written or there is no more room. Returns how much was written.
fn write(transport: &mut impl Transport, bytes: &[u8]) -> Result<usize, End> {
    let mut written = 0;
    while written < bytes.len() {
        match transport.write(&bytes[written..]) {
            Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Reads and discards input.
fn discard(transport: &mut impl Transport, buffer: &mut [u8]) -> Result<Interest, End> {
    for _ in 0..MAX_DISCARDS {
        if read(transport, buffer)? == 0 {
            break;
        }
    }
    Ok(Interest::Read)
}

/// Why a request is answered with an error and not handled.
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
