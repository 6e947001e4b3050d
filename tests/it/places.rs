//! How places are shared: which connection loses its place, when, and to which newcomer.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::contract::PUBLIC;
use crate::support::crowd::{
    A, B, C, D, REQUEST, Stalled, answered, are_under_way, asking, assert_served, closes, in_time,
    is_before, newcomers, small_server, taken,
};
use crate::support::postern::Postern;
use crate::support::sockets::wait_until_read;
use crate::support::tenant::Tenant;
use crate::support::usage::wait_until_asleep;
use crate::support::{TempDir, wait_until};

/// A connection that has waited this long can lose its place to an address with as many places.
const LONG: Duration = Duration::from_secs(1);
/// How long a newcomer waits at least whose address has fewer places than another.
const SHORT: Duration = Duration::from_millis(40);

/// What a connection that has a place is waiting for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// Its first byte.
    First,
    /// The rest of its first head.
    Head,
    /// Another request.
    Next,
    /// The rest of another head.
    NextHead,
}

impl Wait {
    const ALL: [Wait; 4] = [Wait::First, Wait::Head, Wait::Next, Wait::NextHead];

    fn begin(self, source: IpAddr, postern: &Postern) -> Client {
        let connect = || Client::connect_from(source, postern.addr());
        let mut client = match self {
            Wait::First | Wait::Head => taken(postern, connect),
            Wait::Next | Wait::NextHead => answered(source, postern),
        };
        if matches!(self, Wait::Head | Wait::NextHead) {
            client.send(&REQUEST[..20]);
            wait_until_asleep(postern.pid());
        }
        client
    }

    /// Completes the request. Panics unless it is answered.
    fn end(self, client: &mut Client) {
        let rest = match self {
            Wait::First | Wait::Next => REQUEST,
            Wait::Head | Wait::NextHead => &REQUEST[20..],
        };
        client.send(rest);
        assert_eq!(client.response().status, 200, "{self:?}");
    }
}

/// Waits until one of these has been closed, and asserts that only this one was.
#[track_caller]
fn assert_only_closed(clients: &[Client], closed: usize) {
    wait_until("one is closed", || clients.iter().any(Client::is_closed));
    let found: Vec<_> = clients.iter().map(Client::is_closed).collect();
    let expected: Vec<_> = (0..clients.len()).map(|at| at == closed).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_wait_under_a_second_is_not_ended_for_the_same_address() {
    for wait in Wait::ALL {
        let server = small_server(&[]);
        let begun = Instant::now();
        let mut clients: Vec<_> = (0..4).map(|_| wait.begin(A, &server.postern)).collect();
        let mut newcomer = asking(A, server.addr());
        assert_eq!(newcomer.response().status, 200, "{wait:?}");
        let after = begun.elapsed();
        assert!(after >= LONG, "{wait:?} ended after {after:?}");
        assert_only_closed(&clients, 0);
        clients[1..].iter_mut().for_each(|client| wait.end(client));
    }
}

#[test]
fn a_newcomer_of_an_address_with_fewer_places_waits_50_ms() {
    for wait in Wait::ALL {
        in_time(|| {
            let server = small_server(&[]);
            let begun = Instant::now();
            let mut clients: Vec<_> = (0..4).map(|_| wait.begin(A, &server.postern)).collect();
            let came = Instant::now();
            let mut newcomer = asking(B, server.addr());
            assert_eq!(newcomer.response().status, 200, "{wait:?}");
            is_before(begun, LONG)?;
            let waited = came.elapsed();
            assert!(waited >= SHORT, "{wait:?} ended after {waited:?}");
            assert_only_closed(&clients, 0);
            clients[1..].iter_mut().for_each(|client| wait.end(client));
            Ok(())
        });
    }
}

#[test]
fn the_longest_waiting_of_the_address_with_most_places_is_evicted() {
    let server = small_server(&[]);
    let mut alone = answered(A, &server.postern);
    let mut most: Vec<_> = (0..3).map(|_| answered(B, &server.postern)).collect();
    // Of the three, the first one was answered last.
    assert_served(&mut most[0]);
    thread::sleep(LONG);
    let mut first = answered(C, &server.postern);
    assert_only_closed(&most, 1);
    let mut second = answered(D, &server.postern);
    most[2].assert_closed();
    for client in [&mut alone, &mut most[0], &mut first, &mut second] {
        assert_served(client);
    }
}

#[test]
fn of_addresses_with_equal_places_the_newcomers_own_loses_one() {
    let server = small_server(&[]);
    let mut others: Vec<_> = (0..2).map(|_| answered(B, &server.postern)).collect();
    let mut own: Vec<_> = (0..2).map(|_| answered(A, &server.postern)).collect();
    thread::sleep(LONG);
    let mut newcomer = answered(A, &server.postern);
    assert_only_closed(&own, 0);
    for client in others.iter_mut().chain([&mut own[1], &mut newcomer]) {
        assert_served(client);
    }
}

#[test]
fn a_long_wait_ends_for_an_address_with_as_many_places() {
    in_time(|| {
        let server = small_server(&[]);
        let mut idle: Vec<_> = (0..2).map(|_| answered(B, &server.postern)).collect();
        let mut busy: Vec<_> = (0..2).map(|_| answered(A, &server.postern)).collect();
        let begun = Instant::now();
        let mut asked = begun;
        while begun.elapsed() < LONG {
            busy.iter_mut().for_each(assert_served);
            is_before(asked, LONG / 2)?;
            asked = Instant::now();
            thread::sleep(LONG / 20);
        }
        let mut newcomer = answered(A, &server.postern);
        is_before(asked, LONG / 2)?;
        assert_only_closed(&idle, 0);
        for client in busy.iter_mut().chain([&mut idle[1], &mut newcomer]) {
            assert_served(client);
        }
        Ok(())
    });
}

#[test]
fn an_address_with_most_places_takes_none_of_another() {
    in_time(|| {
        let stalled = Stalled::start(&[("MAX_CONNECTIONS", "5")]);
        let waits = [Wait::Head, Wait::Next];
        let mut others = waits.map(|wait| wait.begin(B, &stalled.postern));
        thread::sleep(LONG);
        let mut most = stalled.hold(A, 3);
        let mut newcomers = newcomers([A, A], &stalled.postern)?;
        thread::sleep(2 * SHORT);
        are_under_way(&most)?;
        stalled.release_all(&mut most)?;
        for newcomer in &mut newcomers {
            assert_eq!(newcomer.response().status, 200);
        }
        for (wait, client) in waits.into_iter().zip(&mut others) {
            wait.end(client);
        }
        Ok(())
    });
}

#[test]
fn as_many_connections_close_after_their_answers_as_newcomers_wait() {
    in_time(|| {
        let stalled = Stalled::start(&[]);
        let begun = Instant::now();
        let mut holders = stalled.hold(A, 4);
        let mut newcomers = newcomers([B, C], &stalled.postern)?;
        // No connection waits for its peer, so none can be evicted.
        thread::sleep(2 * SHORT);
        are_under_way(&holders)?;
        is_before(begun, LONG)?;
        let told = stalled.release_all(&mut holders)?;
        let count = told.iter().filter(|told| **told).count();
        assert_eq!(count, newcomers.len(), "{told:?}");
        for newcomer in &mut newcomers {
            assert_eq!(newcomer.response().status, 200);
        }
        for (holder, told) in holders.iter_mut().zip(told) {
            if told {
                holder.assert_closed();
            } else {
                assert_served(holder);
            }
        }
        Ok(())
    });
}

#[test]
fn a_new_connection_does_not_close_for_the_same_address() {
    in_time(|| {
        let stalled = Stalled::start(&[]);
        let begun = Instant::now();
        let mut holders = stalled.hold(A, 4);
        let mut newcomers = newcomers([A, A], &stalled.postern)?;
        are_under_way(&holders)?;
        let told = stalled.release_all(&mut holders)?;
        is_before(begun, LONG)?;
        assert_eq!(told, [false; 4]);
        for newcomer in &mut newcomers {
            assert_eq!(newcomer.response().status, 200);
            let after = begun.elapsed();
            assert!(after >= LONG, "after {after:?}");
        }
        Ok(())
    });
}

#[test]
fn a_connection_closes_for_the_same_address_after_a_second() {
    in_time(|| {
        let server = small_server(&[("MAX_CONNECTIONS", "2")]);
        let connect = |_| (Instant::now(), answered(A, &server.postern));
        let mut clients: Vec<_> = (0..2).map(connect).collect();
        let [mut newcomer] = newcomers([A], &server.postern)?;
        let (mut had, mut asked) = (Vec::new(), Instant::now());
        while newcomer.is_silent() {
            is_before(asked, LONG / 2)?;
            asked = Instant::now();
            clients.retain_mut(|(begun, client)| {
                let response = client.request("GET", PUBLIC, &[]);
                assert_eq!(response.status, 200);
                if closes(&response) {
                    had.push(begun.elapsed());
                    client.assert_closed();
                }
                !closes(&response)
            });
            thread::sleep(LONG / 50);
        }
        assert_eq!(newcomer.response().status, 200);
        assert!(had.len() == 1 && had[0] >= LONG, "{had:?}");
        clients
            .iter_mut()
            .for_each(|(_, client)| assert_served(client));
        Ok(())
    });
}

#[test]
fn a_connection_that_has_sent_a_request_is_not_evicted() {
    let server = small_server(&[]);
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..4).map(|_| answered(A, &server.postern)).collect();
        thread::sleep(LONG);
        // The server finds the requests and the newcomer at the same time.
        server.postern.signal("STOP");
        clients[..3]
            .iter_mut()
            .for_each(|client| client.send(REQUEST));
        let mut newcomer = asking(A, server.addr());
        server.postern.signal("CONT");
        assert_eq!(newcomer.response().status, 200);
        for client in &mut clients[..3] {
            assert_eq!(client.response().status, 200);
        }
        clients[3].assert_closed();
    }
}

#[test]
fn requests_are_answered_if_no_connection_can_be_evicted() {
    let server = small_server(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| answered(A, &server.postern)).collect();
    thread::sleep(LONG);
    server.postern.signal("STOP");
    clients.iter_mut().for_each(|client| client.send(REQUEST));
    let mut newcomers: Vec<_> = (0..4).map(|_| asking(A, server.addr())).collect();
    server.postern.signal("CONT");
    for client in clients.iter_mut().chain(&mut newcomers) {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn dripping_a_head_does_not_prevent_eviction() {
    let server = small_server(&[]);
    let mut clients: Vec<_> = (0..4)
        .map(|_| Wait::Head.begin(A, &server.postern))
        .collect();
    let mut newcomer = asking(A, server.addr());
    // The pauses between the bytes are far shorter than a long wait.
    wait_until("the newcomer is answered", || {
        for client in &mut clients {
            let _ = client.try_send("x");
        }
        thread::sleep(LONG / 10);
        !newcomer.is_silent()
    });
    assert_eq!(newcomer.response().status, 200);
}

/// Connections from this address that pipeline and read nothing, until the server reads no more.
fn deaf(source: IpAddr, addr: SocketAddr, count: usize) -> Vec<Client> {
    let requests = REQUEST.repeat(1000);
    let connect = |_| {
        let client = Client::connect_from(source, addr);
        client.stream().set_nonblocking(true).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..count).map(connect).collect();
    let mut quiet_since = Instant::now();
    wait_until("the server reads no more", || {
        for client in &clients {
            match client.stream().write(requests.as_bytes()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => {
                    result.expect("it has its place");
                    quiet_since = Instant::now();
                }
            }
        }
        quiet_since.elapsed() > Duration::from_millis(300)
    });
    for client in &mut clients {
        client.stream().set_nonblocking(false).unwrap();
    }
    clients
}

#[test]
fn a_connection_that_does_not_read_is_evicted() {
    for newcomer in [A, B] {
        let server = small_server(&[("RUST_LOG", "warn")]);
        let deaf = deaf(A, server.addr(), 4);
        for _ in 0..3 {
            answered(newcomer, &server.postern);
        }
        drop(deaf);
        server.assert_unharmed();
    }
}

/// A connection with a small receive buffer that reads none of its answers: `before` single
/// requests, then 48 at once.
fn deaf_to_short_answers(source: IpAddr, addr: SocketAddr, before: usize) -> Client {
    const SHORT: &str = "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = Client::connect_narrow(source, addr);
    for _ in 0..before {
        client.send(SHORT);
        wait_until_read(addr, [&client]);
    }
    client.send(SHORT.repeat(48));
    wait_until_read(addr, [&client]);
    client
}

#[test]
fn a_connection_that_does_not_read_is_evicted_wherever_answers_stop() {
    // Some stop between two turns: what was written fits, but nothing more does.
    for newcomer in [A, B] {
        let server = small_server(&[("RUST_LOG", "warn")]);
        let deaf = [0, 1, 2, 3].map(|before| deaf_to_short_answers(A, server.addr(), before));
        for _ in 0..3 {
            answered(newcomer, &server.postern);
        }
        drop(deaf);
        server.assert_unharmed();
    }
}

#[test]
fn ipv4_addresses_are_counted_one_by_one_on_an_ipv6_socket() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        // A host without IPv6 has no `::` to listen on.
        return;
    }
    let tenant = Tenant::start();
    in_time(|| {
        let settings = Postern::builder(&tenant).env("HOST", "::");
        let postern = settings.env("MAX_CONNECTIONS", "4").start();
        let addr = SocketAddr::from(([127, 0, 0, 1], postern.addr().port()));
        let begun = Instant::now();
        let connect = |source| {
            let mut client = Client::connect_from(source, addr);
            assert_served(&mut client);
            wait_until_asleep(postern.pid());
            client
        };
        let mut clients: Vec<_> = (0..4).map(|_| connect(A)).collect();
        connect(B);
        is_before(begun, LONG)?;
        assert_only_closed(&clients, 0);
        clients[1..].iter_mut().for_each(assert_served);
        Ok(())
    });
}

/// Sends a request over a Unix socket and returns the answer; an error if it was closed.
fn ask(mut stream: &UnixStream) -> io::Result<String> {
    stream.write_all(REQUEST.as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut part = [0; 4096];
        match stream.read(&mut part)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&part[..count]),
        }
    }
    Ok(String::from_utf8(answer).unwrap())
}

#[test]
fn all_peers_of_a_unix_socket_are_one_address() {
    let tenant = Tenant::start();
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let postern = Postern::builder(&tenant)
        .socket(UnixListener::bind(&path).unwrap())
        .env("MAX_CONNECTIONS", "4")
        .start();
    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream
            .set_read_timeout(Some(crate::support::PATIENCE))
            .unwrap();
        assert!(ask(&stream).unwrap().starts_with("HTTP/1.1 200 "));
        wait_until_asleep(postern.pid());
        stream
    };
    let begun = Instant::now();
    let streams: Vec<_> = (0..4).map(|_| connect()).collect();
    connect();
    let after = begun.elapsed();
    assert!(after >= LONG, "one was evicted after {after:?}");
    // The longest-waiting one.
    let are_there: Vec<_> = streams.iter().map(|stream| ask(stream).is_ok()).collect();
    assert_eq!(are_there, [false, true, true, true]);
    drop(postern);
    fs::remove_file(path).unwrap();
}
