//! A connection over memory: what goes in, in which pieces, and what comes out.

mod bodies;
mod peer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::peer::{Drive, Step, TIMEOUTS, send};
use super::*;
use crate::http::service::Lifecycle;
use crate::http::socket;

fn play(steps: Vec<Step>) -> Drive {
    let mut drive = Drive::new(steps);
    drive.run();
    drive
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

#[test]
fn requests_are_answered_in_order_however_they_are_cut() {
    let requests = [get("/1"), get("/2")].concat();
    for cut in 1..requests.len() {
        let (first, rest) = requests.split_at(cut);
        let drive = play(vec![send(first), send(rest), Step::Close]);
        assert_eq!(drive.peer.statuses(), ["200", "200"], "{cut}");
        let text = drive.peer.text();
        assert!(text.find("X-Path: /1") < text.find("X-Path: /2"), "{cut}");
    }
}

#[test]
fn a_pipelining_client_is_answered_in_several_turns() {
    let requests: Vec<u8> = (0..50).flat_map(|at| get(&format!("/{at}"))).collect();
    let mut drive = Drive::new(vec![Step::Send(requests), Step::Close]);
    assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Turn));
    assert_eq!(drive.peer.statuses().len(), MAX_ANSWERS);
    assert_eq!(drive.connection.awaits(), Interest::Turn);
    let deadline = drive.peer.now + TIMEOUTS.write;
    assert_eq!(drive.connection.deadline(), deadline, "to read the answers");
    assert_eq!(drive.run(), Close::ByPeer);
    assert_eq!(drive.peer.statuses().len(), 50);
    let paths = drive.peer.text().matches("X-Path: /");
    assert_eq!(paths.count(), 50);
    assert!(drive.peer.text().rfind("X-Path: /48") < drive.peer.text().rfind("X-Path: /49"));
}

#[test]
fn a_panic_is_a_500_on_one_request() {
    let drive = play(vec![send(&get("/panic")), send(&get("/next")), Step::Close]);
    assert_eq!(drive.peer.statuses(), ["500", "200"]);
    let body = r#"{"message":"Internal Server Error"}"#;
    assert!(drive.peer.text().contains(body));
}

/// Surroundings that panic.
struct Panics;

impl Lifecycle for Panics {
    fn is_last_answer(&self) -> bool {
        panic!("asked to");
    }
}

#[test]
fn a_panic_outside_of_the_handler_leaves_the_buffers_to_the_next_connection() {
    let mut drive = Drive::new(vec![send(&get("/"))]);
    let context = Context {
        service: &drive.service,
        peer: socket::Peer::Unix,
        is_secure: false,
        lifecycle: &Panics,
    };
    let (connection, peer) = (&mut drive.connection, &mut drive.peer);
    let buffers = &mut drive.buffers;
    let step = AssertUnwindSafe(|| connection.step(Event::Ready, peer, buffers, context));
    assert!(catch_unwind(step).is_err());
    let mut next = Drive::new(vec![send(&get("/")), Step::Close]);
    std::mem::swap(&mut next.buffers, &mut drive.buffers);
    next.run();
    assert_eq!(next.peer.statuses(), ["200"]);
}

#[test]
fn nothing_behind_a_body_or_a_refusal_is_answered() {
    for first in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        let both = [first.as_bytes(), &get("/smuggled")].concat();
        let mut drive = Drive::new(vec![Step::Send(both), send(&get("/later")), Step::Close]);
        assert_eq!(drive.run(), Close::ByPeer, "what still comes in is read");
        let text = drive.peer.text();
        assert_eq!(drive.peer.statuses().len(), 1, "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(
            !text.contains("smuggled") && !text.contains("later"),
            "{text}"
        );
        assert!(drive.peer.write_closed, "{first}");
    }
}

#[test]
fn a_peer_that_does_not_close_is_left_after_a_second() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut drive = Drive::new(vec![send(request)]);
    let start = drive.peer.now;
    assert_eq!(drive.run(), Close::ByServer);
    assert_eq!(drive.peer.now - start, DISCARD_TIME);
    assert!(drive.connection.is_leaving());
}

#[test]
fn a_head_that_stays_incomplete_gets_a_408_however_it_drips() {
    let drip = [b'a'; 30].map(|byte| [Step::Send(vec![byte]), Step::Wait(Duration::from_secs(1))]);
    let mut steps = vec![send(b"GET / HTTP/1.1\r\nA: ")];
    steps.extend(drip.into_iter().flatten());
    let mut drive = Drive::new(steps);
    let start = drive.peer.now;
    drive.run();
    assert_eq!(drive.peer.statuses(), ["408"]);
    let taken = drive.peer.now - start;
    assert!(
        taken >= TIMEOUTS.head && taken < TIMEOUTS.head + 2 * DISCARD_TIME,
        "{taken:?}"
    );
}

#[test]
fn each_head_has_its_own_time() {
    let pause = || Step::Wait(Duration::from_secs(8));
    let request = get("/");
    let (half, rest) = request.split_at(7);
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.extend([send(half), pause(), send(rest), pause()]);
    }
    steps.push(Step::Close);
    assert_eq!(play(steps).peer.statuses(), ["200", "200", "200"]);
}

#[test]
fn silence_a_close_and_a_reset_get_no_answer() {
    for (steps, close) in [
        (vec![], Close::ByServer),
        (vec![Step::Close], Close::ByPeer),
        (vec![Step::Reset], Close::ByPeer),
        (vec![send(b"GET /"), Step::Close], Close::ByPeer),
        (vec![send(b"GET /"), Step::Reset], Close::ByPeer),
    ] {
        let mut drive = Drive::new(steps);
        assert_eq!(drive.run(), close);
        assert_eq!(drive.peer.text(), "");
    }
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let mut drive = Drive::new(vec![Step::Wait(Duration::from_secs(29)), send(&get("/"))]);
    let start = drive.peer.now;
    assert_eq!(drive.run(), Close::ByServer);
    assert_eq!(drive.peer.statuses(), ["200"]);
    assert_eq!(
        drive.peer.now - start,
        Duration::from_secs(29) + TIMEOUTS.idle
    );
    assert_eq!(drive.connection.received.capacity(), 0, "it has no buffer");
}

#[test]
fn a_response_is_written_as_the_peer_reads() {
    let mut drive = Drive::new(vec![send(&[get("/1"), get("/2")].concat()), Step::Close]);
    drive.peer.window = 10;
    let mut event = Event::Ready;
    loop {
        match drive.step(event) {
            Next::Close(_) => break,
            Next::Wait(Interest::Write) => {
                assert_eq!(drive.connection.awaits(), Interest::Write);
                drive.peer.unread = 0;
                event = Event::Ready;
            }
            Next::Wait(interest) => event = drive.event(interest),
        }
    }
    assert_eq!(drive.peer.statuses(), ["200", "200"]);
    assert!(drive.peer.text().ends_with("\r\n\r\n"));
}

#[test]
fn a_peer_that_does_not_read_is_stalled() {
    let mut drive = Drive::new(vec![send(&get("/")), Step::Close]);
    drive.peer.window = 10;
    let start = drive.peer.now;
    assert_eq!(drive.run(), Close::Stalled);
    assert_eq!(drive.peer.now - start, TIMEOUTS.write);
}

#[test]
fn a_peer_that_has_closed_its_side_is_given_time_to_read() {
    for last in [get("/"), b"GET / HTTP/1.0\r\n\r\n".to_vec()] {
        for reads in [true, false] {
            let mut requests = get("/").repeat(FEW_ANSWERS as usize);
            requests.extend(&last);
            let mut drive = Drive::new(vec![Step::Send(requests), Step::Close]);
            assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
            let (start, unread) = (drive.peer.now, drive.peer.unread);
            drive.peer.window = unread;
            assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Write));
            assert!(drive.connection.is_leaving(), "it needs no place");
            if reads {
                drive.peer.unread = 0;
                assert_eq!(drive.run(), Close::ByPeer);
                assert_eq!(drive.peer.now, start);
            } else {
                assert_eq!(drive.run(), Close::Stalled);
                assert_eq!(drive.peer.now - start, TIMEOUTS.write);
            }
        }
    }
}

#[test]
fn a_large_head_is_read_in_a_buffer_that_grows() {
    let fill = "a".repeat(MAX_HEAD - 100);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {fill}\r\n\r\n");
    let drive = play(vec![Step::Send(head.repeat(3).into_bytes()), Step::Close]);
    assert_eq!(drive.peer.statuses(), ["200", "200", "200"]);
    let pieces = head.as_bytes().chunks(100).map(send).chain([Step::Close]);
    assert_eq!(play(pieces.collect()).peer.statuses(), ["200"]);
}

#[test]
fn a_head_under_way_takes_no_more_than_the_longest_head() {
    for first in [1, 1_000, MAX_HEAD / 2 + 1, MAX_HEAD - 10] {
        let start = b"GET / HTTP/1.1\r\nHost: x\r\nA: ";
        let head = [&start[..], &vec![b'a'; MAX_HEAD]].concat();
        let mut drive = Drive::new(vec![send(&head[..first])]);
        let rest = head[first..MAX_HEAD - 1].chunks(100).map(send);
        assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
        for piece in rest {
            drive.peer.steps.push_back(piece);
            assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
            assert!(drive.connection.received.capacity() <= MAX_HEAD, "{first}");
        }
    }
}

#[test]
fn a_body_under_way_does_not_keep_the_buffer_of_a_large_head() {
    let long = "a".repeat(12_000);
    let head =
        format!("PUT / HTTP/1.1\r\nHost: x\r\nA: {long}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (first, rest) = head.as_bytes().split_at(9000);
    let incomplete_line = b"5";
    let mut drive = Drive::new(vec![send(first), send(&[rest, incomplete_line].concat())]);
    while !drive.peer.steps.is_empty() {
        assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
    }
    assert!(matches!(drive.connection.phase, Phase::Body(_)));
    assert_eq!(drive.connection.received, incomplete_line);
    let capacity = drive.connection.received.capacity();
    assert!(capacity < 1024, "{capacity}");
}

#[test]
fn a_head_of_any_length_is_answered_or_refused() {
    for length in MAX_HEAD - 3..=MAX_HEAD + 3 {
        let fill = "a".repeat(length - get("/").len() - "A: \r\n".len());
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {fill}\r\n\r\n");
        assert_eq!(head.len(), length);
        for size in [length, 1000] {
            let pieces = head.as_bytes().chunks(size).map(send).chain([Step::Close]);
            let expected = if length <= MAX_HEAD { "200" } else { "431" };
            assert_eq!(
                play(pieces.collect()).peer.statuses(),
                [expected],
                "{length}"
            );
        }
    }
}

#[test]
fn http_1_0_is_told_when_it_is_kept_alive() {
    let requests = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let drive = play(vec![send(requests), Step::Close]);
    let text = drive.peer.text();
    assert_eq!(drive.peer.statuses(), ["200", "200"]);
    assert_eq!(text.matches("\r\nConnection: keep-alive\r\n").count(), 1);
    assert_eq!(text.matches("\r\nConnection: close\r\n").count(), 1);
}

#[test]
fn the_last_answer_says_so() {
    let mut drive = Drive::new(vec![send(&[get("/1"), get("/2")].concat()), Step::Close]);
    drive.is_last = true;
    assert_eq!(drive.run(), Close::ByPeer);
    assert_eq!(drive.peer.statuses(), ["200"]);
    assert!(drive.peer.text().contains("\r\nConnection: close\r\n"));
}

#[test]
fn a_drain_ends_what_has_been_answered_and_waits_for_what_has_not() {
    let until = Duration::from_secs(2);
    let mut answered = Drive::new(vec![send(&get("/"))]);
    assert_eq!(answered.step(Event::Ready), Next::Wait(Interest::Read));
    let drain = Event::Drain(answered.peer.now + until);
    assert_eq!(answered.step(drain), Next::Close(Close::ByServer));

    for half in [&b""[..], b"GET /"] {
        let mut silent = Drive::new(vec![send(half)]);
        if half.is_empty() {
            silent.peer.steps.clear();
        }
        let start = silent.peer.now;
        silent.step(Event::Ready);
        let waits = silent.step(Event::Drain(start + until));
        assert_eq!(waits, Next::Wait(Interest::Read));
        assert_eq!(silent.run(), Close::ByServer);
        assert_eq!(silent.peer.now - start, until);
        assert_eq!(silent.peer.text(), "");
    }

    let mut asks = Drive::new(vec![Step::Wait(Duration::from_secs(1)), send(&get("/"))]);
    asks.step(Event::Drain(asks.peer.now + until));
    asks.run();
    assert_eq!(asks.peer.statuses(), ["200"]);
    assert!(asks.peer.text().contains("\r\nConnection: close\r\n"));

    let mut in_time = Drive::new(vec![send(&get("/1"))]);
    in_time.step(Event::Ready);
    in_time.peer.steps.push_back(send(&get("/2")));
    in_time.step(Event::Drain(in_time.peer.now + until));
    assert_eq!(
        in_time.peer.statuses(),
        ["200", "200"],
        "it was there before the drain"
    );
}

#[test]
fn what_comes_while_an_answer_waits_is_read_and_answered_later() {
    let mut drive = Drive::new(vec![send(&get("/1"))]);
    drive.peer.window = 10;
    assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Write));
    assert!(drive.connection.reads_ahead());
    drive.peer.steps.extend([send(&get("/2")), Step::Close]);
    assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Write));
    assert_eq!(drive.connection.received, get("/2"));
    assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Write));
    assert!(
        !drive.connection.reads_ahead(),
        "the peer has closed its side"
    );
    drive.peer.window = usize::MAX;
    assert_eq!(drive.run(), Close::ByPeer);
    assert_eq!(drive.peer.statuses(), ["200", "200"]);
}
