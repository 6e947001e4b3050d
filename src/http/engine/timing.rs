//! Deadlines.

use std::time::Instant;

use super::Engine;
use super::member::Member;
use crate::http::connection::{Buffers, Event};
use crate::http::lock::lock;
use crate::http::table::Slot;
use crate::http::timers::Timers;

/// What a timer is for.
#[derive(Debug, Clone, Copy)]
pub enum Timer {
    /// Newcomers wait for places.
    Places,
    /// A pause of the intake ends.
    Intake,
    /// The deadline of the connection with this number.
    Connection(u32),
}

impl Timer {
    fn number(self) -> u32 {
        match self {
            Timer::Places => 0,
            Timer::Intake => 1,
            Timer::Connection(number) => number + 2,
        }
    }

    fn of(number: u32) -> Timer {
        match number {
            0 => Timer::Places,
            1 => Timer::Intake,
            number => Timer::Connection(number - 2),
        }
    }
}

impl Engine {
    pub(super) fn set_timer(&self, timer: Timer, time: Instant) {
        let mut timers = lock(&self.timers);
        if timers.set(timer.number(), time) {
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
    pub(super) fn on_timer(&self, buffers: &mut Buffers) {
        loop {
            let now = Instant::now();
            let mut timers = lock(&self.timers);
            let Some(due) = timers.pop_due(now) else {
                self.set_poller(&timers, now);
                return self.poller.arm_timer();
            };
            drop(timers);
            match Timer::of(due) {
                Timer::Places => self.settle(self.lock_places(), now, buffers),
                Timer::Intake => self.resume_intake(),
                Timer::Connection(number) => {
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
        let deadline = member.deadline();
        if deadline <= now {
            return slot.value.take();
        }
        self.schedule(&mut slot, number, deadline);
        None
    }

    /// Sets the timer of a connection, unless it is due earlier already.
    pub(super) fn schedule(&self, slot: &mut Slot<Member>, number: u32, deadline: Instant) {
        if slot.timer.is_none_or(|timer| deadline < timer) {
            slot.timer = Some(deadline);
            self.set_timer(Timer::Connection(number), deadline);
        }
    }
}
