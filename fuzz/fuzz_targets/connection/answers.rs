//! The handler, and the answers held against what the stream asks for.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::http::cors::Cors;
use postern::http::forwarded::Forwarded;
use postern::http::response::{self, ErrorBody};
use postern::http::service::{Lifecycle, Service, Timeouts};
use postern::http::{Handler, Reply, Request};
use postern_fuzz::http::{Answer, Head, Start, read, take_answer};
use postern_fuzz::memory::uncounted;
use postern_fuzz::random::Random;

use super::peer::{Behaviour, Clock, LATE, Peer, Writing};
use super::{HEAD, IDLE, WRITE};

const ORIGINS: [&str; 2] = ["https://app.example", "http://localhost:4040"];
pub const UNLOGGED: &str = "/unlogged";

/// What the handler was asked, and what it answered.
#[derive(Debug)]
pub struct Handled {
    method: String,
    path: String,
    is_1_1: bool,
    has_body: bool,
    keep_alive: bool,
    authorization: Vec<Vec<u8>>,
    status: u16,
    length: usize,
    /// Whether the connection had been told of the drain.
    was_draining: bool,
    /// What it was told when it asked whether this answer is the last.
    told_last: Option<bool>,
}

impl Handled {
    /// Whether no request may follow.
    fn is_last(&self) -> bool {
        !self.keep_alive || self.was_draining || self.told_last == Some(true)
    }
}

/// The server around the connection.
pub struct Surroundings {
    pub handled: Vec<Handled>,
    pub is_draining: bool,
    clock: Clock,
    is_slow: bool,
    has_tickets: bool,
    random: Random,
}

impl Surroundings {
    pub fn new(behaviour: &Behaviour, clock: Clock) -> Surroundings {
        Surroundings {
            handled: Vec::new(),
            is_draining: false,
            clock,
            is_slow: behaviour.is_slow,
            has_tickets: behaviour.has_tickets,
            random: Random::new(behaviour.seed + 1),
        }
    }
}

pub struct Server(pub Arc<Mutex<Surroundings>>);

impl Handler for Server {
    fn handle(&self, request: &Request<'_>) -> Reply {
        let (response, length) = respond(request.path);
        uncounted(|| {
            let mut server = self.0.lock().expect("no handler panics");
            if server.is_slow {
                let time = server.random.pick(&[0, 0, 0, 5, 2_000, 11_000]);
                server.clock.fetch_add(time, Relaxed);
            }
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
                was_draining: server.is_draining,
                told_last: None,
            };
            server.handled.push(handled);
        });
        Reply {
            response,
            subject: request.path.get(1..).map(Arc::from),
        }
    }
}

impl Lifecycle for Server {
    fn is_last_answer(&self) -> bool {
        uncounted(|| {
            let server = &mut *self.0.lock().expect("no handler panics");
            let handled = server.handled.last_mut().expect("there is a request");
            assert_eq!(handled.told_last, None, "asked twice");
            assert!(!handled.is_last(), "a ticket would be wasted");
            let is_last = server.has_tickets && server.random.one_in(8);
            handled.told_last = Some(is_last);
            is_last
        })
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

/// What a connection is sent that there is no place for.
pub fn dismissal(service: &Service) -> Vec<u8> {
    let mut response = response::error(503, "Service Unavailable");
    service.cors.apply(None, &mut response);
    let mut wire = Vec::new();
    response::print(response, false, response::Persistence::Close, &mut wire);
    wire
}

pub fn service(behaviour: &Behaviour, server: &Arc<Mutex<Surroundings>>) -> Service {
    let origins = match behaviour.has_cors {
        true => ORIGINS.map(str::to_owned).to_vec(),
        false => Vec::new(),
    };
    Service {
        handler: Box::new(Server(Arc::clone(server))),
        cors: Cors::new(origins),
        timeouts: Timeouts {
            head: HEAD,
            idle: IDLE,
            write: WRITE,
        },
        tls: None,
        unlogged_path: Some(UNLOGGED.to_owned()),
        forwarded: Forwarded::default(),
    }
}

/// Holds what was written against what the stream asks for.
pub struct Check<'a> {
    pub behaviour: &'a Behaviour,
    pub peer: &'a Peer<'a>,
    pub handled: VecDeque<Handled>,
    /// What was written and has not been looked at.
    pub unread: &'a [u8],
    /// Whether the last answer may be cut short.
    pub is_cut: bool,
}

impl<'a> Check<'a> {
    /// Fails unless the answers are those that there must be. How many were logged.
    pub fn run(mut self) -> usize {
        let logged = self.handled.iter().filter(|h| h.path != UNLOGGED).count();
        let is_over = match self.behaviour.is_dismissed {
            true => self.dismissed(),
            false => self.walk(),
        };
        assert!(self.unread.is_empty(), "{}", self.unread.escape_ascii());
        assert!(self.handled.is_empty(), "{:?}", self.handled);
        // After the last answer, and only then, nothing more is said but still heard.
        assert_eq!(self.peer.write_closed.is_some(), is_over);
        logged
    }

    /// Request by request. Whether the last answer is out.
    fn walk(&mut self) -> bool {
        let stream = self.peer.stream;
        // When the answer before was out, if there was one.
        let (mut at, mut before) = (0, Duration::ZERO);
        while let Some(handled) = self.handled.pop_front() {
            let Start::Request(head, length) = read(&stream[at..]) else {
                panic!("handled, but not to be: {handled:?}");
            };
            compare(&handled, &head);
            let complete = self.peer.taken_at(at + length - 1);
            let complete = complete.expect("it was handled");
            let began = self.peer.taken_at(at).unwrap_or_default().max(before);
            // What comes behind many requests begins when it is looked at, after some wait for
            // room.
            let may_wait = if self.behaviour.is_narrow {
                WRITE
            } else {
                Duration::ZERO
            };
            assert!(complete <= began + may_wait + HEAD + LATE);
            let is_last = handled.is_last();
            let Some(answer) = self.take_answer(head.method != "HEAD") else {
                return false;
            };
            before = self.writing().time;
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
        self.unhandled(at, before)
    }

    /// What does not reach the handler: a refusal, silence, a peer that goes, a place that is gone.
    /// Whether there is an answer, which then is the last.
    fn unhandled(&mut self, at: usize, before: Duration) -> bool {
        let last = self.peer.writings.last();
        let taken = match (last, self.peer.unfinished) {
            (_, Some(unfinished)) => unfinished.taken,
            (Some(last), None) if !self.unread.is_empty() => last.taken,
            _ => self.peer.taken,
        };
        let seen = self.peer.seen(at, taken);
        let to_head = seen.strip_prefix(b"\r\n").unwrap_or(&seen);
        let to_head = to_head.starts_with(b"HEAD ");
        let statuses = match read(&seen) {
            Start::Incomplete(statuses) => statuses,
            Start::Refused(statuses) => {
                let is_answered = !self.unread.is_empty() || self.is_cut;
                assert!(
                    is_answered,
                    "no answer to what is to be refused: {statuses:?}"
                );
                statuses
            }
            Start::Request(head, _) => panic!("a complete request without an answer: {head:?}"),
        };
        let Some(answer) = self.take_answer(!to_head) else {
            return false;
        };
        self.check_common(&answer, true);
        assert_eq!(answer.values("Connection"), ["close"]);
        assert!(answer.values("Access-Control-Allow-Origin").is_empty());
        if answer.status == 408 {
            let began = self.peer.taken_at(at).expect("a head has begun");
            assert!(self.writing().began >= began.max(before) + HEAD);
        } else {
            assert!(statuses.contains(&answer.status), "{statuses:?} {answer:?}");
        }
        true
    }

    /// Nothing is handled, and there is one answer.
    fn dismissed(&mut self) -> bool {
        let Some(answer) = self.take_answer(true) else {
            return false;
        };
        self.check_common(&answer, true);
        assert_eq!(answer.status, 503);
        true
    }

    /// The next answer; `None` when there is none, or it is not whole: the peer did not take all of
    /// it in time.
    fn take_answer(&mut self, has_body: bool) -> Option<Answer<'a>> {
        if self.unread.is_empty() {
            return None;
        }
        let answer = take_answer(&mut self.unread, has_body);
        if answer.is_none() {
            assert!(self.is_cut, "{}", self.unread.escape_ascii());
            self.unread = b"";
        }
        answer
    }

    /// The last writing of the answer taken last.
    fn writing(&self) -> &Writing {
        let at = self.peer.written.len() - self.unread.len();
        let index = self.peer.writings.partition_point(|w| w.end < at);
        &self.peer.writings[index]
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
