//! What systemd and the server tell each other, with a test in the place of systemd.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, bearer};
use crate::support::contract::{PROTECTED, PUBLIC, PUBLIC_BODY};
use crate::support::crowd::A;
use crate::support::https::Https;
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::token::Token;
use crate::support::{Ending, TempDir, wait_until};

/// The socket on which a service manager is told how the service does.
pub struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    /// Listens on a new socket.
    pub fn new() -> Manager {
        let dir = TempDir::new();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(crate::support::PATIENCE))
            .unwrap();
        Manager { dir, socket }
    }

    /// Has it told how this server does.
    pub fn supervise(&self, builder: Builder) -> Builder {
        builder.env(
            "NOTIFY_SOCKET",
            self.dir.path().join("notify").display().to_string(),
        )
    }

    /// Waits until it is told something with this text, which it returns.
    pub fn wait_for(&self, text: &str) -> String {
        let mut told = Vec::new();
        let mut message = [0; 4096];
        loop {
            let length = self
                .socket
                .recv(&mut message)
                .unwrap_or_else(|error| panic!("{error}: {text:?} in {told:?}"));
            let line = String::from_utf8(message[..length].to_vec()).unwrap();
            if line.contains(text) {
                return line;
            }
            told.push(line);
        }
    }
}

#[test]
fn the_manager_is_told_how_the_service_does() {
    let manager = Manager::new();
    let mut tenant = Tenant::start();
    tenant.answer(Behaviour::Status(500));
    let mut postern = manager.supervise(Postern::builder(&tenant)).start();
    manager.wait_for("READY=1");
    let failed = manager.wait_for("STATUS=no keys");
    assert!(failed.contains("HTTP 500"), "{failed}");
    tenant.answer(Behaviour::Keys);
    let fetched = manager.wait_for("STATUS=2 keys (");
    assert!(fetched.contains(tenant.key().kid()), "{fetched}");
    let keys = vec![tenant.key().jwk()];
    tenant.set_keys(vec![]);
    postern.signal("HUP");
    manager.wait_for("STATUS=nobody is let in: no usable key");
    tenant.set_keys(keys);
    postern.signal("HUP");
    manager.wait_for("STATUS=1 key (");
    tenant.stop();
    postern.signal("HUP");
    manager.wait_for("the latest fetch failed: connecting failed");
    postern.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(postern.wait_exit().code(), Some(0));
}

#[test]
fn sighup_fetches_the_keys_now() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let old = bearer(&Token::user(&tenant).sign());
    let headers = [("Authorization", old.as_str())];
    assert_eq!(postern.get(PROTECTED, &headers).status, 200);
    tenant.set_keys(vec![tenant.next_key().jwk()]);
    for fetches in 2..5 {
        postern.signal("HUP");
        tenant.wait_for_fetches(fetches);
    }
    wait_until("the dropped key is gone", || {
        postern.get(PROTECTED, &headers).status == 401
    });
}

#[test]
fn the_watchdog_is_fed_by_answers_over_the_listening_socket() {
    let manager = Manager::new();
    let tenant = Tenant::start();
    let builder = Postern::builder(&tenant)
        .env("WATCHDOG_USEC", "300000")
        .env("MAX_CONNECTIONS", "1");
    let postern = manager.supervise(builder).start();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    // A stranger that takes the only slot does not starve it, and is evicted.
    let mut stranger = Client::connect(postern.addr());
    stranger.send("GET /");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    stranger.assert_closed();
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    postern.wait_for_log(" GET ");
    let requests: Vec<_> = postern
        .logs()
        .into_iter()
        .filter(|line| line.contains(" GET "))
        .collect();
    assert_eq!(requests.len(), 1, "a probe was logged: {requests:#?}");
}

#[test]
fn a_full_house_is_alive() {
    const WATCHDOG: Duration = Duration::from_secs(6);
    // From the address from which the server asks itself, too.
    for source in [A, Ipv4Addr::LOCALHOST.into()] {
        let manager = Manager::new();
        let tenant = Tenant::start();
        tenant.answer(Behaviour::Stall);
        let builder = Postern::builder(&tenant)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env("MAX_CONNECTIONS", "1");
        let postern = manager.supervise(builder).start();
        let token = bearer(&Token::user(&tenant).sign());
        let request =
            format!("GET {PROTECTED} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n");
        let (refused, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let _end = Ending(&is_over);
            // More than can have the place, or wait for it: each asks for what takes a while.
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let mut client = Client::connect_from(source, postern.addr());
                        client.send(&request);
                        let response = client.try_response(false);
                        if response.is_ok_and(|it| it.message() == "Service Unavailable") {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            let is_fed_in_time = |_| {
                let before = Instant::now();
                manager.wait_for("WATCHDOG=1");
                before.elapsed() < WATCHDOG
            };
            let fed: Vec<_> = (0..3).map(is_fed_in_time).collect();
            assert!(!fed.contains(&false), "{fed:?}, with {source}");
        });
        assert!(refused.load(Ordering::Relaxed) > 0, "it was not full");
    }
}

#[test]
fn the_watchdog_is_fed_over_tls() {
    let manager = Manager::new();
    let watchdog = |builder: Builder| {
        manager.supervise(
            builder
                .env("WATCHDOG_USEC", "300000")
                .env("RUST_LOG", "debug"),
        )
    };
    let https = Https::start_with(watchdog);
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    https.postern.wait_for_log("TLS handshake: ");
    let logs = https.postern.into_logs();
    let is_failure = |line: &&String| line.contains("got no answer") || line.contains(" 400 ");
    assert_eq!(logs.iter().find(is_failure), None);
}

#[test]
fn without_a_watchdog_there_are_no_probes() {
    let manager = Manager::new();
    let tenant = Tenant::start();
    let postern = manager.supervise(Postern::builder(&tenant)).start();
    manager.wait_for("STATUS=2 keys");
    manager.socket.set_nonblocking(true).unwrap();
    // `READY=1` may come after the status.
    let mut message = [0; 100];
    while let Ok(length) = manager.socket.recv(&mut message) {
        let message = String::from_utf8_lossy(&message[..length]);
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
    assert!(!postern.logs().iter().any(|line| line.contains("watchdog")));
}

#[test]
fn a_passed_tcp_socket_takes_the_place_of_host_and_port() {
    let tenant = Tenant::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let postern = Postern::builder(&tenant)
        .env("PORT", "1")
        .socket(listener)
        .start();
    assert_eq!(postern.addr(), addr);
    assert_eq!(postern.get(PUBLIC, &[]).text(), PUBLIC_BODY);
}

#[test]
fn a_passed_unix_socket_is_served_alike() {
    let tenant = Tenant::start();
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut postern = Postern::builder(&tenant).socket(listener).start();
    postern.wait_for_log(&format!("listening on unix:{}", path.display()));
    let mut stream = UnixStream::connect(&path).unwrap();
    for end in ["", "Connection: close\r\n"] {
        write!(stream, "GET {PUBLIC} HTTP/1.1\r\nHost: x\r\n{end}\r\n").unwrap();
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK\r\n").count(),
        2,
        "{answers}"
    );
    assert_eq!(answers.matches(PUBLIC_BODY).count(), 2, "{answers}");
    postern.wait_for_log(&format!("unix GET {PUBLIC} 200"));
    postern.signal("TERM");
    assert_eq!(postern.wait_exit().code(), Some(0));
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let tenant = Tenant::start();
    let dir = TempDir::new();
    let file = std::fs::File::create(dir.path().join("file")).unwrap();
    let started = std::panic::catch_unwind(AssertUnwindSafe(|| {
        Postern::builder(&tenant).socket(file).start()
    }));
    let message = *started.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("cannot use the sockets passed by systemd"),
        "{message}"
    );
}

#[test]
fn restarts_behind_a_passed_socket_lose_no_connection() {
    let tenant = Tenant::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let start = || {
        Postern::builder(&tenant)
            .socket(listener.try_clone().unwrap())
            .start()
    };
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Outlives the clients, whose last requests it answers.
    let mut postern = start();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let response = crate::support::client::get(addr, PUBLIC, &[]);
                    assert_eq!(response.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..10 {
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests are answered", || {
                answered.load(Ordering::Relaxed) >= before + 20
            });
            postern.signal("TERM");
            assert_eq!(postern.wait_exit().code(), Some(0));
            postern = start();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
