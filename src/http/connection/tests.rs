//! A connection over memory: what goes in, in which pieces, and what comes out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::http::response::empty;

/// What a peer does, step by step; after the last it is silent.
enum Step {
    Send(&'static [u8]),
    Close,
    Reset,
}

#[derive(Default)]
struct Log {
    written: Vec<u8>,
    write_closed: bool,
    reads: usize,
}

/// A transport that plays a peer. Silence is a read that times out at once.
struct Script {
    steps: VecDeque<Step>,
    /// The most bytes one write takes.
    write_size: usize,
    log: Arc<Mutex<Log>>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.log.lock().unwrap().reads += 1;
        match self.steps.pop_front() {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Step::Close) => {
                self.steps.push_front(Step::Close);
                Ok(0)
            }
            Some(Step::Reset) => Err(ErrorKind::ConnectionReset.into()),
            Some(Step::Send(bytes)) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    self.steps.push_front(Step::Send(&bytes[count..]));
                }
                Ok(count)
            }
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.write_size);
        self.log.lock().unwrap().written.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Script {
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        assert!(!timeout.is_zero());
        Ok(())
    }

    fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        assert!(!timeout.is_zero());
        Ok(())
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.log.lock().unwrap().write_closed = true;
        Ok(())
    }
}

/// Answers with its path as an empty 200, or panics at `/panic`.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: &Request<'_>) -> Reply {
        assert_ne!(request.path, "/panic", "asked to");
        empty(200)
            .with_header(response::header("X-Path", request.path))
            .into()
    }
}

/// A listener that is never short of slots.
struct Alone;

impl Lifecycle for Alone {
    fn serving(&self) -> bool {
        true
    }

    fn waiting(&self, _: Waiting) -> bool {
        true
    }

    fn is_ending(&self) -> bool {
        false
    }
}

fn play(steps: Vec<Step>, write_size: usize, head: Duration) -> Log {
    let log = Arc::new(Mutex::new(Log::default()));
    let script = Script {
        steps: steps.into(),
        write_size,
        log: Arc::clone(&log),
    };
    let service = Service {
        handler: Box::new(Echo),
        cors: Cors::default(),
        timeouts: Timeouts {
            head,
            idle: Duration::from_secs(30),
            write: Duration::from_secs(10),
        },
        unlogged_path: None,
    };
    serve(script, &"test", &service, &Alone);
    Arc::into_inner(log)
        .expect("the transport is gone")
        .into_inner()
        .unwrap()
}

fn answers(steps: Vec<Step>) -> String {
    let log = play(steps, usize::MAX, Duration::from_secs(10));
    String::from_utf8(log.written).unwrap()
}

fn statuses(text: &str) -> Vec<&str> {
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines.map(|answer| &answer[..3]).collect()
}

#[test]
fn requests_are_answered_in_order_however_they_are_cut() {
    let requests = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
    for cut in 1..requests.len() {
        let text = answers(vec![
            Step::Send(&requests[..cut]),
            Step::Send(&requests[cut..]),
            Step::Close,
        ]);
        assert_eq!(statuses(&text), ["200", "200"], "{cut}");
        assert!(
            text.find("X-Path: /1") < text.find("X-Path: /2"),
            "{cut}: {text}"
        );
    }
}

#[test]
fn a_panic_is_a_500_on_one_request() {
    let text = answers(vec![
        Step::Send(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n"),
        Step::Send(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"),
        Step::Close,
    ]);
    assert_eq!(statuses(&text), ["500", "200"], "{text}");
    assert!(
        text.contains(r#"{"message":"Internal Server Error"}"#),
        "{text}"
    );
}

#[test]
fn nothing_behind_a_body_or_a_refusal_is_answered() {
    for first in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        let both = format!("{first}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        let log = play(
            vec![Step::Send(both.leak())],
            usize::MAX,
            Duration::from_secs(10),
        );
        let text = String::from_utf8(log.written).unwrap();
        assert_eq!(statuses(&text).len(), 1, "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(!text.contains("smuggled"), "{text}");
        assert!(log.write_closed, "{first}");
        assert!(
            log.reads > 1,
            "what still comes in is not discarded: {first}"
        );
    }
}

#[test]
fn a_head_that_stays_incomplete_gets_a_408() {
    let log = play(vec![Step::Send(b"GET / HT")], usize::MAX, Duration::ZERO);
    let text = String::from_utf8(log.written).unwrap();
    assert_eq!(statuses(&text), ["408"]);
}

#[test]
fn silence_a_close_and_a_reset_get_no_answer() {
    for steps in [
        vec![],
        vec![Step::Close],
        vec![Step::Reset],
        vec![Step::Send(b"GET /"), Step::Close],
        vec![Step::Send(b"GET /"), Step::Reset],
    ] {
        assert_eq!(answers(steps), "");
    }
}

#[test]
fn a_response_is_written_whole_through_a_narrow_socket() {
    let steps = vec![
        Step::Send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        Step::Close,
    ];
    let narrow = play(steps, 1, Duration::from_secs(10));
    let text = String::from_utf8(narrow.written).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn a_large_head_is_read_in_a_buffer_that_grows() {
    let fill = "a".repeat(MAX_HEAD - 100);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {fill}\r\n\r\n")
        .repeat(3)
        .into_bytes();
    let text = answers(vec![Step::Send(head.leak()), Step::Close]);
    assert_eq!(statuses(&text), ["200", "200", "200"]);
}

#[test]
fn http_1_0_is_told_when_it_is_kept_alive() {
    let text = answers(vec![
        Step::Send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n"),
        Step::Close,
    ]);
    assert_eq!(statuses(&text), ["200", "200"]);
    assert_eq!(text.matches("\r\nConnection: keep-alive\r\n").count(), 1);
    assert_eq!(text.matches("\r\nConnection: close\r\n").count(), 1);
}
