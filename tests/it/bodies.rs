//! Bodies over real sockets, with the library and a handler that takes the longest there are.

use std::net::SocketAddr;
use std::sync::Arc;

use postern::http::body::{Bodies, MAX_BODY};
use postern::http::listener::Running;
use postern::{Answer, Handler, Request, Response};

use crate::in_process::serve;
use crate::support::client::Client;
use crate::support::wait_until;

/// Answers a `POST` with the length of its body.
struct Measure;

impl Handler for Measure {
    fn handle(&self, request: &Request<'_>) -> Answer {
        let length = match request.method().as_str() {
            "POST" => request.body(MAX_BODY)?.len(),
            _ => 0,
        };
        Ok(Response::json(200, &length))
    }
}

struct Server {
    running: Running,
    addr: SocketAddr,
    bodies: Arc<Bodies>,
}

impl Server {
    fn start() -> Server {
        let (running, addr, bodies) = serve(Measure, 100);
        Server {
            running,
            addr,
            bodies,
        }
    }

    /// A client that has announced the longest body.
    fn announce(&self) -> Client {
        let mut client = Client::connect(self.addr);
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY}\r\n\r\n"
        ));
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.drain();
    }
}

#[test]
fn the_longest_bodies_arrive_whole() {
    let server = Server::start();
    let body = vec![b'a'; MAX_BODY];
    let mut client = server.announce();
    client.send(&body);
    assert_eq!(client.response().text(), MAX_BODY.to_string());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(1000) {
        client.send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), MAX_BODY.to_string());
    assert_eq!(client.request("GET", "/", &[]).text(), "0");
    assert_eq!(server.bodies.used(), 0);
}

#[test]
fn all_bodies_together_have_a_bound() {
    let server = Server::start();
    let most = vec![b'a'; MAX_BODY - 1];
    let held: Vec<_> = (0..16)
        .map(|_| {
            let mut client = server.announce();
            client.send(&most);
            client
        })
        .collect();
    wait_until("16 MiB are received", || {
        server.bodies.used() == 16 * MAX_BODY
    });

    // Announced bodies take nothing, and one more byte is too much.
    let mut refused = server.announce();
    assert!(refused.is_silent());
    refused.send("a");
    let response = refused.response();
    assert_eq!(response.status, 503);
    assert_eq!(response.header("Retry-After"), Some("1"));
    assert_eq!(response.header("Connection"), Some("close"));
    refused.assert_closed();
    assert_eq!(
        Client::connect(server.addr).request("GET", "/", &[]).status,
        200
    );

    // Each of the others still gets its answer.
    let mut held = held;
    for client in &mut held {
        client.send("a");
        assert_eq!(client.response().text(), MAX_BODY.to_string());
    }
    wait_until("the memory is free", || server.bodies.used() == 0);
    let mut next = server.announce();
    next.send(&most);
    next.send("a");
    assert_eq!(next.response().text(), MAX_BODY.to_string());
}

#[test]
fn the_memory_of_a_client_that_leaves_is_free() {
    let server = Server::start();
    for reset in [false, true] {
        let mut client = server.announce();
        client.send(vec![b'a'; MAX_BODY / 2]);
        wait_until("half of it is received", || {
            server.bodies.used() >= MAX_BODY / 2
        });
        match reset {
            true => client.reset(),
            false => drop(client),
        }
        wait_until("the memory is free", || server.bodies.used() == 0);
    }
}
