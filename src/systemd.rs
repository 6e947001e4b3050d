//! Readiness, status, watchdog and passed sockets. Without systemd, all of it does nothing.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use log::{info, warn};
use sd_notify::NotifyState;

use crate::http::socket::{Address, Listening};
use crate::tls::probe::Client;

/// The largest answer a probe reads, in bytes: every answer is smaller.
const MAX_ANSWER: u64 = 64 * 1024;

/// The sockets that systemd has opened for this process (`sd_listen_fds(3)`), in its order. Take
/// them once, before any other descriptor is opened.
///
/// # Errors
/// If one of them is neither a TCP nor a Unix stream socket that listens.
pub fn passed_sockets() -> io::Result<Vec<Listening>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|at| {
            // A socket that is not TCP stays in place for the second look.
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

/// Tells systemd that the service is up: it listens.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Tells systemd that the service is about to end.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// A part of the line that `systemctl status` shows as `Status:`, in the order in which they are
/// shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusPart {
    /// The signing keys.
    Keys,
    /// What is to be said of the TLS certificate.
    Certificate,
}

/// The texts of the parts.
static STATUS: Mutex<[String; 2]> = Mutex::new([const { String::new() }; 2]);

/// Sets a part of the line that `systemctl status` shows as `Status:`. An empty text leaves it out.
pub fn status(part: StatusPart, text: &str) {
    // Nothing panics under the lock. It is held while systemd is told, so that the latest line is
    // the last one told.
    let mut parts = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    text.clone_into(&mut parts[part as usize]);
    notify(NotifyState::Status(&line(&*parts)));
}

/// The parts that have a text, as one line.
fn line(parts: &[String]) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("; ")
}

fn notify(state: NotifyState<'_>) {
    // If the manager cannot be told, the service goes on.
    let _ = sd_notify::notify(&[state]);
}

/// Feeds systemd's watchdog, if there is one (`sd_watchdog_enabled(3)`), each time this process has
/// answered a request for `path` over its own listening socket at `address`. With `tls`, TCP
/// sockets are asked over TLS; Unix sockets are always plain.
///
/// An answer of any status shows that connections are accepted and served. So a server that no
/// longer answers is restarted, and one that is only busy is not.
///
/// # Errors
/// If its thread cannot be started.
pub fn start_watchdog(address: Address, path: String, tls: Option<Client>) -> io::Result<()> {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    // Three tries within the timeout.
    let interval = timeout / 3;
    info!("feeding the watchdog every {} s", interval.as_secs_f64());
    let feed = move || {
        let mut was_alive = true;
        let mut was_refused = false;
        loop {
            let started = Instant::now();
            let probed = match probe(&address, &path, tls.as_ref(), interval) {
                // This user may not connect to the Unix socket. Taken as a failure, it would cause
                // restarts without end.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    if !was_refused {
                        warn!("feeding the watchdog without a probe: {error}");
                    }
                    was_refused = true;
                    Ok(())
                }
                probed => probed,
            };
            match &probed {
                Ok(()) => notify(NotifyState::Watchdog),
                Err(error) if was_alive => warn!("the watchdog's probe got no answer: {error}"),
                Err(_) => {}
            }
            was_alive = probed.is_ok();
            // Sooner after a failure: the probe may only have been evicted by a newcomer.
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
fn probe(address: &Address, path: &str, tls: Option<&Client>, time: Duration) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: watchdog\r\nConnection: close\r\n\r\n");
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), time)?;
            stream.set_read_timeout(Some(time))?;
            match tls {
                Some(client) => ask(client.over(stream)?, &request),
                None => ask(stream, &request),
            }
        }
        Address::Unix(Some(path)) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(time))?;
            ask(stream, &request)
        }
        // It has no name to connect to: that the process runs has to be enough.
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
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

#[cfg(test)]
mod tests;
