//! TLS on the listening socket: who is answered how, and what a stranger can do with it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion, SupportedProtocolVersion};

use crate::support::client::{Client, bearer};
use crate::support::contract::{ADMIN, PROTECTED, PUBLIC};
use crate::support::crowd::assert_served;
use crate::support::https::{Https, client_config};
use crate::support::postern::Builder;
use crate::support::sockets::wait_until_read;
use crate::support::token::Token;
use crate::support::usage::{raise_descriptor_limit, usage, wait_for_usage};
use crate::support::{PATIENCE, wait_until};

const STS: &str = "Strict-Transport-Security";
const NOT_HTTPS: &str =
    r#"{"message":"This port speaks HTTPS, not HTTP: use https:// in the URL"}"#;
const KIB: u64 = 1024;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A client's configuration of this version.
fn only(https: &Https, version: &'static SupportedProtocolVersion) -> Arc<rustls::ClientConfig> {
    Arc::new(client_config(https.files.root.pem(), &[version]))
}

#[test]
fn every_answer_over_tls_says_to_stay_with_it() {
    let https = Https::start();
    https.postern.wait_for_keys();
    let mut client = https.client();
    let user = bearer(&Token::user(&https.tenant).sign());
    let asked = [
        ("GET", PUBLIC, None, 200),
        ("HEAD", PUBLIC, None, 200),
        ("OPTIONS", PUBLIC, None, 200),
        ("GET", PROTECTED, None, 401),
        ("GET", PROTECTED, Some(&user), 200),
        ("GET", ADMIN, Some(&user), 403),
        ("GET", "/nothing", None, 404),
        ("POST", PUBLIC, None, 405),
    ];
    for (method, path, authorization, status) in asked {
        let headers = authorization.map(|value| ("Authorization", value.as_str()));
        let response = client.request(method, path, headers.as_slice());
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(
            response.headers(STS),
            ["max-age=31536000"],
            "{method} {path}"
        );
        if status == 405 {
            client = https.client();
        }
    }
    // An answer to what is not a request, too.
    client.send("nonsense\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.status, response.header(STS)),
        (400, Some("max-age=31536000"))
    );
    client.assert_closed();
}

#[test]
fn both_versions_are_spoken_and_sessions_are_resumed() {
    let https = Https::start();
    let versions = [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ];
    for (version, expected) in versions {
        let config = only(&https, version);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = Client::secure(https.postern.addr(), &config);
            assert_served(&mut client);
            let session = client.session();
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.handshake_kind(), Some(kind), "{expected:?}");
            assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    }
}

#[test]
fn http_1_1_is_the_only_protocol() {
    let https = Https::start();
    let mut config = client_config(https.files.root.pem(), rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = Client::connect(https.postern.addr());
    let error = client.try_secure(&Arc::new(config.clone())).unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    // A client that does not name a protocol speaks HTTP/1.1.
    config.alpn_protocols = Vec::new();
    assert_served(&mut Client::secure(https.postern.addr(), &Arc::new(config)));
}

#[test]
fn plain_http_is_told_to_use_tls() {
    let https = Https::start();
    for method in ["GET", "POST", "OPTIONS"] {
        let mut client = Client::connect(https.postern.addr());
        let response = client.request(method, PUBLIC, &[]);
        assert_eq!(response.status, 400);
        assert_eq!(response.text(), NOT_HTTPS);
        assert_eq!(response.header("Connection"), Some("close"));
        assert_eq!(response.header(STS), None);
        client.assert_closed();
    }
    let mut client = Client::connect(https.postern.addr());
    let response = client.request("HEAD", PUBLIC, &[]);
    assert_eq!(response.status, 400);
    client.assert_closed();
    assert_served(&mut https.client());
}

#[test]
fn one_thousand_requests_in_one_record_get_one_thousand_answers() {
    let https = Https::start();
    for version in [&TLS12, &TLS13] {
        let mut client = Client::secure(https.postern.addr(), &only(&https, version));
        // Sent from another thread, as the answers fill the buffers.
        let requests = get(PUBLIC).repeat(1000);
        for part in requests.as_bytes().chunks(16 * 1024) {
            client.send(part);
        }
        for _ in 0..1000 {
            assert_eq!(client.response().status, 200);
        }
        assert_served(&mut client);
    }
}

#[test]
fn a_request_in_many_records_is_one_request() {
    let https = Https::start();
    let mut client = https.client();
    for byte in get(PUBLIC).as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_has_closed_its_side_is_answered() {
    // The end comes with the request, and is noticed at once.
    let https = Https::start_with(|builder| builder.env("IDLE_TIMEOUT_SECONDS", "3600"));
    let mut client = https.client();
    client.send(get(PUBLIC));
    client.session().send_close_notify();
    client.flush_session();
    assert_eq!(client.response().status, 200);
    // The server has its own close_notify sent: rustls would take anything else for an error.
    client.assert_closed();
}

#[test]
fn a_cut_stream_is_not_a_request() {
    let https = Https::start_with(|builder| builder.env("RUST_LOG", "debug"));
    let mut client = https.client();
    let request = get(PUBLIC);
    client.send(&request[..request.len() - 2]);
    client.close_write();
    client.assert_closed();
    https.postern.wait_for_log("without close_notify");
    let logs = https.postern.into_logs();
    assert!(!logs.iter().any(|line| line.contains(PUBLIC)), "{logs:?}");
}

#[test]
fn a_handshake_has_the_time_of_a_head() {
    let https = Https::start_with(|builder| builder.env("HEAD_TIMEOUT_SECONDS", "1"));
    let begun = Instant::now();
    let mut silent = Client::connect(https.postern.addr());
    let mut dripping = Client::connect(https.postern.addr());
    dripping.send(hello(200));
    while !dripping.is_closed() {
        assert!(begun.elapsed() < PATIENCE, "still open");
        std::thread::sleep(Duration::from_millis(50));
        let _ = dripping.try_send([0]);
    }
    silent.assert_closed();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_served(&mut https.client());
}

/// The beginning of a `ClientHello` that is `length` bytes long.
fn hello(length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    vec![0x16, 3, 1, high, low, 1, 0, high, low]
}

/// Records of a handshake message of this length, 4,000 bytes each.
fn long_hello(length: u32) -> Vec<u8> {
    let mut message = vec![1];
    message.extend(&length.to_be_bytes()[1..]);
    message.resize(4 + length as usize, 0);
    let records = message.chunks(4000).flat_map(|part| {
        let [high, low] = (part.len() as u16).to_be_bytes();
        [&[0x16, 3, 1, high, low], part].concat()
    });
    records.collect()
}

#[test]
fn what_is_no_handshake_ends_the_connection() {
    // Some of it may be the beginning of a handshake.
    let https = Https::start_with(|builder| builder.env("HEAD_TIMEOUT_SECONDS", "1"));
    let sent: [(&str, Vec<u8>); 12] = [
        ("zeros", vec![0; 100]),
        ("ones", vec![0xff; 50_000]),
        (
            "an SSLv2 hello",
            [b"\x80\x2e\x01\x00\x02".as_slice(), &[1; 44]].concat(),
        ),
        (
            "an SSLv3 hello",
            b"\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00".repeat(5),
        ),
        (
            "an unknown version",
            b"\x16\x09\x09\x00\x05\x01\x00\x00\x01\x00".to_vec(),
        ),
        (
            "an empty record",
            b"\x16\x03\x01\x00\x00".to_vec().repeat(100),
        ),
        (
            "a record that is too long",
            b"\x16\x03\x01\xff\xff".to_vec(),
        ),
        ("application data", b"\x17\x03\x03\x00\x05hello".to_vec()),
        ("an alert", b"\x15\x03\x03\x00\x02\x02\x28".to_vec()),
        (
            "a Finished",
            b"\x16\x03\x03\x00\x04\x14\x00\x00\x00".to_vec(),
        ),
        ("a hello of 60,000 bytes", long_hello(60_000)),
        (
            "a hello of 16 MB",
            b"\x16\x03\x01\x40\x00\x01\xff\xff\xff".to_vec(),
        ),
    ];
    for (what, bytes) in sent {
        let mut client = Client::connect(https.postern.addr());
        // The server may close before it has taken everything.
        let _ = client.try_send(&bytes);
        if what == "a hello of 16 MB" {
            let _ = client.try_send(vec![0; 20_000]);
        }
        // An alert at the most, never an answer.
        let mut rest = Vec::new();
        let _ = client.stream().read_to_end(&mut rest);
        assert!(rest.is_empty() || rest[0] == 0x15, "{what}: {rest:?}");
    }
    assert_served(&mut https.client());
}

#[test]
fn a_reset_in_each_state_harms_nobody() {
    let https = Https::start();
    let addr = https.postern.addr();
    for _ in 0..20 {
        Client::connect(addr).reset();
        let mut client = Client::connect(addr);
        client.send(hello(200));
        client.reset();
        let client = https.client();
        client.reset();
        let mut client = https.client();
        client.send("GET /api/mess");
        client.reset();
        let mut client = https.client();
        client.send(get(PUBLIC).repeat(200));
        client.reset();
    }
    assert_served(&mut https.client());
    let pid = https.postern.pid();
    wait_for_usage(pid, |now| now.descriptors < 40);
}

#[test]
fn one_thousand_handshakes_that_never_go_on_hold_up_nobody() {
    raise_descriptor_limit();
    let https = Https::start_with(|builder| builder.env("MAX_CONNECTIONS", "1200"));
    let addr = https.postern.addr();
    assert_served(&mut https.client());
    let before = usage(https.postern.pid());
    let mut kept = https.client();
    // Of the largest hello that is allowed, all but the end.
    let begun = hello(16_000);
    let strangers: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = Client::connect(addr);
            client.send([&begun[..], &[0; 3000]].concat());
            client
        })
        .collect();
    for _ in 0..10 {
        assert_served(&mut kept);
        assert_served(&mut https.client());
    }
    let now = usage(https.postern.pid());
    let most = before.memory + 1000 * 16 * KIB;
    assert!(now.memory <= most, "{now:?}, at first {before:?}");
    drop(strangers);
    assert_served(&mut https.client());
}

#[test]
fn an_idle_connection_takes_sixteen_kib() {
    raise_descriptor_limit();
    const COUNT: u64 = 500;
    let https = Https::start_with(|builder| builder.env("MAX_CONNECTIONS", "600"));
    assert_served(&mut https.client());
    let before = usage(https.postern.pid());
    let mut clients: Vec<_> = (0..COUNT).map(|_| https.client()).collect();
    clients.iter_mut().for_each(assert_served);
    let now = usage(https.postern.pid());
    let most = before.memory + COUNT * 16 * KIB;
    assert!(now.memory <= most, "{now:?}, at first {before:?}");
    println!("{} bytes each", (now.memory - before.memory) / COUNT);
}

/// Makes the server keep much for this connection: a head that is nearly as long as it may be, and is
/// not complete, then a record of the largest size, all but its end.
fn greedy(mut client: Client) -> Client {
    let head = format!("GET {PUBLIC} HTTP/1.1\r\nHost: localhost\r\nX: ");
    let mut record = Vec::new();
    let session = client.session();
    let bytes = [head.as_bytes(), &[b'x'; 16_000]].concat();
    session.writer().write_all(&bytes).unwrap();
    session.writer().write_all(&[b'x'; 16_384]).unwrap();
    while session.wants_write() {
        session.write_tls(&mut record).unwrap();
    }
    // It may have been closed meanwhile.
    let _ = client.stream().write_all(&record[..record.len() - 1]);
    client
}

#[test]
fn a_connection_takes_fifty_six_kib_at_most() {
    raise_descriptor_limit();
    const COUNT: u64 = 200;
    let https = Https::start_with(|builder| builder.env("MAX_CONNECTIONS", "300"));
    assert_served(&mut https.client());
    let before = usage(https.postern.pid());
    let clients: Vec<_> = (0..COUNT).map(|_| greedy(https.client())).collect();
    wait_until_read(https.postern.addr(), &clients);
    let now = usage(https.postern.pid());
    let most = before.memory + COUNT * 56 * KIB;
    assert!(now.memory <= most, "{now:?}, at first {before:?}");
    println!("{} bytes each", (now.memory - before.memory) / COUNT);
}

#[test]
fn a_limited_address_space_is_enough() {
    raise_descriptor_limit();
    for mib in [48, 96] {
        let limit = format!("ulimit -v {}; exec \"$0\"", mib * 1024);
        let limited = |builder: Builder| builder.prefix(&["sh", "-c", &limit]);
        let https = Https::start_with(limited);
        let connect = |_| Client::connect(https.postern.addr()).try_secure(&https.config);
        // More than there are places: those that wait are evicted for newcomers.
        let clients: Vec<_> = (0..300)
            .filter_map(|at| connect(at).ok())
            .map(greedy)
            .collect();
        drop(clients);
        assert_served(&mut wait_for_client(&https));
    }
}

#[test]
fn a_newcomer_without_a_place_is_closed() {
    let settings = |builder: Builder| builder.env("MAX_CONNECTIONS", "1");
    let https = Https::start_with(settings);
    let addr = https.postern.addr();
    // More than can wait: one of them has to go.
    let clients: Vec<_> = (0..4).map(|_| Client::connect(addr)).collect();
    wait_until("one is closed", || clients.iter().any(Client::is_closed));
    https.postern.wait_for_log("all connections are busy");
    drop(clients);
    let mut client = wait_for_client(&https);
    assert_served(&mut client);
}

/// A connection, as soon as there is a place for it.
fn wait_for_client(https: &Https) -> Client {
    let begun = Instant::now();
    loop {
        match Client::connect(https.postern.addr()).try_secure(&https.config) {
            Ok(client) => return client,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    }
}

#[test]
fn a_drain_ends_connections_with_close_notify() {
    let mut https = Https::start();
    let mut idle = https.client();
    assert_served(&mut idle);
    let mut asking = https.client();
    https.postern.signal("TERM");
    idle.assert_closed();
    asking.send(get(PUBLIC));
    let response = asking.response();
    assert_eq!(response.header("Connection"), Some("close"));
    asking.assert_closed();
    assert_eq!(https.postern.wait_exit().code(), Some(0));
}

#[test]
fn a_slow_reader_gets_all_answers() {
    let https = Https::start();
    let mut client = https.client();
    let count = 2000;
    let requests = get(PUBLIC).repeat(count);
    let mut sender = client.stream().try_clone().unwrap();
    // The records are made first, and sent while the answers are read.
    let mut records = Vec::new();
    for part in requests.as_bytes().chunks(8 * 1024) {
        client.session().writer().write_all(part).unwrap();
        while client.session().wants_write() {
            client.session().write_tls(&mut records).unwrap();
        }
    }
    let sending = std::thread::spawn(move || sender.write_all(&records));
    for number in 0..count {
        assert_eq!(client.response().status, 200);
        if number % 100 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    sending.join().unwrap().unwrap();
    let _ = client.stream().shutdown(Shutdown::Both);
}

#[test]
fn a_renewed_certificate_is_for_new_connections() {
    let https = Https::start();
    let mut old = https.client();
    assert_served(&mut old);
    let certificate = |client: &mut Client| client.session().peer_certificates().unwrap().to_vec();
    let before = certificate(&mut old);
    https.files.renew(None);
    https.postern.signal("HUP");
    wait_until("the new certificate is in force", || {
        // A full handshake: a resumed one shows no certificate.
        let config = Arc::new(client_config(https.files.root.pem(), rustls::ALL_VERSIONS));
        let mut client = Client::secure(https.postern.addr(), &config);
        certificate(&mut client) != before
    });
    assert_served(&mut old);
}
