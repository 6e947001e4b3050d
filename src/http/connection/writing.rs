//! A connection writes its answers, and leaves after the last.

use super::next::{Close, Interest};
use super::transfer::{End, read, write};
use super::{Answered, Connection, DISCARD_TIME, FEW_ANSWERS, Phase};
use crate::http::request::MAX_HEAD;
use crate::http::service::Context;
use crate::http::transport::Transport;

impl Connection {
    pub(super) fn write_last(
        &mut self,
        wire: &[u8],
        transport: &mut impl Transport,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        match self.write(wire, true, transport, context)? {
            Answered::Busy(interest) => Ok(interest),
            Answered::KeptAlive | Answered::Collects => Ok(Interest::Read),
        }
    }

    /// Writes an answer, as far as there is room.
    pub(super) fn write(
        &mut self,
        wire: &[u8],
        is_last: bool,
        transport: &mut impl Transport,
        context: Context<'_>,
    ) -> Result<Answered, End> {
        let written = write(transport, wire)?;
        self.waits_since = transport.now();
        if written < wire.len() {
            let rest = wire[written..].to_vec();
            self.phase = Phase::Writing { rest, is_last };
            self.deadline = self.waits_since + context.service.timeouts.write;
            return Ok(Answered::Busy(Interest::Write));
        }
        self.answers = self.answers.saturating_add(1);
        if is_last {
            return self.leave(transport).map(Answered::Busy);
        }
        Ok(Answered::KeptAlive)
    }

    /// Writes the rest of an answer, as far as there is room.
    pub(super) fn write_rest(&mut self, transport: &mut impl Transport) -> Result<Answered, End> {
        let Phase::Writing { rest, is_last } = &mut self.phase else {
            return Ok(Answered::KeptAlive);
        };
        let is_last = *is_last;
        let written = write(transport, rest)?;
        rest.drain(..written);
        if !rest.is_empty() {
            self.read_ahead(transport)?;
            return Ok(Answered::Busy(Interest::Write));
        }
        self.answers = self.answers.saturating_add(1);
        self.waits_since = transport.now();
        if is_last {
            return self.leave(transport).map(Answered::Busy);
        }
        self.phase = Phase::Head;
        Ok(Answered::KeptAlive)
    }

    /// Reads a head's worth of what comes while an answer waits to be written. If nothing were read,
    /// the kernel would drop packets for want of room, and with them the acknowledgements that the
    /// answer waits for.
    fn read_ahead(&mut self, transport: &mut impl Transport) -> Result<(), End> {
        if !self.reads_ahead() {
            return Ok(());
        }
        let length = self.received.len();
        self.received.reserve_exact(MAX_HEAD - length);
        self.received.resize(MAX_HEAD, 0);
        let count = match read(transport, &mut self.received[length..]) {
            Err(End::Close(Close::ByPeer)) => {
                self.input_ended = true;
                Ok(0)
            }
            result => result,
        };
        self.received
            .truncate(length + *count.as_ref().unwrap_or(&0));
        self.has_news = !self.received.is_empty();
        count.map(drop)
    }

    /// Begins to leave after the last answer: tells the peer, and gives it some time to close.
    pub(super) fn leave(&mut self, transport: &mut impl Transport) -> Result<Interest, End> {
        self.phase = Phase::Leaving;
        self.received = Vec::new();
        self.has_news = false;
        self.waits_since = transport.now();
        self.deadline = self.waits_since + DISCARD_TIME;
        transport.close_write()?;
        Ok(Interest::Read)
    }

    /// Handles the end of the peer's side: closes once it has read most of its answers.
    pub(super) fn close_by_peer(
        &mut self,
        transport: &mut impl Transport,
        context: Context<'_>,
    ) -> Result<Interest, End> {
        if self.answers <= FEW_ANSWERS || transport.has_room() {
            return Err(End::Close(Close::ByPeer));
        }
        self.phase = Phase::Closing;
        self.received = Vec::new();
        self.has_news = false;
        self.deadline = self.waits_since + context.service.timeouts.write;
        Ok(Interest::Write)
    }
}
