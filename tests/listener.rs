//! A listener that nothing stops: strangers that send anything, send nothing, or go away at any
//! byte, on a host that is short of everything.
#![cfg(target_os = "linux")]

mod support;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::besieged::{Besieged, MIB};
use support::client::{Client, bearer};
use support::contract::{PROTECTED, PUBLIC};
use support::postern::{Postern, binary};
use support::tenant::{Behaviour, Tenant};
use support::token::Token;
use support::usage::{usage, wait_for_usage};
use support::{TempDir, wait_until};

const REQUEST: &str = "GET /api/messages/public HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Another host, as far as a listener on loopback can tell.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

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
        // The server has answered long before and throws the rest away, or has closed by now.
        let sent = (0..count)
            .take_while(|_| client.try_send(&piece).is_ok())
            .count();
        server.assert_memory_below(16 * MIB);
        // A reset may have overtaken the answer on its way to a client that would not stop.
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
fn who_keeps_sending_after_the_last_answer_is_cut_off() {
    let server = Besieged::start(&[]);
    let mut client = Client::connect(server.addr());
    client.send("a".repeat(20_000));
    assert_eq!(client.response().status, 400);
    let started = Instant::now();
    while client.try_send([b'a'; 10_000]).is_ok() {
        assert!(started.elapsed() < support::PATIENCE, "it is read for ever");
    }
    server.assert_unharmed();
}

#[test]
fn who_never_reads_is_cut_off() {
    let server = Besieged::start(&[("WRITE_TIMEOUT_SECONDS", "1")]);
    let mut client = Client::connect(server.addr());
    let requests = REQUEST.repeat(100);
    // Until the buffers of both sides are full and the server has given up.
    while client.try_send(&requests).is_ok() {}
    server.assert_memory_below(16 * MIB);
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
        let mut strangers: Vec<_> = (0..600).map(|_| Client::connect(server.addr())).collect();
        for stranger in &mut strangers {
            // One that has been evicted already may be told so.
            let _ = stranger.try_send(sent);
        }
        for source in [ELSEWHERE, HERE] {
            let time = service_time(source, server.addr());
            assert!(
                time < Duration::from_secs(1),
                "from {source} it took {time:?}"
            );
        }
        let now = usage(server.postern.pid());
        assert!(now.threads <= 256 + 10 && now.memory < 16 * MIB, "{now:?}");
    }
    server.assert_unharmed();
}

#[test]
fn who_does_not_read_makes_room_for_those_who_do() {
    let settings = [("MAX_CONNECTIONS", "4"), ("WRITE_TIMEOUT_SECONDS", "3600")];
    let server = Besieged::start_with(&[&settings[..], &[("RUST_LOG", "warn")]].concat(), &[]);
    let requests = REQUEST.repeat(1000);
    let connect = || {
        let client = Client::connect_from(ELSEWHERE, server.addr());
        client.stream().set_nonblocking(true).unwrap();
        client
    };
    let mut deaf: Vec<_> = (0..4).map(|_| connect()).collect();
    // Until the buffers of both sides are full: nothing has been taken for a while.
    let mut quiet_since = Instant::now();
    wait_until("the server reads no more", || {
        for client in &mut deaf {
            match client.stream().write(requests.as_bytes()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => *client = connect(),
                Ok(_) => {}
            }
            quiet_since = Instant::now();
        }
        quiet_since.elapsed() > Duration::from_millis(300)
    });
    wait_until("a connection is served although all are taken", || {
        let mut client = Client::connect_from(HERE, server.addr());
        client
            .try_request("GET", PUBLIC, &[])
            .is_ok_and(|response| response.status == 200)
    });
    drop(deaf);
    server.assert_unharmed();
}

/// Pipelines requests and reads the answers as they come, so that the server always has a request of
/// it at hand; connects again when it is closed.
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
    let server = Besieged::start(&[("MAX_CONNECTIONS", "4"), ("RUST_LOG", "error")]);
    let (addr, is_over) = (server.addr(), &AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| ask_without_end(ELSEWHERE, addr, is_over));
        }
        let ask = || {
            let mut client = Client::try_connect_from(HERE, addr)?;
            client.try_request("GET", PUBLIC, &[])
        };
        let answers: Vec<_> = (0..100)
            .map(|_| ask().map(|answer| answer.status))
            .collect();
        is_over.store(true, Ordering::Relaxed);
        let is_served = |answer: &io::Result<u16>| answer.as_ref().is_ok_and(|code| *code == 200);
        assert!(answers.iter().all(is_served), "{answers:?}");
    });
    server.assert_unharmed();
}

#[test]
fn the_longest_waiting_of_the_largest_group_goes_first() {
    let server = Besieged::start(&[("MAX_CONNECTIONS", "4")]);
    let connect = |source| {
        let mut client = Client::connect_from(source, server.addr());
        assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
        client
    };
    let mut elsewhere = connect(ELSEWHERE);
    let mut here: Vec<_> = (0..3).map(|_| connect(HERE)).collect();
    // The first one of the three was answered last.
    assert_eq!(here[0].request("GET", PUBLIC, &[]).status, 200);
    let mut newcomer = connect(ELSEWHERE);
    here[1].assert_closed();
    for client in [&mut elsewhere, &mut newcomer] {
        assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
    }
    assert_eq!(here[0].request("GET", PUBLIC, &[]).status, 200);
    assert_eq!(here[2].request("GET", PUBLIC, &[]).status, 200);
}

#[test]
fn when_every_slot_is_serving_a_new_connection_gets_503() {
    let tenant = Tenant::start();
    // A request that waits for the first keys is being served for as long.
    tenant.answer(Behaviour::Stall);
    let postern = Postern::builder(&tenant)
        .env("MAX_CONNECTIONS", "1")
        .start();
    tenant.wait_for_fetches(1);
    let authorization = bearer(&Token::user(&tenant).sign());
    let request =
        format!("GET {PROTECTED} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n");
    // A new connection closes the other one if it comes before the other's request has been read.
    // Then it has the slot, and they change places.
    let mut waiting = Client::connect(postern.addr());
    waiting.send(&request);
    let response = loop {
        let mut newcomer = Client::connect(postern.addr());
        newcomer.send(&request);
        let timeout = Some(Duration::from_secs(1));
        newcomer.stream().set_read_timeout(timeout).unwrap();
        match newcomer.try_response(false) {
            Ok(response) if response.header("Connection") == Some("close") => break response,
            Ok(response) => assert_eq!(response.status, 503, "it has waited for the keys"),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => panic!("no answer: {error}"),
        }
        newcomer
            .stream()
            .set_read_timeout(Some(support::PATIENCE))
            .unwrap();
        waiting = newcomer;
    };
    assert_eq!(response.status, 503);
    assert_eq!(response.text(), r#"{"message":"Service Unavailable"}"#);
    tenant.answer(Behaviour::Keys);
    // On a slow machine it has given up waiting by now. Its answer is the last one either way: it has
    // to make way for those who wanted its slot.
    let last = waiting.response();
    assert!(matches!(last.status, 200 | 503));
    assert_eq!(last.header("Connection"), Some("close"));
    waiting.assert_closed();
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
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
fn a_hundred_thousand_pipelined_requests_are_all_answered() {
    const COUNT: usize = 100_000;
    let server = Besieged::start(&[("RUST_LOG", "warn")]);
    let client = Client::connect(server.addr());
    let mut writer = client.stream().try_clone().unwrap();
    let sender = thread::spawn(move || {
        let batch = REQUEST.repeat(100);
        (0..COUNT / 100).for_each(|_| writer.write_all(batch.as_bytes()).unwrap());
    });
    let mut reader = client.stream();
    let (mut answers, mut rest) = (0, Vec::new());
    let mut chunk = vec![0; 256 * 1024];
    let mark = b"HTTP/1.1 200 OK\r\n";
    while answers < COUNT {
        let read = reader.read(&mut chunk).unwrap();
        assert!(read > 0, "closed after {answers} answers");
        rest.extend_from_slice(&chunk[..read]);
        answers += rest
            .windows(mark.len())
            .filter(|window| window == mark)
            .count();
        // Keep what may be the beginning of a mark.
        rest.drain(..rest.len().saturating_sub(mark.len() - 1));
    }
    sender.join().unwrap();
    assert_eq!(answers, COUNT);
    server.assert_memory_below(16 * MIB);
    drop(client);
    server.assert_unharmed();
}

#[test]
fn two_thousand_connections_reset_behind_their_request() {
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
        .wait_for_log("serving 44 connections at once");
    let connections: Vec<_> = (0..200).map(|_| Client::connect(server.addr())).collect();
    assert_eq!(server.postern.get(PUBLIC, &[]).status, 200);
    assert!(usage(server.postern.pid()).descriptors <= 64);
    drop(connections);
    server.assert_unharmed();
}

/// The words that run a command as a user with no other processes, where this process may choose:
/// root may have as many threads as it likes, whatever its limit.
fn as_limited_user() -> &'static [&'static str] {
    if rustix::process::getuid().is_root() {
        &[
            "setpriv",
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
        ]
    } else {
        &["env"]
    }
}

/// Sets the soft limit of the threads that a process, and its user, may have.
fn limit_threads(pid: u32, limit: &str) {
    let (command, words) = as_limited_user().split_first().unwrap();
    let mut prlimit = Command::new(command);
    prlimit
        .args(words)
        .args(["prlimit", "--pid", &pid.to_string()]);
    let status = prlimit.arg(format!("--nproc={limit}:")).status().unwrap();
    assert!(status.success(), "prlimit: {status}");
}

#[test]
fn without_threads_to_spare_connections_take_turns() {
    // The binary may be where only its builder can go.
    let dir = TempDir::new();
    let copy = dir.path().join("postern");
    fs::copy(binary(), &copy).unwrap();
    let run = format!("exec {}", copy.display());
    let prefix = [as_limited_user(), &["sh", "-c", &run]].concat();
    let server = Besieged::start_with(&[], &prefix);
    let pid = server.postern.pid();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    limit_threads(pid, "1");
    let at_first = usage(pid).threads;
    // Each keeps its connection, and so its thread, when it has been answered.
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(server.addr());
            assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
            client
        })
        .collect();
    let threads = usage(pid).threads;
    assert!(
        threads <= at_first,
        "{threads} threads, {at_first} when there could be no more"
    );
    drop(clients);
    limit_threads(
        pid,
        &limit.map_or("unlimited".to_owned(), |limit| limit.to_string()),
    );
    let mut together: Vec<_> = (0..20).map(|_| Client::connect(server.addr())).collect();
    for _ in 0..2 {
        for client in &mut together {
            assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
        }
    }
    drop(together);
    server.assert_unharmed();
}

#[test]
fn threads_end_when_they_have_nothing_to_do() {
    let server = Besieged::start(&[]);
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(server.addr())).collect();
    for client in &mut clients {
        assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
    }
    assert!(usage(server.postern.pid()).threads >= 50);
    drop(clients);
    wait_for_usage(server.postern.pid(), |now| {
        now.threads <= server.before.threads
    });
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
            // The keys are on their way.
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
