//! More clients than places, all at the same time: well-behaved clients are served, and none is cut
//! off within an answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::besieged::{Besieged, MIB};
use crate::support::client::Client;
use crate::support::contract::PUBLIC;
use crate::support::crowd::{A, B, REQUEST, assert_refused, closes, small_server};
use crate::support::usage::usage;
use crate::support::{Ending, wait_until};

/// How long a connection waits for a client of its own address to ask before it can be closed.
const LONG: Duration = Duration::from_secs(1);

/// What became of the connections and requests of a crowd.
#[derive(Debug, Default)]
struct Outcome {
    answered: AtomicUsize,
    /// Connections that ended with an answer.
    told: AtomicUsize,
    refused: AtomicUsize,
    /// Requests that got no answer, though the connection had waited for less than a second.
    cut: AtomicUsize,
    is_over: AtomicBool,
}

impl Outcome {
    fn count(count: &AtomicUsize) -> usize {
        count.load(Ordering::Relaxed)
    }

    fn add(count: &AtomicUsize) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks again and again until it is over, as a browser or a proxy would: on the same connection
    /// while it lasts, then on another; after a refusal a little later.
    fn ask(&self, source: IpAddr, addr: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            let mut waiting = Instant::now();
            let mut client = Client::connect_from(source, addr);
            while !self.is_over.load(Ordering::Relaxed) {
                let sent = client.try_send(REQUEST);
                let is_early = waiting.elapsed() < LONG;
                let response = match sent.and_then(|()| client.try_response(false)) {
                    Ok(response) => response,
                    Err(_) if !is_early => break,
                    Err(_) => {
                        Outcome::add(&self.cut);
                        break;
                    }
                };
                waiting = Instant::now();
                if response.status != 200 {
                    assert_refused(&response);
                    Outcome::add(&self.refused);
                    thread::sleep(Duration::from_millis(50));
                    break;
                }
                Outcome::add(&self.answered);
                if closes(&response) {
                    Outcome::add(&self.told);
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

#[test]
fn a_crowd_from_one_address_shares_its_places_and_nobody_is_cut_off() {
    const PLACES: usize = 8;
    let server = small_server(&[("MAX_CONNECTIONS", "8"), ("RUST_LOG", "warn")]);
    let (addr, outcome) = (server.addr(), Outcome::default());
    let begun = Instant::now();
    thread::scope(|scope| {
        let end = Ending(&outcome.is_over);
        for _ in 0..3 * PLACES {
            scope.spawn(|| outcome.ask(A, addr));
        }
        wait_until("places are passed on", || {
            let is_cut = Outcome::count(&outcome.cut) > 0;
            is_cut || Outcome::count(&outcome.told) >= 4 * PLACES
        });
        drop(end);
    });
    let took = begun.elapsed();
    assert_eq!(Outcome::count(&outcome.cut), 0, "{outcome:?}");
    // There was room for as many newcomers as places.
    assert!(Outcome::count(&outcome.refused) > 0, "{outcome:?}");
    // Only the connections that have a place now can have had it for less than a second.
    let most = PLACES * took.as_secs() as usize;
    assert!(Outcome::count(&outcome.told) <= most, "{outcome:?}");
    let least = 5 * Outcome::count(&outcome.told);
    assert!(Outcome::count(&outcome.answered) > least, "{outcome:?}");
    server.assert_unharmed();
}

#[test]
fn a_crowd_from_one_address_leaves_places_to_others() {
    let server = small_server(&[("RUST_LOG", "warn")]);
    let (addr, outcome) = (server.addr(), Outcome::default());
    thread::scope(|scope| {
        let _end = Ending(&outcome.is_over);
        for _ in 0..16 {
            scope.spawn(|| outcome.ask(A, addr));
        }
        wait_until("the crowd has come", || {
            Outcome::count(&outcome.answered) > 100
        });
        assert_all_answered(B, addr, 100);
    });
    server.assert_unharmed();
}

/// Asks so many times, each time on a new connection, and panics when one is not answered.
#[track_caller]
fn assert_all_answered(source: IpAddr, addr: SocketAddr, times: usize) {
    let ask = || {
        let mut client = Client::try_connect_from(source, addr)?;
        client.try_request("GET", PUBLIC, &[])
    };
    let answers: Vec<_> = (0..times)
        .map(|_| ask().map(|answer| answer.status))
        .collect();
    let is_served = |answer: &io::Result<u16>| answer.as_ref().is_ok_and(|code| *code == 200);
    assert!(answers.iter().all(is_served), "{answers:?}");
}

/// Pipelines requests and reads the answers as they come, so that the server always has a request
/// of it at hand; connects again when it is closed.
fn ask_without_end(source: IpAddr, addr: SocketAddr, is_over: &AtomicBool) {
    let requests = REQUEST.repeat(1000);
    let mut answers = vec![0; 256 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        let client = Client::connect_from(source, addr);
        let mut stream = client.stream();
        stream.set_nonblocking(true).unwrap();
        let blocks = |result: io::Result<usize>| match result {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        };
        while !is_over.load(Ordering::Relaxed)
            && let Ok(is_full) = blocks(stream.write(requests.as_bytes()))
            && let Ok(is_empty) = blocks(stream.read(&mut answers))
        {
            if is_full && is_empty {
                thread::yield_now();
            }
        }
    }
}

#[test]
fn who_never_stops_asking_makes_room_for_others() {
    let server = small_server(&[("RUST_LOG", "error")]);
    let (addr, is_over) = (server.addr(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _end = Ending(&is_over);
        for _ in 0..6 {
            scope.spawn(|| ask_without_end(A, addr, &is_over));
        }
        assert_all_answered(B, addr, 100);
    });
    server.assert_unharmed();
}

/// How long a client from `source` waits for a connection and an answer: the median of five.
fn service_time(source: IpAddr, addr: SocketAddr) -> Duration {
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let mut client = Client::connect_from(source, addr);
            assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
            started.elapsed()
        })
        .collect();
    times.sort();
    times[2]
}

#[test]
fn idle_and_half_sent_connections_make_room_for_those_who_behave() {
    let server = Besieged::start(&[]);
    for sent in ["", "GET / HTTP/1.1\r\nHos"] {
        // More than twice as many as there are places: not even all others can wait for one.
        let connect = |_| Client::connect_from(A, server.addr());
        let mut strangers: Vec<_> = (0..600).map(connect).collect();
        for stranger in &mut strangers {
            // One that has been refused already may be told so.
            let _ = stranger.try_send(sent);
        }
        assert_all_answered(B, server.addr(), 20);
        // Those of the same address have to wait until the others have waited for long enough.
        wait_until("who is not alone is served", || {
            Client::try_connect_from(A, server.addr())
                .and_then(|mut client| client.try_request("GET", PUBLIC, &[]))
                .is_ok_and(|response| response.status == 200)
        });
        for source in [A, B] {
            let time = service_time(source, server.addr());
            assert!(time < LONG, "from {source} it took {time:?}");
        }
        let now = usage(server.postern.pid());
        let threads = server.most_threads();
        assert!(now.threads <= threads && now.memory < 16 * MIB, "{now:?}");
    }
    server.assert_unharmed();
}
