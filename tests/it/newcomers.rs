//! Connections that there is no place for: who waits, who is next, and who is told to come again.

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

/// After this, who waits goes for anyone with no more places.
const LONG: Duration = Duration::from_secs(1);

/// Waits until one of these has been answered or closed, and says which.
#[track_caller]
fn first_to_end(clients: &[Client]) -> usize {
    let ended = || clients.iter().position(|client| !client.is_silent());
    wait_until("one has an answer", || ended().is_some());
    ended().expect("it has ended")
}

#[test]
fn those_whose_address_has_fewest_places_come_first_and_of_them_the_oldest() {
    in_time(|| {
        let stalled = Stalled::start(&[]);
        let mut holders = stalled.hold(A, 2);
        holders.extend(stalled.hold(B, 1));
        // Waits for less than a second, and has as few as anybody here.
        let begun = Instant::now();
        let leaving = answered(C, &stalled.postern);
        let mut waiting = Vec::from(newcomers([A, A, B, D], &stalled.postern)?);
        are_under_way(&holders)?;
        // As places become free, one at a time.
        drop(leaving);
        for expected in [3, 2, 0, 0] {
            let next = first_to_end(&waiting);
            are_under_way(&holders)?;
            is_before(begun, LONG)?;
            assert_eq!(next, expected, "of {} newcomers", waiting.len());
            let mut client = waiting.remove(next);
            assert_eq!(client.response().status, 200);
        }
        // Nobody waits any more who would have one of theirs.
        assert_eq!(stalled.release_all(&mut holders)?, [false; 3]);
        holders.iter_mut().for_each(assert_served);
        Ok(())
    });
}

#[test]
fn those_too_many_are_refused_at_once_the_address_with_most_first() {
    in_time(|| {
        let stalled = Stalled::start(&[]);
        let addr = stalled.addr();
        let mut holders = stalled.hold(A, 3);
        holders.extend(stalled.hold(B, 1));
        // As many as there are places.
        let [one, two, other, three] = newcomers([A, A, B, A], &stalled.postern)?;
        let mut theirs = vec![one, two, three, asking(A, addr)];
        let at = first_to_end(&theirs);
        are_under_way(&holders)?;
        assert_refused(&theirs.remove(at).response());
        let last = asking(C, addr);
        let at = first_to_end(&theirs);
        are_under_way(&holders)?;
        assert_refused(&theirs.remove(at).response());
        // Those of another address wait, and so do as many of A's as there is room for.
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
        // Whatever was asked, if anything was.
        let body = format!("POST {PUBLIC} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
        for sent in ["", REQUEST, "GET", "nonsense\r\n\r\n", &body] {
            let mut clients = [Client::connect_from(A, addr)];
            // It may have been answered by now, and closed.
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
fn a_newcomer_that_has_gone_waits_no_more() {
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
        // The only one that waits, and that can.
        let [mut newcomer] = newcomers([A], &stalled.postern)?;
        are_under_way(&holder)?;
        stalled.release_all(&mut holder)?;
        assert_eq!(newcomer.response().status, 200);
        Ok(())
    });
}

#[test]
fn nobody_makes_room_for_a_newcomer_that_has_gone() {
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
fn a_newcomer_that_will_send_no_more_is_answered() {
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
    // None of them closes, and each has been told that the server does.
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Client::connect_from(A, server.addr());
            let response = client.request("GET", PUBLIC, &[("Connection", "close")]);
            assert_eq!(response.status, 200);
            // A quarter of the places, and the one that has just been answered.
            let now = usage(server.postern.pid()).descriptors;
            assert!(now <= before + PLACES / 4 + 1, "{now}, at first {before}");
            client
        })
        .collect();
    drop(clients);
    server.assert_unharmed();
}

#[test]
fn whoever_leaves_takes_no_place() {
    in_time(|| {
        let server = small_server(&[]);
        let begun = Instant::now();
        let mut staying: Vec<_> = (0..3).map(|_| answered(A, &server.postern)).collect();
        // The fourth place is had by one after another, none of which has been closed yet.
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

/// Asks for what takes a while, again and again on new connections, and counts how often it is
/// refused.
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

/// How many refusals a line in the log tells of.
fn refusals(line: &str) -> usize {
    let (_, others) = line.rsplit_once('(').expect("it says how many more");
    let others: usize = others.split(' ').next().unwrap().parse().unwrap();
    others + 1
}

#[test]
fn three_hundred_refusals_are_a_line_in_ten_seconds() {
    const COUNT: usize = 300;
    let stalled = Stalled::start(&[("MAX_CONNECTIONS", "2")]);
    let (refused, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let is_about_it = |line: &&String| line.contains(" WARN ") && line.contains("503");
    let lines = || -> Vec<_> {
        let logs = stalled.postern.logs();
        logs.iter().filter(is_about_it).cloned().collect()
    };
    thread::scope(|scope| {
        let _end = Ending(&is_over);
        for _ in 0..8 {
            scope.spawn(|| ask_without_end(&stalled, &refused, &is_over));
        }
        wait_until("there is a line", || !lines().is_empty());
        wait_until("so many are refused", || {
            refused.load(Ordering::Relaxed) >= COUNT
        });
        let most = begun.elapsed().as_secs() as usize / 10 + 1;
        assert!(lines().len() <= most, "{:#?}", lines());
        // The next line tells of all since.
        wait_until("all are counted", || {
            let counts = lines().iter().map(|line| refusals(line)).sum::<usize>();
            counts >= COUNT
        });
    });
    let most = begun.elapsed().as_secs() as usize / 10 + 1;
    assert!(lines().len() <= most, "{:#?}", lines());
}
