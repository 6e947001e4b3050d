//! HTTP/1.1 on the wire: limits, deadlines, and when a connection ends. Request lines, framing and
//! bodies are in `torture.rs`.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Response, exchange};
use crate::support::contract::{PUBLIC, PUBLIC_BODY, assert_headers};
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::Tenant;
use crate::support::{PATIENCE, wait_until};

/// A request that would be answered with 200, were it read.
const NEXT: &str = "GET /api/messages/public HTTP/1.1\r\nHost: next\r\n\r\n";

/// Starts a server whose tenant is of no interest.
fn start(settings: impl FnOnce(Builder) -> Builder) -> Postern {
    // The server may outlive the tenant: no request here needs keys.
    let tenant = Tenant::start();
    settings(Postern::builder(&tenant)).start()
}

/// Asserts that `bytes`, and a good request behind them, get this one answer and a close.
#[track_caller]
fn assert_last(postern: &Postern, bytes: &[u8], status: u16) {
    let what = bytes[..bytes.len().min(200)].escape_ascii().to_string();
    let mut client = Client::connect(postern.addr());
    client.send([bytes, NEXT.as_bytes()].concat());
    let response = client
        .try_response(false)
        .unwrap_or_else(|error| panic!("no response to {what}: {error}"));
    assert_eq!(response.status, status, "{what}");
    assert_eq!(response.header("Connection"), Some("close"), "{what}");
    assert_headers(&response, &what);
    client.assert_closed();
}

/// Asserts that `head` is answered with 200, and a good request behind it as well.
#[track_caller]
fn assert_kept(postern: &Postern, head: &str) {
    let mut client = Client::connect(postern.addr());
    client.send(format!("{head}{NEXT}"));
    for part in [head, NEXT] {
        let response = client
            .try_response(false)
            .unwrap_or_else(|error| panic!("no response to {part:.200}: {error}"));
        assert_eq!(response.status, 200, "{part:.200}");
        assert_eq!(response.header("Connection"), None, "{part:.200}");
    }
}

/// A request with these header lines.
fn with_lines(lines: &str) -> String {
    format!("GET {PUBLIC} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// A request of exactly this many bytes.
fn of_size(bytes: usize) -> String {
    let padding = bytes - with_lines("P: \r\n").len();
    with_lines(&format!("P: {}\r\n", "p".repeat(padding)))
}

/// A request whose target has exactly this many bytes.
fn with_target_of(bytes: usize) -> String {
    let padding = "q".repeat(bytes - PUBLIC.len() - 1);
    format!("GET {PUBLIC}?{padding} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn heads_are_limited() {
    let postern = start(|builder| builder);
    // `Host` is one of them.
    let with_headers = |count: usize| with_lines(&"A: b\r\n".repeat(count - 1));
    assert_kept(&postern, &of_size(16 * 1024));
    assert_kept(&postern, &with_headers(64));
    assert_kept(&postern, &with_target_of(8 * 1024));
    for (head, status) in [
        (of_size(16 * 1024 + 1), 431),
        (of_size(100 * 1024), 431),
        (with_headers(65), 431),
        (with_headers(1000), 431),
        (with_target_of(8 * 1024 + 1), 414),
        (with_target_of(100 * 1024), 414),
        // Either is too much; what comes first is told.
        (with_target_of(9 * 1024) + &of_size(16 * 1024), 414),
    ] {
        assert_last(&postern, head.as_bytes(), status);
    }
    // Those are not waited for that can only become worse.
    for (begin, status) in [
        (with_lines(&"A: b\r\n".repeat(4000)), 431),
        (format!("GET /{}", "a".repeat(16 * 1024)), 414),
        (format!("GET / HTTP/1.1\r\n{}", "a".repeat(17 * 1024)), 431),
    ] {
        let begin = begin.trim_end_matches("\r\n");
        assert_eq!(exchange(postern.addr(), begin).status, status);
    }
}

#[test]
fn host_is_there_once_and_valid() {
    let postern = start(|builder| builder);
    let head = |hosts: &str| format!("GET {PUBLIC} HTTP/1.1\r\n{hosts}\r\n");
    for hosts in [
        "Host: localhost\r\n",
        "Host: localhost:6060\r\n",
        "host:a\r\n",
        "HOST:  API.example.com \r\n",
        "Host: 127.0.0.1\r\n",
        "Host: [::1]\r\n",
        "Host: [2001:db8::1]:443\r\n",
        "Host: a_b-c~d\r\n",
        "Host: a%20b\r\n",
    ] {
        assert_kept(&postern, &head(hosts));
    }
    for hosts in [
        "",
        "Hosts: a\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host:\r\n",
        "Host:  \r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: http://a\r\n",
        "Host: a@b\r\n",
        "Host: a:b\r\n",
        "Host: a:-1\r\n",
        "Host: a:65536\r\n",
        "Host: a:1:2\r\n",
        "Host: :80\r\n",
        "Host: ::1\r\n",
        "Host: [::1\r\n",
        "Host: [::1]a\r\n",
        "Host: [a]\r\n",
        "Host: []\r\n",
        "Host: a%2\r\n",
        "Host: a\\b\r\n",
        "Host: \u{e9}\r\n",
    ] {
        assert_last(&postern, head(hosts).as_bytes(), 400);
    }
    // HTTP/1.0 may leave it out, and no more than that.
    let old = |hosts: &str| format!("GET {PUBLIC} HTTP/1.0\r\n{hosts}\r\n");
    assert_last(&postern, old("").as_bytes(), 200);
    assert_last(&postern, old("Host: a\r\n").as_bytes(), 200);
    assert_last(&postern, old("Host: a\r\nHost: a\r\n").as_bytes(), 400);
    assert_last(&postern, old("Host: a b\r\n").as_bytes(), 400);
}

#[test]
fn a_client_still_sending_its_body_gets_the_answer() {
    let postern = start(|builder| builder);
    let length = 4 * 1024 * 1024;
    let mut client = Client::connect(postern.addr());
    client.send(format!(
        "POST {PUBLIC} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.send(vec![b'b'; length]);
    assert_eq!(client.response().status, 405);
    client.assert_closed();
}

#[test]
fn what_comes_behind_the_last_answer_is_not_read_for_ever() {
    let postern = start(|builder| builder);
    let mut client = Client::connect(postern.addr());
    let response = client.request("GET", PUBLIC, &[("Connection", "close")]);
    assert_eq!(response.status, 200);
    client.assert_closed();
    // The server has ended its side, and after a second it does not listen either.
    let ended = Instant::now();
    wait_until("the socket is closed", || client.try_send("more").is_err());
    assert!(ended.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_request_with_a_body_ends_a_connection_that_was_kept() {
    let postern = start(|builder| builder);
    for (path, status) in [(PUBLIC, 405), ("/unknown", 404)] {
        let mut client = Client::connect(postern.addr());
        for _ in 0..3 {
            assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
        }
        let length = NEXT.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        // Its body comes with it, and reads like a request; so does what follows.
        client.send(format!("{NEXT}{head}{NEXT}{NEXT}"));
        assert_eq!(client.response().status, 200);
        let response = client.response();
        assert_eq!(response.status, status);
        assert_eq!(response.header("Connection"), Some("close"));
        client.assert_closed();
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let postern = start(|builder| builder);
    let mut client = Client::connect(postern.addr());
    for _ in 0..3 {
        for byte in NEXT.as_bytes() {
            client.send([*byte]);
        }
        assert_eq!(client.response().text(), PUBLIC_BODY);
    }
}

#[test]
fn connections_are_kept_as_asked() {
    let postern = start(|builder| builder);
    for (version, lines, expected) in [
        ("1.1", "", None),
        ("1.1", "Connection: keep-alive\r\n", None),
        ("1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n", None),
        ("1.1", "Connection: closed\r\n", None),
        ("1.1", "Connection: close\r\n", Some("close")),
        ("1.1", "connection:CLOSE\r\n", Some("close")),
        ("1.1", "Connection: keep-alive, close\r\n", Some("close")),
        ("1.1", "Connection: a,close ,b\r\n", Some("close")),
        ("1.1", "Connection: close, keep-alive\r\n", Some("close")),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            Some("close"),
        ),
        ("1.0", "", Some("close")),
        ("1.0", "Connection: close\r\n", Some("close")),
        ("1.0", "Connection: keep-alive\r\n", Some("keep-alive")),
        ("1.0", "Connection: Keep-Alive\r\n", Some("keep-alive")),
        ("1.0", "Connection: a, keep-alive\r\n", Some("keep-alive")),
        ("1.0", "Connection: keep-alive, close\r\n", Some("close")),
        (
            "1.0",
            "Connection: keep-alive\r\nContent-Length: 1\r\n",
            Some("close"),
        ),
    ] {
        for (method, path) in [("GET", PUBLIC), ("HEAD", PUBLIC), ("GET", "/unknown")] {
            let what = format!("{method} {path} HTTP/{version} {lines:?}");
            let mut client = Client::connect(postern.addr());
            client.send(format!(
                "{method} {path} HTTP/{version}\r\nHost: a\r\n{lines}\r\n{NEXT}"
            ));
            let response = client.try_response(method == "HEAD").unwrap();
            assert_eq!(response.header("Connection"), expected, "{what}");
            if expected == Some("close") {
                client.assert_closed();
            } else {
                assert_eq!(client.response().text(), PUBLIC_BODY, "{what}");
            }
        }
    }
}

#[test]
fn other_protocols_are_told_so_at_once() {
    let postern = start(|builder| builder);
    // A TLS client's first flight: record and handshake headers, TLS 1.2, random, cipher suites.
    let mut tls_hello = vec![
        0x16, 0x03, 0x01, 0x00, 0x7c, 0x01, 0x00, 0x00, 0x78, 0x03, 0x03,
    ];
    tls_hello.extend((0..118).map(|byte| byte * 2));
    for (bytes, status) in [
        (&tls_hello[..], 400),
        // What of it comes first.
        (&tls_hello[..1], 400),
        // HTTP/0.9.
        (b"GET /api/messages/public\r\n", 400),
        (b"GET /\r\n", 400),
        // HTTP/2 with prior knowledge: the preface and an empty SETTINGS frame.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 505),
        (b"PRI * HTTP/2.0\r\n", 505),
        // SSH, a proxy's header, SMTP.
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", 400),
        (b"EHLO example.com\r\n", 400),
        (b"\n", 400),
        (b"\0", 400),
    ] {
        let mut client = Client::connect(postern.addr());
        client.send(bytes);
        let response = client.response();
        let what = bytes.escape_ascii().to_string();
        assert_eq!(response.status, status, "{what}");
        assert_headers(&response, &what);
        client.assert_closed();
    }
    assert_eq!(exchange(postern.addr(), NEXT).status, 200);
}

/// Sends a byte of a never-ending head every now and then until the answer comes.
fn drip(client: &mut Client, pace: Duration) -> Response {
    client.stream().set_read_timeout(Some(pace)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.try_response(false) {
            Ok(response) => return response,
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => panic!("no answer: {error}"),
        }
        assert!(Instant::now() < deadline, "a head without end");
        // Fails once the server has closed; then the answer is there to be read.
        let _ = client.try_send("a");
    }
}

#[test]
fn a_head_has_a_deadline_however_slowly_it_comes() {
    let postern = start(|builder| builder.env("HEAD_TIMEOUT_SECONDS", "1"));
    for begin in ["G", "GET /", "GET / HTTP/1.1\r\nHost: a\r\nA: "] {
        let mut client = Client::connect(postern.addr());
        let started = Instant::now();
        client.send(begin);
        let response = drip(&mut client, Duration::from_millis(50));
        let took = started.elapsed();
        assert_eq!(response.status, 408, "{begin}");
        assert_eq!(response.header("Connection"), Some("close"), "{begin}");
        assert_headers(&response, begin);
        assert!(took >= Duration::from_secs(1), "{begin}: {took:?}");
        assert!(took < Duration::from_secs(10), "{begin}: {took:?}");
    }
}

#[test]
fn each_head_of_a_connection_has_its_own_deadline() {
    let postern = start(|builder| builder.env("HEAD_TIMEOUT_SECONDS", "1"));
    let mut client = Client::connect(postern.addr());
    let pause = Duration::from_millis(700);
    client.stream().set_read_timeout(Some(pause)).unwrap();
    let silence = |client: &mut Client| {
        let error = client.try_response(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    };
    // Longer than the deadline in all, before the first byte and between requests: that is idle.
    silence(&mut client);
    silence(&mut client);
    for _ in 0..2 {
        silence(&mut client);
        client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(NEXT);
        assert_eq!(client.response().status, 200);
        client.stream().set_read_timeout(Some(pause)).unwrap();
    }
    // A pipelined head that is not whole has its deadline too.
    client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(format!("{NEXT}GET /"));
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().status, 408);
    client.assert_closed();
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let postern = start(|builder| {
        builder
            .env("IDLE_TIMEOUT_SECONDS", "2")
            .env("HEAD_TIMEOUT_SECONDS", "3")
    });
    let mut new = Client::connect(postern.addr());
    let mut used = Client::connect(postern.addr());
    assert_eq!(used.request("GET", PUBLIC, &[]).status, 200);
    let mut begun = Client::connect(postern.addr());
    begun.send("GET /");
    let started = Instant::now();
    new.assert_closed();
    used.assert_closed();
    assert!(started.elapsed() < Duration::from_secs(10));
    // Not idle: the head's deadline counts, not the idle one.
    assert_eq!(begun.response().status, 408);
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let postern = start(|builder| builder.env("WRITE_TIMEOUT_SECONDS", "1"));
    let source = Ipv4Addr::LOCALHOST.into();
    let mut client = Client::connect_narrow(source, postern.addr());
    let batch = NEXT.repeat(1000);
    let deadline = Instant::now() + PATIENCE;
    // Answers fill both sockets' buffers, then requests do, then sending blocks.
    let error = loop {
        assert!(Instant::now() < deadline, "never dropped");
        let started = Instant::now();
        if let Err(error) = client.try_send(&batch) {
            assert!(started.elapsed() < Duration::from_secs(9), "{error}");
            break error;
        }
    };
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(gone.contains(&error.kind()), "{error}");
    assert_eq!(exchange(postern.addr(), NEXT).status, 200);
}
