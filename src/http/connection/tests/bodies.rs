//! Bodies that a handler asks for.

use std::time::Duration;

use super::peer::{Drive, MAX_PUT, Step, TIMEOUTS, send};
use super::{get, play};
use crate::http::connection::{Close, Event, Interest, Next};

fn put(path: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}").into_bytes()
}

fn put_length(path: &str, body: &str) -> Vec<u8> {
    let lines = format!("Content-Length: {}\r\n", body.len());
    put(path, &lines, body)
}

fn put_chunked(path: &str, chunks: &str) -> Vec<u8> {
    put(path, "Transfer-Encoding: chunked\r\n", chunks)
}

/// The last status, and whether the connection closes after it.
fn last(drive: &Drive) -> (&str, bool) {
    let text = drive.peer.text();
    let statuses = drive.peer.statuses();
    let closes = text.contains("\r\nConnection: close\r\n");
    (statuses.last().unwrap(), closes)
}

#[test]
fn a_body_is_collected_however_it_is_cut_and_the_next_request_answered() {
    let chunks = "4\r\nbody\r\n2;x=y\r\n/1\r\n0\r\nTrailer: z\r\n\r\n";
    let requests = [
        put_chunked("/1", chunks),
        put_length("/2", "body/2"),
        put_length("/3", ""),
        put_chunked("/4", "0\r\n\r\n"),
        put("/5", "", ""),
        get("/6"),
    ]
    .concat();
    for cut in 1..requests.len() {
        let (first, rest) = requests.split_at(cut);
        let drive = play(vec![send(first), send(rest), Step::Close]);
        assert_eq!(drive.peer.statuses(), ["200"; 6], "{cut}");
        let text = drive.peer.text();
        assert_eq!(text.matches("Content-Length: 6").count(), 2, "{cut}");
        assert!(text.contains("\r\n\r\nbody/1HTTP/1.1") && text.contains("\r\n\r\nbody/2HTTP/1.1"));
        assert!(text.contains("X-Path: /6"), "{cut}");
    }
}

#[test]
fn the_longest_body_is_taken_and_a_longer_one_refused() {
    let most = "a".repeat(MAX_PUT);
    let pieces = put_length("/", &most);
    let pieces = pieces.chunks(1000).map(send).chain([Step::Close]);
    let drive = play(pieces.collect());
    assert_eq!(last(&drive), ("200", false));
    assert!(drive.peer.text().ends_with(&most));

    let more = format!("{most}a");
    let chunk = format!("{:x}\r\n{more}\r\n0\r\n\r\n", more.len());
    for request in [put_length("/", &more), put_chunked("/", &chunk)] {
        let both = [request, get("/smuggled")].concat();
        let drive = play(vec![Step::Send(both), Step::Close]);
        assert_eq!(last(&drive), ("413", true));
        assert_eq!(drive.peer.statuses().len(), 1);
    }
}

#[test]
fn a_malformed_body_ends_the_connection() {
    for chunks in ["x\r\n", "1\r\nab\r\n", "5\nhello\n0\n\n", "0\r\n\0\r\n\r\n"] {
        let both = [put_chunked("/", chunks), get("/smuggled")].concat();
        let drive = play(vec![Step::Send(both), Step::Close]);
        assert_eq!(last(&drive), ("400", true), "{chunks:?}");
        assert!(!drive.peer.text().contains("smuggled"), "{chunks:?}");
    }
}

#[test]
fn a_client_is_invited_to_send_its_body() {
    let expect = "Content-Length: 4\r\nExpect: 100-Continue\r\n";
    let mut drive = Drive::new(vec![send(&put("/", expect, ""))]);
    assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
    assert_eq!(drive.peer.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    drive.peer.steps.extend([send(b"body"), Step::Close]);
    drive.run();
    assert_eq!(drive.peer.statuses(), ["100", "200"]);
    assert!(drive.peer.text().ends_with("\r\n\r\nbody"));

    // Not one that has begun already, nor one of HTTP/1.0, nor one that is refused.
    let begun = put("/", expect, "b");
    let old = b"PUT / HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    for request in [&begun, &old[..]] {
        let mut drive = Drive::new(vec![send(request)]);
        assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
        assert_eq!(drive.peer.text(), "");
    }
    let large = format!(
        "Content-Length: {}\r\nExpect: 100-continue\r\n",
        MAX_PUT + 1
    );
    let drive = play(vec![send(&put("/", &large, "")), Step::Close]);
    assert_eq!(drive.peer.statuses(), ["413"]);
    let nobody_asks =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let drive = play(vec![send(nobody_asks.as_bytes()), Step::Close]);
    assert_eq!(drive.peer.statuses(), ["200"]);
}

#[test]
fn without_room_nobody_is_invited() {
    let expect = "Content-Length: 4\r\nExpect: 100-continue\r\n";
    let mut full = Drive::new(vec![send(&put("/", expect, ""))]);
    full.peer.window = 0;
    assert_eq!(full.step(Event::Ready), Next::Wait(Interest::Read));
    full.peer.window = usize::MAX;
    full.peer.steps.extend([send(b"body"), Step::Close]);
    full.run();
    assert_eq!(full.peer.statuses(), ["200"]);

    let mut narrow = Drive::new(vec![send(&put("/", expect, ""))]);
    narrow.peer.window = 10;
    assert_eq!(narrow.step(Event::Ready), Next::Close(Close::Stalled));
}

#[test]
fn each_64_kib_have_their_own_time() {
    let body = "a".repeat(MAX_PUT);
    let request = put_length("/", &body);
    let pieces = |size: usize| {
        let wait = Duration::from_secs(8);
        let pieces = request.chunks(size);
        let steps = pieces.flat_map(|piece| [send(piece), Step::Wait(wait)]);
        steps.chain([Step::Close]).collect::<Vec<_>>()
    };
    // The whole takes longer than the time for a head.
    assert_eq!(last(&play(pieces(40 * 1024))), ("200", false));
    let mut slow = Drive::new(pieces(20 * 1024));
    let start = slow.peer.now;
    slow.run();
    assert_eq!(last(&slow), ("408", true));
    assert!(slow.peer.now - start < 2 * TIMEOUTS.head);

    let mut silent = Drive::new(vec![send(&request[..100])]);
    let start = silent.peer.now;
    assert_eq!(silent.run(), Close::ByServer);
    assert_eq!(last(&silent), ("408", true));
    assert!(silent.peer.now - start >= TIMEOUTS.head);
    assert_eq!(silent.service.bodies.used(), 0);
}

#[test]
fn a_body_that_ends_early_gets_no_answer() {
    for end in [Step::Close, Step::Reset] {
        let mut drive = Drive::new(vec![send(&put_length("/", "12345")[..50]), end]);
        assert_eq!(drive.run(), Close::ByPeer);
        assert_eq!(drive.peer.text(), "");
    }
}

#[test]
fn a_request_in_a_drain_may_finish_its_body() {
    let request = put_length("/", "body");
    let (first, rest) = request.split_at(request.len() - 2);
    let until = Duration::from_secs(2);
    let mut drive = Drive::new(vec![send(first), Step::Wait(2 * until), send(rest)]);
    assert_eq!(drive.step(Event::Ready), Next::Wait(Interest::Read));
    let start = drive.peer.now;
    drive.step(Event::Drain(start + until));
    drive.run();
    assert_eq!(last(&drive), ("200", true));
}

#[test]
fn a_panic_after_a_body_is_a_500() {
    let both = [put_length("/panic", "body"), get("/")].concat();
    let drive = play(vec![Step::Send(both), Step::Close]);
    assert_eq!(drive.peer.statuses(), ["500", "200"]);
}
