//! Connections without a place: which of them wait, get the next place, or are refused.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::contract::{PUBLIC, assert_headers};
use crate::support::crowd::{
    A, B, C, D, REQUEST, Stalled, answered, are_under_way, asking, assert_refused, assert_served,
    in_time, is_before, newcomers, small_server,
};
use crate::support::sockets::wait_until_accepted_unread;
use crate::support::usage::usage;
use crate::support::{Ending, wait_until};

/// A connection that has waited this long can lose its place to an address with as many places.
const LONG: Duration = Duration::from_secs(1);

/// Waits until one of these has been answered or closed, and returns its index.
#[track_caller]
fn first_to_end(clients: &[Client]) -> usize {
    let ended = || clients.iter().position(|client| !client.is_silent());
    wait_until("one has an answer", || ended().is_some());
    ended().expect("it has ended")
}

#[test]
fn newcomers_with_fewest_places_come_first_then_the_oldest_ones() {
    in_time(|| {
        let stalled = Stalled::start(&[]);
        let mut holders = stalled.hold(A, 2);
        holders.extend(stalled.hold(B, 1));
        // Its address has as few places as any here, and it has waited for less than a second, so
        // it is not evicted.
        let begun = Instant::now();
        let leaving = answered(C, &stalled.postern);
        let mut waiting = Vec::from(newcomers([A, A, B, D], &stalled.postern)?);
        are_under_way(&holders)?;
        // Each answered newcomer frees its place for the next one when it is dropped.
        drop(leaving);
        for expected in [3, 2, 0, 0] {
            let next = first_to_end(&waiting);
            are_under_way(&holders)?;
            is_before(begun, LONG)?;
            assert_eq!(next, expected, "of {} newcomers", waiting.len());
            let mut client = waiting.remove(next);
            assert_eq!(client.response().status, 200);
        }
        // No newcomer is left, so no holder closes.
        assert_eq!(stalled.release_all(&mut holders)?, [false; 3]);
        holders.iter_mut().for_each(assert_served);
        Ok(())
    });
}

#[test]
fn too_many_newcomers_are_refused_of_the_address_with_most_first() {
    in_time(|| {
        let stalled = Stalled::start(&[]);
        let addr = stalled.addr();
        let mut holders = stalled.hold(A, 3);
        holders.extend(stalled.hold(B, 1));
        // No more newcomers can wait than there are places.
        let [one, two, other, three] = newcomers([A, A, B, A], &stalled.postern)?;
        let mut theirs = vec![one, two, three, asking(A, addr)];
        let at = first_to_end(&theirs);
        are_under_way(&holders)?;
        assert_refused(&theirs.remove(at).response());
        let last = asking(C, addr);
        let at = first_to_end(&theirs);
        are_under_way(&holders)?;
        assert_refused(&theirs.remove(at).response());
        // The newcomers of other addresses still wait, and so do two of A's.
        assert!(wait_until_accepted_unread(addr, [&other, &last]));
        are_under_way(&holders)?;
        stalled.release_all(&mut holders)?;
        theirs.extend([other, last]);
        for client in &mut theirs {
            assert_eq!(client.response().status, 200);
        }
        Ok(())
    });
}

#[test]
fn a_refusal_is_an_answer_like_any_other() {
    in_time(|| {
        let stalled = Stalled::start(&[
            ("MAX_CONNECTIONS", "1"),
            ("CLIENT_ORIGIN_URL", "http://localhost:4040"),
        ]);
        let addr = stalled.addr();
        let holder = stalled.hold(A, 1);
        let _newcomer = newcomers([A], &stalled.postern)?;
        // The answer is the same whatever was sent, or if nothing was.
        let body = format!("POST {PUBLIC} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
        for sent in ["", REQUEST, "GET", "nonsense\r\n\r\n", &body] {
            let mut clients = [Client::connect_from(A, addr)];
            // The server may have answered and closed by now.
            let _ = clients[0].try_send(sent);
            let response = clients[0].try_response(false);
            are_under_way(&holder)?;
            let response = response.unwrap_or_else(|error| panic!("{error} after {sent:?}"));
            assert_refused(&response);
            assert_headers(&response, sent);
            assert_eq!(response.header("Vary"), Some("Origin"), "{sent:?}");
            clients[0].assert_closed();
        }
        Ok(())
    });
}

#[test]
fn a_newcomer_that_has_gone_is_dropped() {
    in_time(|| {
        let stalled = Stalled::start(&[("MAX_CONNECTIONS", "1")]);
        let addr = stalled.addr();
        let mut holder = stalled.hold(A, 1);
        let descriptors = || usage(stalled.postern.pid()).descriptors;
        let before = descriptors();
        for is_reset in [true, false] {
            let mut gone = Client::connect_from(A, addr);
            if is_reset {
                gone.send(REQUEST);
            }
            wait_until("it is accepted", || descriptors() > before);
            are_under_way(&holder)?;
            if is_reset {
                gone.reset();
            } else {
                drop(gone);
            }
            wait_until("it is dropped", || descriptors() == before);
            are_under_way(&holder)?;
        }
        // One newcomer at most can wait here: the others no longer count.
        let [mut newcomer] = newcomers([A], &stalled.postern)?;
        are_under_way(&holder)?;
        stalled.release_all(&mut holder)?;
        assert_eq!(newcomer.response().status, 200);
        Ok(())
    });
}

#[test]
fn no_connection_closes_for_a_newcomer_that_has_gone() {
    in_time(|| {
        let stalled = Stalled::start(&[("MAX_CONNECTIONS", "1")]);
        let descriptors = || usage(stalled.postern.pid()).descriptors;
        let mut holder = stalled.hold(A, 1);
        let before = descriptors();
        let gone = Client::connect_from(B, stalled.addr());
        wait_until("it is accepted", || descriptors() > before);
        drop(gone);
        wait_until("it is dropped", || descriptors() == before);
        are_under_way(&holder)?;
        assert_eq!(stalled.release_all(&mut holder)?, [false]);
        Ok(())
    });
}

#[test]
fn a_half_closed_newcomer_is_answered() {
    in_time(|| {
        let stalled = Stalled::start(&[("MAX_CONNECTIONS", "1")]);
        let mut holder = stalled.hold(A, 1);
        let [mut newcomer] = newcomers([B], &stalled.postern)?;
        newcomer.close_write();
        thread::sleep(Duration::from_millis(100));
        are_under_way(&holder)?;
        assert_eq!(stalled.release_all(&mut holder)?, [true]);
        assert_eq!(newcomer.response().status, 200);
        newcomer.assert_closed();
        Ok(())
    });
}

#[test]
fn a_place_is_free_when_the_last_answer_is_written() {
    const PLACES: u64 = 8;
    let server = small_server(&[("MAX_CONNECTIONS", "8")]);
    let before = usage(server.postern.pid()).descriptors;
    // The server announces the close with each answer, and no client closes.
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Client::connect_from(A, server.addr());
            let response = client.request("GET", PUBLIC, &[("Connection", "close")]);
            assert_eq!(response.status, 200);
            // A quarter of the places are leaving, and one was answered just now.
            let now = usage(server.postern.pid()).descriptors;
            assert!(now <= before + PLACES / 4 + 1, "{now}, at first {before}");
            client
        })
        .collect();
    drop(clients);
    server.assert_unharmed();
}

#[test]
fn leaving_connections_take_no_place() {
    in_time(|| {
        let server = small_server(&[]);
        let begun = Instant::now();
        let mut staying: Vec<_> = (0..3).map(|_| answered(A, &server.postern)).collect();
        // They use the fourth place one after another, and no client closes.
        let leaving: Vec<_> = (0..20)
            .map(|_| {
                let mut client = Client::connect_from(A, server.addr());
                let response = client.request("GET", PUBLIC, &[("Connection", "close")]);
                assert_eq!(response.status, 200);
                client
            })
            .collect();
        is_before(begun, LONG)?;
        staying.iter_mut().for_each(assert_served);
        drop(leaving);
        Ok(())
    });
}

/// Sends a request that takes a while, each on a new connection, until told to stop. Counts the
/// refusals.
fn ask_without_end(stalled: &Stalled, refused: &AtomicUsize, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let mut client = Client::connect_from(A, stalled.addr());
        client.send(stalled.request());
        let response = client.try_response(false);
        if response.is_ok_and(|response| response.message() == "Service Unavailable") {
            refused.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How many refusals a log line counts.
fn refusals(line: &str) -> usize {
    let (_, others) = line.rsplit_once('(').expect("a count of others");
    let others: usize = others.split(' ').next().unwrap().parse().unwrap();
    others + 1
}

#[test]
fn refusals_are_logged_once_in_ten_seconds() {
    const COUNT: usize = 300;
    let stalled = Stalled::start(&[("MAX_CONNECTIONS", "2")]);
    let (refused, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let is_refusal = |line: &&String| line.contains(" WARN ") && line.contains("503");
    let lines = || -> Vec<_> {
        let logs = stalled.postern.logs();
        logs.iter().filter(is_refusal).cloned().collect()
    };
    thread::scope(|scope| {
        let _end = Ending(&is_over);
        for _ in 0..8 {
            scope.spawn(|| ask_without_end(&stalled, &refused, &is_over));
        }
        wait_until("a refusal is logged", || !lines().is_empty());
        wait_until("300 connections are refused", || {
            refused.load(Ordering::Relaxed) >= COUNT
        });
        let most = begun.elapsed().as_secs() as usize / 10 + 1;
        assert!(lines().len() <= most, "{:#?}", lines());
        // The next line counts all refusals since the last one.
        wait_until("all are counted", || {
            let counts = lines().iter().map(|line| refusals(line)).sum::<usize>();
            counts >= COUNT
        });
    });
    let most = begun.elapsed().as_secs() as usize / 10 + 1;
    assert!(lines().len() <= most, "{:#?}", lines());
}
