//! A peer that plays its part step by step, and a connection driven without sockets and time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::http::connection::{Buffers, Close, Connection, Event, Interest, Next};
use crate::http::response::Response;
use crate::http::service::{Context, Lifecycle, Service, Timeouts};
use crate::http::socket::Peer as Source;
use crate::http::transport::Transport;
use crate::http::{Answer, Handler, Request};

/// The longest body that is taken.
pub const MAX_PUT: usize = 100 * 1024;

pub const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(30),
    write: Duration::from_secs(20),
};

/// What a peer does, step by step; after the last it is silent.
pub enum Step {
    Send(Vec<u8>),
    /// Nothing for so long, unless the connection does something before.
    Wait(Duration),
    Close,
    Reset,
}

pub fn send(bytes: &[u8]) -> Step {
    Step::Send(bytes.to_vec())
}

/// A transport that plays a peer, with a clock of its own.
pub struct Peer {
    pub steps: VecDeque<Step>,
    /// The most bytes the peer has not read before there is no more room.
    pub window: usize,
    pub unread: usize,
    pub written: Vec<u8>,
    pub write_closed: bool,
    pub reads: usize,
    pub now: Instant,
}

impl Peer {
    pub fn new(steps: Vec<Step>) -> Peer {
        Peer {
            steps: steps.into(),
            window: usize::MAX,
            unread: 0,
            written: Vec::new(),
            write_closed: false,
            reads: 0,
            now: Instant::now(),
        }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.written).unwrap()
    }

    pub fn statuses(&self) -> Vec<&str> {
        let lines = self.text().split("HTTP/1.1 ").skip(1);
        lines.map(|answer| &answer[..3]).collect()
    }
}

impl Transport for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.steps.pop_front() {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Step::Wait(time)) => {
                self.steps.push_front(Step::Wait(time));
                Err(ErrorKind::WouldBlock.into())
            }
            Some(Step::Close) => {
                self.steps.push_front(Step::Close);
                Ok(0)
            }
            Some(Step::Reset) => Err(ErrorKind::ConnectionReset.into()),
            Some(Step::Send(mut bytes)) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    self.steps.push_front(Step::Send(bytes.split_off(count)));
                }
                Ok(count)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.window - self.unread);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.unread += count;
        self.written.extend(&bytes[..count]);
        Ok(count)
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.write_closed = true;
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.unread < self.window
    }

    fn now(&self) -> Instant {
        self.now
    }
}

/// Answers with its path as an empty 200, or panics at `/panic`. A `PUT` is answered with its body.
pub struct Echo;

impl Handler for Echo {
    fn handle(&self, request: &Request<'_>) -> Answer {
        let body = match request.method().as_str() {
            "PUT" => request.body(MAX_PUT)?.to_vec(),
            _ => Vec::new(),
        };
        assert_ne!(request.path(), "/panic", "asked to");
        Ok(Response::new(200, "text/plain", body).with_header("X-Path", request.path()))
    }
}

/// Whether each answer is the last.
pub struct Last(pub bool);

impl Lifecycle for Last {
    fn is_last_answer(&self) -> bool {
        self.0
    }
}

/// Drives a connection as the engine does, but without waiting.
pub struct Drive {
    pub connection: Connection,
    pub buffers: Buffers,
    pub service: Service,
    pub peer: Peer,
    pub is_last: bool,
}

impl Drive {
    pub fn new(steps: Vec<Step>) -> Drive {
        let peer = Peer::new(steps);
        Drive {
            connection: Connection::new(peer.now, &TIMEOUTS),
            buffers: Buffers::default(),
            service: Service::new(Box::new(Echo), TIMEOUTS),
            peer,
            is_last: false,
        }
    }

    pub fn step(&mut self, event: Event) -> Next {
        let context = Context {
            service: &self.service,
            peer: Source::Unix,
            is_secure: false,
            lifecycle: &Last(self.is_last),
        };
        let (peer, buffers) = (&mut self.peer, &mut self.buffers);
        self.connection.step(event, peer, buffers, context)
    }

    /// The next event, with time passing until it comes; `None` if the peer only waits.
    pub fn event(&mut self, interest: Interest) -> Event {
        let deadline = self.connection.deadline();
        let is_ready = match (interest, self.peer.steps.front()) {
            (Interest::Turn, _) => true,
            (Interest::Write, _) => self.peer.unread < self.peer.window,
            (Interest::Read, None) => false,
            (Interest::Read, Some(Step::Wait(time))) => {
                let until = self.peer.now + *time;
                if until <= deadline {
                    self.peer.now = until;
                    self.peer.steps.pop_front();
                    return Event::Ready;
                }
                false
            }
            (Interest::Read, Some(_)) => true,
        };
        if is_ready {
            return Event::Ready;
        }
        self.peer.now = deadline;
        Event::Deadline
    }

    /// Until the connection closes.
    pub fn run(&mut self) -> Close {
        let mut event = Event::Ready;
        for _ in 0..100_000 {
            match self.step(event) {
                Next::Close(close) => return close,
                Next::Wait(interest) => event = self.event(interest),
            }
        }
        panic!("it does not end");
    }
}
