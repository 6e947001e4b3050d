//! A stand-in for an Auth0 tenant: an https server on 127.0.0.1 that serves
//! `/.well-known/jwks.json`, or misbehaves as a test tells it to.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::KeyPair;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::certificates::Authority;
use super::key::Key;
use super::{PATIENCE, TempDir, Watched};

/// The path of the key set.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// What the tenant does with a request for its key set. A change applies to later requests, and to
/// those that are stalled.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with the key set.
    Keys,
    /// Answers with this status and an empty JSON object.
    Status(u16),
    /// Answers 200 with this body.
    Body(Vec<u8>),
    /// Answers 302 to this address.
    Redirect(String),
    /// Writes these bytes instead of a response, and closes.
    Raw(Vec<u8>),
    /// Writes these bytes, then stalls until the behaviour changes, and closes.
    RawThenStall(Vec<u8>),
    /// Reads the request and answers it only when the behaviour changes.
    Stall,
    /// Accepts the connection, and starts TLS only when the behaviour changes.
    StallAccept,
    /// Closes each connection as soon as it is accepted.
    Close,
}

/// How trustworthy the tenant's certificate is to a client that trusts [`Tenant::ca_file`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// For `localhost`, valid, from the CA in the file.
    Good,
    /// For another name.
    WrongName,
    /// Expired.
    Expired,
    /// From a CA other than the one in the file.
    UnknownCa,
}

/// A running stand-in tenant. It stops on drop.
#[derive(Debug)]
pub struct Tenant {
    shared: Arc<Shared>,
    port: u16,
    ca_file: PathBuf,
    acceptor: Option<JoinHandle<()>>,
    _dir: TempDir,
}

#[derive(Debug)]
struct Shared {
    /// `None`: plain http.
    tls: Option<Arc<ServerConfig>>,
    state: Watched<State>,
}

#[derive(Debug)]
struct State {
    running: bool,
    behaviour: Behaviour,
    /// The key tokens are signed with now, and the one after it.
    signing: [Key; 2],
    /// How many keys of the pool have been current or next.
    keys_used: usize,
    served: Vec<Value>,
    headers: Vec<(String, String)>,
    connections: usize,
    fetches: usize,
    last_request: Option<String>,
    open: Vec<(TcpStream, JoinHandle<()>)>,
}

impl Tenant {
    /// Starts a tenant with two keys, a current and a next one.
    pub fn start() -> Tenant {
        Tenant::with_certificate(Certificate::Good)
    }

    /// Starts a tenant with a certificate of this kind.
    pub fn with_certificate(certificate: Certificate) -> Tenant {
        let (tls, ca) = tls_config(certificate);
        Tenant::launch(Some(tls), &ca)
    }

    /// Starts a tenant that speaks plain http. Its CA file holds a CA that signed nothing.
    pub fn without_tls() -> Tenant {
        let (_, ca) = tls_config(Certificate::Good);
        Tenant::launch(None, &ca)
    }

    fn launch(tls: Option<Arc<ServerConfig>>, ca_pem: &str) -> Tenant {
        let dir = TempDir::new();
        let ca_file = dir.path().join("ca.pem");
        fs::write(&ca_file, ca_pem).expect("the temporary folder takes a file");
        let signing = [Key::shared(0), Key::shared(1)];
        let mut tenant = Tenant {
            shared: Arc::new(Shared {
                tls,
                state: Watched::new(State {
                    running: false,
                    behaviour: Behaviour::Keys,
                    served: signing.iter().map(Key::jwk).collect(),
                    keys_used: signing.len(),
                    signing,
                    headers: Vec::new(),
                    connections: 0,
                    fetches: 0,
                    last_request: None,
                    open: Vec::new(),
                }),
            }),
            port: 0,
            ca_file,
            acceptor: None,
            _dir: dir,
        };
        tenant.resume();
        tenant
    }

    /// `localhost:PORT`, what `AUTH0_DOMAIN` takes.
    pub fn domain(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `https://localhost:PORT/`, the `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("https://{}/", self.domain())
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The PEM file with the CA that clients must trust.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// How many requests for the key set have been received, answered or not.
    pub fn fetches(&self) -> usize {
        self.shared.state.lock().fetches
    }

    /// How many connections have been accepted.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().connections
    }

    /// Waits until `count` requests for the key set have been received in all; panics if that takes
    /// longer than [`PATIENCE`].
    pub fn wait_for_fetches(&self, count: usize) {
        let (state, reached) = self.shared.state.wait_bounded(|s| s.fetches >= count);
        let fetches = state.fetches;
        drop(state);
        assert!(
            reached,
            "{fetches} fetches of the key set in {PATIENCE:?}, not {count}"
        );
    }

    /// Waits until `count` connections have been accepted in all; panics like
    /// [`Tenant::wait_for_fetches`].
    pub fn wait_for_connections(&self, count: usize) {
        let (state, reached) = self.shared.state.wait_bounded(|s| s.connections >= count);
        let connections = state.connections;
        drop(state);
        assert!(
            reached,
            "{connections} connections in {PATIENCE:?}, not {count}"
        );
    }

    /// The head of the last request received, whatever its path; empty before the first.
    pub fn last_request(&self) -> String {
        let state = self.shared.state.lock();
        state.last_request.clone().unwrap_or_default()
    }

    /// The key tokens are signed with now.
    pub fn key(&self) -> Key {
        self.shared.state.lock().signing[0].clone()
    }

    /// The key after the current one; the key set has it already.
    pub fn next_key(&self) -> Key {
        self.shared.state.lock().signing[1].clone()
    }

    /// Makes the next key the current one, drops the current one from the key set and adds a new
    /// next one, as "rotate and revoke" does at Auth0.
    pub fn rotate(&self) {
        let used = self.shared.state.lock().keys_used;
        // Made without the lock, because it takes time.
        let fresh = Key::shared(used);
        self.shared.state.change(|state| {
            state.keys_used = used + 1;
            state.signing = [state.signing[1].clone(), fresh];
            state.served = state.signing.iter().map(Key::jwk).collect();
        });
    }

    /// Serves these keys, valid or not. Tokens are still signed with [`Tenant::key`].
    pub fn set_keys(&self, keys: Vec<Value>) {
        self.shared.state.change(|state| state.served = keys);
    }

    /// Changes how the tenant answers.
    pub fn answer(&self, behaviour: Behaviour) {
        self.shared
            .state
            .change(|state| state.behaviour = behaviour);
    }

    /// Sets the headers of every answer from now on, in place of those set before. They replace
    /// the tenant's own (`Date`, `Content-Type`, `Content-Length`, `Connection: close`) by name; an
    /// empty value leaves the header out. With an `ETag`, a request whose `If-None-Match` is
    /// the same gets 304.
    pub fn set_headers(&self, headers: Vec<(&str, &str)>) {
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.shared.state.change(|state| state.headers = headers);
    }

    /// Stops listening and drops all connections. New connections are refused.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.state.change(|state| state.running = false);
        // Wakes the acceptor out of `accept`; refused if it has ended by itself.
        let _ = TcpStream::connect(self.addr());
        let _ = acceptor.join();
        let open = self.shared.state.change(|s| std::mem::take(&mut s.open));
        for (stream, server) in open {
            // Wakes the thread out of a read; fails if the client has gone.
            let _ = stream.shutdown(Shutdown::Both);
            // A panic of that thread has been printed.
            let _ = server.join();
        }
    }

    /// Listens again, on the same port.
    pub fn resume(&mut self) {
        assert!(self.acceptor.is_none(), "the tenant is running");
        let listener = TcpListener::bind(self.addr())
            .unwrap_or_else(|error| panic!("cannot listen on {}: {error}", self.addr()));
        let addr = listener.local_addr().expect("a listener has an address");
        self.port = addr.port();
        self.shared.state.change(|state| state.running = true);
        let shared = self.shared.clone();
        self.acceptor = Some(thread::spawn(move || shared.accept(&listener)));
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            let mut state = self.state.lock();
            if !state.running {
                return;
            }
            let Ok((stream, _)) = accepted else { continue };
            let Ok(handle) = stream.try_clone() else {
                continue;
            };
            let shared = self.clone();
            let server = thread::spawn(move || {
                // The client sees the failure, which is what the test checks.
                let _ = shared.serve(&stream);
                // `open` holds the socket too, so dropping this end alone would not close it.
                let _ = stream.shutdown(Shutdown::Both);
            });
            state.open.retain(|(_, server)| !server.is_finished());
            state.open.push((handle, server));
            state.connections += 1;
            drop(state);
            self.state.changed.notify_all();
        }
    }

    fn serve(&self, mut socket: &TcpStream) -> io::Result<()> {
        let state = self
            .state
            .wait_until(|s| !s.running || !matches!(s.behaviour, Behaviour::StallAccept));
        let refused = !state.running || matches!(state.behaviour, Behaviour::Close);
        drop(state);
        if refused {
            return Ok(());
        }
        socket.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            match self.answer_one(&mut socket) {
                // As servers answer a client that speaks TLS to a plain port.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
                }
                answered => answered?,
            }
            return finish(socket);
        };
        let session = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        self.answer_one(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        finish(socket)
    }

    /// Reads one request and answers it.
    fn answer_one(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let head = read_head(stream)?;
        let for_keys = head.starts_with(&format!("GET {JWKS_PATH} "));
        self.state.change(|state| {
            state.last_request = Some(head.clone());
            state.fetches += usize::from(for_keys);
        });
        let state = self
            .state
            .wait_until(|s| !s.running || !matches!(s.behaviour, Behaviour::Stall));
        if !state.running {
            return Ok(());
        }
        let (bytes, stall) = match &state.behaviour {
            Behaviour::Raw(bytes) => (bytes.clone(), false),
            Behaviour::RawThenStall(bytes) => (bytes.clone(), true),
            _ if !for_keys => (state.response(404, &[], b"{}"), false),
            _ => (state.respond(&head), false),
        };
        drop(state);
        stream.write_all(&bytes)?;
        stream.flush()?;
        if stall {
            drop(self.state.wait_until(|state| {
                !state.running || !matches!(state.behaviour, Behaviour::RawThenStall(_))
            }));
        }
        Ok(())
    }
}

impl State {
    /// The answer to a request for the key set.
    fn respond(&self, head: &str) -> Vec<u8> {
        match &self.behaviour {
            Behaviour::Status(status) => self.response(*status, &[], b"{}"),
            Behaviour::Body(body) => self.response(200, &[], body),
            Behaviour::Redirect(to) => self.response(302, &[("Location", to)], b""),
            _ => {
                let tag = self.headers.iter().find(|(n, _)| is(n, "ETag"));
                let known = header(head, "If-None-Match");
                if tag.is_some_and(|(_, tag)| known == Some(tag)) {
                    return self.response(304, &[("Content-Length", "")], b"");
                }
                self.response(
                    200,
                    &[],
                    json!({"keys": self.served}).to_string().as_bytes(),
                )
            }
        }
    }

    /// A response's bytes. For each header name, the test's value replaces that of `extra`, which
    /// replaces the tenant's own.
    fn response(&self, status: u16, extra: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let date = http_date(SystemTime::now());
        let length = body.len().to_string();
        let own = [
            ("Date", date.as_str()),
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", &length),
            ("Connection", "close"),
        ];
        let set = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let mut headers: Vec<(&str, &str)> = set.collect();
        for defaults in [extra, &own] {
            for (name, value) in defaults {
                if !headers.iter().any(|(n, _)| is(n, name)) {
                    headers.push((name, value));
                }
            }
        }
        let mut response = format!("HTTP/1.1 {status} Stand-in\r\n");
        for (name, value) in headers {
            if !value.is_empty() {
                response.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        response.push_str("\r\n");
        [response.as_bytes(), body].concat()
    }
}

/// Reads up to the blank line that ends a request's head. A TLS handshake, which contains no such
/// line, is an error.
fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(&chunk[..read]),
        }
        if !head[0].is_ascii_uppercase() {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Ends the stream, then waits until the client does: a close with unread bytes would reset the
/// connection, and the answer could be lost.
fn finish(mut socket: &TcpStream) -> io::Result<()> {
    socket.shutdown(Shutdown::Write)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    io::copy(&mut socket, &mut io::sink()).map(|_| ())
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let found = headers.find(|(other, _)| is(other, name));
    found.map(|(_, value)| value.trim())
}

/// A server configuration with a certificate of this kind, made now, and the PEM of the CA that
/// clients must trust.
fn tls_config(certificate: Certificate) -> (Arc<ServerConfig>, String) {
    let issuer = Authority::new("postern stand-in CA");
    let ca = match certificate {
        // Of another name: with the same one it would pass for the issuer, with a wrong key.
        Certificate::UnknownCa => Authority::new("another CA").pem().to_owned(),
        _ => issuer.pem().to_owned(),
    };
    let name = match certificate {
        Certificate::WrongName => "tenant.example.com",
        _ => "localhost",
    };
    let day = |number: u64| UNIX_EPOCH + Duration::from_secs(number * 24 * 3600);
    // The year 2020.
    let over = (day(18_262), day(18_628));
    let validity = (certificate == Certificate::Expired).then_some(over);
    let key = KeyPair::generate().expect("ring makes P-256 keys");
    let leaf = issuer.issue(&[name], validity, &key);
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .expect("the key is the certificate's");
    (Arc::new(config), ca)
}

/// The time in the format of the header `Date`: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
pub fn http_date(time: SystemTime) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since_1970.as_secs();
    let (days, second) = ((seconds / 86_400) as usize, seconds % 86_400);
    let (mut year, mut day, mut month) = (1970, days, 0);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            1 => 28 + usize::from(leap),
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        if day < length {
            break;
        }
        day -= length;
        month = (month + 1) % 12;
        year += usize::from(month == 0);
    }
    format!(
        "{}, {:02} {} {year} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[days % 7],
        day + 1,
        MONTHS[month],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}
