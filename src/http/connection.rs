//! One connection, from its first byte to its last, as a value with one step.
//!
//! ```text
//!          +------------------ kept alive ------------------+
//!          v                                                |
//! new -> HEAD --> parse it, ask the handler --> WRITING ----+--> LEAVING --> close
//!          |           |            ^              ^                ^
//!          |           | it needs   | complete     |                |
//!          |           | the body   |              |                |
//!          |           +-> BODY ----+              |                |
//!          |                |                      |                |
//!          | too late, too large, malformed: ------+                |
//!          |   the error is the last answer                         |
//!          +-> idle too long, or the peer is gone: close            |
//!                              what the peer still sends is discarded
//! ```
//!
//! [`Connection::step`] goes as far as it can without waiting, and returns what the connection
//! waits for next. This file knows nothing of sockets, threads or TLS: a [`Transport`] is anything
//! that reads and writes without waiting.

mod answer;
mod collecting;
mod next;
mod transfer;
mod writing;

use std::time::{Duration, Instant};

use log::debug;

use self::answer::{Refusal, Step};
use self::collecting::Collecting;
use self::transfer::{End, discard, invite, read, write};
use super::body::BodyError;
use super::request::{HeadScanner, MAX_HEAD};
use super::service::{Context, Timeouts};
use super::transport::Transport;
use crate::metrics;

pub use self::next::{Close, Event, Interest, Next};

/// How long input is discarded after the last answer. Closing at once would reset the connection,
/// and the reset can overtake the answer (RFC 9112 §9.6).
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// The most requests that one step answers, so that a client that pipelines does not starve others.
const MAX_ANSWERS: usize = 16;
/// That many answers together take a few KiB.
const FEW_ANSWERS: u32 = 8;
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

/// The phase of a connection.
#[derive(Debug)]
enum Phase {
    /// It waits for a request, or for the rest of its head.
    Head,
    /// It waits for the body of a request that was let in.
    Body(Box<Collecting>),
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

/// The state of a connection after an answer.
enum Answered {
    /// The answer is written, and another request may follow.
    KeptAlive,
    /// The body of the request follows.
    Collects,
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
        transfer::next(written)
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
        if let Err(End::Broken(error)) = &outcome {
            debug!("{} gone: {error}", context.peer);
        }
        transfer::next(outcome)
    }

    fn advance(
        &mut self,
        transport: &mut impl Transport,
        buffers: &mut Buffers,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        if let Phase::Writing { .. } = self.phase
            && let Answered::Busy(interest) = self.write_rest(transport)?
        {
            return Ok(interest);
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
        let mut is_over = !is_new && transport.now() >= self.deadline;
        if let (Phase::Head, Some(until)) = (&self.phase, self.drain) {
            if is_idle && self.answers > 0 {
                return Err(End::Close(Close::ByServer));
            }
            self.deadline = self.deadline.min(until);
            // An answer may have taken longer than the drain leaves for requests.
            is_over |= transport.now() >= until;
        }
        if !is_over {
            return Ok(interest);
        }
        match &self.phase {
            Phase::Head if is_idle => Err(End::Close(Close::ByServer)),
            Phase::Head if self.drain.is_some() => Err(End::Close(Close::ByServer)),
            Phase::Head => {
                let head = std::mem::take(&mut self.received);
                self.end(Refusal::Late, &head, transport, output, context)
            }
            Phase::Body(_) => self.end_body(BodyError::Late, transport, output, context),
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
        // A body's incomplete line is short, but the buffer may be that of a large head.
        if received.is_empty() || matches!(self.phase, Phase::Body(_)) {
            received.shrink_to_fit();
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
            Interest::Read if let Phase::Body(body) = &self.phase => {
                self.deadline = body.deadline(timeouts.head);
            }
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
            let (used, answered) = match self.phase {
                Phase::Body(_) => self.collect(rest, transport, output, context)?,
                _ => self.take_head(rest, transport, output, context)?,
            };
            consumed += used;
            match answered {
                Some(Answered::Busy(interest)) => return Ok((interest, consumed)),
                Some(_) if consumed < bytes.len() => {}
                _ => return Ok((Interest::Read, consumed)),
            }
        }
        Ok((Interest::Turn, consumed))
    }

    /// Answers the request whose head `bytes` begin with, if it is complete. Returns how many bytes
    /// it took.
    fn take_head(
        &mut self,
        bytes: &[u8],
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<(usize, Option<Answered>), End> {
        let length = match self.scanner.find_end(bytes) {
            Ok(Some(length)) => length,
            Ok(None) => return Ok((0, None)),
            Err(error) => {
                let interest = self.end(error.into(), bytes, transport, output, context)?;
                return Ok((bytes.len(), Some(Answered::Busy(interest))));
            }
        };
        self.scanner = HeadScanner::default();
        self.head_began = None;
        let (head, rest) = bytes.split_at(length);
        let answered = self.answer(head, None, rest.is_empty(), transport, output, context)?;
        Ok((length, Some(answered)))
    }

    /// Takes what `bytes` have of a request's body, and answers the request if it is complete.
    /// Returns how many bytes it took.
    fn collect(
        &mut self,
        bytes: &[u8],
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<(usize, Option<Answered>), End> {
        let Phase::Body(collecting) = &mut self.phase else {
            return Ok((0, None));
        };
        match collecting.take(bytes, transport.now()) {
            Err(error) => {
                let interest = self.end_body(error, transport, output, context)?;
                Ok((bytes.len(), Some(Answered::Busy(interest))))
            }
            Ok(used) if collecting.body().is_none() => Ok((used, None)),
            Ok(used) => {
                let phase = std::mem::replace(&mut self.phase, Phase::Head);
                let Phase::Body(request) = phase else {
                    return Ok((used, None));
                };
                let (head, body) = (&request.head, request.body());
                let answered = self.answer(head, body, false, transport, output, context)?;
                Ok((used, Some(answered)))
            }
        }
    }

    /// Answers one request, unless its handler needs the body first. `is_all` says that no bytes
    /// behind its head have come so far.
    fn answer(
        &mut self,
        head: &[u8],
        body: Option<&[u8]>,
        is_all: bool,
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<Answered, End> {
        let is_draining = self.drain.is_some();
        match answer::of_request(head, body, is_draining, transport, output, context) {
            Ok(Step::Printed { is_last, began }) => {
                let answered = self.write(output, is_last, transport, context);
                if let (Some(began), Ok(_)) = (began, &answered) {
                    // Set by the write.
                    metrics::latency(self.waits_since.saturating_duration_since(began));
                }
                answered
            }
            Ok(Step::Collect {
                collector,
                expects_continue,
            }) => {
                if expects_continue && is_all {
                    invite(transport)?;
                }
                let collecting = Collecting::new(head, collector, transport.now());
                self.phase = Phase::Body(Box::new(collecting));
                Ok(Answered::Collects)
            }
            Err(error) => {
                let ended = self.end(error.into(), head, transport, output, context);
                ended.map(Answered::Busy)
            }
        }
    }

    /// Answers with an error to a request whose body cannot be collected, and ends the connection.
    fn end_body(
        &mut self,
        error: BodyError,
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        if let Phase::Body(request) = std::mem::replace(&mut self.phase, Phase::Head) {
            answer::of_body_error(error, &request.head, output, context);
        }
        self.write_last(output, transport, context)
    }

    /// Answers with an error and ends the connection, as the start of the next request is unknown.
    fn end(
        &mut self,
        refusal: Refusal,
        received: &[u8],
        transport: &mut impl Transport,
        output: &mut Vec<u8>,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        answer::of_refusal(refusal, received, output, context);
        self.write_last(output, transport, context)
    }
}

#[cfg(test)]
mod tests;
