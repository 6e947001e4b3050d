//! The listener against clients that send anything, send nothing, or close after any byte, and on a
//! host that is short of descriptors and log space.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::besieged::{Besieged, MIB};
use crate::support::client::{Client, bearer};
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::crowd::{A, B, REQUEST, answered};
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::Token;
use crate::support::usage::usage;
use crate::support::wait_until;

#[test]
fn declared_lengths_cost_nothing() {
    let server = Besieged::start(&[]);
    for (lines, status) in [
        ("Content-Length: 100000000000000", 200),
        ("Content-Length: 18446744073709551615", 200),
        ("Content-Length: 18446744073709551616", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: 1025\r\nContent-Length: 1025", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked", 200),
    ] {
        let mut client = Client::connect(server.addr());
        client.send(format!(
            "GET {PUBLIC} HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status, status, "{lines}");
        assert_eq!(response.header("Connection"), Some("close"), "{lines}");
        client.assert_closed();
        server.assert_memory_below(16 * MIB);
    }
    server.assert_unharmed();
}

#[test]
fn a_header_of_200_mb_and_100_000_headers_are_cut_off() {
    let server = Besieged::start(&[]);
    let huge = || vec![b'a'; MIB as usize];
    let many = || "A: b\r\n".repeat(100_000 / 10).into_bytes();
    let pieces: [(&dyn Fn() -> Vec<u8>, usize); 2] = [(&huge, 200), (&many, 10)];
    for (piece, count) in pieces {
        let mut client = Client::connect(server.addr());
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nB: ");
        let piece = piece();
        // The server has answered long before, and discards the rest or has closed.
        let sent = (0..count)
            .take_while(|_| client.try_send(&piece).is_ok())
            .count();
        server.assert_memory_below(16 * MIB);
        // The client kept sending, so a reset may have discarded the answer.
        if let Ok(response) = client.try_response(false) {
            assert_eq!(response.status, 431, "after {sent} pieces");
        }
    }
    let at_once = "A: b\r\n".repeat(65);
    let mut client = Client::connect(server.addr());
    client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{at_once}\r\n"));
    assert_eq!(client.response().status, 431);
    client.assert_closed();
    server.assert_unharmed();
}

#[test]
fn a_dripping_head_has_a_deadline_as_a_whole() {
    let server = Besieged::start(&[("HEAD_TIMEOUT_SECONDS", "1")]);
    let mut client = Client::connect(server.addr());
    let mut reader = client.stream().try_clone().unwrap();
    let answered = Arc::new(AtomicBool::new(false));
    let drip = {
        let answered = Arc::clone(&answered);
        thread::spawn(move || {
            let mut sent = 0;
            while !answered.load(Ordering::Relaxed) && client.try_send("G").is_ok() {
                sent += 1;
                thread::sleep(Duration::from_millis(100));
            }
            sent
        })
    };
    let mut start = [0; 12];
    reader.read_exact(&mut start).unwrap();
    answered.store(true, Ordering::Relaxed);
    assert_eq!(&start, b"HTTP/1.1 408");
    assert!(drip.join().unwrap() >= 2, "nothing was dripped");
    server.assert_unharmed();
}

#[test]
fn a_client_that_sends_after_the_last_answer_is_cut_off() {
    let server = Besieged::start(&[]);
    let mut client = Client::connect(server.addr());
    client.send("a".repeat(20_000));
    assert_eq!(client.response().status, 400);
    let started = Instant::now();
    while client.try_send([b'a'; 10_000]).is_ok() {
        assert!(
            started.elapsed() < crate::support::PATIENCE,
            "the server never stops reading"
        );
    }
    server.assert_unharmed();
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let server = Besieged::start(&[("WRITE_TIMEOUT_SECONDS", "1")]);
    let mut client = Client::connect_narrow(A, server.addr());
    let requests = REQUEST.repeat(100);
    // Ends when the buffers of both sides are full and the server has closed.
    while client.try_send(&requests).is_ok() {}
    server.assert_memory_below(16 * MIB);
    server.assert_unharmed();
}

#[test]
fn the_unspecified_ipv6_address_is_every_address() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        // A host without IPv6 has no `::` to listen on.
        return;
    }
    let tenant = Tenant::start();
    let postern = Postern::builder(&tenant).env("HOST", "::").start();
    let port = postern.addr().port();
    for host in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let mut client = Client::connect(SocketAddr::new(host, port));
        assert_eq!(client.request("GET", PUBLIC, &[]).status, 200, "{host}");
    }
}

#[test]
fn two_thousand_connections_are_reset_after_their_requests() {
    let server = Besieged::start(&[("RUST_LOG", "warn")]);
    for _ in 0..2_000 {
        let mut client = Client::connect(server.addr());
        client.send(REQUEST);
        client.reset();
    }
    server.assert_unharmed();
}

#[test]
fn a_reset_or_a_close_at_every_byte_of_a_request() {
    let server = Besieged::start(&[("RUST_LOG", "warn")]);
    for end in 0..=REQUEST.len() {
        for reset in [true, false] {
            let mut client = Client::connect(server.addr());
            client.send(&REQUEST[..end]);
            if reset {
                client.reset();
            }
        }
    }
    server.assert_unharmed();
}

#[test]
fn a_descriptor_limit_lowers_the_number_of_connections() {
    let limited = ["sh", "-c", "ulimit -n 64; exec \"$0\""];
    let server = Besieged::start_with(&[], &limited);
    server
        .postern
        .wait_for_log("serving 21 connections at once");
    // 21 have places, as many wait for one, a quarter as many are leaving, and 16 descriptors are
    // kept for other uses.
    let mut leaving: Vec<_> = (0..10).map(|_| answered(A, &server.postern)).collect();
    for client in &mut leaving {
        let response = client.request("GET", PUBLIC, &[("Connection", "close")]);
        assert_eq!(response.status, 200);
    }
    let mut connections: Vec<_> = (0..21).map(|_| answered(A, &server.postern)).collect();
    connections.extend((0..200).map(|_| Client::connect_from(A, server.addr())));
    for _ in 0..20 {
        answered(B, &server.postern);
        assert!(usage(server.postern.pid()).descriptors <= 64);
    }
    let logs = server.postern.logs();
    assert!(
        !logs.iter().any(|line| line.contains("cannot accept")),
        "{logs:#?}"
    );
    drop((leaving, connections));
    server.assert_unharmed();
}

#[test]
fn a_full_or_closed_standard_error_stops_nothing() {
    let tenant = Tenant::start();
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
            .into()
    };
    let closed = || std::io::pipe().map(|(_, writer)| writer).unwrap().into();
    let kinds: [(&str, &dyn Fn() -> std::process::Stdio); 2] =
        [("full", &full), ("closed", &closed)];
    for level in ["error", "warn", "info", "debug", "trace"] {
        for (kind, stderr) in kinds {
            let mut postern = Postern::builder(&tenant)
                .env("RUST_LOG", level)
                .stderr(stderr())
                .start();
            let authorization = bearer(&Token::user(&tenant).sign());
            let mut client = Client::connect(postern.addr());
            for (path, status) in [(PUBLIC, 200), ("/nowhere", 404), (PUBLIC, 200)] {
                assert_eq!(
                    client.request("GET", path, &[]).status,
                    status,
                    "{kind} at {level}"
                );
            }
            // The server may still be fetching the keys.
            let protected = [("Authorization", authorization.as_str())];
            wait_until(&format!("{kind} at {level}: a token is accepted"), || {
                client.request("GET", PROTECTED, &protected).status == 200
            });
            client.send("nonsense\r\n");
            assert_eq!(client.response().status, 400, "{kind} at {level}");
            postern.signal("TERM");
            assert_eq!(postern.wait_exit().code(), Some(0), "{kind} at {level}");
        }
    }
}
