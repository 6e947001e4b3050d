//! A whole connection: bytes in, cut and timed in any way, and answers out, as an independent
//! reading of the same bytes has it. Time is the peer's: nothing waits.
//!
//! Input: eight bytes for how the peer behaves, then what it sends.

#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use postern::http::connection::{Lifecycle, Service, Timeouts, Transport, Waiting, serve};
use postern::http::cors::Cors;
use postern::http::response::{self, ErrorBody};
use postern::http::{Handler, Reply, Request};
use postern_fuzz::http::{Answer, Head, Start, read, take_answer};
use postern_fuzz::memory::{Counting, peak_of, uncounted};
use postern_fuzz::random::Random;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(10);
const DISCARD: Duration = Duration::from_secs(1);
/// What a connection may take of the heap: the buffer of a large head, while it grows, and a
/// response.
const MAX_HEAP: isize = 64 * 1024;
const ORIGINS: [&str; 2] = ["https://app.example", "http://localhost:4040"];
const UNLOGGED: &str = "/unlogged";

fuzz_target!(|data: &[u8]| {
    let Some((control, stream)) = data.split_first_chunk::<8>() else {
        return;
    };
    LOGGER.call_once(|| {
        log::set_logger(&Logger).expect("nobody else sets one");
        log::set_max_level(log::LevelFilter::Trace);
    });
    LOGGED.store(0, Relaxed);
    let behaviour = Behaviour::new(control);
    let mut peer = Peer::new(stream, &behaviour);
    let handled = Arc::new(Mutex::new(VecDeque::new()));
    let slot = Slot::new(&behaviour);
    let service = service(&behaviour, Arc::clone(&handled));
    let peak = peak_of(|| serve(&mut peer, &"peer", &service, &slot));
    assert!(peak <= MAX_HEAP, "{peak} bytes of heap");
    Check {
        behaviour: &behaviour,
        peer: &peer,
        handled: handled.lock().expect("no handler panics").split_off(0),
        unread: &peer.written,
        served: 0,
        logged: 0,
        evicted: slot.evicted(),
    }
    .run(stream);
});

/// How the peer and the server behave, as the input has it.
struct Behaviour {
    seed: u64,
    end: End,
    /// Whether bytes come, and are taken, at different times.
    is_slow: bool,
    /// Whether a write takes what it is given.
    is_narrow: bool,
    may_break: bool,
    is_interrupted: bool,
    has_cors: bool,
    /// The server drains from this request on.
    drain_from: Option<usize>,
    /// The slot is taken away before this answer.
    evict_at: Option<usize>,
    /// Rather after it: as soon as nothing is being answered.
    is_dismissed: bool,
}

/// What the peer does after its last byte.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Close,
    Silence,
    Reset,
    /// Goes on sending for ever.
    Flood,
}

impl Behaviour {
    fn new(control: &[u8; 8]) -> Behaviour {
        let [a, b, c, d, flags, end, drain, evict] = *control;
        let has = |bit: u8| flags >> bit & 1 == 1;
        let nth = |count: u8| (count > 0).then(|| usize::from(count) - 1);
        Behaviour {
            seed: u32::from_le_bytes([a, b, c, d]).into(),
            end: [End::Close, End::Silence, End::Reset, End::Flood][usize::from(end % 4)],
            is_slow: has(0),
            is_narrow: has(1),
            may_break: has(2),
            is_interrupted: has(3),
            has_cors: has(4),
            drain_from: nth(drain),
            evict_at: nth(evict),
            is_dismissed: has(5),
        }
    }
}

/// The other end, and the time.
struct Peer<'a> {
    stream: &'a [u8],
    end: End,
    random: Random,
    is_slow: bool,
    is_narrow: bool,
    may_break: bool,
    is_interrupted: bool,
    start: Instant,
    /// The time since the start.
    time: Duration,
    /// What is left of a pause before the next bytes.
    pause: Option<Duration>,
    /// What is left of a pause before it takes more.
    write_pause: Option<Duration>,
    read_timeout: Duration,
    write_timeout: Duration,
    sent: usize,
    /// How many bytes had been sent, and when; in a flood, any number.
    sendings: Vec<(usize, Duration)>,
    /// The same of the bytes written to the peer, with the time at which their answer was begun.
    writings: Vec<(usize, Duration, Duration)>,
    written: Vec<u8>,
    /// When the answer that is being written was begun.
    answer_began: Option<Duration>,
    /// No read, or no write, may follow.
    reading_ended: bool,
    writing_ended: bool,
    write_failed: bool,
    write_closed: Option<Duration>,
    last_read_at: Duration,
    operations: usize,
}

impl<'a> Peer<'a> {
    fn new(stream: &'a [u8], behaviour: &Behaviour) -> Peer<'a> {
        Peer {
            stream,
            end: behaviour.end,
            random: Random::new(behaviour.seed),
            is_slow: behaviour.is_slow,
            is_narrow: behaviour.is_narrow,
            may_break: behaviour.may_break,
            is_interrupted: behaviour.is_interrupted,
            start: Instant::now(),
            time: Duration::ZERO,
            pause: None,
            write_pause: None,
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
            sent: 0,
            sendings: Vec::new(),
            writings: Vec::new(),
            written: Vec::new(),
            answer_began: None,
            reading_ended: false,
            writing_ended: false,
            write_failed: false,
            write_closed: None,
            last_read_at: Duration::ZERO,
            operations: 0,
        }
    }

    /// Fails when the connection spins.
    fn count(&mut self) {
        self.operations += 1;
        let most = 10_000 + 2 * (self.stream.len() + self.written.len());
        assert!(self.operations < most, "{} operations", self.operations);
    }

    fn pause(&mut self) -> Duration {
        let millis = match self.is_slow {
            true => self
                .random
                .pick(&[0, 0, 0, 0, 1, 300, 4_000, 9_999, 10_000, 31_000]),
            false => 0,
        };
        Duration::from_millis(millis)
    }

    /// Lets a blocking operation take its time, or time out.
    fn wait(&mut self, pause: Duration, timeout: Duration) -> Result<(), Duration> {
        assert!(!timeout.is_zero(), "a timeout of zero is none");
        if pause < timeout {
            self.time += pause;
            return Ok(());
        }
        self.time += timeout;
        Err(pause - timeout)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.count();
        assert!(!buffer.is_empty(), "a read of nothing looks like the end");
        assert!(!self.reading_ended, "read after the end");
        if self.write_closed.is_none() {
            self.last_read_at = self.time;
        }
        if self.is_interrupted && self.random.one_in(8) {
            return Err(ErrorKind::Interrupted.into());
        }
        let unsent = &self.stream[self.sent..];
        let pause = match self.pause.take() {
            Some(rest) => rest,
            None => self.pause(),
        };
        let pause = match self.end {
            End::Silence if unsent.is_empty() => Duration::MAX,
            End::Flood if unsent.is_empty() => pause + Duration::from_millis(10),
            _ => pause,
        };
        if let Err(rest) = self.wait(pause, self.read_timeout) {
            self.pause = Some(rest);
            return Err(self
                .random
                .pick(&[ErrorKind::WouldBlock, ErrorKind::TimedOut])
                .into());
        }
        if unsent.is_empty() {
            return self.after_the_end(buffer);
        }
        let most = unsent.len().min(buffer.len());
        let longest = self.random.pick(&[1, 3, 40, most, most]).min(most);
        let count = 1 + self.random.below(longest);
        buffer[..count].copy_from_slice(&unsent[..count]);
        self.sent += count;
        self.sendings.push((self.sent, self.time));
        Ok(count)
    }

    fn after_the_end(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.end {
            End::Close => {
                self.end_all();
                Ok(0)
            }
            End::Reset => {
                self.end_all();
                Err(ErrorKind::ConnectionReset.into())
            }
            End::Silence => unreachable!("silence lasts longer than any limit"),
            End::Flood => {
                self.sendings.push((usize::MAX, self.time));
                buffer.fill(b'a');
                Ok(buffer.len())
            }
        }
    }

    fn end_all(&mut self) {
        self.reading_ended = true;
        self.writing_ended = true;
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count();
        assert!(!bytes.is_empty(), "an empty write looks like an error");
        assert!(!self.writing_ended && self.write_closed.is_none());
        let began = *self.answer_began.get_or_insert(self.time);
        if self.is_interrupted && self.random.one_in(8) {
            return Err(ErrorKind::Interrupted.into());
        }
        let pause = match self.write_pause.take() {
            Some(rest) => rest,
            None => self.pause(),
        };
        let waited = self.wait(pause, self.write_timeout);
        assert!(self.time - began <= WRITE, "the answer takes too long");
        if let Err(rest) = waited {
            self.write_pause = Some(rest);
            // Sooner the server may try again.
            if self.time - began == WRITE {
                self.end_all();
                self.write_failed = true;
            }
            return Err(self
                .random
                .pick(&[ErrorKind::WouldBlock, ErrorKind::TimedOut])
                .into());
        }
        if self.may_break && self.random.one_in(8) {
            self.end_all();
            self.write_failed = true;
            return match self.random.below(2) {
                0 => Ok(0),
                _ => Err(ErrorKind::BrokenPipe.into()),
            };
        }
        let count = match self.is_narrow {
            true => 1 + self.random.below(bytes.len()),
            false => bytes.len(),
        };
        self.written.extend(&bytes[..count]);
        self.writings.push((self.written.len(), self.time, began));
        if count == bytes.len() {
            self.answer_began = None;
        }
        Ok(count)
    }
}

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uncounted(|| self.receive(buffer))
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uncounted(|| self.take(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for &mut Peer<'_> {
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        assert!(!timeout.is_zero() && timeout <= IDLE);
        self.read_timeout = timeout;
        Ok(())
    }

    fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        assert!(!timeout.is_zero() && timeout <= WRITE);
        self.write_timeout = timeout;
        Ok(())
    }

    fn close_write(&mut self) -> io::Result<()> {
        assert_eq!(self.write_closed, None);
        self.write_closed = Some(self.time);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.start + self.time
    }
}

/// A listener that takes the slot away, and drains, when the input says so.
struct Slot {
    drain_from: Option<usize>,
    evict_at: Option<usize>,
    is_dismissed: bool,
    asked: AtomicUsize,
    evicted: AtomicBool,
}

impl Slot {
    fn new(behaviour: &Behaviour) -> Slot {
        Slot {
            drain_from: behaviour.drain_from,
            evict_at: behaviour.evict_at,
            is_dismissed: behaviour.is_dismissed,
            asked: AtomicUsize::new(0),
            evicted: AtomicBool::new(false),
        }
    }

    fn evicted(&self) -> bool {
        self.evicted.load(Relaxed)
    }

    /// Whether it still has the slot after that many answers.
    fn stays(&self, answers: usize) -> bool {
        assert!(!self.evicted(), "it goes on without a slot");
        let stays = self.evict_at.is_none_or(|at| answers <= at);
        self.evicted.store(!stays, Relaxed);
        stays
    }
}

impl Lifecycle for Slot {
    fn serving(&self) -> bool {
        let before = self.asked.fetch_add(1, Relaxed);
        self.stays(before + usize::from(!self.is_dismissed))
    }

    fn waiting(&self, waiting: Waiting) -> bool {
        let asked = self.asked.load(Relaxed);
        assert!(asked > 0 || waiting == Waiting::Head || waiting == Waiting::Fresh);
        self.stays(asked)
    }

    fn is_ending(&self) -> bool {
        self.drain_from
            .is_some_and(|from| self.asked.load(Relaxed) > from)
    }
}

/// What the handler was asked, and what it answered.
#[derive(Debug)]
struct Handled {
    method: String,
    path: String,
    is_1_1: bool,
    has_body: bool,
    keep_alive: bool,
    authorization: Vec<Vec<u8>>,
    status: u16,
    length: usize,
}

struct Recorder(Arc<Mutex<VecDeque<Handled>>>);

impl Handler for Recorder {
    fn handle(&self, request: &Request<'_>) -> Reply {
        let (response, length) = respond(request.path);
        uncounted(|| {
            let values = request.headers("Authorization");
            let handled = Handled {
                method: request.method.as_str().to_owned(),
                path: request.path.to_owned(),
                is_1_1: request.version == tiny_http::HTTPVersion(1, 1),
                has_body: request.has_body,
                keep_alive: request.keep_alive,
                authorization: values.map(<[u8]>::to_vec).collect(),
                status: response.status(),
                length,
            };
            self.0.lock().expect("no handler panics").push_back(handled);
        });
        Reply {
            response,
            subject: request.path.get(1..).map(Arc::from),
        }
    }
}

/// A response, chosen by the path, and the length of its body.
fn respond(path: &str) -> (response::Response, usize) {
    let sum: usize = path.bytes().map(usize::from).sum();
    match sum % 5 {
        0 => (response::empty(200), 0),
        1 => (
            response::json(200, vec![b' '; sum % 4096 + 1]),
            sum % 4096 + 1,
        ),
        2 => (response::json(200, &b"{}"[..]), 2),
        3 => (response::error(404, "Not Found"), 23),
        _ => {
            let body = ErrorBody {
                message: "m",
                error: Some("e"),
                error_description: Some("d"),
            };
            let header = response::header("WWW-Authenticate", "Bearer");
            (response::error_with(401, &body).with_header(header), 51)
        }
    }
}

fn service(behaviour: &Behaviour, handled: Arc<Mutex<VecDeque<Handled>>>) -> Service {
    let origins = match behaviour.has_cors {
        true => ORIGINS.map(str::to_owned).to_vec(),
        false => Vec::new(),
    };
    Service {
        handler: Box::new(Recorder(handled)),
        cors: Cors::new(origins),
        timeouts: Timeouts {
            head: HEAD,
            idle: IDLE,
            write: WRITE,
        },
        unlogged_path: Some(UNLOGGED.to_owned()),
    }
}

static LOGGER: Once = Once::new();
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

/// Holds what was written against what the stream asks for.
struct Check<'a> {
    behaviour: &'a Behaviour,
    peer: &'a Peer<'a>,
    handled: VecDeque<Handled>,
    unread: &'a [u8],
    /// Answers that a slot was asked for.
    served: usize,
    logged: usize,
    evicted: bool,
}

impl<'a> Check<'a> {
    fn run(mut self, stream: &[u8]) {
        let is_over = self.walk(stream);
        assert!(self.unread.is_empty(), "{}", self.unread.escape_ascii());
        assert!(self.handled.is_empty(), "{:?}", self.handled);
        assert_eq!(LOGGED.load(Relaxed), self.logged);
        // After the last answer, and only then, nothing more is said but still heard.
        let closed = self.peer.write_closed;
        assert_eq!(closed.is_some(), is_over);
        if let Some(closed) = closed {
            assert!(self.peer.time - closed <= DISCARD);
        }
    }

    /// Request by request. Whether the last answer is out.
    fn walk(&mut self, stream: &[u8]) -> bool {
        // When the answer before was out, if there was one.
        let (mut at, mut before) = (0, Duration::ZERO);
        loop {
            let rest = &stream[at..];
            let (head, length) = match read(rest) {
                Start::Request(head, length) if !self.handled.is_empty() => (head, length),
                Start::Request(_, length) => {
                    return self.unhandled(&[].into(), at, Some(length), before);
                }
                Start::Refused(statuses) => {
                    return self.unhandled(&statuses, at, None, before);
                }
                Start::Incomplete(statuses) if self.behaviour.end == End::Flood => {
                    // A flood of letters completes nothing.
                    let flooded = [rest, &[b'a'; 17 * 1024]].concat();
                    let mut statuses = statuses;
                    match read(&flooded) {
                        Start::Refused(more) => statuses.extend(more),
                        other => panic!("{other:?}"),
                    }
                    return self.unhandled(&statuses, at, None, before);
                }
                Start::Incomplete(statuses) => {
                    return self.unhandled(&statuses, at, Some(usize::MAX), before);
                }
            };
            let complete = self.sent_at(at + length - 1).expect("it was handled");
            assert!(complete <= self.head_began(at, before) + HEAD);
            let handled = self.handled.pop_front().expect("looked at above");
            compare(&handled, &head);
            self.logged += usize::from(handled.path != UNLOGGED);
            let is_draining = self.behaviour.drain_from.is_some_and(|n| self.served >= n);
            let is_last = !head.keep_alive || is_draining;
            self.served += 1;
            let Some(answer) = self.take_answer(head.method != "HEAD") else {
                return false;
            };
            before = self.taken_at();
            self.check_common(&answer, is_last);
            assert_eq!(answer.status, handled.status);
            assert_eq!(answer.content_length(), Some(handled.length));
            let kept = (!is_last && !head.is_1_1).then_some("keep-alive");
            let says = if is_last { Some("close") } else { kept };
            assert_eq!(answer.values("Connection"), Vec::from_iter(says));
            self.check_cors(&answer, &head);
            if is_last {
                return true;
            }
            at += length;
        }
    }

    /// What does not reach the handler: a refusal, silence, a peer that goes, a slot that is gone.
    /// Whether there is an answer, which then is the last. `needed` is the length that a head has,
    /// when it is or may become one.
    fn unhandled(
        &mut self,
        statuses: &BTreeSet<u16>,
        at: usize,
        needed: Option<usize>,
        before: Duration,
    ) -> bool {
        let began = self.head_began(at, before);
        let has_begun = self.sent_at(at).is_some();
        let ended = self.peer.last_read_at;
        let rest = &self.peer.stream[at..];
        let to_head = rest
            .strip_prefix(b"\r\n")
            .unwrap_or(rest)
            .starts_with(b"HEAD ");
        let has_body = !(to_head && self.unread.ends_with(b"\r\n\r\n"));
        let Some(answer) = self.take_answer(has_body) else {
            if self.peer.write_failed || self.evicted {
                return false;
            }
            match needed {
                _ if !has_begun && self.behaviour.end == End::Silence => {
                    assert!(self.peer.time >= before + IDLE);
                }
                _ if self.peer.time >= ended + IDLE && !has_begun => {}
                None => panic!("no answer to what is to be refused: {statuses:?}"),
                Some(_) => assert!(
                    self.peer.reading_ended || !has_begun,
                    "neither an answer nor an end"
                ),
            }
            let complete = needed.and_then(|length| self.sent_at((at.checked_add(length)?) - 1));
            assert_eq!(complete, None, "a complete request without an answer");
            return false;
        };
        // Before all of the method is there, it is not known to be HEAD; only lateness ends such a wait.
        assert!(!(to_head && has_body) || answer.status == 408);
        self.check_common(&answer, true);
        assert_eq!(answer.values("Connection"), ["close"]);
        assert!(answer.values("Access-Control-Allow-Origin").is_empty());
        if answer.status == 408 {
            let written = self.peer.writings.last().expect("there is an answer").2;
            assert!(has_begun && written >= began + HEAD);
        } else {
            assert!(statuses.contains(&answer.status), "{statuses:?} {answer:?}");
        }
        true
    }

    /// The next answer; `None` when there is none, or it is not whole: the peer did not take all of it
    /// in time.
    fn take_answer(&mut self, has_body: bool) -> Option<Answer<'a>> {
        if self.unread.is_empty() {
            return None;
        }
        let answer = take_answer(&mut self.unread, has_body);
        if answer.is_none() {
            let is_cut = self.peer.write_failed || self.evicted;
            assert!(is_cut, "{}", self.unread.escape_ascii());
            self.unread = b"";
        }
        answer
    }

    /// When the time for the head at that place of the stream began.
    fn head_began(&self, at: usize, before: Duration) -> Duration {
        self.sent_at(at).unwrap_or(Duration::ZERO).max(before)
    }

    fn sent_at(&self, at: usize) -> Option<Duration> {
        let mut sendings = self.peer.sendings.iter();
        sendings.find(|(end, _)| *end > at).map(|(_, time)| *time)
    }

    /// When the latest answer was out.
    fn taken_at(&self) -> Duration {
        let at = self.peer.written.len() - self.unread.len();
        let mut writings = self.peer.writings.iter();
        let writing = writings.find(|(end, ..)| *end >= at);
        writing.expect("it was written").1
    }

    fn check_common(&self, answer: &Answer<'_>, is_last: bool) {
        for (name, value) in [
            ("Server", "postern"),
            (
                "Cache-Control",
                "no-cache, no-store, max-age=0, must-revalidate",
            ),
            ("Pragma", "no-cache"),
            ("Expires", "0"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "deny"),
            ("X-XSS-Protection", "0"),
            (
                "Content-Security-Policy",
                "default-src 'self'; frame-ancestors 'none';",
            ),
            ("Referrer-Policy", "no-referrer"),
        ] {
            assert_eq!(answer.values(name), [value], "{name}");
        }
        assert_eq!(answer.values("Date").len(), 1);
        assert!(answer.values("Strict-Transport-Security").is_empty());
        let typed = answer.content_length() != Some(0) || answer.status != 200;
        assert_eq!(answer.values("Content-Type").len(), usize::from(typed));
        let varies = Vec::from_iter(self.behaviour.has_cors.then_some("Origin"));
        assert_eq!(answer.values("Vary"), varies);
        let closes = answer.values("Connection") == ["close"];
        assert_eq!(closes, is_last);
    }

    fn check_cors(&self, answer: &Answer<'_>, head: &Head<'_>) {
        let origin = match head.values("Origin")[..] {
            [origin] => ORIGINS.into_iter().find(|known| known.as_bytes() == origin),
            _ => None,
        };
        let origin = origin.filter(|_| self.behaviour.has_cors);
        let allowed = answer.values("Access-Control-Allow-Origin");
        assert_eq!(allowed, Vec::from_iter(origin));
        let asks = !head.values("Access-Control-Request-Method").is_empty();
        let preflight = origin.is_some() && head.method == "OPTIONS" && asks;
        for name in [
            "Access-Control-Allow-Methods",
            "Access-Control-Allow-Headers",
            "Access-Control-Max-Age",
        ] {
            let count = usize::from(preflight && answer.status == 200);
            assert_eq!(answer.values(name).len(), count, "{name}");
        }
        assert!(answer.values("Access-Control-Allow-Credentials").is_empty());
    }
}

fn compare(handled: &Handled, head: &Head<'_>) {
    assert_eq!(handled.method, head.method);
    assert_eq!(handled.path, head.path);
    assert_eq!(handled.is_1_1, head.is_1_1);
    assert_eq!(handled.has_body, head.has_body);
    assert_eq!(handled.keep_alive, head.keep_alive);
    assert_eq!(handled.authorization, head.values("Authorization"));
}
