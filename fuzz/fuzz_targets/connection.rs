//! A whole connection: bytes in, cut and timed in any way, and answers out, as an independent
//! reading of the same bytes has it. Time is the peer's: nothing waits.
//!
//! Input: eight bytes for how the peer behaves, then what it sends.

#![no_main]

#[path = "connection/answers.rs"]
mod answers;
#[path = "connection/collecting.rs"]
mod collecting;
#[path = "connection/handler.rs"]
mod handler;
#[path = "connection/peer.rs"]
mod peer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postern::http::connection::{Buffers, Close, Connection, Event, Interest, Next};
use postern::http::service::{Context, Service};
use postern::http::socket;
use postern_fuzz::body::{self, End as BodyEnd};
use postern_fuzz::http::{MAX_HEAD, Start, read};
use postern_fuzz::memory::{self, Counting, counted, uncounted};
use postern_fuzz::random::Random;

use self::answers::Check;
use self::collecting::Collection;
use self::handler::{Call, Server, Surroundings, collects, dismissal, service};
use self::peer::{Behaviour, Clock, End, LATE, Peer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(10);
const DISCARD: Duration = Duration::from_secs(1);
/// How long a request may still come in a drain.
const DRAIN: Duration = Duration::from_secs(2);
/// The most requests that are answered in one step.
const MAX_ANSWERS: usize = 16;
/// More answers than that are read, for the most part, before the connection of a peer that has
/// ended its side is closed.
const FEW_ANSWERS: usize = 8;
/// The most reads of one step.
const MAX_READS: usize = 4;
/// What a connection may take of the heap without a body: the buffer of a large head, while it
/// grows, and a response.
const MAX_HEAP: isize = 64 * 1024;
/// The same while it waits, with a response that is not read.
const MAX_HEAP_OF_WAIT: isize = MAX_HEAD as isize + 8 * 1024;

thread_local! {
    /// Of a worker, which serves one connection after another.
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let Some((control, stream)) = data.split_first_chunk::<8>() else {
        return;
    };
    SETUP.call_once(|| {
        log::set_logger(&Logger).expect("nobody else sets one");
        log::set_max_level(log::LevelFilter::Trace);
        fill_buffers();
    });
    let behaviour = Behaviour::new(control);
    BUFFERS.with_borrow_mut(|buffers| match behaviour.is_bulky {
        true => run(&body::stretched(stream), &behaviour, buffers),
        false => run(stream, &behaviour, buffers),
    });
});

/// Has the largest response printed, so that the worker's buffers grow no more.
fn fill_buffers() {
    // The path's bytes sum up to 8191: see `handler::respond`.
    let head = format!("GET /{}P HTTP/1.0\r\n\r\n", "~".repeat(64));
    let behaviour = Behaviour::new(&[0; 8]);
    let server = Surroundings::new(&behaviour, Clock::default());
    let server = Arc::new(Mutex::new(server));
    let service = service(&behaviour, &server);
    let mut peer = Peer::new(head.as_bytes(), &behaviour, Clock::default());
    let mut connection = Connection::new(peer.start, &service.timeouts);
    let context = Context {
        service: &service,
        peer: socket::Peer::Unix,
        is_secure: false,
        lifecycle: &Server(server),
    };
    while peer.written.is_empty() {
        BUFFERS.with_borrow_mut(|buffers| {
            connection.step(Event::Ready, &mut peer, buffers, context);
        });
    }
    assert!(peer.written.len() > 4096);
}

fn run(stream: &[u8], behaviour: &Behaviour, buffers: &mut Buffers) {
    LOGGED.store(0, Relaxed);
    let clock = Clock::default();
    let server = Surroundings::new(behaviour, Arc::clone(&clock));
    let server = Arc::new(Mutex::new(server));
    let service = service(behaviour, &server);
    let peer = Peer::new(stream, behaviour, clock);
    let mut drive = Drive {
        connection: Connection::new(peer.start, &service.timeouts),
        peer,
        behaviour,
        service: &service,
        server: Server(Arc::clone(&server)),
        random: Random::new(behaviour.seed + 2),
        calls: 0,
        answered: 0,
        at: 0,
        body: None,
        takes_body: false,
        most_granted: 0,
        bodies_before: service.bodies.used(),
        steps: 0,
        waits: 0,
        interest: Interest::Read,
        turned: Duration::ZERO,
        drains_until: None,
    };
    memory::reset();
    let close = drive.run(buffers);
    // The old buffer of a body is there until it has been copied to the new one.
    let (peak, most) = (memory::peak(), MAX_HEAP + 2 * drive.most_granted as isize);
    assert!(peak <= most, "{peak} bytes of heap");
    let calls = std::mem::take(&mut server.lock().expect("no handler panics").calls);
    let logged = Check {
        behaviour,
        peer: &drive.peer,
        calls: VecDeque::from(calls),
        unread: &drive.peer.written,
        is_cut: drive.peer.is_broken || matches!(close, None | Some(Close::Stalled)),
        is_interrupted: close.is_none() && drive.interest == Interest::Turn,
        body_deadline: drive.body.as_ref().map(Collection::deadline),
        logged: 0,
    }
    .run();
    assert_eq!(LOGGED.load(Relaxed), logged);
    let before = drive.bodies_before;
    drop(drive);
    assert_eq!(service.bodies.used(), before, "memory is not given back");
}

/// Makes the steps of a connection, as an engine does, and checks each wait by the peer's clock.
struct Drive<'a> {
    connection: Connection,
    peer: Peer<'a>,
    behaviour: &'a Behaviour,
    service: &'a Service,
    server: Server,
    random: Random,
    /// How many calls of the handler there were, and how many had to be answered.
    calls: usize,
    answered: usize,
    /// Where in the stream the next request begins, or the body that is collected.
    at: usize,
    body: Option<Collection>,
    /// Whether it had no answer before the latest step.
    takes_body: bool,
    /// The most memory that a body may have taken.
    most_granted: usize,
    /// What the bodies of others take.
    bodies_before: usize,
    steps: usize,
    waits: usize,
    /// What it waits for, or has waited for.
    interest: Interest,
    /// When the latest turn came.
    turned: Duration,
    drains_until: Option<Duration>,
}

impl Drive<'_> {
    /// Until the connection closes; `None` when it is evicted.
    fn run(&mut self, buffers: &mut Buffers) -> Option<Close> {
        let mut next = match self.behaviour.is_dismissed {
            true => {
                let wire = dismissal(self.service);
                let next = counted(|| self.connection.dismiss(&wire, &mut self.peer));
                if next == Next::Close(Close::Stalled) {
                    assert!(self.behaviour.is_narrow);
                    return Some(Close::Stalled);
                }
                next
            }
            false => self.step(Event::Ready, buffers),
        };
        loop {
            self.check_answers();
            let interest = match next {
                Next::Wait(interest) => interest,
                Next::Close(close) => {
                    self.check_close(close);
                    return Some(close);
                }
            };
            self.interest = interest;
            self.check_wait(interest);
            if self.is_evicted(interest) {
                return None;
            }
            let event = self.wait(interest);
            if interest == Interest::Turn {
                self.turned = self.peer.time();
            }
            next = self.step(event, buffers);
        }
    }

    fn step(&mut self, event: Event, buffers: &mut Buffers) -> Next {
        let event = match self.behaviour.drain_at {
            Some(at) if at <= self.steps && self.drains_until.is_none() => {
                let until = self.peer.time() + DRAIN;
                self.drains_until = Some(until);
                let mut server = self.server.0.lock().expect("no handler panics");
                server.is_draining = true;
                Event::Drain(self.peer.start + until)
            }
            _ => event,
        };
        self.steps += 1;
        self.peer.count();
        self.peer.reads_in_step = 0;
        let context = Context {
            service: self.service,
            peer: socket::Peer::Unix,
            is_secure: false,
            lifecycle: &self.server,
        };
        let (connection, peer) = (&mut self.connection, &mut self.peer);
        counted(|| connection.step(event, peer, buffers, context))
    }

    /// Lets time pass until the next event.
    fn wait(&mut self, interest: Interest) -> Event {
        let now = self.peer.time();
        let ready = match interest {
            Interest::Read => self.peer.readable_at(),
            Interest::Write | Interest::Turn => Some(self.peer.writable_at()),
        };
        let late = self.random.pick(&[Duration::ZERO, LATE / 2, LATE]);
        let latest = self.deadline().max(now) + late;
        let (time, event) = match ready {
            Some(time) if time <= latest => (time, Event::Ready),
            _ => (latest, Event::Deadline),
        };
        let is_drain = self.behaviour.drain_at == Some(self.steps);
        if is_drain || self.behaviour.is_nervous && self.random.one_in(8) {
            let quarters = self.random.below(4) as u32;
            self.peer.pass_until(now + (time - now) / 4 * quarters);
            return Event::Ready;
        }
        self.peer.pass_until(time);
        event
    }

    /// Whether its place is taken away. None with a request that it could answer is.
    fn is_evicted(&mut self, interest: Interest) -> bool {
        self.waits += 1;
        let waits_for_peer = match interest {
            Interest::Read => !self.peer.is_readable(),
            Interest::Write => true,
            Interest::Turn => self.peer.writable_at() > self.peer.time(),
        };
        let is_due = self.behaviour.evict_at.is_some_and(|at| at < self.waits);
        is_due && waits_for_peer
    }

    fn deadline(&self) -> Duration {
        self.connection.deadline() - self.peer.start
    }

    /// When the latest answer was out, or the connection began.
    fn rested(&self) -> Duration {
        self.peer.answered.unwrap_or_default()
    }

    /// What has been read of the next request.
    fn pending(&self) -> usize {
        self.peer.taken - self.at
    }

    /// What one step has answered.
    fn check_answers(&mut self) {
        let reads = self.peer.reads_in_step;
        assert!(reads <= MAX_READS, "{reads} reads in one step");
        let server = Arc::clone(&self.server.0);
        let calls = &mut server.lock().expect("no handler panics").calls;
        assert!(calls.len() <= self.calls + MAX_ANSWERS);
        for call in calls.iter_mut().skip(self.calls) {
            call.taken = self.peer.taken;
            self.follow(call);
        }
        self.calls = calls.len();
        // Not with what is discarded later.
        if let Some(body) = self.body.as_mut().filter(|_| self.takes_body) {
            let taken = self.peer.taken;
            body.advance(taken, self.peer.time());
            self.most_granted = self.most_granted.max(body.most_granted(taken));
        }
        self.takes_body = self.is_collecting();
    }

    /// Where the stream goes on after a call of the handler.
    fn follow(&mut self, call: &Call) {
        if let Some(body) = self.body.take() {
            assert_eq!(body.end(call.taken), BodyEnd::Complete, "handled too early");
            self.most_granted = self.most_granted.max(body.most_granted(call.taken));
            self.at += body.reading.length();
            self.answered += 1;
            return;
        }
        let Start::Request(head, length) = read(&self.peer.stream[self.at..]) else {
            panic!("handled what is no request");
        };
        match collects(&head) {
            Some(limit) => {
                let behind = (&head, length);
                let body = Collection::new(&self.peer, behind, self.at, limit, call.ended);
                self.body = Some(body);
                self.takes_body = true;
            }
            None => self.answered += 1,
        }
        self.at += length;
    }

    /// Whether it waits for the right thing, since the right time, and until the right time.
    fn check_wait(&mut self, interest: Interest) {
        let time = self.peer.time();
        assert!(!self.peer.is_over() || self.is_closing(), "it goes on");
        assert_eq!(self.connection.awaits(), interest);
        assert_eq!(self.connection.is_draining(), self.drains_until.is_some());
        let (since, deadline, heap) = match (interest, self.peer.unfinished) {
            (Interest::Write, Some(unfinished)) => {
                let blocked = unfinished.blocked.expect("there was no room");
                (blocked, blocked + WRITE, MAX_HEAP_OF_WAIT)
            }
            (Interest::Write, None) if self.is_closing() => {
                (self.rested(), self.rested() + WRITE, 0)
            }
            (Interest::Turn, None) => {
                assert!(self.pending() > 0, "nothing to look at");
                let body = self.body.as_ref();
                let head = body.map_or(0, |body| body.most_heap(self.at, 0));
                let deadline = self.rested() + WRITE;
                (self.rested(), deadline, MAX_HEAP_OF_WAIT + head)
            }
            (Interest::Read, None) => self.check_wait_to_read(),
            wrong => panic!("it waits for {:?}", wrong.0),
        };
        let is_writing = self.peer.unfinished.is_some();
        assert_eq!(self.connection.is_writing(), is_writing);
        let leaves = self.peer.write_closed.is_some() || self.is_closing();
        assert_eq!(self.connection.is_leaving(), leaves);
        assert_eq!(self.connection.waits_since() - self.peer.start, since);
        assert_eq!(self.deadline(), deadline);
        assert!(deadline > time || interest == Interest::Turn, "it is over");
        let granted = self.granted();
        assert!(granted == 0 || self.is_collecting(), "a body is kept");
        let live = memory::live();
        assert!(live <= heap, "{live} bytes of heap in a wait");
    }

    fn check_wait_to_read(&mut self) -> (Duration, Duration, isize) {
        if let Some(closed) = self.peer.write_closed {
            return (closed, closed + DISCARD, 0);
        }
        let rested = self.rested();
        if let Some(body) = &self.body {
            let (taken, granted) = (self.peer.taken, self.granted());
            let end = body.end(taken);
            assert_eq!(end, BodyEnd::Incomplete, "it waits with a whole body");
            assert!(granted <= body.most_granted(taken));
            return (rested, body.deadline(), body.most_heap(taken, granted));
        }
        let (mut deadline, heap) = match self.pending() {
            0 => (rested + IDLE, 0),
            pending => {
                // It takes long for a long one.
                if pending < 500 || self.random.one_in(16) {
                    let seen = self.peer.seen(self.at, self.peer.taken);
                    let is_incomplete = matches!(read(&seen), Start::Incomplete(_));
                    assert!(is_incomplete, "it waits with {}", seen.escape_ascii());
                }
                let began = self.peer.taken_at(self.at).expect("it was read");
                let began = began.max(rested).max(self.turned);
                (began + HEAD, MAX_HEAD as isize)
            }
        };
        if let Some(until) = self.drains_until {
            let may_ask = self.peer.answered.is_none() || self.pending() > 0;
            assert!(may_ask, "it has been answered, and still waits");
            deadline = deadline.min(until);
        }
        (rested, deadline, heap)
    }

    /// Whether a body is on its way.
    fn is_collecting(&self) -> bool {
        let is_answered = self.peer.unfinished.is_some() || self.peer.write_closed.is_some();
        self.body.is_some() && !is_answered
    }

    /// What the body takes of the memory of all bodies.
    fn granted(&self) -> usize {
        self.service.bodies.used() - self.bodies_before
    }

    /// Whether the peer has ended its side and is given time to read many answers.
    fn is_closing(&self) -> bool {
        let has_many = self.answered >= FEW_ANSWERS && self.peer.writable_at() > self.peer.time();
        self.peer.has_ended && !self.peer.is_broken && has_many
    }

    /// Whether it had to end in this way. The times of waits are checked already.
    fn check_close(&self, close: Close) {
        let time = self.peer.time();
        match close {
            Close::ByPeer => {
                assert!(self.peer.has_ended || self.peer.is_broken);
                let is_reset = self.behaviour.end == End::Reset;
                let has_many = self.answered > FEW_ANSWERS;
                assert!(
                    is_reset || !has_many || !self.is_closing(),
                    "it loses answers"
                );
            }
            Close::Stalled if self.is_closing() => assert!(time >= self.rested() + WRITE),
            Close::Stalled if self.peer.invited > 0 => assert!(self.is_collecting()),
            Close::Stalled => {
                let unfinished = self.peer.unfinished.expect("an answer is not read");
                let blocked = unfinished.blocked.expect("there is no room");
                assert!(time >= blocked + WRITE);
            }
            Close::ByServer => {
                assert!(!self.peer.is_over());
                assert!(self.peer.unfinished.is_none(), "an answer is cut short");
                assert!(!self.is_collecting(), "a body is left without an answer");
                let drains = self.drains_until.is_some();
                let is_over = match self.peer.write_closed {
                    Some(closed) => time >= closed + DISCARD,
                    None if drains && self.pending() == 0 && self.peer.answered.is_some() => true,
                    None if self.drains_until.is_some_and(|until| time >= until) => true,
                    None if self.pending() == 0 => time >= self.rested() + IDLE,
                    None => drains && time >= self.rested() + HEAD,
                };
                assert!(is_over, "it ends too early");
            }
        }
    }
}

static SETUP: Once = Once::new();
/// Requests that were logged.
static LOGGED: AtomicUsize = AtomicUsize::new(0);

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        uncounted(|| {
            let line = record.args().to_string();
            // A method, a path and a subject, each cut, and what stands around them.
            postern_fuzz::assert_one_line(&line, 3 * 256 + 200);
            if record.level() == log::Level::Info {
                LOGGED.fetch_add(1, Relaxed);
            }
        });
    }

    fn flush(&self) {}
}
