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

mod arrival;
mod ending;
mod handshaking;
mod member;
mod sharing;
mod timing;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use self::handshaking::HANDSHAKE_LOG_INTERVAL;
use self::member::Member;
use self::sharing::Membership;
use super::connection::{Buffers, Close, Event, Interest, Next};
use super::crew::Crew;
use super::handshakes::Handshakes;
use super::intake::Intake;
use super::life::Life;
use super::lock::lock;
use super::orphans::Orphans;
use super::places::{self, Counts, Places};
use super::poller::{Poller, Readiness, Watched};
use super::service::{Context, Role, Service};
use super::table::{Slot, Table};
use super::timers::Timers;
use crate::logging::{STRANGERS_LOG_INTERVAL, Throttle};

/// The state that the workers share.
pub struct Engine {
    service: Service,
    poller: Poller,
    intake: Intake,
    crew: Arc<Crew>,
    life: Life,
    table: Table<Member>,
    places: Mutex<Places>,
    /// Copies of [`Places::tickets`], to be read without the lock.
    tickets: [AtomicUsize; 2],
    timers: Mutex<Timers>,
    orphans: Orphans,
    refusals: Throttle,
    handshakes: Handshakes,
    handshake_failures: Throttle,
}

impl Engine {
    /// An engine for `capacity` connections with places.
    pub fn new(service: Service, poller: Poller, intake: Intake, capacity: usize) -> Arc<Engine> {
        // Some connections are in the hands of workers and not counted as places.
        let numbers = 2 * capacity + 4 * 1024;
        let crew = match service.role {
            Role::Public => Crew::new(),
            Role::Admin => Crew::of_one("admin"),
        };
        Arc::new(Engine {
            orphans: Orphans::new(places::max_leaving(capacity), service.timeouts.write),
            service,
            poller,
            intake,
            handshakes: Handshakes::new(crew.size()),
            handshake_failures: Throttle::new(HANDSHAKE_LOG_INTERVAL),
            crew,
            life: Life::new(),
            table: Table::new(numbers),
            places: Mutex::new(Places::new(capacity)),
            tickets: Default::default(),
            timers: Mutex::default(),
            refusals: Throttle::new(STRANGERS_LOG_INTERVAL),
        })
    }

    /// Starts the workers, and to accept.
    ///
    /// # Errors
    /// If the threads cannot be started or the sockets cannot be used.
    pub fn start(self: &Arc<Engine>) -> io::Result<()> {
        let engine = Arc::clone(self);
        self.crew.start(move || engine.work())?;
        self.intake.register(&self.poller)
    }

    /// Runs a worker until it is dismissed or the server ends.
    fn work(&self) {
        let mut buffers = Buffers::default();
        while !self.crew.dismisses_me() {
            if self.resume_handshake(&mut buffers) {
                continue;
            }
            let mut next = Some(self.poller.wait());
            while let Some(watched) = next.take() {
                match watched {
                    Watched::Connection(number, generation) => {
                        next = self.on_ready(number, generation, &mut buffers);
                    }
                    Watched::Listener(at) => self.accept_from(at, &mut buffers),
                    Watched::Timer => self.on_timer(&mut buffers),
                    Watched::Drain => self.begin_drain(&mut buffers),
                    Watched::Exit => return,
                }
            }
        }
    }

    /// Serves a connection whose socket is ready. Returns an event that came meanwhile.
    fn on_ready(&self, number: u32, generation: u32, buffers: &mut Buffers) -> Option<Watched> {
        let slot = self.table.lock(number);
        let mut slot = slot.filter(|slot| slot.generation == generation)?;
        let member = slot.value.take()?;
        if member.placed.is_none() {
            // A newcomer's peer has closed. Requests that it sent before are still answered.
            match member.channel.socket().is_over() {
                false => slot.value = Some(member),
                true => {
                    drop(slot);
                    self.close(number, member, Close::ByPeer, buffers);
                }
            }
            return None;
        }
        if member.channel.is_handshaking() {
            return self.begin_handshake(number, slot, member, buffers);
        }
        drop(slot);
        self.serve(number, member, Event::Ready, buffers);
        None
    }

    /// Makes steps of a connection until it waits or ends.
    fn serve(&self, number: u32, mut member: Box<Member>, event: Event, buffers: &mut Buffers) {
        if event == Event::Deadline && self.is_late_with_handshake(&member) {
            return self.close(number, member, Close::ByServer, buffers);
        }
        let mut event = match self.life.drain() {
            Some(until) if !member.connection.is_draining() => Event::Drain(until),
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
            channel,
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
            peer: *peer,
            is_secure: channel.is_tls(),
            lifecycle: &lifecycle,
        };
        connection.step(event, channel, buffers, context)
    }

    /// Puts a connection back into its slot, where it waits, unless it has to learn of the drain.
    fn park(&self, number: u32, member: Box<Member>, interest: Interest) -> Parked {
        let Some(slot) = self.table.lock(number) else {
            return Parked::Refused(member);
        };
        // Checked under the lock: once the connection is in its slot, a drain finds it.
        if let Some(until) = self.life.drain()
            && !member.connection.is_draining()
        {
            return Parked::Drains(member, until);
        }
        let reads_ahead = member.connection.reads_ahead();
        let readiness = member.channel.readiness(interest, reads_ahead);
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
        let deadline = member.deadline();
        self.schedule(&mut slot, number, deadline);
        let token = Watched::Connection(number, slot.generation);
        let is_registered = std::mem::replace(&mut member.is_registered, true);
        let member = slot.value.insert(member);
        let armed = match is_registered {
            true => self.poller.rearm(member.channel.socket(), token, readiness),
            false => self.poller.add(member.channel.socket(), token, readiness),
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
        let may_linger = match (close, member.connection.last_answer()) {
            (Close::Stalled, _) => false,
            _ if member.connection.is_writing() => false,
            (Close::ByPeer, _) | (_, None) => true,
            (Close::ByServer, Some(last)) => self.orphans.take(last),
        };
        if !may_linger {
            member.channel.socket().reset_on_close();
        }
        // The peer of a leaving connection knows of the end. Any other must not learn it late.
        if !member.connection.is_leaving() && member.is_registered {
            self.poller.remove(member.channel.socket());
        }
    }

    fn lock_places(&self) -> MutexGuard<'_, Places> {
        lock(&self.places)
    }

    /// How many connections have places.
    pub fn places_used(&self) -> usize {
        self.lock_places().used()
    }

    /// How many connections there are.
    pub fn connections(&self) -> Counts {
        self.lock_places().counts()
    }

    /// The stage of the server's life.
    pub fn life(&self) -> &Life {
        &self.life
    }
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
