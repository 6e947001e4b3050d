//! Requests that are sent without waiting for answers: all are answered, in order.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::support::besieged::{Besieged, MIB};
use crate::support::client::Client;
use crate::support::contract::{PROTECTED, PUBLIC, PUBLIC_BODY};
use crate::support::crowd::{A, REQUEST};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Besieged::start(&[]);
    let mut client = Client::connect(server.addr());
    let requests = [
        ("GET", PUBLIC, 200),
        ("GET", "/unknown", 404),
        ("HEAD", PUBLIC, 200),
        ("OPTIONS", "*", 200),
        ("POST", PUBLIC, 405),
        ("GET", PROTECTED, 401),
        ("HEAD", "/unknown", 404),
        ("GET", PUBLIC, 200),
    ];
    let rounds = 20;
    let all: String = requests
        .map(|(method, path, _)| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .concat();
    client.send(all.repeat(rounds));
    for (method, path, status) in requests.repeat(rounds) {
        let response = client.try_response(method == "HEAD").unwrap();
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header("Connection"), None, "{method} {path}");
        if (method, path) == ("GET", PUBLIC) {
            assert_eq!(response.text(), PUBLIC_BODY);
        }
    }
    // And nothing more than that.
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status, 404);
    client.assert_closed();
}

/// Requests whose answers differ, and the statuses of those.
fn mixed(count: usize) -> (String, Vec<u16>) {
    let kinds = [(PUBLIC, 200), ("/unknown", 404), (PROTECTED, 401)];
    // Not in a pattern that repeats itself with a batch of 16.
    let chosen = (0..count).map(|at| kinds[(at * at / 7) % kinds.len()]);
    let request = |(path, _)| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let requests = chosen.clone().map(request).collect();
    (requests, chosen.map(|(_, status)| status).collect())
}

#[test]
fn any_number_of_requests_in_one_segment_is_answered() {
    let server = Besieged::start(&[]);
    let mut client = Client::connect(server.addr());
    for count in (1..=20).chain([31, 32, 33, 48, 64, 65, 100, 200]) {
        let (requests, statuses) = mixed(count);
        client.send(requests);
        // Nothing else comes that would remind the server of those it has not answered yet.
        for (at, status) in statuses.into_iter().enumerate() {
            assert_eq!(client.response().status, status, "{at} of {count}");
        }
        assert!(client.is_silent());
    }
}

#[test]
fn a_slow_reader_gets_all_answers_in_order() {
    const COUNT: usize = 2000;
    let server = Besieged::start(&[]);
    let mut client = Client::connect_narrow(A, server.addr());
    let mut writer = client.stream().try_clone().unwrap();
    let (requests, statuses) = mixed(COUNT);
    let sender = thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    // The server has more to write than the sockets take, again and again.
    for (at, status) in statuses.into_iter().enumerate() {
        assert_eq!(client.response().status, status, "{at}");
        if at % 10 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    sender.join().unwrap();
    assert_eq!(client.request("GET", PUBLIC, &[]).text(), PUBLIC_BODY);
}

#[test]
fn a_client_that_ends_its_side_gets_all_answers() {
    let server = Besieged::start(&[]);
    for count in [1, 2, 16, 17, 100] {
        let (requests, statuses) = mixed(count);
        let mut client = Client::connect(server.addr());
        client.send(requests);
        client.close_write();
        for (at, status) in statuses.into_iter().enumerate() {
            assert_eq!(client.response().status, status, "{at} of {count}");
        }
        client.assert_closed();
    }
}

#[test]
fn a_slow_reader_that_ends_its_side_gets_all_answers() {
    let server = Besieged::start(&[]);
    for count in [16, 17, 100] {
        let (requests, statuses) = mixed(count);
        let mut client = Client::connect_narrow(A, server.addr());
        client.send(requests);
        client.close_write();
        for (at, status) in statuses.into_iter().enumerate() {
            thread::sleep(Duration::from_millis(1));
            assert_eq!(client.response().status, status, "{at} of {count}");
        }
        client.assert_closed();
    }
    server.assert_unharmed();
}

#[test]
fn a_hundred_thousand_pipelined_requests_are_all_answered() {
    const COUNT: usize = 100_000;
    let server = Besieged::start(&[("RUST_LOG", "warn")]);
    let client = Client::connect(server.addr());
    let mut writer = client.stream().try_clone().unwrap();
    let sender = thread::spawn(move || {
        let batch = REQUEST.repeat(100);
        (0..COUNT / 100).for_each(|_| writer.write_all(batch.as_bytes()).unwrap());
    });
    let mut reader = client.stream();
    let (mut answers, mut rest) = (0, Vec::new());
    let mut chunk = vec![0; 256 * 1024];
    let mark = b"HTTP/1.1 200 OK\r\n";
    while answers < COUNT {
        let read = reader.read(&mut chunk).unwrap();
        assert!(read > 0, "closed after {answers} answers");
        rest.extend_from_slice(&chunk[..read]);
        answers += rest
            .windows(mark.len())
            .filter(|window| window == mark)
            .count();
        // Keep what may be the beginning of a mark.
        rest.drain(..rest.len().saturating_sub(mark.len() - 1));
    }
    sender.join().unwrap();
    assert_eq!(answers, COUNT);
    server.assert_memory_below(16 * MIB);
    drop(client);
    server.assert_unharmed();
}
