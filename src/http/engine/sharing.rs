//! Connections share the places.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Instant;

use log::warn;

use super::Engine;
use super::member::Member;
use super::timing::Timer;
use crate::http::connection::{Buffers, Close, Event, Next};
use crate::http::places::{self, Members, Places};
use crate::http::poller::{Readiness, Watched};
use crate::http::response::{self, Persistence, Response};
use crate::http::service::{Lifecycle, Role};
use crate::metrics;

impl Engine {
    /// Frees the place of a connection whose last answer is written.
    pub(super) fn give_back(&self, number: u32, buffers: &mut Buffers) {
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
    pub(super) fn settle(
        &self,
        mut places: MutexGuard<'_, Places>,
        now: Instant,
        buffers: &mut Buffers,
    ) {
        let mut hands = Hands::new(self);
        places.settle(now, &mut hands);
        self.publish_tickets(&places);
        if let Some(alarm) = places.alarm(now) {
            self.set_timer(Timer::Places, alarm);
        }
        drop(places);
        hands.finish(buffers);
    }

    fn publish_tickets(&self, places: &Places) {
        let (for_any, for_settled) = places.tickets();
        self.tickets[0].store(for_any, Ordering::Relaxed);
        self.tickets[1].store(for_settled, Ordering::Relaxed);
    }

    /// Whether a connection would have to wait for a place.
    pub(super) fn is_full(&self) -> bool {
        self.lock_places().is_full()
    }

    /// Answers 503 to a newcomer that gets no place. Over TLS that would take a handshake, so the
    /// connection is closed.
    fn turn_away(&self, number: u32, mut member: Box<Member>, buffers: &mut Buffers) {
        self.intake.count_refusal();
        if self.service.role.is_counted() {
            metrics::REFUSED.add();
        }
        if let Some(others) = self.refusals.pass(Instant::now()) {
            let peer = member.peer;
            let what = if member.channel.is_tls() {
                "closed"
            } else {
                "503"
            };
            let busy = match self.service.role {
                Role::Public => "all connections",
                Role::Admin => "all connections of the admin address",
            };
            warn!("{peer} {what}: {busy} are busy ({others} more since the last such line)");
        }
        member.placed = Some(Instant::now());
        member.has_left = true;
        if member.channel.is_tls() {
            return self.close(number, member, Close::ByServer, buffers);
        }
        self.dismiss(number, member, Response::unavailable(), false, buffers);
    }

    /// Gives a connection its only answer, whatever it has asked for.
    pub(super) fn dismiss(
        &self,
        number: u32,
        mut member: Box<Member>,
        mut response: Response,
        without_body: bool,
        buffers: &mut Buffers,
    ) {
        self.service.cors.apply(None, &mut response);
        let mut wire = Vec::new();
        response::print(response, without_body, Persistence::Close, &mut wire);
        match member.connection.dismiss(&wire, &mut member.channel) {
            Next::Close(close) => self.close(number, member, close, buffers),
            Next::Wait(_) => self.serve(number, member, Event::Ready, buffers),
        }
    }
}

/// A connection's view of the engine.
pub(super) struct Membership<'a> {
    pub(super) engine: &'a Engine,
    pub(super) number: u32,
    pub(super) placed: Option<Instant>,
}

impl Lifecycle for Membership<'_> {
    fn is_last_answer(&self) -> bool {
        let [for_any, for_settled] = &self.engine.tickets;
        if for_any.load(Ordering::Relaxed) == 0 && for_settled.load(Ordering::Relaxed) == 0 {
            return self.engine.life.is_draining();
        }
        let now = Instant::now();
        let is_settled = self
            .placed
            .is_some_and(|placed| placed + places::SETTLED <= now);
        if for_any.load(Ordering::Relaxed) == 0 && !is_settled {
            return self.engine.life.is_draining();
        }
        let mut places = self.engine.lock_places();
        let takes = places.take_ticket(self.number, now);
        self.engine.publish_tickets(&places);
        takes || self.engine.life.is_draining()
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
            self.engine.turn_away(number, member, buffers);
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
        if is_evicted && self.engine.service.role.is_counted() {
            metrics::EVICTED.add();
        }
        self.closed.extend(evicted.map(|member| *member));
        is_evicted
    }

    fn admit(&mut self, number: u32) {
        let engine = self.engine;
        let Some(mut slot) = engine.table.lock(number) else {
            return;
        };
        let token = Watched::Connection(number, slot.generation);
        if let Some(member) = &mut slot.value {
            member.place(Instant::now(), &engine.service.timeouts);
            let deadline = member.deadline();
            // A socket is usually writable, so a connection that does not know of the drain learns
            // of it at once.
            let readiness = match engine.life.is_draining() {
                true => Readiness::Writable,
                false => Readiness::Readable,
            };
            // If this fails, the deadline closes the connection.
            let _ = engine
                .poller
                .rearm(member.channel.socket(), token, readiness);
            engine.schedule(&mut slot, number, deadline);
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
