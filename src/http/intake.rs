//! The listening sockets, and when connections are accepted from them.

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};

use super::lock::lock;
use super::poller::{Poller, Readiness, Watched};
use super::socket::{Listening, Peer, Socket};
use crate::logging::{STRANGERS_LOG_INTERVAL, Throttle};

/// The first and the longest pause after an `accept` that failed for lack of a resource.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How many connections are refused in which time before accepting pauses, so that refusals do not
/// take the time of connections with places.
const MAX_REFUSALS: (u32, Duration) = (64, Duration::from_millis(10));

/// The listening sockets.
#[derive(Debug)]
pub struct Intake {
    /// `None` once a drain has begun.
    sockets: Vec<Mutex<Option<Listening>>>,
    /// Whether no other process will accept from them after this one.
    owns_sockets: bool,
    /// How long the kernel keeps unread answers.
    write_timeout: Duration,
    pace: Mutex<Pace>,
    failures: Throttle,
    /// Set when a drain has closed the sockets.
    is_closed: AtomicBool,
    /// How many workers accept, or hold what they have accepted.
    accepting: AtomicUsize,
}

/// When to accept.
#[derive(Debug, Default)]
struct Pace {
    /// The pause after the latest failure; `None` if the latest `accept` did not fail.
    pause: Option<Duration>,
    /// Whether it was logged.
    is_logged: bool,
    /// Sockets that are not registered until the pause is over.
    paused: Vec<u32>,
    /// Connections refused in the current span, and its start.
    refused: u32,
    span: Option<Instant>,
}

/// The result of an `accept`.
pub enum Accepted {
    /// A connection.
    One(Socket, Peer),
    /// No connection is waiting after all.
    None,
    /// A resource is used up: try again after this time.
    Failed(Duration),
}

impl Intake {
    /// Prepares the sockets. `owns_sockets` says that no other process will accept from them.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(
        sockets: Vec<Listening>,
        owns_sockets: bool,
        write_timeout: Duration,
    ) -> io::Result<Intake> {
        for socket in &sockets {
            socket.prepare(write_timeout)?;
        }
        Ok(Intake {
            sockets: sockets.into_iter().map(|s| Mutex::new(Some(s))).collect(),
            owns_sockets,
            write_timeout,
            pace: Mutex::default(),
            failures: Throttle::new(STRANGERS_LOG_INTERVAL),
            is_closed: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
        })
    }

    /// Registers the sockets.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&self, poller: &Poller) -> io::Result<()> {
        for (at, socket) in self.sockets.iter().enumerate() {
            if let Some(socket) = &*lock(socket) {
                poller.add(socket, Watched::Listener(at as u32), Readiness::Readable)?;
            }
        }
        Ok(())
    }

    /// Accepts a connection from a socket.
    pub fn accept(&self, at: u32) -> Accepted {
        match self.try_accept(at) {
            Ok(Some((socket, peer))) => {
                self.end_back_off();
                Accepted::One(socket, peer)
            }
            Ok(None) => Accepted::None,
            // This is about one connection or none: the next `accept` may succeed.
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock
                | ErrorKind::Interrupted
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset => Accepted::None,
                _ => Accepted::Failed(self.back_off(&error)),
            },
        }
    }

    fn try_accept(&self, at: u32) -> io::Result<Option<(Socket, Peer)>> {
        let socket = self.sockets.get(at as usize).map(lock);
        let Some(listening) = socket.as_ref().and_then(|socket| socket.as_ref()) else {
            return Ok(None);
        };
        let (socket, peer) = listening.accept()?;
        if !self.owns_sockets {
            socket.prepare(self.write_timeout);
        }
        Ok(Some((socket, peer)))
    }

    /// Registers a socket again. If that fails, the next try is due after the returned time.
    pub fn rearm(&self, at: u32, poller: &Poller) -> Option<Duration> {
        let socket = self.sockets.get(at as usize).map(lock);
        let listening = socket.as_ref().and_then(|socket| socket.as_ref())?;
        let armed = poller.rearm(listening, Watched::Listener(at), Readiness::Readable);
        armed.err().map(|error| self.back_off(&error))
    }

    /// Leaves a socket unregistered until the pause is over.
    pub fn pause(&self, at: u32) {
        lock(&self.pace).paused.push(at);
    }

    /// The sockets to register again after a pause.
    pub fn end_pause(&self) -> Vec<u32> {
        std::mem::take(&mut lock(&self.pace).paused)
    }

    /// Counts a refused connection.
    pub fn count_refusal(&self) {
        let mut pace = lock(&self.pace);
        let now = Instant::now();
        if pace.span.is_none_or(|began| began + MAX_REFUSALS.1 <= now) {
            pace.span = Some(now);
            pace.refused = 0;
        }
        pace.refused += 1;
    }

    /// The pause that is due, if the limit of refusals is reached in the current span.
    pub fn pause_after_refusals(&self) -> Option<Duration> {
        let pace = lock(&self.pace);
        let is_now = |began: Instant| began.elapsed() < MAX_REFUSALS.1;
        let is_due = pace.refused >= MAX_REFUSALS.0 && pace.span.is_some_and(is_now);
        is_due.then_some(MAX_REFUSALS.1)
    }

    /// How long to pause after a failure. The first one is logged.
    fn back_off(&self, error: &io::Error) -> Duration {
        let mut pace = lock(&self.pace);
        if pace.pause.is_none()
            && let Some(others) = self.failures.pass(Instant::now())
        {
            pace.is_logged = true;
            warn!(
                "cannot accept connections: {error}; trying on ({others} more times since the last \
                 such line)"
            );
        }
        let last = pace.pause;
        let pause = last.map_or(BACK_OFF.0, |last| (last * 2).min(BACK_OFF.1));
        pace.pause = Some(pause);
        pause
    }

    fn end_back_off(&self) {
        let mut pace = lock(&self.pace);
        if pace.pause.take().is_some() && std::mem::take(&mut pace.is_logged) {
            info!("accepting connections again");
        }
    }

    /// Counts a worker that accepts, until it has handed over what it accepted.
    pub fn begin_turn(&self) {
        self.accepting.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends [`begin_turn`](Intake::begin_turn).
    pub fn end_turn(&self) {
        self.accepting.fetch_sub(1, Ordering::SeqCst);
    }

    /// The sockets whose backlog nobody accepts after this process.
    pub fn owned(&self) -> impl Iterator<Item = u32> {
        let count = if self.owns_sockets {
            self.sockets.len()
        } else {
            0
        };
        0..count as u32
    }

    /// Closes the sockets.
    pub fn close(&self, poller: &Poller) {
        for socket in &self.sockets {
            if let Some(listening) = lock(socket).take() {
                // systemd or the next process has a descriptor of the same socket.
                poller.remove(&listening);
            }
        }
    }

    /// No more connections will come, but from workers that accept right now.
    pub fn set_closed(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Whether no more connections will come.
    pub fn has_ended(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst) && self.accepting.load(Ordering::SeqCst) == 0
    }
}
