//! The listening sockets, and when connections are accepted from them.

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};

use super::connection::Buffers;
use super::engine::{Engine, INTAKE_TIMER, STRANGERS_LOG_INTERVAL, lock};
use super::poller::{Readiness, Token};
use super::socket::{Listening, Peer, Socket};
use crate::logging::Throttle;

/// The first and the longest pause after an `accept` that failed for lack of a resource.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// The most connections that are accepted in one turn.
const MAX_ACCEPTS: usize = 64;
/// How many connections are refused in which time before accepting pauses, so that refusals do not
/// take the time of connections with places.
const MAX_REFUSALS: (u32, Duration) = (64, Duration::from_millis(10));
/// At a drain: the longest time to accept the backlog, as clients may reconnect endlessly.
const BACKLOG_TIME: Duration = Duration::from_millis(250);

/// The listening sockets.
#[derive(Debug)]
pub struct Intake {
    /// The most connections with places.
    pub capacity: usize,
    /// `None` once a drain has begun.
    sockets: Vec<Mutex<Option<Listening>>>,
    /// Whether no other process will accept from them after this one.
    owns_sockets: bool,
    pace: Mutex<Pace>,
    failures: Throttle,
    /// Set when a drain closes the sockets.
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

impl Intake {
    pub fn new(capacity: usize, sockets: Vec<Listening>, owns_sockets: bool) -> Intake {
        Intake {
            capacity,
            sockets: sockets.into_iter().map(|s| Mutex::new(Some(s))).collect(),
            owns_sockets,
            pace: Mutex::default(),
            failures: Throttle::new(STRANGERS_LOG_INTERVAL),
            is_closed: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
        }
    }

    /// Whether no more connections will be accepted.
    pub fn has_ended(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst) && self.accepting.load(Ordering::SeqCst) == 0
    }

    /// The sockets are closed.
    pub fn set_closed(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}

impl Engine {
    /// Prepares and registers the listening sockets.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn begin_intake(&self) -> io::Result<()> {
        for (at, socket) in self.intake.sockets.iter().enumerate() {
            if let Some(socket) = &*lock(socket) {
                socket.prepare(self.service.timeouts.write)?;
                let token = Token::Listener(at as u32);
                self.poller.add(socket, token, Readiness::Readable)?;
            }
        }
        Ok(())
    }

    /// Accepts the waiting connections, and serves the last one at once. The socket is registered
    /// again before that, so that another worker can accept the next.
    ///
    /// It accepts several per turn, because while clients pipeline, each connection has a turn
    /// before the next turn of this socket.
    pub(super) fn accept_from(&self, at: u32, buffers: &mut Buffers) {
        self.intake.accepting.fetch_add(1, Ordering::SeqCst);
        self.accept_some(at, buffers);
        self.intake.accepting.fetch_sub(1, Ordering::SeqCst);
        if self.is_draining() {
            self.finish_if_over();
        }
    }

    fn accept_some(&self, at: u32, buffers: &mut Buffers) {
        let mut latest = None;
        let mut pause = None;
        for _ in 0..MAX_ACCEPTS {
            match self.accept_one(at) {
                Ok(Some(accepted)) => {
                    self.end_back_off();
                    if let Some((socket, peer)) = latest.replace(accepted) {
                        self.arrive(socket, peer, false, buffers);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    pause = Some(self.back_off(&error));
                    break;
                }
            }
            if self.refuses_too_many() {
                pause = Some(MAX_REFUSALS.1);
                break;
            }
        }
        match pause {
            Some(pause) => self.pause_intake(at, pause),
            None => self.rearm_listener(at),
        }
        if let Some((socket, peer)) = latest {
            self.arrive(socket, peer, true, buffers);
        }
    }

    /// `None` if no connection is waiting after all.
    fn accept_one(&self, at: u32) -> io::Result<Option<(Socket, Peer)>> {
        let socket = self.intake.sockets.get(at as usize).map(lock);
        let Some(listening) = socket.as_ref().and_then(|socket| socket.as_ref()) else {
            return Ok(None);
        };
        match listening.accept() {
            Ok((socket, peer)) => {
                if !self.intake.owns_sockets {
                    socket.prepare(self.service.timeouts.write);
                }
                Ok(Some((socket, peer)))
            }
            // This is about one connection or none: the next `accept` may succeed.
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock
                | ErrorKind::Interrupted
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset => Ok(None),
                _ => Err(error),
            },
        }
    }

    fn rearm_listener(&self, at: u32) {
        let socket = self.intake.sockets.get(at as usize).map(lock);
        if let Some(listening) = socket.as_ref().and_then(|socket| socket.as_ref())
            && let Err(error) =
                self.poller
                    .rearm(listening, Token::Listener(at), Readiness::Readable)
        {
            let pause = self.back_off(&error);
            self.pause_intake(at, pause);
        }
    }

    fn pause_intake(&self, at: u32, pause: Duration) {
        lock(&self.intake.pace).paused.push(at);
        self.set_timer(INTAKE_TIMER, Instant::now() + pause);
    }

    /// Accepts again after a pause.
    pub(super) fn resume_intake(&self) {
        let paused = std::mem::take(&mut lock(&self.intake.pace).paused);
        paused.into_iter().for_each(|at| self.rearm_listener(at));
    }

    /// Counts a refused connection.
    pub(super) fn count_refusal(&self) {
        let mut pace = lock(&self.intake.pace);
        let now = Instant::now();
        if pace.span.is_none_or(|began| began + MAX_REFUSALS.1 <= now) {
            pace.span = Some(now);
            pace.refused = 0;
        }
        pace.refused += 1;
    }

    /// Whether the limit of refusals is reached in the current span.
    fn refuses_too_many(&self) -> bool {
        let pace = lock(&self.intake.pace);
        let is_now = |began: Instant| began.elapsed() < MAX_REFUSALS.1;
        pace.refused >= MAX_REFUSALS.0 && pace.span.is_some_and(is_now)
    }

    /// How long to pause after a failure. The first one is logged.
    fn back_off(&self, error: &io::Error) -> Duration {
        let mut pace = lock(&self.intake.pace);
        if pace.pause.is_none()
            && let Some(others) = self.intake.failures.pass(Instant::now())
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
        let mut pace = lock(&self.intake.pace);
        if pace.pause.take().is_some() && std::mem::take(&mut pace.is_logged) {
            info!("accepting connections again");
        }
    }

    /// Ends intake for a drain. First accepts the backlog, as clients in it may have sent requests,
    /// unless another process accepts from the same sockets. Then closes the sockets.
    pub(super) fn end_intake(&self, buffers: &mut Buffers) {
        let started = Instant::now();
        for (at, socket) in self.intake.sockets.iter().enumerate() {
            while self.intake.owns_sockets && started.elapsed() < BACKLOG_TIME {
                match self.accept_one(at as u32) {
                    Ok(Some((socket, peer))) => self.arrive(socket, peer, false, buffers),
                    Ok(None) | Err(_) => break,
                }
            }
            if let Some(listening) = lock(socket).take() {
                // systemd or the next process has a descriptor of the same socket.
                self.poller.remove(&listening);
            }
        }
    }
}
