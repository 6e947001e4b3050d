//! The drain: requests that were sent are answered, and the server ends within ten seconds.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::besieged::Besieged;
use crate::support::client::Client;
use crate::support::contract::PUBLIC;
use crate::support::crowd::{
    A, B, REQUEST, Stalled, TOO_SLOW, answered, are_under_way, asking, closes, in_time, newcomers,
};
use crate::support::postern::Postern;
use crate::support::sockets::wait_until_read;
use crate::support::tenant::Tenant;
use crate::support::usage::usage;
use crate::support::wait_until;

/// Clients that send requests without pause until the server has ended. A request that was sent
/// before the signal must be answered.
struct Load {
    signalled: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(addr: SocketAddr) -> Load {
        let signalled = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let client = |keep_alive: bool| {
            let (signalled, answered) = (Arc::clone(&signalled), Arc::clone(&answered));
            thread::spawn(move || ask_until_refused(addr, keep_alive, &signalled, &answered))
        };
        let threads = [true, true, false, false].map(client).into();
        Load {
            signalled,
            answered,
            threads,
        }
    }
}

fn ask_until_refused(
    addr: SocketAddr,
    keep_alive: bool,
    signalled: &AtomicBool,
    answered: &AtomicUsize,
) {
    let is_over = || signalled.load(Ordering::SeqCst);
    loop {
        let mut client = match Client::try_connect(addr) {
            Ok(client) => client,
            Err(_) if is_over() => return,
            Err(error) => panic!("refused before the signal: {error}"),
        };
        loop {
            let sent = client.try_send(REQUEST);
            let must_be_answered = !is_over();
            match sent.and_then(|()| client.try_response(false)) {
                Ok(response) => {
                    assert_eq!(response.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                    if !keep_alive || response.header("Connection") == Some("close") {
                        break;
                    }
                }
                Err(_) if !must_be_answered => return,
                Err(error) => panic!("a request before the signal got no answer: {error}"),
            }
        }
    }
}

#[test]
fn twenty_drains_under_load_lose_nothing() {
    let tenant = Tenant::start();
    for _ in 0..20 {
        let mut postern = Postern::builder(&tenant).start();
        let load = Load::start(postern.addr());
        while load.answered.load(Ordering::Relaxed) < 50 {
            thread::yield_now();
        }
        load.signalled.store(true, Ordering::SeqCst);
        postern.signal("TERM");
        load.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(postern.wait_exit().code(), Some(0));
    }
}

#[test]
fn a_drain_takes_one_request_of_connections_without_an_answer() {
    let mut server = Besieged::start(&[]);
    let addr = server.addr();
    let mut fresh = Client::connect(addr);
    let mut silent = Client::connect(addr);
    let mut idle = Client::connect(addr);
    // Connections are accepted in order, so this answer shows that all three are.
    assert_eq!(idle.request("GET", PUBLIC, &[]).status, 200);
    server.postern.signal("INT");
    server.postern.wait_for_log("draining");
    // The server allows 2 s, and this machine may be slow, so the request goes out at once.
    let response = fresh.request("GET", PUBLIC, &[]);
    idle.assert_closed();
    assert_eq!(
        (response.status, response.header("Connection")),
        (200, Some("close"))
    );
    assert!(
        Client::try_connect(addr).is_err(),
        "a new connection was accepted"
    );
    silent.assert_closed();
    assert_eq!(server.postern.wait_exit().code(), Some(0));
}

#[test]
fn requests_sent_before_the_signal_are_answered() {
    for _ in 0..5 {
        let mut server = Besieged::start(&[]);
        let mut idle = answered(A, &server.postern);
        let mut fresh = Client::connect_from(A, server.addr());
        wait_until_read(server.addr(), [&idle, &fresh]);
        // The server finds the signal, the requests and the last connection at the same time.
        server.postern.signal("STOP");
        idle.send(REQUEST);
        fresh.send(REQUEST);
        let mut last = asking(A, server.addr());
        server.postern.signal("TERM");
        server.postern.signal("CONT");
        // The server may answer the first ones before it sees the signal.
        for client in [&mut idle, &mut fresh, &mut last] {
            assert_eq!(client.response().status, 200);
            client.assert_closed();
        }
        assert_eq!(server.postern.wait_exit().code(), Some(0));
    }
}

#[test]
fn a_drain_answers_requests_under_way_and_newcomers() {
    in_time(|| {
        let mut stalled = Stalled::start(&[("MAX_CONNECTIONS", "2")]);
        let addr = stalled.addr();
        let mut holders = stalled.hold(A, 2);
        let [mut asked] = newcomers([B], &stalled.postern)?;
        // Also accepted before the signal and without a place. It sends its request later.
        let mut silent = Client::connect_from(B, addr);
        wait_until_read(addr, [&silent]);
        are_under_way(&holders)?;
        stalled.postern.signal("TERM");
        stalled.postern.wait_for_log("draining");
        are_under_way(&holders)?;
        silent.send(REQUEST);
        assert_eq!(stalled.release_all(&mut holders)?, [true; 2]);
        holders.iter_mut().for_each(Client::assert_closed);
        for client in [&mut asked, &mut silent] {
            let response = client.response();
            assert_eq!((response.status, closes(&response)), (200, true));
            client.assert_closed();
        }
        assert_eq!(stalled.postern.wait_exit().code(), Some(0));
        Ok(())
    });
}

#[test]
fn a_silent_newcomer_does_not_delay_a_drain() {
    in_time(|| {
        let mut stalled = Stalled::start(&[("MAX_CONNECTIONS", "1")]);
        let addr = stalled.addr();
        let holder = stalled.hold(A, 1);
        let mut silent = Client::connect_from(B, addr);
        wait_until_read(addr, [&silent]);
        are_under_way(&holder)?;
        let signalled = Instant::now();
        stalled.postern.signal("TERM");
        stalled.postern.wait_for_log("draining");
        are_under_way(&holder)?;
        // This gives the place to the newcomer.
        stalled.release();
        silent.assert_closed();
        assert_eq!(stalled.postern.wait_exit().code(), Some(0));
        let took = signalled.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}");
        Ok(())
    });
}

/// Sets the soft limit of a process's descriptors.
fn limit_descriptors(pid: u32, limit: u64) {
    let words = [format!("--pid={pid}"), format!("--nofile={limit}:")];
    let status = Command::new("prlimit").args(words).status().unwrap();
    assert!(status.success(), "prlimit: {status}");
}

#[test]
fn requests_in_the_backlog_do_not_delay_a_drain() {
    in_time(|| {
        let mut stalled = Stalled::start(&[]);
        let (addr, pid) = (stalled.addr(), stalled.postern.pid());
        let mut idle = answered(A, &stalled.postern);
        wait_until_read(addr, [&idle]);
        // After a failed accept the server pauses, even if there are descriptors again.
        limit_descriptors(pid, usage(pid).descriptors);
        let mut asking = [0; 3].map(|_| {
            let mut client = Client::connect_from(A, addr);
            client.send(stalled.request());
            client
        });
        stalled.postern.wait_for_log("cannot accept");
        thread::sleep(Duration::from_secs(1));
        limit_descriptors(pid, 1024);
        stalled.postern.signal("TERM");
        let signalled = Instant::now();
        idle.assert_closed();
        let is_in_time = signalled.elapsed() < Duration::from_secs(1);
        are_under_way(&asking)?;
        for client in &mut asking {
            assert_eq!(client.response().status, 503);
        }
        assert_eq!(stalled.postern.wait_exit().code(), Some(0));
        is_in_time.then_some(()).ok_or(TOO_SLOW)
    });
}

#[test]
fn a_peer_that_does_not_read_delays_a_drain_by_ten_seconds_at_most() {
    let mut server = Besieged::start(&[("WRITE_TIMEOUT_SECONDS", "3600")]);
    let client = Client::connect(server.addr());
    client.stream().set_nonblocking(true).unwrap();
    let requests = REQUEST.repeat(1000);
    let mut taken = Instant::now();
    wait_until("the server reads no more", || {
        if client.stream().write(requests.as_bytes()).is_ok() {
            taken = Instant::now();
        }
        taken.elapsed() > Duration::from_millis(300)
    });
    let signalled = Instant::now();
    server.postern.signal("TERM");
    assert_eq!(server.postern.wait_exit().code(), Some(0));
    let took = signalled.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}
