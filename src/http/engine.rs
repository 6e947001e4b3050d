//! The engine: a few workers that share one poller and serve the connections that are ready.
//!
//! ```text
//!             +--------------- epoll: a socket is ready <------------------+
//!             v                                                            |
//!   a worker takes the connection out of its slot                          |
//!             |                                                            |
//!   Connection::step: read, answer, write, as far as it goes               |
//!             |                                                            |
//!             +-- Wait --> back into its slot, registered for one event ---+
//!             +-- Close -> closed, its place given to a newcomer
//! ```
//!
//! Whatever takes a connection out of its slot, a worker, a timer or an eviction, puts it back, or
//! closes it and releases its number. The order of the locks is: places, slot, timers. None is held
//! while a request is served.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::{error, warn};

use super::connection::{
    Buffers, Close, Connection, Context, Event, Interest, Lifecycle, Next, Service, Transport,
};
use super::crew::Crew;
use super::intake::Intake;
use super::places::{self, Members, Places, Source};
use super::poller::{Poller, Readiness, Token};
use super::response;
use super::socket::{Peer, Socket};
use super::table::{Slot, Table};
use super::timers::Timers;
use crate::logging::Throttle;

/// How long, in a drain, a connection without an answer so far may still send a request.
const DRAIN_REQUEST_TIME: Duration = Duration::from_secs(2);
/// The least time between two log lines of a kind that clients can cause.
pub const STRANGERS_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Timers that do not belong to a connection.
const PLACES_TIMER: u32 = 0;
pub const INTAKE_TIMER: u32 = 1;
const CONNECTION_TIMERS: u32 = 2;

/// A connection with its socket and its state in the engine.
struct Member {
    connection: Connection,
    socket: Socket,
    peer: Peer,
    /// When it got its place; `None` for a newcomer.
    placed: Option<Instant>,
    /// Whether it is registered with the poller.
    is_registered: bool,
    /// Whether its place has been given back.
    has_left: bool,
}

impl Member {
    /// Since when it has waited for its peer; `None` if it has work to do.
    fn waits_since(&self) -> Option<Instant> {
        let waits = match self.connection.awaits() {
            // A connection with a request in its socket does not wait.
            Interest::Read => !self.socket.has_input(),
            // A connection whose answers are not read waits, even with a request.
            Interest::Write => true,
            Interest::Turn => !self.socket.has_room(),
        };
        waits.then(|| self.connection.waits_since())
    }
}

/// The stage of the server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It accepts connections.
    Running,
    /// It has been ending its connections since this time.
    Draining(Instant),
    /// No connection is left.
    Finished,
}

/// The state that the workers share.
pub struct Engine {
    pub(super) service: Service,
    pub(super) poller: Poller,
    pub(super) intake: Intake,
    pub(super) crew: Arc<Crew>,
    table: Table<Member>,
    places: Mutex<Places>,
    /// Copies of [`Places::tickets`], to be read without the lock.
    tickets: [AtomicUsize; 2],
    timers: Mutex<Timers>,
    /// The close times of connections for which the kernel may still hold unsent answers.
    orphans: Mutex<VecDeque<Instant>>,
    refusals: Throttle,
    /// Set when a drain begins: the deadline for a first request.
    drain: OnceLock<Instant>,
    stage: Mutex<Stage>,
    stage_changed: Condvar,
    on_finished: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Engine {
    pub(super) fn new(
        service: Service,
        poller: Poller,
        intake: Intake,
        capacity: usize,
    ) -> Arc<Engine> {
        // Some connections are in the hands of workers and not counted as places.
        let numbers = 2 * capacity + 4 * 1024;
        Arc::new(Engine {
            service,
            poller,
            intake,
            crew: Crew::new(),
            table: Table::new(numbers),
            places: Mutex::new(Places::new(capacity)),
            tickets: Default::default(),
            timers: Mutex::default(),
            orphans: Mutex::default(),
            refusals: Throttle::new(STRANGERS_LOG_INTERVAL),
            drain: OnceLock::new(),
            stage: Mutex::new(Stage::Running),
            stage_changed: Condvar::new(),
            on_finished: OnceLock::new(),
        })
    }

    /// Runs a worker until it is dismissed or the server ends.
    pub(super) fn work(&self) {
        let mut buffers = Buffers::default();
        while !self.crew.dismisses_me() {
            match self.poller.wait() {
                Token::Connection(number, generation) => {
                    self.on_ready(number, generation, &mut buffers);
                }
                Token::Listener(at) => self.accept_from(at, &mut buffers),
                Token::Timer => self.on_timer(&mut buffers),
                Token::Drain => self.begin_drain(&mut buffers),
                Token::Exit => return,
            }
        }
    }

    fn on_ready(&self, number: u32, generation: u32, buffers: &mut Buffers) {
        let Some(mut slot) = self.table.lock(number) else {
            return;
        };
        if slot.generation != generation {
            return;
        }
        let Some(member) = slot.value.take() else {
            return;
        };
        if member.placed.is_none() {
            // A newcomer's peer has closed. Requests that it sent before are still answered.
            match member.socket.is_over() {
                false => slot.value = Some(member),
                true => {
                    drop(slot);
                    self.close(number, member, Close::ByPeer, buffers);
                }
            }
            return;
        }
        drop(slot);
        self.serve(number, member, Event::Ready, buffers);
    }

    /// Takes over an accepted connection. If it has a place, it is served `at_once` or when it is
    /// ready.
    pub(super) fn arrive(&self, socket: Socket, peer: Peer, at_once: bool, buffers: &mut Buffers) {
        // A peer that is gone must not take a place from others.
        if self.is_full() && socket.is_over() {
            return;
        }
        let now = Instant::now();
        let mut member = Box::new(Member {
            connection: Connection::new(now, &self.service.timeouts),
            socket,
            peer,
            placed: None,
            is_registered: false,
            has_left: false,
        });
        let mut places = self.lock_places();
        let (number, has_place) = places.arrive(Source::of(peer), now);
        let Some(mut slot) = self.table.lock(number) else {
            // Does not happen: the bounds of the classes bound the numbers.
            error!("no slot for connection {number}");
            places.release(number);
            return;
        };
        slot.generation = slot.generation.wrapping_add(1) & (u32::MAX >> 1);
        if has_place {
            drop(slot);
            drop(places);
            member.placed = Some(now);
            if at_once {
                return self.serve(number, member, Event::Ready, buffers);
            }
            let parked = match self.park(number, member, Interest::Read) {
                // Another turn tells it: its handler may wait, and the drain does not wait for that.
                Parked::Drains(member, _) => self.wait_for(number, member, Readiness::Writable),
                parked => parked,
            };
            if let Parked::Refused(member) = parked {
                self.close(number, member, Close::Stalled, buffers);
            }
            return;
        }
        let token = Token::Connection(number, slot.generation);
        member.is_registered = true;
        match self.poller.add(&member.socket, token, Readiness::Closed) {
            Ok(()) => slot.value = Some(member),
            Err(_) => places.release(number),
        }
        drop(slot);
        self.settle(places, now, buffers);
    }

    /// Makes steps of a connection until it waits or ends.
    fn serve(&self, number: u32, mut member: Box<Member>, event: Event, buffers: &mut Buffers) {
        let mut event = match self.drain.get() {
            Some(until) if !member.connection.is_draining() => Event::Drain(*until),
            _ => event,
        };
        loop {
            // A handler's panic is caught where the handler is called. A panic in the server itself
            // ends only this connection.
            let step = catch_unwind(AssertUnwindSafe(|| {
                self.step(number, &mut member, event, buffers)
            }));
            let interest = match step {
                Ok(Next::Wait(interest)) => interest,
                Ok(Next::Close(close)) => return self.close(number, member, close, buffers),
                Err(_) => return self.close(number, member, Close::Stalled, buffers),
            };
            if member.connection.is_leaving() && !member.has_left {
                member.has_left = true;
                self.give_back(number, buffers);
            }
            match self.park(number, member, interest) {
                Parked::Waits => return,
                Parked::Refused(member) => {
                    return self.close(number, member, Close::Stalled, buffers);
                }
                Parked::Drains(same, until) => {
                    member = same;
                    event = Event::Drain(until);
                }
            }
        }
    }

    fn step(&self, number: u32, member: &mut Member, event: Event, buffers: &mut Buffers) -> Next {
        let Member {
            connection,
            socket,
            peer,
            placed,
            ..
        } = member;
        let lifecycle = Membership {
            engine: self,
            number,
            placed: *placed,
        };
        let context = Context {
            service: &self.service,
            peer,
            lifecycle: &lifecycle,
        };
        connection.step(event, socket, buffers, context)
    }

    /// Puts a connection back into its slot, where it waits, unless it has to learn of the drain.
    fn park(&self, number: u32, member: Box<Member>, interest: Interest) -> Parked {
        let Some(slot) = self.table.lock(number) else {
            return Parked::Refused(member);
        };
        // Checked under the lock: once the connection is in its slot, a drain finds it.
        if let Some(until) = self.drain.get()
            && !member.connection.is_draining()
        {
            return Parked::Drains(member, *until);
        }
        let readiness = match interest {
            Interest::Read => Readiness::Readable,
            Interest::Write if member.connection.reads_ahead() => Readiness::Any,
            // Bytes that have been received already do not make a socket readable.
            Interest::Write | Interest::Turn => Readiness::Writable,
        };
        self.put_back(slot, number, member, readiness)
    }

    /// Puts a connection into its slot that has not been told of the drain.
    fn wait_for(&self, number: u32, member: Box<Member>, readiness: Readiness) -> Parked {
        match self.table.lock(number) {
            Some(slot) => self.put_back(slot, number, member, readiness),
            None => Parked::Refused(member),
        }
    }

    fn put_back(
        &self,
        mut slot: MutexGuard<'_, Slot<Member>>,
        number: u32,
        mut member: Box<Member>,
        readiness: Readiness,
    ) -> Parked {
        let deadline = member.connection.deadline();
        if slot.timer.is_none_or(|timer| deadline < timer) {
            slot.timer = Some(deadline);
            self.set_timer(number + CONNECTION_TIMERS, deadline);
        }
        let token = Token::Connection(number, slot.generation);
        let is_registered = std::mem::replace(&mut member.is_registered, true);
        let member = slot.value.insert(member);
        let armed = match is_registered {
            true => self.poller.rearm(&member.socket, token, readiness),
            false => self.poller.add(&member.socket, token, readiness),
        };
        match (armed, slot.value.take()) {
            (Ok(()), member) => {
                slot.value = member;
                Parked::Waits
            }
            (Err(_), Some(member)) => Parked::Refused(member),
            (Err(_), None) => Parked::Waits,
        }
    }

    /// Closes a connection, and gives its place to a newcomer.
    fn close(&self, number: u32, member: Box<Member>, close: Close, buffers: &mut Buffers) {
        let has_left = member.has_left;
        self.close_socket(*member, close);
        let mut places = self.lock_places();
        places.release(number);
        let is_last = places.connections() == 0;
        // A leaving connection had no place, so no newcomer has waited for it.
        if !has_left && places.needs_settling() {
            self.settle(places, Instant::now(), buffers);
        } else {
            drop(places);
        }
        if is_last {
            self.finish_if_over();
        }
    }

    /// Closes a socket. The kernel may keep unread answers, but only of a bounded number of
    /// sockets.
    fn close_socket(&self, member: Member, close: Close) {
        let now = Instant::now();
        let timeout = self.service.timeouts.write;
        let may_linger = match (close, member.connection.last_answer()) {
            (Close::Stalled, _) => false,
            _ if member.connection.is_writing() => false,
            (Close::ByPeer, _) | (_, None) => true,
            // If it was not acknowledged within that time, the kernel has ended the connection.
            (Close::ByServer, Some(last)) if last + timeout < now => true,
            (Close::ByServer, Some(_)) => self.takes_orphan(now, timeout),
        };
        if !may_linger {
            member.socket.reset_on_close();
        }
    }

    /// Whether the kernel may keep the answers of one more closed connection.
    fn takes_orphan(&self, now: Instant, timeout: Duration) -> bool {
        let mut orphans = lock(&self.orphans);
        while orphans
            .front()
            .is_some_and(|closed| *closed + timeout < now)
        {
            orphans.pop_front();
        }
        let is_one_more = orphans.len() < places::max_leaving(self.intake.capacity);
        if is_one_more {
            orphans.push_back(now);
        }
        is_one_more
    }

    /// Frees the place of a connection whose last answer is written.
    fn give_back(&self, number: u32, buffers: &mut Buffers) {
        let mut places = self.lock_places();
        let mut hands = Hands::new(self);
        places.leave(number, &mut hands);
        if places.needs_settling() {
            self.settle(places, Instant::now(), buffers);
        } else {
            drop(places);
        }
        hands.finish(buffers);
    }

    /// Gives places to newcomers, as far as the rules allow.
    fn settle(&self, mut places: MutexGuard<'_, Places>, now: Instant, buffers: &mut Buffers) {
        let mut hands = Hands::new(self);
        places.settle(now, &mut hands);
        let (for_any, for_settled) = places.tickets();
        self.tickets[0].store(for_any, Ordering::Relaxed);
        self.tickets[1].store(for_settled, Ordering::Relaxed);
        if let Some(alarm) = places.alarm(now) {
            self.set_timer(PLACES_TIMER, alarm);
        }
        drop(places);
        hands.finish(buffers);
    }

    /// Whether a connection would have to wait for a place.
    fn is_full(&self) -> bool {
        self.lock_places().is_full()
    }

    pub(super) fn set_timer(&self, timer: u32, time: Instant) {
        let mut timers = lock(&self.timers);
        if timers.set(timer, time) {
            let left = time.saturating_duration_since(Instant::now());
            self.poller.set_timer(Some(left));
        }
    }

    /// Sets the poller's timer to the first deadline. The caller's lock keeps other workers from
    /// setting it in between.
    fn set_poller(&self, timers: &Timers, now: Instant) {
        let next = timers.next();
        let left = next.map(|next| next.saturating_duration_since(now));
        self.poller.set_timer(left);
    }

    /// Handles due timers. The poller's timer is armed again before a request is served, because a
    /// handler may take long.
    fn on_timer(&self, buffers: &mut Buffers) {
        loop {
            let now = Instant::now();
            let mut timers = lock(&self.timers);
            let Some(due) = timers.pop_due(now) else {
                self.set_poller(&timers, now);
                return self.poller.arm_timer();
            };
            drop(timers);
            match due {
                PLACES_TIMER => self.settle(self.lock_places(), now, buffers),
                INTAKE_TIMER => self.resume_intake(),
                timer => {
                    let number = timer - CONNECTION_TIMERS;
                    if let Some(member) = self.take_due(number, now) {
                        self.set_poller(&lock(&self.timers), now);
                        self.poller.arm_timer();
                        return self.serve(number, member, Event::Deadline, buffers);
                    }
                }
            }
        }
    }

    /// The connection of this number, if it waits and its deadline has passed.
    fn take_due(&self, number: u32, now: Instant) -> Option<Box<Member>> {
        let mut slot = self.table.lock(number)?;
        slot.timer = None;
        let member = slot
            .value
            .as_ref()
            .filter(|member| member.placed.is_some())?;
        let deadline = member.connection.deadline();
        if deadline <= now {
            return slot.value.take();
        }
        slot.timer = Some(deadline);
        self.set_timer(number + CONNECTION_TIMERS, deadline);
        None
    }

    fn lock_places(&self) -> MutexGuard<'_, Places> {
        lock(&self.places)
    }

    /// How many connections have places.
    pub(super) fn places_used(&self) -> usize {
        self.lock_places().used()
    }

    /// Starts a drain. Returns at once.
    pub(super) fn start_drain(&self) {
        let mut stage = lock(&self.stage);
        if *stage == Stage::Running {
            let now = Instant::now();
            *stage = Stage::Draining(now);
            let _ = self.drain.set(now + DRAIN_REQUEST_TIME);
            self.stage_changed.notify_all();
            self.poller.wake_for_drain();
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Stops accepting, and makes each connection notice the drain.
    fn begin_drain(&self, buffers: &mut Buffers) {
        self.end_intake(buffers);
        let mut places = self.lock_places();
        log::info!("draining {} connections", places.used());
        if let Some(until) = self.drain.get() {
            places.limit_newcomers(*until);
        }
        self.settle(places, Instant::now(), buffers);
        for number in self.table.numbers() {
            let Some(slot) = self.table.lock(number) else {
                continue;
            };
            if let Some(member) = &slot.value
                && member.placed.is_some()
                && !member.connection.is_writing()
                && !member.connection.is_leaving()
            {
                // A socket is usually writable, so its event comes at once.
                let token = Token::Connection(number, slot.generation);
                let _ = self
                    .poller
                    .rearm(&member.socket, token, Readiness::Writable);
            }
        }
        self.intake.set_closed();
        self.finish_if_over();
    }

    /// Ends the drain if there is no connection left, nor one that has been accepted just now.
    pub(super) fn finish_if_over(&self) {
        if self.intake.has_ended() && self.lock_places().connections() == 0 {
            self.set_finished();
        }
    }

    fn set_finished(&self) {
        *lock(&self.stage) = Stage::Finished;
        self.stage_changed.notify_all();
        self.poller.wake_for_exit();
        if let Some(on_finished) = self.on_finished.get() {
            on_finished();
        }
    }

    /// Sets an `action` to call when the last connection has ended.
    pub(super) fn on_finished(&self, action: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_finished.set(Box::new(action));
    }

    pub(super) fn stage(&self) -> Stage {
        *lock(&self.stage)
    }

    /// Waits until the stage is no longer `stage`, or until `time` has passed.
    pub(super) fn wait_for_stage_after(&self, stage: Stage, time: Option<Duration>) -> Stage {
        let current = lock(&self.stage);
        let is_same = |current: &mut Stage| *current == stage;
        *match time {
            None => self
                .stage_changed
                .wait_while(current, is_same)
                .unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self
                    .stage_changed
                    .wait_timeout_while(current, time, is_same);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Closes all connections that no worker is serving, and ends the workers.
    pub(super) fn cut_off(&self) {
        for number in self.table.numbers() {
            if let Some(mut slot) = self.table.lock(number) {
                slot.value = None;
            }
        }
        self.set_finished();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under the engine's locks is left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of putting a connection back.
enum Parked {
    /// It waits.
    Waits,
    /// The poller cannot register it.
    Refused(Box<Member>),
    /// It must learn of the drain first.
    Drains(Box<Member>, Instant),
}

/// A connection's view of the engine.
struct Membership<'a> {
    engine: &'a Engine,
    number: u32,
    placed: Option<Instant>,
}

impl Lifecycle for Membership<'_> {
    fn is_last_answer(&self) -> bool {
        let [for_any, for_settled] = &self.engine.tickets;
        if for_any.load(Ordering::Relaxed) == 0 && for_settled.load(Ordering::Relaxed) == 0 {
            return self.engine.is_draining();
        }
        let now = Instant::now();
        let is_settled = self
            .placed
            .is_some_and(|placed| placed + places::SETTLED <= now);
        if for_any.load(Ordering::Relaxed) == 0 && !is_settled {
            return self.engine.is_draining();
        }
        let mut places = self.engine.lock_places();
        let takes = places.take_ticket(self.number, now);
        let (for_any, for_settled) = places.tickets();
        self.engine.tickets[0].store(for_any, Ordering::Relaxed);
        self.engine.tickets[1].store(for_settled, Ordering::Relaxed);
        takes || self.engine.is_draining()
    }
}

/// Carries out the decisions of [`Places`]. Sockets are written and closed after its lock is
/// released.
struct Hands<'a> {
    engine: &'a Engine,
    closed: Vec<Member>,
    refused: Vec<(u32, Box<Member>)>,
}

impl<'a> Hands<'a> {
    fn new(engine: &'a Engine) -> Hands<'a> {
        Hands {
            engine,
            closed: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Writes and closes the sockets. Call it without the lock of the places.
    fn finish(self, buffers: &mut Buffers) {
        for member in self.closed {
            self.engine.close_socket(member, Close::ByServer);
        }
        for (number, member) in self.refused {
            self.engine.refuse(number, member, buffers);
        }
    }

    fn take(&mut self, number: u32) -> Option<Box<Member>> {
        self.engine.table.lock(number)?.value.take()
    }
}

impl Members for Hands<'_> {
    fn waits_since(&mut self, number: u32) -> Option<Instant> {
        self.engine
            .table
            .lock(number)?
            .value
            .as_ref()?
            .waits_since()
    }

    fn evict(&mut self, number: u32) -> bool {
        let Some(mut slot) = self.engine.table.lock(number) else {
            return false;
        };
        let evicted = slot.value.take_if(|member| member.waits_since().is_some());
        let is_evicted = evicted.is_some();
        self.closed.extend(evicted.map(|member| *member));
        is_evicted
    }

    fn admit(&mut self, number: u32) {
        let engine = self.engine;
        let Some(mut slot) = engine.table.lock(number) else {
            return;
        };
        let token = Token::Connection(number, slot.generation);
        if let Some(member) = &mut slot.value {
            let now = Instant::now();
            member.placed = Some(now);
            member.connection = Connection::new(now, &engine.service.timeouts);
            let deadline = member.connection.deadline();
            // A socket is usually writable, so a connection that does not know of the drain learns
            // of it at once.
            let readiness = match engine.is_draining() {
                true => Readiness::Writable,
                false => Readiness::Readable,
            };
            // If this fails, the deadline closes the connection.
            let _ = engine.poller.rearm(&member.socket, token, readiness);
            if slot.timer.is_none_or(|timer| deadline < timer) {
                slot.timer = Some(deadline);
                engine.set_timer(number + CONNECTION_TIMERS, deadline);
            }
        }
    }

    fn refuse(&mut self, number: u32) {
        if let Some(member) = self.take(number) {
            self.refused.push((number, member));
        }
    }

    fn close_leaving(&mut self, number: u32) -> bool {
        let taken = self.take(number);
        let is_closed = taken.is_some();
        self.closed.extend(taken.map(|member| *member));
        is_closed
    }
}

impl Engine {
    /// Answers 503 to a newcomer that gets no place.
    fn refuse(&self, number: u32, mut member: Box<Member>, buffers: &mut Buffers) {
        self.count_refusal();
        if let Some(others) = self.refusals.pass(Instant::now()) {
            let peer = member.peer;
            warn!("{peer} 503: all connections are busy ({others} more since the last such line)");
        }
        let mut response = response::error(503, "Service Unavailable")
            .with_header(response::header("Retry-After", "1"));
        self.service.cors.apply(None, &mut response);
        let mut wire = Vec::new();
        response::print(response, false, response::Connection::Close, &mut wire);
        member.placed = Some(Instant::now());
        member.has_left = true;
        match member.connection.dismiss(&wire, &mut member.socket) {
            Next::Close(close) => self.close(number, member, close, buffers),
            Next::Wait(_) => self.serve(number, member, Event::Ready, buffers),
        }
    }
}
