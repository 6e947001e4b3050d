//! The drain, and the end.

use std::time::Instant;

use log::log;

use super::Engine;
use crate::http::connection::Buffers;
use crate::http::poller::{Readiness, Watched};

impl Engine {
    /// Starts a drain. Returns at once.
    pub fn start_drain(&self) {
        if self.life.begin_drain() {
            self.poller.wake_for_drain();
        }
    }

    /// Stops accepting, and makes each connection notice the drain.
    pub(super) fn begin_drain(&self, buffers: &mut Buffers) {
        self.end_intake(buffers);
        let mut places = self.lock_places();
        log!(
            self.service.role.log_level(),
            "draining {} connections",
            places.used()
        );
        if let Some(until) = self.life.drain() {
            places.limit_newcomers(until);
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
                let token = Watched::Connection(number, slot.generation);
                let _ = self
                    .poller
                    .rearm(member.channel.socket(), token, Readiness::Writable);
            }
        }
        self.intake.set_closed();
        self.finish_if_over();
    }

    /// Ends the drain if there is no connection left, nor one that has been accepted just now.
    pub(super) fn finish_if_over(&self) {
        if self.intake.has_ended() && self.lock_places().connections() == 0 {
            self.finish();
        }
    }

    fn finish(&self) {
        self.life.finish();
        self.poller.wake_for_exit();
    }

    /// Closes all connections that no worker is serving, and ends the workers.
    pub fn cut_off(&self) {
        for number in self.table.numbers() {
            if let Some(mut slot) = self.table.lock(number) {
                slot.value = None;
            }
        }
        self.finish();
    }
}
