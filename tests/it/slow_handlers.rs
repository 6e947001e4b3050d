//! What handlers delay that take longer than any of the binary's. These tests use the library, with
//! a handler that takes as long as they tell it to.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use postern::blocking;
use postern::http::listener::Running;
use postern::http::request::Request;
use postern::http::response::Response;
use postern::http::service::{Answer, Handler};

use crate::in_process::serve;
use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::crowd::{A, B, asking, assert_refused, assert_served, closes};
use crate::support::sockets::wait_until_accepted_unread;

/// A path whose handler announces that it waits, then waits until the gate opens.
const ANNOUNCED: &str = "/announced";
/// The same without the announcement.
const SILENT: &str = "/silent";

/// What the handlers wait for.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    /// How many handlers have reached the gate.
    came: usize,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.came += 1;
        self.changed.notify_all();
        let is_shut = |state: &mut State| !state.is_open;
        drop(self.changed.wait_while(state, is_shut).unwrap());
    }

    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let are_fewer = |state: &mut State| state.came < count;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, are_fewer);
        assert!(
            !waited.unwrap().1.timed_out(),
            "too few handlers reached the gate"
        );
    }

    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }
}

struct Slow(Arc<Gate>);

impl Handler for Slow {
    fn handle(&self, request: &Request<'_>) -> Answer {
        match request.path() {
            ANNOUNCED => {
                let Ok(_waiting) = blocking::begin_wait() else {
                    return Ok(Response::error(503, "Busy"));
                };
                self.0.pass();
            }
            SILENT => self.0.pass(),
            _ => {}
        }
        Ok(Response::new(200, "application/json", b"{}"))
    }
}

/// A server in this process. It drains when dropped.
struct Server {
    running: Running,
    addr: SocketAddr,
    gate: Arc<Gate>,
}

impl Server {
    fn start(max_connections: usize) -> Server {
        let gate = Arc::new(Gate::default());
        let (running, addr, _) = serve(Slow(Arc::clone(&gate)), max_connections);
        Server {
            running,
            addr,
            gate,
        }
    }

    /// Connections whose requests are in progress.
    fn hold(&self, path: &str, count: usize) -> Vec<Client> {
        let hold = |_| {
            let mut client = Client::connect_from(A, self.addr);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            client
        };
        let clients = (0..count).map(hold).collect();
        self.gate.wait_for(count);
        clients
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gate.open();
        self.running.drain();
    }
}

#[test]
fn a_newcomer_waits_for_five_seconds() {
    const TIME: Duration = Duration::from_secs(5);
    let server = Server::start(2);
    let mut holders = server.hold(ANNOUNCED, 2);
    for source in [A, B] {
        let came = Instant::now();
        let mut newcomer = asking(source, server.addr);
        assert_refused(&newcomer.response());
        let waited = came.elapsed();
        assert!(waited >= TIME, "{waited:?}");
        newcomer.assert_closed();
    }
    assert!(holders.iter().all(Client::is_silent));
    // No newcomer waits any more, so the holders stay open.
    server.gate.open();
    for holder in &mut holders {
        let response = holder.response();
        assert_eq!((response.status, closes(&response)), (200, false));
        assert_served(holder);
    }
}

#[test]
fn slow_requests_delay_no_others() {
    const WAITING: usize = 64;
    let server = Server::start(100);
    let mut holders = server.hold(ANNOUNCED, WAITING);
    let mut other = Client::connect_from(B, server.addr);
    for _ in 0..100 {
        // One more may not wait.
        assert_eq!(other.request("GET", ANNOUNCED, &[]).status, 503);
        assert_served(&mut other);
        assert_served(&mut Client::connect_from(B, server.addr));
    }
    assert!(holders.iter().all(Client::is_silent));
    server.gate.open();
    for holder in &mut holders {
        assert_eq!(holder.response().status, 200);
        assert_served(holder);
    }
}

#[test]
fn an_unannounced_wait_takes_only_its_own_thread() {
    let server = Server::start(100);
    let mut holders = server.hold(SILENT, 1);
    let mut other = Client::connect_from(B, server.addr);
    for _ in 0..100 {
        assert_served(&mut other);
        assert_served(&mut Client::connect_from(B, server.addr));
    }
    assert!(holders[0].is_silent());
    server.gate.open();
    assert_eq!(holders[0].response().status, 200);
    assert_served(&mut holders[0]);
}

#[test]
fn a_drain_waits_for_ten_seconds() {
    for path in [ANNOUNCED, SILENT] {
        let server = Server::start(2);
        let _holders = server.hold(path, 1);
        let drained = Instant::now();
        server.running.drain();
        server.running.wait();
        let took = drained.elapsed();
        assert!(
            took >= Duration::from_secs(10) && took < PATIENCE,
            "{took:?}"
        );
        assert!(server.running.is_finished());
    }
}

#[test]
fn a_drain_ends_with_the_last_answer() {
    let server = Server::start(2);
    let mut holders = server.hold(ANNOUNCED, 2);
    let mut newcomer = asking(B, server.addr);
    assert!(wait_until_accepted_unread(server.addr, [&newcomer]));
    server.running.drain();
    assert!(!server.running.is_finished());
    server.gate.open();
    for client in holders.iter_mut().chain([&mut newcomer]) {
        let response = client.response();
        assert_eq!((response.status, closes(&response)), (200, true));
    }
    server.running.wait();
    assert!(server.running.is_finished());
}
