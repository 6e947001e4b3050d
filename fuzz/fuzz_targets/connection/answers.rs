//! The answers held against what the stream asks for.

use std::collections::VecDeque;
use std::time::Duration;

use postern_fuzz::body::End;
use postern_fuzz::http::{Answer, Head, Start, read, take_answer};

use super::collecting::Collection;
use super::handler::{Call, Given, LEFT_IN_CROWD, ORIGINS, UNLOGGED, collects, limit};
use super::peer::{Behaviour, CONTINUE, LATE, Peer, Writing};
use super::{HEAD, WRITE};

/// Holds what was written against what the stream asks for.
pub struct Check<'a> {
    pub behaviour: &'a Behaviour,
    pub peer: &'a Peer<'a>,
    pub calls: VecDeque<Call>,
    /// What was written and has not been looked at.
    pub unread: &'a [u8],
    /// Whether the last answer may be cut short.
    pub is_cut: bool,
    /// Whether its place was taken away in a turn, with bytes that were not looked at.
    pub is_interrupted: bool,
    /// When the time was over for the body that did not come to its end, if there is one.
    pub body_deadline: Option<Duration>,
    /// How many lines must have been logged.
    pub logged: usize,
}

impl<'a> Check<'a> {
    /// Fails unless the answers are those that there must be. How many were logged.
    pub fn run(mut self) -> usize {
        let is_over = match self.behaviour.is_dismissed {
            true => self.dismissed(),
            false => self.walk(),
        };
        assert!(self.unread.is_empty(), "{}", self.unread.escape_ascii());
        assert!(self.calls.is_empty(), "{:?}", self.calls);
        // After the last answer, and only then, nothing more is said but still heard.
        assert_eq!(self.peer.write_closed.is_some(), is_over);
        self.logged
    }

    /// Request by request. Whether the last answer is out.
    fn walk(&mut self) -> bool {
        let stream = self.peer.stream;
        // When the answer before was out, if there was one.
        let (mut at, mut before) = (0, Duration::ZERO);
        while let Some(call) = self.calls.pop_front() {
            let Start::Request(head, length) = read(&stream[at..]) else {
                panic!("handled, but not to be: {call:?}");
            };
            compare(&call, &head, false);
            self.check_time(at, length, before);
            let (call, collected) = match collects(&head) {
                None => (call, 0),
                Some(limit) => {
                    assert_eq!(call.given, Given::Interruption);
                    let behind = (&head, length);
                    let body = Collection::new(self.peer, behind, at, limit, call.ended);
                    self.take_invitation(&head, call.taken == body.start);
                    match self.calls.pop_front() {
                        None => return self.uncollected(&head, &body),
                        Some(call) => (self.collected(call, &head, &body), body.reading.length()),
                    }
                }
            };
            self.log(&head);
            let Some(answer) = self.take_answer(head.method != "HEAD") else {
                return false;
            };
            before = self.writing().time;
            self.check_answer(&answer, &call, &head);
            if call.is_last() {
                return true;
            }
            at += length + collected;
        }
        self.unhandled(at, before)
    }

    /// A request's head, at that place of the stream, must have come in time.
    fn check_time(&self, at: usize, length: usize, before: Duration) {
        let complete = self.peer.taken_at(at + length - 1);
        let complete = complete.expect("it was handled");
        let began = self.peer.taken_at(at).unwrap_or_default().max(before);
        // What comes behind many requests begins when it is looked at, after some wait for room.
        let may_wait = if self.behaviour.is_narrow {
            WRITE
        } else {
            Duration::ZERO
        };
        assert!(complete <= began + may_wait + HEAD + LATE);
    }

    /// The answer to a call that was not told to wait for the body.
    fn check_answer(&self, answer: &Answer<'_>, call: &Call, head: &Head<'_>) {
        self.check_common(answer, call.is_last());
        match call.given {
            Given::Interruption => check_body_error(answer, 413),
            _ => {
                assert_eq!(answer.status, call.status);
                assert_eq!(answer.content_length(), Some(call.length));
            }
        }
        let kept = (!call.is_last() && !head.is_1_1).then_some("keep-alive");
        let says = if call.is_last() { Some("close") } else { kept };
        assert_eq!(answer.values("Connection"), Vec::from_iter(says));
        self.check_cors(answer, head);
    }

    /// The `100 Continue`, if it was written. `is_all`: nothing of the body had come before.
    fn take_invitation(&mut self, head: &Head<'_>, is_all: bool) {
        let expected = match is_all {
            true => head.expects_continue(),
            false => Some(false),
        };
        if let Some(rest) = self.unread.strip_prefix(CONTINUE) {
            assert_ne!(expected, Some(false), "nobody waits for it");
            self.unread = rest;
        } else if self.is_cut && expected != Some(false) && CONTINUE.starts_with(self.unread) {
            self.unread = b"";
        } else {
            // Without room, it is left out.
            let is_missing = expected == Some(true) && !self.behaviour.is_narrow;
            assert!(!is_missing, "the client waits for 100 Continue");
        }
    }

    /// The second call for a request, with its body.
    fn collected(&self, call: Call, head: &Head<'_>, body: &Collection) -> Call {
        compare(&call, head, true);
        let (Given::Body(given), end) = (&call.given, body.end(call.taken)) else {
            panic!("called again without the body");
        };
        assert_eq!(end, End::Complete);
        assert_eq!(*given, body.body());
        assert!(!self.behaviour.is_crowded || given.len() <= LEFT_IN_CROWD);
        call
    }

    /// A body that does not reach the handler. Whether there is an answer, which then is the last.
    fn uncollected(&mut self, head: &Head<'_>, body: &Collection) -> bool {
        let taken = self.taken_at_answer();
        let end = body.end(taken);
        let may_lack_room = self.behaviour.is_crowded && body.most_granted(taken) > LEFT_IN_CROWD;
        let is_answered = !self.unread.is_empty() || self.peer.unfinished.is_some();
        if is_answered {
            self.log(head);
        } else {
            let may_be_silent = end == End::Incomplete || self.is_cut;
            assert!(may_be_silent, "no answer to a body: {end:?}");
        }
        let Some(answer) = self.take_answer(head.method != "HEAD") else {
            return false;
        };
        match answer.status {
            503 if may_lack_room => assert_eq!(answer.values("Retry-After"), ["1"]),
            408 => {
                assert_eq!(end, End::Incomplete);
                let deadline = self.body_deadline.expect("a body is on its way");
                assert!(self.writing().began >= deadline, "it had more time");
            }
            status => assert_eq!(end, End::Refused(status)),
        }
        self.check_common(&answer, true);
        check_body_error(&answer, answer.status);
        assert_eq!(answer.values("Connection"), ["close"]);
        self.check_cors(&answer, head);
        true
    }

    fn log(&mut self, head: &Head<'_>) {
        self.logged += usize::from(head.path != UNLOGGED);
    }

    /// How many bytes had been read when the answer began that is looked at, or in the end.
    fn taken_at_answer(&self) -> usize {
        match (self.peer.writings.last(), self.peer.unfinished) {
            (_, Some(unfinished)) => unfinished.taken,
            (Some(last), None) if !self.unread.is_empty() => last.taken,
            _ => self.peer.taken,
        }
    }

    /// What does not reach the handler: a refusal, silence, a peer that goes, a place that is gone.
    /// Whether there is an answer, which then is the last.
    fn unhandled(&mut self, at: usize, before: Duration) -> bool {
        let seen = self.peer.seen(at, self.taken_at_answer());
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
            Start::Request(..) if self.is_interrupted => return false,
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

fn check_body_error(answer: &Answer<'_>, status: u16) {
    assert_eq!(answer.status, status);
    let message = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        503 => "Service Unavailable",
        other => panic!("{other} is no answer to a body"),
    };
    let body = format!("{{\"message\":\"{message}\"}}");
    assert_eq!(answer.content_length(), Some(body.len()));
    let is_expected = answer.body.is_empty() || answer.body == body.as_bytes();
    assert!(is_expected, "{}", answer.body.escape_ascii());
}

/// `is_again`: the call is the second one, with the body.
fn compare(call: &Call, head: &Head<'_>, is_again: bool) {
    assert_eq!(call.method, head.method);
    assert_eq!(call.path, head.path);
    assert_eq!(call.is_1_1, head.is_1_1);
    assert_eq!(call.has_body, head.has_body());
    assert_eq!(call.keeps_alive, head.keeps_alive(is_again));
    assert_eq!(call.authorization, head.values("Authorization"));
    if !is_again {
        let asks = limit(head.method, head.path).is_some();
        let given = match (asks, head.has_body()) {
            (false, _) => Given::Nothing,
            (true, false) => Given::Body(Vec::new()),
            (true, true) => Given::Interruption,
        };
        assert_eq!(call.given, given);
    }
}
