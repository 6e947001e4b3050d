//! TLS handshakes, and peers that do not make one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use log::{debug, warn};
use rustls::HandshakeKind;

use super::Engine;
use super::member::Member;
use crate::http::connection::{Buffers, Close, Event};
use crate::http::poller::Watched;
use crate::http::response::Response;
use crate::http::socket::Peer;
use crate::http::table::Slot;
use crate::metrics::{HANDSHAKES, Handshake};

/// The least time between two lines that count failed handshakes.
pub const HANDSHAKE_LOG_INTERVAL: Duration = Duration::from_secs(3600);

impl Engine {
    /// Makes the next part of a handshake, or puts it off. Returns an event that came meanwhile.
    pub(super) fn begin_handshake(
        &self,
        number: u32,
        mut slot: MutexGuard<'_, Slot<Member>>,
        member: Box<Member>,
        buffers: &mut Buffers,
    ) -> Option<Watched> {
        let mut other = None;
        if !self.handshakes.begin() {
            other = self.poller.poll();
            if other.is_none() {
                self.handshakes.begin_one_more();
            } else if self.handshakes.put_off((number, slot.generation)) {
                slot.value = Some(member);
                return other;
            }
        }
        drop(slot);
        self.go_on_with_handshake(number, member, buffers);
        other
    }

    /// Makes the next part of the handshake that was put off first, if that may begin. Returns
    /// whether there was one.
    pub(super) fn resume_handshake(&self, buffers: &mut Buffers) -> bool {
        let Some((number, generation)) = self.handshakes.next() else {
            return false;
        };
        let slot = self.table.lock(number);
        let slot = slot.filter(|slot| slot.generation == generation);
        // It may have been evicted, or its time may have passed.
        match slot.and_then(|mut slot| slot.value.take()) {
            Some(member) => self.go_on_with_handshake(number, member, buffers),
            None => self.handshakes.end(),
        }
        true
    }

    fn go_on_with_handshake(&self, number: u32, mut member: Box<Member>, buffers: &mut Buffers) {
        let result = catch_unwind(AssertUnwindSafe(|| member.channel.handshake()));
        // Before the request is served, as its handler may wait.
        self.handshakes.end();
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                HANDSHAKES[Handshake::Failed as usize].add();
                self.log_failure(member.peer, &error);
                return self.close(number, member, Close::ByPeer, buffers);
            }
            Err(_) => {
                HANDSHAKES[Handshake::Failed as usize].add();
                return self.close(number, member, Close::Stalled, buffers);
            }
        }
        if let Some(is_head) = member.channel.plain_http() {
            HANDSHAKES[Handshake::PlainHttp as usize].add();
            let text = "This port speaks HTTPS, not HTTP: use https:// in the URL";
            debug!("{} 400 plain HTTP", member.peer);
            member.channel = member.channel.into_plain();
            return self.dismiss(number, member, Response::error(400, text), is_head, buffers);
        }
        if let Some((version, kind)) = member.channel.agreed() {
            let outcome = match kind {
                HandshakeKind::Resumed => Handshake::Resumed,
                HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => Handshake::Full,
            };
            HANDSHAKES[outcome as usize].add();
            debug!("{} TLS handshake: {version:?}, {kind:?}", member.peer);
        }
        self.serve(number, member, Event::Ready, buffers);
    }

    /// Logs a handshake that has failed. A scan of the port must not fill the log.
    fn log_failure(&self, peer: Peer, error: &io::Error) {
        debug!("{peer} TLS handshake failed: {error}");
        if let Some(others) = self.handshake_failures.pass(Instant::now()) {
            warn!(
                "{peer} TLS handshake failed: {error} ({others} more since the last such line; one \
                 line an hour at most)"
            );
        }
    }

    /// Whether the time for a connection's handshake has passed.
    pub(super) fn is_late_with_handshake(&self, member: &Member) -> bool {
        let deadline = member.handshake_deadline();
        let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if is_late {
            HANDSHAKES[Handshake::Late as usize].add();
            let text = "it was not done in time";
            self.log_failure(member.peer, &io::Error::new(io::ErrorKind::TimedOut, text));
        }
        is_late
    }
}
