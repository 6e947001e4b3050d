//! What systemd and postern tell each other. Without systemd nothing here does anything.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use log::{info, warn};
use sd_notify::NotifyState;

use crate::http::socket::{Address, Listening};

/// The largest answer a probe reads, in bytes: any of ours is smaller.
const MAX_ANSWER: u64 = 64 * 1024;

/// The sockets that systemd has opened for this process (`sd_listen_fds(3)`), in its order. To be
/// taken once, before any other descriptor is opened.
///
/// # Errors
/// When one of them is neither a TCP nor a Unix stream socket that listens.
pub fn passed_sockets() -> io::Result<Vec<Listening>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|at| {
            // What is not TCP is left in place for the second look.
            if let Ok(Some(listener)) = passed.take_tcp_listener(at) {
                return Ok(Listening::Tcp(listener));
            }
            let listener = passed.take_unix_listener(at)?;
            listener
                .map(Listening::Unix)
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        })
        .collect()
}

/// The service is up: it listens.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// The service is about to end.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// One line on how the service does, for `systemctl status`.
pub fn status(text: &str) {
    notify(NotifyState::Status(text));
}

fn notify(state: NotifyState<'_>) {
    // A manager that does not listen is its own concern.
    let _ = sd_notify::notify(&[state]);
}

/// Feeds systemd's watchdog, if there is one (`sd_watchdog_enabled(3)`), each time this process has
/// answered a request for `path` over its own listening socket at `address`. Whatever the answer's
/// status, it shows that connections are accepted and served; so a server that is deaf is found,
/// and one that is only busy is not.
///
/// # Errors
/// When its thread cannot be started.
pub fn start_watchdog(address: Address, path: String) -> io::Result<()> {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    // Three tries before the time is over.
    let interval = timeout / 3;
    info!("feeding the watchdog every {} s", interval.as_secs_f64());
    let feed = move || {
        let mut was_alive = true;
        let mut was_refused = false;
        loop {
            let started = Instant::now();
            let probed = match probe(&address, &path, interval) {
                // By a Unix socket that is not for this user. To take that for deaf would be to
                // restart for ever.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    if !was_refused {
                        warn!("the watchdog is fed without asking: {error}");
                    }
                    was_refused = true;
                    Ok(())
                }
                probed => probed,
            };
            match &probed {
                Ok(()) => notify(NotifyState::Watchdog),
                Err(error) if was_alive => warn!("no answer from myself: {error}"),
                Err(_) => {}
            }
            was_alive = probed.is_ok();
            // After a failure sooner: an eviction by a newcomer is no reason to wait.
            let pause = if was_alive { interval } else { interval / 10 };
            thread::sleep(pause.saturating_sub(started.elapsed()));
        }
    };
    thread::Builder::new()
        .name("watchdog".into())
        .spawn(feed)
        .map(drop)
}

/// One request over the listening socket, and its complete answer.
fn probe(address: &Address, path: &str, time: Duration) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: watchdog\r\nConnection: close\r\n\r\n");
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), time)?;
            stream.set_read_timeout(Some(time))?;
            ask(stream, &request)
        }
        Address::Unix(Some(path)) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(time))?;
            ask(stream, &request)
        }
        // Nobody can connect to it by name: that the process runs must do.
        Address::Unix(None) => Ok(()),
    }
}

fn ask(mut stream: impl Read + Write, request: &str) -> io::Result<()> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 ") && answer.ends_with(b"}") {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the connection was closed without an answer",
    ))
}

/// An address at which a socket that is bound to `address` can be reached from this host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}
