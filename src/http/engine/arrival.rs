//! Connections come in.

use std::time::{Duration, Instant};

use log::error;

use super::member::Member;
use super::timing::Timer;
use super::{Engine, Parked};
use crate::http::channel::Channel;
use crate::http::connection::{Buffers, Close, Event, Interest};
use crate::http::intake::Accepted;
use crate::http::places::Source;
use crate::http::poller::{Readiness, Watched};
use crate::http::socket::{Peer, Socket};
use crate::metrics;

/// The most connections that are accepted in one turn.
const MAX_ACCEPTS: usize = 64;
/// At a drain: the longest time to accept the backlog, as clients may reconnect endlessly.
const BACKLOG_TIME: Duration = Duration::from_millis(250);

impl Engine {
    /// Accepts the waiting connections, and serves the last one at once. The socket is registered
    /// again before that, so that another worker can accept the next.
    ///
    /// It accepts several per turn, because while clients pipeline, each connection has a turn
    /// before the next turn of this socket.
    pub(super) fn accept_from(&self, at: u32, buffers: &mut Buffers) {
        self.intake.begin_turn();
        self.accept_some(at, buffers);
        self.intake.end_turn();
        if self.life.is_draining() {
            self.finish_if_over();
        }
    }

    fn accept_some(&self, at: u32, buffers: &mut Buffers) {
        let mut latest = None;
        let mut pause = None;
        for _ in 0..MAX_ACCEPTS {
            match self.intake.accept(at) {
                Accepted::One(socket, peer) => {
                    if let Some((socket, peer)) = latest.replace((socket, peer)) {
                        self.arrive(socket, peer, false, buffers);
                    }
                }
                Accepted::None => break,
                Accepted::Failed(time) => {
                    pause = Some(time);
                    break;
                }
            }
            pause = self.intake.pause_after_refusals();
            if pause.is_some() {
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

    fn rearm_listener(&self, at: u32) {
        if let Some(pause) = self.intake.rearm(at, &self.poller) {
            self.pause_intake(at, pause);
        }
    }

    fn pause_intake(&self, at: u32, pause: Duration) {
        self.intake.pause(at);
        self.set_timer(Timer::Intake, Instant::now() + pause);
    }

    /// Accepts again after a pause.
    pub(super) fn resume_intake(&self) {
        let paused = self.intake.end_pause();
        paused.into_iter().for_each(|at| self.rearm_listener(at));
    }

    /// Ends intake for a drain. First accepts the backlog, as clients in it may have sent requests,
    /// unless another process accepts from the same sockets.
    pub(super) fn end_intake(&self, buffers: &mut Buffers) {
        let started = Instant::now();
        for at in self.intake.owned() {
            while started.elapsed() < BACKLOG_TIME {
                let Accepted::One(socket, peer) = self.intake.accept(at) else {
                    break;
                };
                self.arrive(socket, peer, false, buffers);
            }
        }
        self.intake.close(&self.poller);
    }

    /// Takes over an accepted connection. If it has a place, it is served `at_once` or when it is
    /// ready.
    fn arrive(&self, socket: Socket, peer: Peer, at_once: bool, buffers: &mut Buffers) {
        if self.service.role.is_counted() {
            metrics::ACCEPTED.add();
        }
        // A peer that is gone must not take a place from others.
        if self.is_full() && socket.is_over() {
            return;
        }
        let now = Instant::now();
        let channel = Channel::new(socket, self.service.tls.as_ref());
        let mut member = Box::new(Member::new(channel, peer, now, &self.service.timeouts));
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
            // A handshake has to wait for its turn.
            if at_once && !member.channel.is_handshaking() {
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
        let token = Watched::Connection(number, slot.generation);
        member.is_registered = true;
        match self
            .poller
            .add(member.channel.socket(), token, Readiness::Closed)
        {
            Ok(()) => slot.value = Some(member),
            Err(_) => places.release(number),
        }
        drop(slot);
        self.settle(places, now, buffers);
    }
}
