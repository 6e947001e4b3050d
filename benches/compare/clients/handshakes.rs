//! Makes TLS 1.3 handshakes as fast as a server answers them, each on a connection of its own, and
//! prints how many there were and how long they took. Takes four arguments: the server's address,
//! `full` or `resumed`, the number of clients, and when to end: `SECONDSs`, or the number of
//! connections of each client. In the latter case a request is made on each connection, because
//! some servers log nothing without one.
//!
//! Ends with exit code 1 as soon as a handshake fails, or is not of the wanted kind. A client waits
//! for a ticket, which a server sends when all is done: no handshake is counted that the server has
//! not finished. Certificates are not verified, because that would take more of the processors than
//! a server's part of a handshake.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, Stream};

use support::PATIENCE;
use support::contract::{PUBLIC, PUBLIC_BODY};
use support::unchecked;

/// How long the end of a connection is waited for. The kernel may put off a server's close for as
/// long as another of its threads waits for events.
const CLOSING: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
struct Job {
    addr: SocketAddr,
    kind: HandshakeKind,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    At(Instant),
    After(usize),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = Instant::now();
    let Some((job, clients)) = parse(&arguments, started) else {
        eprintln!("handshakes ADDRESS full|resumed CLIENTS SECONDSs|COUNT");
        return ExitCode::from(64);
    };
    // The first failure ends all: the others would go on for as long as they were told to.
    let fail = |error: io::Error| -> Vec<Duration> {
        eprintln!("handshakes: {error}");
        std::process::exit(1)
    };
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let make = || make(job).unwrap_or_else(fail);
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(make)).collect();
        let times = clients.into_iter().flat_map(|client| client.join());
        times.flatten().collect()
    });
    let elapsed = started.elapsed();
    times.sort_unstable();
    let percentile = |percent| {
        let at = times.len() * percent / 100;
        times.get(at).map_or(0, Duration::as_micros)
    };
    println!(
        "summary {} {} {} {}",
        elapsed.as_micros(),
        times.len(),
        percentile(50),
        percentile(99)
    );
    ExitCode::SUCCESS
}

fn parse(arguments: &[String], started: Instant) -> Option<(Job, usize)> {
    let [addr, kind, clients, end] = arguments else {
        return None;
    };
    let end = match end.strip_suffix('s') {
        Some(seconds) => End::At(started + Duration::from_secs(seconds.parse().ok()?)),
        None => End::After(end.parse().ok()?),
    };
    let kind = match kind.as_str() {
        "full" => HandshakeKind::Full,
        "resumed" => HandshakeKind::Resumed,
        _ => return None,
    };
    let addr = addr.parse().ok()?;
    Some((Job { addr, kind, end }, clients.parse().ok()?))
}

/// One client: how long each of its handshakes took.
fn make(job: Job) -> io::Result<Vec<Duration>> {
    let session = Arc::new(Session::default());
    let mut config = unchecked::client_config(&[&TLS13]);
    config.resumption = Resumption::store(session.clone());
    let config = Arc::new(config);
    if job.kind == HandshakeKind::Resumed {
        // For the first ticket.
        connect(job, HandshakeKind::Full, &config, &session)?;
    }
    let mut times = Vec::new();
    while !job.is_over(times.len()) {
        times.push(connect(job, job.kind, &config, &session)?);
    }
    Ok(times)
}

impl Job {
    fn is_over(self, made: usize) -> bool {
        match self.end {
            End::At(end) => Instant::now() >= end,
            End::After(count) => made >= count,
        }
    }
}

/// Connects and makes a handshake, which must be of this kind. The time until there was a ticket.
fn connect(
    job: Job,
    kind: HandshakeKind,
    config: &Arc<ClientConfig>,
    session: &Session,
) -> io::Result<Duration> {
    let started = Instant::now();
    let mut socket = TcpStream::connect(job.addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    if kind == HandshakeKind::Full {
        session.tickets().clear();
    }
    let name = ServerName::try_from("localhost").expect("it is a valid name");
    let connection = ClientConnection::new(Arc::clone(config), name);
    let mut connection = connection.map_err(io::Error::other)?;
    // It has taken the ticket that it uses.
    session.tickets().clear();
    connection.complete_io(&mut socket)?;
    if connection.handshake_kind() != Some(kind) {
        let found = connection.handshake_kind();
        return Err(io::Error::other(format!("{found:?} and not {kind:?}")));
    }
    while session.tickets().is_empty() {
        if connection.read_tls(&mut socket)? == 0 {
            return Err(io::Error::other("closed without a session ticket"));
        }
        connection.process_new_packets().map_err(io::Error::other)?;
    }
    let time = started.elapsed();
    if matches!(job.end, End::After(_)) {
        ask(Stream::new(&mut connection, &mut socket))?;
    }
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(&mut socket)?;
    }
    socket.shutdown(Shutdown::Write)?;
    // Closing it with a ticket unread would reset it.
    socket.set_read_timeout(Some(CLOSING))?;
    let mut rest = [0; 4096];
    while socket.read(&mut rest).is_ok_and(|count| count > 0) {}
    Ok(time)
}

/// Makes a request, and reads until the expected body has come.
fn ask(mut server: impl Read + Write) -> io::Result<()> {
    let request = format!("GET {PUBLIC} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    server.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.ends_with(PUBLIC_BODY.as_bytes()) {
        match server.read(&mut part)? {
            0 => return Err(io::Error::other("closed without an answer")),
            count => answer.extend_from_slice(&part[..count]),
        }
    }
    Ok(())
}

/// The tickets of one client.
#[derive(Debug, Default)]
struct Session(Mutex<Vec<Tls13ClientSessionValue>>);

impl Session {
    fn tickets(&self) -> MutexGuard<'_, Vec<Tls13ClientSessionValue>> {
        self.0.lock().expect("no thread panics with it")
    }
}

impl ClientSessionStore for Session {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.tickets().push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tickets().pop()
    }
}
