//! How much kernel memory a peer can take, whatever it sends and does not read.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::besieged::{Besieged, MIB};
use crate::support::client::Client;
use crate::support::contract::{PUBLIC, PUBLIC_BODY};
use crate::support::crowd::{A, B, REQUEST, Stalled, are_under_way, in_time};
use crate::support::postern::Postern;
use crate::support::sockets::{kernel_memory, sockets};
use crate::support::tenant::Tenant;
use crate::support::usage::wait_for_usage;
use crate::support::{wait_until, wait_until_within};

/// The most that the kernel may hold for a connection.
const EACH: u64 = 64 * 1024;
const PEERS: usize = 16;
/// The last request of a connection.
const LAST: &str =
    "GET /api/messages/public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A peer that keeps sending, on a non-blocking socket.
struct Peer {
    client: Client,
    /// The bytes it repeats, how many of them are sent, and the most it sends at once.
    sending: Vec<u8>,
    sent: usize,
    piece: usize,
    /// How much it reads before it stops.
    enough: usize,
    /// When the kernel last took bytes.
    taken: Instant,
}

impl Peer {
    fn new(client: Client) -> Peer {
        client.stream().set_nonblocking(true).unwrap();
        // A large send buffer at this end would only take time to fill.
        let socket = SockRef::from(client.stream());
        socket.set_send_buffer_size(16 * 1024).unwrap();
        Peer {
            client,
            sending: REQUEST.repeat(1000).into_bytes(),
            sent: 0,
            piece: usize::MAX,
            enough: MIB as usize,
            taken: Instant::now(),
        }
    }

    fn connect(source: IpAddr, addr: SocketAddr) -> Peer {
        Peer::new(Client::connect_from(source, addr))
    }

    /// Some peers that make the kernel grow its buffers, and some whose small packets take more
    /// memory than their bytes.
    fn connect_all(source: IpAddr, addr: SocketAddr) -> Vec<Peer> {
        let connect = |at| match [0, 2 * REQUEST.len(), 20, 3][at % 4] {
            0 => Peer::connect(source, addr),
            piece => Peer {
                piece,
                enough: 0,
                ..Peer::new(Client::connect_narrow(source, addr))
            },
        };
        (0..PEERS).map(connect).collect()
    }

    /// Sends until the kernel takes no more, 100 times at most. A closed connection is found by
    /// [`read`](Peer::read).
    fn send(&mut self) {
        for _ in 0..100 {
            let rest = &self.sending[self.sent..];
            let piece = &rest[..rest.len().min(self.piece)];
            let Ok(count) = self.client.stream().write(piece) else {
                return;
            };
            self.sent = (self.sent + count) % self.sending.len();
            self.taken = Instant::now();
        }
    }

    /// Reads what has arrived, up to `most` bytes, and returns how many. Panics if the connection
    /// is closed.
    fn read(&mut self, most: usize) -> usize {
        match self.client.stream().read(&mut vec![0; most]) {
            Ok(count) => {
                assert!(count > 0, "closed");
                count
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                0
            }
        }
    }
}

/// Panics if the kernel holds more than [`EACH`] for one of the server's sockets, or on average.
#[track_caller]
fn assert_bounded(addr: SocketAddr, peers: usize, when: &str) {
    let mut sockets = sockets(addr.port());
    sockets.sort_by_key(|socket| socket.memory);
    let all: u64 = sockets.iter().map(|socket| socket.memory).sum();
    let most = sockets.last().expect("the server has sockets");
    assert!(
        most.memory <= EACH && all <= EACH * peers as u64,
        "{when}: {all} bytes for all, the most for {most:?}"
    );
}

fn send_until_full(peers: &mut [Peer], quiet: Duration) {
    wait_until("the kernel takes no more", || {
        peers.iter_mut().for_each(Peer::send);
        peers.iter().all(|peer| peer.taken.elapsed() > quiet)
    });
}

/// Lets the peers pipeline and read for a moment, so that the kernel would grow the buffers of the
/// server's sockets. Then they read nothing, and then little by little.
fn assert_takes_little(mut peers: Vec<Peer>, addr: SocketAddr) {
    let mut read = vec![0; peers.len()];
    wait_until_within(
        2 * crate::support::PATIENCE,
        "all peers have read enough",
        || {
            for (peer, read) in peers.iter_mut().zip(&mut read) {
                peer.send();
                if *read < peer.enough {
                    *read += peer.read(256 * 1024);
                }
            }
            let enough = |(peer, read): (&Peer, &usize)| *read >= peer.enough;
            peers.iter().zip(&read).all(enough)
        },
    );
    assert_bounded(addr, PEERS, "while they read");
    send_until_full(&mut peers, Duration::from_millis(300));
    assert_bounded(addr, PEERS, "when they have stopped");
    for _ in 0..30 {
        for peer in &mut peers {
            peer.read(4096);
            peer.send();
        }
        thread::sleep(Duration::from_millis(50));
        assert_bounded(addr, PEERS, "while they drip");
    }
}

#[test]
fn a_peer_that_pipelines_and_stops_reading_takes_little_memory() {
    let settings = [("WRITE_TIMEOUT_SECONDS", "3600"), ("RUST_LOG", "warn")];
    let server = Besieged::start(&settings);
    let peers = Peer::connect_all(A, server.addr());
    assert_takes_little(peers, server.addr());
    server.assert_unharmed();
}

#[test]
fn a_peer_that_pipelines_to_a_passed_socket_takes_little_memory() {
    let tenant = Tenant::start();
    for comes_before in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut peers = Vec::new();
        if comes_before {
            // Before the server starts, only the process that made the socket can bound what peers
            // send.
            let socket = SockRef::from(&listener);
            socket.set_recv_buffer_size(12 * 1024).unwrap();
            socket.set_send_buffer_size(12 * 1024).unwrap();
            peers = Peer::connect_all(A, addr);
        }
        let postern = Postern::builder(&tenant)
            .env("WRITE_TIMEOUT_SECONDS", "3600")
            .socket(listener)
            .start();
        if !comes_before {
            peers = Peer::connect_all(A, addr);
        }
        assert_takes_little(peers, addr);
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    }
}

#[test]
fn connections_made_before_the_server_starts_are_served() {
    let tenant = Tenant::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // The kernel has announced large buffers to them, which the server cannot take back.
    let addr = listener.local_addr().unwrap();
    let mut peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(A, addr)).collect();
    // Packets that find no room are dropped, and sent again ever later.
    let postern = Postern::builder(&tenant)
        .socket(listener)
        .env("HEAD_TIMEOUT_SECONDS", "3600")
        .env("WRITE_TIMEOUT_SECONDS", "3600")
        .start();
    for peer in &mut peers {
        peer.piece = 2 * REQUEST.len();
    }
    let mut read = vec![0; PEERS];
    wait_until("all peers have read enough", || {
        for (peer, read) in peers.iter_mut().zip(&mut read) {
            peer.send();
            *read += peer.read(256 * 1024);
        }
        read.iter().all(|read| *read as u64 > MIB)
    });
    drop(postern);
}

#[test]
fn unread_requests_take_little_memory() {
    in_time(|| {
        let stalled = Stalled::start(&[("MAX_CONNECTIONS", "16")]);
        let addr = stalled.addr();
        let quiet = Duration::from_millis(100);
        let holders = stalled.hold(A, PEERS);
        let behind = |client: &Client| {
            let stream = client.stream().try_clone().unwrap();
            Peer::new(Client::over(stream).unwrap())
        };
        let mut peers: Vec<_> = holders.iter().map(behind).collect();
        send_until_full(&mut peers, quiet);
        assert_bounded(addr, PEERS, "behind requests in progress");
        let mut newcomers: Vec<_> = (0..PEERS).map(|_| Peer::connect(B, addr)).collect();
        send_until_full(&mut newcomers, quiet);
        assert_bounded(addr, 2 * PEERS, "without a place");
        are_under_way(&holders)?;
        let waiting: Vec<_> = newcomers.into_iter().map(|peer| peer.client).collect();
        are_under_way(&waiting)
    });
}

#[test]
fn closed_connections_soon_leave_little_memory_in_use() {
    const COUNT: usize = 1000;
    let settings = [("WRITE_TIMEOUT_SECONDS", "1"), ("RUST_LOG", "error")];
    let server = Besieged::start(&settings);
    let mut peers = Vec::new();
    for at in 0..COUNT {
        let mut client = Client::connect_narrow(A, server.addr());
        // Some answers fit into the buffers, some do not.
        let _ = client.try_send(REQUEST.repeat(at % 60) + LAST);
        peers.push(client);
    }
    // No client has read anything, and the server has closed all connections.
    wait_for_usage(server.postern.pid(), |now| {
        now.descriptors <= server.before.descriptors
    });
    let soon = Duration::from_secs(25);
    wait_until_within(soon, "the kernel holds 2 MiB at most", || {
        thread::sleep(Duration::from_millis(200));
        kernel_memory(server.addr().port()) <= 2 * MIB
    });
    drop(peers);
    server.assert_unharmed();
}

#[test]
fn a_slow_reader_gets_everything() {
    const COUNT: usize = 51;
    let server = Besieged::start(&[]);
    // Bytes of a read, and the pause after it: 140 KB and 14 KB per second.
    for (bytes, pause) in [(1400, 10), (140, 10)] {
        let mut client = Client::connect_narrow(A, server.addr());
        client.send(REQUEST.repeat(COUNT - 1) + LAST);
        let (mut answers, mut part) = (Vec::new(), vec![0; bytes]);
        loop {
            match client.stream().read(&mut part).unwrap() {
                0 => break,
                count => answers.extend_from_slice(&part[..count]),
            }
            thread::sleep(Duration::from_millis(pause));
        }
        let answers = String::from_utf8(answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), COUNT);
        assert_eq!(answers.matches(PUBLIC_BODY).count(), COUNT);
        assert!(answers.ends_with(PUBLIC_BODY));
    }
    server.assert_unharmed();
}
