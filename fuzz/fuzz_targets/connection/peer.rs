//! The other end of a connection, and the time, which passes only as it lets it.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use postern::http::transport::Transport;
use postern_fuzz::memory::uncounted;
use postern_fuzz::random::Random;

/// How late a deadline may be noticed.
pub const LATE: Duration = Duration::from_millis(100);

/// What a client waits for before it sends a body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How the peer and the server behave, as the input has it.
pub struct Behaviour {
    pub seed: u64,
    pub end: End,
    /// Whether bytes come, and are taken, at different times, and handlers take their time.
    pub is_slow: bool,
    /// Whether there is room for a part of what is written only.
    pub is_narrow: bool,
    pub may_break: bool,
    pub is_interrupted: bool,
    pub has_cors: bool,
    /// Whether any answer may be the last because its place is needed.
    pub has_tickets: bool,
    /// Whether there are events without a cause.
    pub is_nervous: bool,
    /// Whether there is no place for the connection.
    pub is_dismissed: bool,
    /// Whether the bodies of others take most of the memory.
    pub is_crowded: bool,
    /// Whether some bytes of the input stand for many.
    pub is_bulky: bool,
    /// The server drains from this step on.
    pub drain_at: Option<usize>,
    /// The place is taken away at this wait, or the first one after it that is for the peer.
    pub evict_at: Option<usize>,
}

/// What the peer does after its last byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    Close,
    Silence,
    Reset,
    /// Goes on sending for ever.
    Flood,
}

impl Behaviour {
    pub fn new(control: &[u8; 8]) -> Behaviour {
        let [a, b, c, d, flags, end, drain, evict] = *control;
        let has = |bit: u8| flags >> bit & 1 == 1;
        // Few steps are made, as a rule.
        let nth = |count: u8| (count > 0).then(|| usize::from((count - 1) % 16));
        Behaviour {
            seed: u32::from_le_bytes([a, b, c, d]).into(),
            end: [End::Close, End::Silence, End::Reset, End::Flood][usize::from(end % 4)],
            is_slow: has(0),
            is_narrow: has(1),
            may_break: has(2),
            is_interrupted: has(3),
            has_cors: has(4),
            has_tickets: has(5),
            is_nervous: has(6),
            is_dismissed: has(7),
            is_crowded: end >> 2 & 1 == 1,
            is_bulky: end >> 3 & 1 == 1,
            drain_at: nth(drain),
            evict_at: nth(evict),
        }
    }
}

/// The time since the start, in milliseconds.
pub type Clock = Arc<AtomicU64>;

/// Something that was written to the peer.
pub struct Writing {
    /// How many bytes had been written with it.
    pub end: usize,
    pub time: Duration,
    /// When its answer was begun, and how many bytes the connection had read then.
    pub began: Duration,
    pub taken: usize,
}

/// The answer that is being written.
#[derive(Clone, Copy)]
pub struct Unfinished {
    pub began: Duration,
    pub taken: usize,
    /// When there was no more room for it.
    pub blocked: Option<Duration>,
}

pub struct Peer<'a> {
    pub stream: &'a [u8],
    behaviour: &'a Behaviour,
    random: Random,
    clock: Clock,
    pub start: Instant,
    /// How many bytes have come, and when the next do, or the end.
    arrived: usize,
    next_at: Duration,
    /// How many bytes the connection has read, those of a flood included.
    pub taken: usize,
    /// How many it had read, and when.
    pub takings: Vec<(usize, Duration)>,
    /// How many bytes there is room for, and when there is more.
    room: usize,
    room_at: Duration,
    pub written: Vec<u8>,
    pub writings: Vec<Writing>,
    pub unfinished: Option<Unfinished>,
    /// How much has been written of a [`CONTINUE`] that is not all written.
    pub invited: usize,
    /// When the latest answer was out.
    pub answered: Option<Duration>,
    /// The connection has been told that the peer has ended: neither read nor write may follow.
    pub has_ended: bool,
    /// Likewise, that nothing can be written.
    pub is_broken: bool,
    pub write_closed: Option<Duration>,
    /// Reads since the step began that gave something.
    pub reads_in_step: usize,
    operations: usize,
}

impl<'a> Peer<'a> {
    pub fn new(stream: &'a [u8], behaviour: &'a Behaviour, clock: Clock) -> Peer<'a> {
        Peer {
            stream,
            behaviour,
            random: Random::new(behaviour.seed),
            clock,
            start: Instant::now(),
            arrived: 0,
            next_at: Duration::ZERO,
            taken: 0,
            takings: Vec::new(),
            room: 0,
            room_at: Duration::ZERO,
            written: Vec::new(),
            writings: Vec::new(),
            unfinished: None,
            invited: 0,
            answered: None,
            has_ended: false,
            is_broken: false,
            write_closed: None,
            reads_in_step: 0,
            operations: 0,
        }
    }

    pub fn end(&self) -> End {
        self.behaviour.end
    }

    pub fn time(&self) -> Duration {
        Duration::from_millis(self.clock.load(Relaxed))
    }

    pub fn pass_until(&mut self, time: Duration) {
        self.clock.store(time.as_millis() as u64, Relaxed);
    }

    /// Fails when the connection spins.
    pub fn count(&mut self) {
        self.operations += 1;
        let most = 20_000 + 4 * (self.stream.len() + self.written.len());
        assert!(self.operations < most, "{} operations", self.operations);
    }

    /// When the connection read the byte at that place of the stream.
    pub fn taken_at(&self, at: usize) -> Option<Duration> {
        let index = self.takings.partition_point(|(end, _)| *end <= at);
        self.takings.get(index).map(|(_, time)| *time)
    }

    /// What the connection had read from `at` on when it had read `taken` bytes.
    pub fn seen(&self, at: usize, taken: usize) -> Vec<u8> {
        let flood = taken.saturating_sub(self.stream.len().max(at));
        let from = at.min(self.stream.len());
        let plain = &self.stream[from..taken.clamp(from, self.stream.len())];
        [plain, &vec![b'a'; flood]].concat()
    }

    fn pause(&mut self) -> Duration {
        let millis = match self.behaviour.is_slow {
            true => self
                .random
                .pick(&[0, 0, 0, 0, 1, 300, 4_000, 9_999, 10_000, 10_050, 31_000]),
            false => 0,
        };
        Duration::from_millis(millis)
    }

    /// Lets come what has to have come by now.
    fn arrive(&mut self) {
        while self.arrived < self.stream.len() && self.next_at <= self.time() {
            let rest = self.stream.len() - self.arrived;
            let longest = match self.behaviour.is_bulky {
                true => self.random.pick(&[1, 40, 66_000, 140_000, rest]),
                false => self.random.pick(&[1, 3, 40, rest, rest]),
            };
            let longest = longest.min(rest);
            self.arrived += 1 + self.random.below(longest);
            let pause = self.pause();
            self.next_at += pause;
        }
    }

    /// When there is something to read; `None` when there never will be.
    pub fn readable_at(&mut self) -> Option<Duration> {
        self.arrive();
        if self.taken < self.arrived {
            return Some(self.time());
        }
        let is_silent = self.arrived == self.stream.len() && self.behaviour.end == End::Silence;
        (!is_silent).then(|| self.next_at.max(self.time()))
    }

    pub fn is_readable(&mut self) -> bool {
        self.readable_at() == Some(self.time())
    }

    /// When there is room to write.
    pub fn writable_at(&self) -> Duration {
        match self.room {
            0 => self.room_at.max(self.time()),
            _ => self.time(),
        }
    }

    /// Whether the connection has been told that the peer has ended, and must not go on. One
    /// without a place may: it is answered whatever has come.
    pub fn is_over(&self) -> bool {
        self.is_broken || self.has_ended && !self.behaviour.is_dismissed
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.count();
        assert!(!buffer.is_empty(), "a read of nothing looks like the end");
        assert!(!self.is_over(), "read after the end");
        // A connection may read ahead while an answer waits. This peer sends nothing meanwhile.
        if self.unfinished.is_some() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.behaviour.is_interrupted && self.random.one_in(8) {
            return Err(ErrorKind::Interrupted.into());
        }
        if !self.is_readable() || self.behaviour.is_nervous && self.random.one_in(8) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.reads_in_step += 1;
        if self.taken >= self.arrived {
            return self.receive_end(buffer);
        }
        let most = (self.arrived - self.taken).min(buffer.len());
        let longest = self.random.pick(&[1, 3, 40, most, most]).min(most);
        let count = 1 + self.random.below(longest);
        buffer[..count].copy_from_slice(&self.stream[self.taken..self.taken + count]);
        self.take(count);
        Ok(count)
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        self.takings.push((self.taken, self.time()));
    }

    fn receive_end(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.behaviour.end {
            End::Close => {
                self.has_ended = true;
                Ok(0)
            }
            End::Reset => {
                self.has_ended = true;
                Err(ErrorKind::ConnectionReset.into())
            }
            End::Silence => unreachable!("it is never readable"),
            End::Flood => {
                buffer.fill(b'a');
                self.take(buffer.len());
                self.arrived = self.taken;
                self.next_at = self.time() + Duration::from_millis(10) + self.pause();
                Ok(buffer.len())
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count();
        assert!(!bytes.is_empty(), "an empty write looks like an error");
        assert!(!self.is_over() && self.write_closed.is_none());
        if self.invited > 0 || self.unfinished.is_none() && bytes == CONTINUE {
            return self.send_invitation(bytes);
        }
        let time = self.time();
        let mut unfinished = self.unfinished.unwrap_or(Unfinished {
            began: time,
            taken: self.taken,
            blocked: None,
        });
        let sent = self.send_part(bytes);
        match sent {
            Ok(count) if count == bytes.len() => {
                self.unfinished = None;
                self.answered = Some(time);
            }
            _ => {
                let is_blocked = matches!(&sent, Err(e) if e.kind() == ErrorKind::WouldBlock);
                unfinished.blocked = unfinished.blocked.or(is_blocked.then_some(time));
                self.unfinished = Some(unfinished);
            }
        }
        if let Some(blocked) = unfinished.blocked {
            assert!(
                time <= blocked + super::WRITE + LATE,
                "the answer takes too long"
            );
        }
        if let Ok(count @ 1..) = sent {
            self.note(&bytes[..count], unfinished.began, unfinished.taken);
        }
        sent
    }

    /// The connection may leave it out when there is no room, but not go on after a part of it.
    fn send_invitation(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!(bytes, &CONTINUE[self.invited..]);
        let sent = self.send_part(bytes);
        if let Ok(count @ 1..) = sent {
            self.note(&bytes[..count], self.time(), self.taken);
            self.invited = (self.invited + count) % CONTINUE.len();
        }
        sent
    }

    fn note(&mut self, sent: &[u8], began: Duration, taken: usize) {
        self.written.extend(sent);
        self.writings.push(Writing {
            end: self.written.len(),
            time: self.time(),
            began,
            taken,
        });
    }

    fn send_part(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.behaviour.is_interrupted && self.random.one_in(8) {
            return Err(ErrorKind::Interrupted.into());
        }
        let is_reset = self.has_ended && self.behaviour.end == End::Reset;
        if is_reset || self.behaviour.may_break && self.random.one_in(8) {
            self.is_broken = true;
            return match self.random.below(2) {
                0 => Ok(0),
                _ => Err(ErrorKind::BrokenPipe.into()),
            };
        }
        if !self.behaviour.is_narrow {
            return Ok(bytes.len());
        }
        if self.room == 0 && self.time() >= self.room_at {
            self.room = 1 + self.random.below(3_000);
        }
        if self.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = bytes.len().min(self.room);
        let count = 1 + self.random.below(most);
        self.room -= count;
        if self.room == 0 {
            self.room_at = self.time() + self.pause();
            if !self.behaviour.is_slow {
                self.room_at += Duration::from_millis(1);
            }
        }
        Ok(count)
    }
}

impl Transport for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uncounted(|| self.receive(buffer))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uncounted(|| self.send(bytes))
    }

    fn close_write(&mut self) -> io::Result<()> {
        assert_eq!(self.write_closed, None);
        self.write_closed = Some(self.time());
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.writable_at() == self.time()
    }

    fn now(&self) -> Instant {
        self.start + self.time()
    }
}
