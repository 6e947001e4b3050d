//! The end: readiness goes first, the admin address last.

use std::thread;
use std::time::{Duration, Instant};

use super::watched;
use crate::support::admin::{ANY, admin_addr, metrics, readiness};
use crate::support::client::{self, Client};
use crate::support::contract::PUBLIC;
use crate::support::crowd::{A, Stalled, TOO_SLOW, answered, are_under_way, in_time, is_before};
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::wait_until;

fn is_draining(addr: std::net::SocketAddr) -> bool {
    readiness(addr) == (503, "draining".to_owned())
}

#[test]
fn for_the_delay_all_is_served_but_it_is_not_ready() {
    const DELAY: Duration = Duration::from_secs(3);
    in_time(|| {
        let tenant = Tenant::start();
        let builder = Postern::builder(&tenant).env("DRAIN_DELAY_SECONDS", "3");
        let (mut postern, addr) = watched(builder);
        postern.wait_for_keys();
        let mut kept = answered(A, &postern);
        assert_eq!(readiness(addr).0, 200);
        let signalled = Instant::now();
        postern.signal("TERM");
        postern.wait_for_log("draining in 3 s");
        while signalled.elapsed() < DELAY / 2 {
            let old = kept.try_request("GET", PUBLIC, &[]);
            let new = client::try_request(postern.addr(), "GET", PUBLIC, &[]);
            is_before(signalled, DELAY)?;
            let old = old.unwrap();
            assert_eq!((old.status, old.header("Connection")), (200, None));
            assert_eq!(new.unwrap().status, 200);
            assert!(is_draining(addr));
            thread::sleep(Duration::from_millis(50));
        }
        kept.assert_closed();
        let took = signalled.elapsed();
        assert!(took >= DELAY, "{took:?}");
        assert_eq!(postern.wait_exit().code(), Some(0));
        Ok(())
    });
}

#[test]
fn a_second_signal_ends_the_delay() {
    for second in ["TERM", "INT"] {
        let tenant = Tenant::start();
        let builder = Postern::builder(&tenant).env("DRAIN_DELAY_SECONDS", "60");
        let (mut postern, addr) = watched(builder);
        let signalled = Instant::now();
        postern.signal("TERM");
        wait_until("it drains", || is_draining(addr));
        // Neither is lost.
        postern.signal("HUP");
        tenant.wait_for_fetches(2);
        postern.signal(second);
        assert_eq!(postern.wait_exit().code(), Some(0));
        let took = signalled.elapsed();
        assert!(took < Duration::from_secs(40), "{took:?}");
    }
}

#[test]
fn the_delay_needs_no_admin_address() {
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant).env("DRAIN_DELAY_SECONDS", "1");
    let mut postern = builder.start();
    let signalled = Instant::now();
    postern.signal("TERM");
    assert_eq!(postern.wait_exit().code(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_secs(1));
}

#[test]
fn it_answers_until_the_last_request_is_answered() {
    in_time(|| {
        let mut stalled = Stalled::start(&[ANY]);
        let addr = admin_addr(&stalled.postern);
        let mut holders = stalled.hold(A, 2);
        let mut watcher = Client::connect(addr);
        assert_eq!(watcher.request("GET", "/livez", &[]).status, 200);
        are_under_way(&holders)?;
        stalled.postern.signal("TERM");
        stalled.postern.wait_for_log("draining ");
        assert!(is_draining(addr));
        assert!(Client::try_connect(stalled.addr()).is_err());
        assert_eq!(metrics(addr).get("postern_ready"), 0.0);
        // Connections from before the drain are kept, too.
        let kept = watcher.request("GET", "/readyz", &[]);
        assert_eq!((kept.status, kept.header("Connection")), (503, None));
        are_under_way(&holders)?;
        stalled.release_all(&mut holders)?;
        watcher.assert_closed();
        assert_eq!(stalled.postern.wait_exit().code(), Some(0));
        Ok(())
    });
}

#[test]
fn those_who_watch_do_not_delay_the_end() {
    in_time(|| {
        let tenant = Tenant::start();
        let (mut postern, addr) = watched(Postern::builder(&tenant));
        let mut silent = Client::connect(addr);
        let mut slow = Client::connect(addr);
        slow.send("GET /livez HTTP/1.1\r\n");
        assert_eq!(client::get(addr, "/livez", &[]).status, 200);
        let signalled = Instant::now();
        postern.signal("TERM");
        assert_eq!(postern.wait_exit().code(), Some(0));
        // It would be 2 s if it waited for them.
        let is_in_time = signalled.elapsed() < Duration::from_millis(1_900);
        silent.assert_closed();
        slow.assert_closed();
        is_in_time.then_some(()).ok_or(TOO_SLOW)
    });
}
