//! What strangers do to a server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::crowd::REQUEST;
use crate::support::tenant::Tenant;
use crate::support::token::Token;

/// Where it takes place.
pub struct Field<'a> {
    /// The server.
    pub addr: SocketAddr,
    /// Where the strangers come from.
    pub source: Source,
    /// For tokens that are almost right.
    pub tenant: &'a Tenant,
    /// How many connections an attack holds that holds connections.
    pub connections: usize,
    /// When it is over.
    pub end: Instant,
    /// Connections that are kept beyond that.
    pub held: &'a Mutex<Vec<TcpStream>>,
}

/// The addresses that attackers come from. slowhttptest always comes from 127.0.0.1.
#[derive(Clone, Copy)]
pub enum Source {
    /// 127.0.0.2 to 127.0.0.17.
    Many,
    /// This one.
    One(IpAddr),
}

impl Source {
    fn next(self) -> IpAddr {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        match self {
            Source::One(address) => address,
            Source::Many => {
                let count = COUNT.fetch_add(1, Ordering::Relaxed) % 16;
                Ipv4Addr::new(127, 0, 0, 2 + count as u8).into()
            }
        }
    }
}

impl Field<'_> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits, but not beyond the end.
    fn wait(&self, time: Duration) {
        let given_up = Instant::now() + time;
        while Instant::now() < given_up.min(self.end) {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A socket of a stranger, not connected yet.
    fn socket(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, None)?;
        // Ports are scarcer than attacks.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(self.source.next(), 0).into())?;
        Ok(socket)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = self.socket()?;
        let time = Duration::from_secs(5);
        socket.connect_timeout(&self.addr.into(), time)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(time))?;
        stream.set_write_timeout(Some(time))?;
        Ok(stream)
    }
}

/// An attack that goes on; its thread returns how often something was done.
pub type Running<'scope> = (&'static str, ScopedJoinHandle<'scope, usize>);

/// Something done once: by one stranger, on one connection as a rule.
type Attack = fn(&Field<'_>) -> io::Result<usize>;

/// Each of these goes on in several threads at once.
const ATTACKS: [(&str, Attack); 10] = [
    ("connect and go", connect_and_go),
    ("connect and stay", connect_and_stay),
    ("random keys, a connection each", random_key_once),
    ("random keys, kept alive", random_keys_kept_alive),
    ("wrong signatures, a connection each", wrong_signature_once),
    ("wrong signatures, kept alive", wrong_signatures_kept_alive),
    ("reset in a request", reset_in_a_request),
    ("ask and never read", ask_and_never_read),
    ("read and stop", read_and_stop),
    ("read, ask for the end, stop", read_and_stop_at_the_end),
];

/// The modes of slowhttptest, each a process.
const SLOW: [(&str, &[&str]); 4] = [
    ("slow headers", &["-H", "-i", "5", "-x", "24"]),
    ("slow body", &["-B", "-i", "5", "-x", "10", "-s", "8192"]),
    (
        "slow read",
        &[
            "-X", "-w", "1", "-y", "20", "-n", "5", "-z", "8", "-k", "10",
        ],
    ),
    ("range", &["-R", "-a", "10", "-b", "3000"]),
];

/// Starts all attacks, or those whose names contain one of `only`, in `threads` threads each.
pub fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    field: &'env Field<'env>,
    threads: usize,
    only: Option<&str>,
) -> Vec<Running<'scope>> {
    let is_meant =
        |name: &str| only.is_none_or(|only| only.split(',').any(|part| name.contains(part)));
    let mut running: Vec<Running> = Vec::new();
    for (name, options) in SLOW.into_iter().filter(|(name, _)| is_meant(name)) {
        running.push((name, scope.spawn(move || go_slow(field, options))));
    }
    for (name, attack) in ATTACKS.into_iter().filter(|(name, _)| is_meant(name)) {
        for _ in 0..threads {
            running.push((name, scope.spawn(move || repeat(field, attack))));
        }
    }
    running
}

/// Waits for the attacks to end, and prints what was done.
pub fn report(attacks: Vec<Running<'_>>, time: Duration) {
    println!("\n| attack | times | per second |\n|---|---|---|");
    let mut attacks = attacks.into_iter().peekable();
    while let Some((name, thread)) = attacks.next() {
        let mut count = thread.join().expect("it does not panic");
        while let Some((_, more)) = attacks.next_if(|(next, _)| *next == name) {
            count += more.join().expect("it does not panic");
        }
        println!(
            "| {name} | {count} | {:.0} |",
            count as f64 / time.as_secs_f64()
        );
    }
}

fn repeat(field: &Field<'_>, attack: Attack) -> usize {
    let mut count = 0;
    while !field.is_over() {
        match attack(field) {
            Ok(times) => count += times,
            // No port is free, or the server does what it should.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    count
}

/// slowhttptest ends when the server has closed all its connections; then it is started again.
fn go_slow(field: &Field<'_>, options: &[&str]) -> usize {
    let mut runs = 0;
    while !field.is_over() {
        let left = field.end.saturating_duration_since(Instant::now());
        let mut slow = Command::new("slowhttptest");
        slow.args(options)
            .args([
                "-c",
                &field.connections.to_string(),
                "-r",
                "500",
                "-p",
                "3",
                "-v",
                "0",
            ])
            .args(["-l", &left.as_secs().max(1).to_string()])
            .args(["-u", &format!("http://{}{PUBLIC}", field.addr)])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut slow = slow.spawn().expect("slowhttptest is installed");
        while slow.try_wait().expect("a child of ours").is_none() {
            if field.is_over() {
                let _ = slow.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
        runs += 1;
        thread::sleep(Duration::from_millis(100));
    }
    runs
}

/// As much of a SYN flood as a program can do: gone before the server has accepted.
fn connect_and_go(field: &Field<'_>) -> io::Result<usize> {
    let socket = field.socket()?;
    socket.set_nonblocking(true)?;
    // In progress, as a rule.
    let _ = socket.connect(&field.addr.into());
    Ok(1)
}

/// Holds as many connections as it may, and then lets go of all.
fn connect_and_stay(field: &Field<'_>) -> io::Result<usize> {
    let mut held = Vec::new();
    while held.len() < field.connections && !field.is_over() {
        held.push(field.connect()?);
    }
    Ok(held.len())
}

fn reset_in_a_request(field: &Field<'_>) -> io::Result<usize> {
    let mut stream = field.connect()?;
    stream.write_all(b"GET /api/messages/protected HTTP/1.1\r\nHost: loc")?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(1)
}

fn random_key_once(field: &Field<'_>) -> io::Result<usize> {
    ask_in_vain(field, || random_key(field), 1)
}

fn random_keys_kept_alive(field: &Field<'_>) -> io::Result<usize> {
    ask_in_vain(field, || random_key(field), 1000)
}

fn wrong_signature_once(field: &Field<'_>) -> io::Result<usize> {
    ask_in_vain(field, || wrong_signature(field), 1)
}

fn wrong_signatures_kept_alive(field: &Field<'_>) -> io::Result<usize> {
    ask_in_vain(field, || wrong_signature(field), 1000)
}

/// Asks with forged tokens on one connection.
fn ask_in_vain(field: &Field<'_>, forge: impl Fn() -> String, times: usize) -> io::Result<usize> {
    let mut client = Client::over(field.connect()?)?;
    let mut count = 0;
    while count < times && !field.is_over() {
        let token = forge();
        let authorization = format!("Bearer {token}");
        client.try_request("GET", PROTECTED, &[("Authorization", &authorization)])?;
        count += 1;
    }
    Ok(count)
}

fn random_key(field: &Field<'_>) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let kid = format!("stranger-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let token = Token::user(field.tenant).header("kid", json!(kid));
    token.sign_by(|_| vec![0x55; 256])
}

fn wrong_signature(field: &Field<'_>) -> String {
    Token::user(field.tenant).sign_by(|_| vec![0x55; 256])
}

/// Pipelines requests on many connections until the buffers of both sides are full, so that the
/// server has answers that are never read. Then keeps them open for as long as the server does.
fn ask_and_never_read(field: &Field<'_>) -> io::Result<usize> {
    let batch = REQUEST.repeat(200);
    let mut held = Vec::new();
    while held.len() < 300 && !field.is_over() {
        let mut stream = field.connect()?;
        stream.set_nonblocking(true)?;
        while stream.write(batch.as_bytes()).is_ok() {}
        held.push(stream);
    }
    field.wait(Duration::from_secs(10));
    Ok(held.len())
}

/// How many connections stop reading together.
const STOPPED: usize = 16;

/// Pipelines requests and reads the answers for a moment, so that the kernel has every reason to
/// give larger buffers to the server's sockets. Then nothing is read any more, but as much is asked
/// for as is taken.
fn read_and_stop(field: &Field<'_>) -> io::Result<usize> {
    let mut readers = Readers::connect(field)?;
    readers.read_for(Duration::from_millis(500));
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline.min(field.end) {
        for reader in &mut readers.0 {
            reader.ask();
        }
        thread::sleep(Duration::from_millis(1));
    }
    field.wait(Duration::from_secs(8));
    Ok(readers.0.len())
}

/// The same, but what is asked for in the end fits into the server's buffers, and is the last: the
/// server closes, and the kernel has the answers. Up to 1,000 of these connections are kept beyond
/// the siege.
fn read_and_stop_at_the_end(field: &Field<'_>) -> io::Result<usize> {
    const ANSWERS: usize = 1200;
    let mut readers = Readers::connect(field)?;
    readers.read_for(Duration::from_millis(500));
    let deadline = Instant::now() + Duration::from_secs(2);
    let last = format!("{}{LAST}", REQUEST.repeat(ANSWERS));
    for reader in &mut readers.0 {
        while !reader.is_between_requests() && Instant::now() < deadline {
            reader.ask();
            let _ = reader.read();
        }
        (reader.asking, reader.asked) = (last.clone().into_bytes(), 0);
    }
    while readers.0.iter().any(|reader| reader.asked < last.len()) && Instant::now() < deadline {
        for reader in &mut readers.0 {
            reader.ask_once();
        }
        thread::sleep(Duration::from_millis(1));
    }
    let count = readers.0.len();
    let mut streams = readers.0.into_iter().map(|reader| reader.stream);
    let mut held = field.held.lock().expect("no thread panics with it");
    let room = MOST_HELD - held.len();
    held.extend(streams.by_ref().take(room));
    drop(held);
    if streams.len() > 0 {
        field.wait(Duration::from_secs(8));
    }
    Ok(count)
}

/// How many connections are kept beyond the siege.
const MOST_HELD: usize = 1000;

/// The last request of a connection.
const LAST: &str =
    "GET /api/messages/public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

struct Readers(Vec<Reader>);

/// Asks on a connection without waiting for answers.
struct Reader {
    stream: TcpStream,
    /// What is sent, and how much of that has been.
    asking: Vec<u8>,
    asked: usize,
}

impl Readers {
    fn connect(field: &Field<'_>) -> io::Result<Readers> {
        let reader = || {
            let socket = field.socket()?;
            // As much as makes the server's buffer grow, but less than the answers in the end.
            socket.set_recv_buffer_size(128 * 1024)?;
            socket.connect_timeout(&field.addr.into(), Duration::from_secs(5))?;
            socket.set_nonblocking(true)?;
            Ok(Reader {
                stream: socket.into(),
                asking: REQUEST.repeat(200).into_bytes(),
                asked: 0,
            })
        };
        (0..STOPPED)
            .map(|_| reader())
            .collect::<io::Result<_>>()
            .map(Readers)
    }

    /// Asks and reads. Those whose connection is closed meanwhile are gone.
    fn read_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.0.retain_mut(|reader| {
                reader.ask();
                reader.read().is_ok()
            });
            if self.0.is_empty() {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Reader {
    /// Sends what is taken at once, and begins anew when all is sent. Whether the connection is
    /// over, reading tells.
    fn ask(&mut self) {
        self.ask_once();
        self.asked %= self.asking.len();
    }

    fn ask_once(&mut self) {
        self.asked += self.stream.write(&self.asking[self.asked..]).unwrap_or(0);
    }

    fn is_between_requests(&self) -> bool {
        self.asked.is_multiple_of(REQUEST.len())
    }

    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0; 64 * 1024]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}
