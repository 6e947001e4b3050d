//! A connection over TLS, whose client is rustls's. Records are cut, delayed, changed and mixed
//! with bytes that are none. A request is answered only if all of it has come unchanged, and if
//! nothing was changed, all requests are.
//!
//! Input: a byte for the version, then operations of three bytes each.

#![no_main]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use postern::http::connection::{Buffers, Connection, Event, Interest, Next};
use postern::http::service::{Context, Lifecycle, Service, Timeouts};
use postern::http::socket::Peer;
use postern::http::tls::TlsStream;
use postern::http::transport::Transport;
use postern::http::{Answer, Handler, Request, Response};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
};

/// What the client asks, and ends its connection with.
const REQUESTS: [&str; 3] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /another/path?query HTTP/1.1\r\nHost: localhost\r\nX-Long: 0123456789\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
];
/// The most bytes of a handshake that the server takes, and of a read beyond them.
const MAX_HANDSHAKE: usize = 16 * 1024 + 4096;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/certificate.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem"));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap()], key.unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Arc::new(config)
});

/// Clients of both versions. They resume sessions.
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [&TLS12, &TLS13].map(|version| {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    })
});

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Counts the requests.
struct Count(Arc<AtomicUsize>);

impl Handler for Count {
    fn handle(&self, _: &Request<'_>) -> Answer {
        self.0.fetch_add(1, Relaxed);
        Ok(Response::empty(200))
    }
}

struct Never;

impl Lifecycle for Never {
    fn is_last_answer(&self) -> bool {
        false
    }
}

/// The server's transport.
struct Pipe {
    input: VecDeque<u8>,
    is_ended: bool,
    output: Vec<u8>,
    room: usize,
    is_write_closed: bool,
    reads: usize,
    now: Instant,
}

impl Transport for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() && !self.is_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.input.read(buffer)?;
        self.reads += count;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.is_write_closed, "it writes after the end");
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.output.extend(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        self.write(&all)
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.is_write_closed = true;
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.room > 0
    }

    fn now(&self) -> Instant {
        self.now
    }
}

/// A connection of the server, and its client.
struct World {
    connection: Connection,
    stream: TlsStream<Pipe>,
    buffers: Buffers,
    service: Service,
    asked: Arc<AtomicUsize>,
    is_closed: bool,
    client: ClientConnection,
    /// Records of the client on their way to the server.
    on_the_way: VecDeque<u8>,
    /// What the client has sent, and for each byte whether a change of it must be noticed.
    sent: Vec<u8>,
    is_read: Vec<bool>,
    /// How many bytes of it have been delivered before the first such change.
    unchanged: usize,
    /// Whether there was one.
    has_diverged: bool,
    /// Whether there was any change.
    is_changed: bool,
    /// For each request, how many bytes must be delivered before it can be complete.
    requests: Vec<usize>,
    answers: Vec<u8>,
    client_failed: bool,
    /// Whether the client has sent close_notify.
    has_ended: bool,
}

impl World {
    fn new(version: u8) -> World {
        let timeouts = Timeouts {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            write: Duration::from_secs(10),
        };
        let now = Instant::now();
        let asked = Arc::new(AtomicUsize::new(0));
        let pipe = Pipe {
            input: VecDeque::new(),
            is_ended: false,
            output: Vec::new(),
            room: 0,
            is_write_closed: false,
            reads: 0,
            now,
        };
        let config = Arc::clone(&CLIENTS[usize::from(version & 1)]);
        let name = ServerName::try_from("localhost").unwrap();
        World {
            connection: Connection::new(now, &timeouts),
            stream: TlsStream::new(pipe, Arc::clone(&SERVER)),
            buffers: Buffers::default(),
            service: Service::new(Box::new(Count(Arc::clone(&asked))), timeouts),
            asked,
            is_closed: false,
            client: ClientConnection::new(config, name).unwrap(),
            on_the_way: VecDeque::new(),
            sent: Vec::new(),
            is_read: Vec::new(),
            unchanged: 0,
            has_diverged: false,
            is_changed: false,
            requests: Vec::new(),
            answers: Vec::new(),
            client_failed: false,
            has_ended: false,
        }
    }

    fn pipe(&mut self) -> &mut Pipe {
        self.stream.transport_mut()
    }

    /// Steps of the connection, as the engine makes them.
    fn serve(&mut self) {
        for _ in 0..1000 {
            if self.is_closed {
                return;
            }
            if self.stream.is_handshaking() {
                if self.stream.handshake().is_err() {
                    self.is_closed = true;
                    return;
                }
                let read = self.pipe().reads;
                assert!(
                    !self.stream.is_handshaking() || read <= MAX_HANDSHAKE,
                    "{read}"
                );
            }
            if self.stream.plain_http().is_some() {
                self.is_closed = true;
                return;
            }
            let context = Context {
                service: &self.service,
                peer: Peer::Unix,
                is_secure: true,
                lifecycle: &Never,
            };
            let (stream, buffers) = (&mut self.stream, &mut self.buffers);
            match self.connection.step(Event::Ready, stream, buffers, context) {
                Next::Close(_) => self.is_closed = true,
                Next::Wait(Interest::Turn) if self.stream.has_room() => {}
                Next::Wait(Interest::Read) if self.stream.has_input() => {}
                Next::Wait(_) => return,
            }
        }
        panic!("it does not come to rest");
    }

    /// What the client makes of what the server has sent.
    fn receive(&mut self) {
        let sent = std::mem::take(&mut self.pipe().output);
        let mut sent = &sent[..];
        while !sent.is_empty() && !self.client_failed {
            match self.client.read_tls(&mut sent) {
                // After close_notify.
                Ok(0) => break,
                Ok(_) => self.client_failed = self.client.process_new_packets().is_err(),
                Err(_) => self.client_failed = true,
            }
            let _ = self.client.reader().read_to_end(&mut self.answers);
        }
        let is_harmless = self.is_changed || !self.client_failed;
        assert!(is_harmless, "the client does not understand the server");
        self.collect();
    }

    /// Puts the client's records on their way.
    fn collect(&mut self) {
        let mut records = Vec::new();
        while self.client.wants_write() {
            let _ = self.client.write_tls(&mut records);
        }
        self.on_the_way.extend(&records);
        self.sent.extend(&records);
        // The version of a record means nothing (RFC 8446 §5.1), nor does the type of an encrypted
        // one to rustls, nor a whole `change_cipher_spec` in TLS 1.3.
        let mut rest = &records[..];
        while let [kind, _, _, high, low, ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let is_read = *kind != 0x14;
            self.is_read.extend([false, false, false, is_read, is_read]);
            self.is_read.resize(self.is_read.len() + length, is_read);
            rest = &rest[5 + length..];
        }
    }

    fn operate(&mut self, operation: u8, a: u8, b: u8) {
        let number = usize::from(u16::from_le_bytes([a, b]));
        match operation % 7 {
            0 if !self.client.is_handshaking() && !self.client_failed && !self.has_ended => {
                let request = REQUESTS[number % REQUESTS.len()];
                let _ = self.client.writer().write_all(request.as_bytes());
                self.collect();
                self.requests.push(self.sent.len());
            }
            1 | 0 => self.deliver(number),
            2 if !self.on_the_way.is_empty() => {
                let at = number % self.on_the_way.len();
                self.on_the_way[at] ^= a | 1;
            }
            3 => {
                let at = number % (self.on_the_way.len() + 1);
                self.on_the_way.insert(at, a);
            }
            4 => self.pipe().room += number % 4096,
            5 if !self.client.is_handshaking() => {
                self.has_ended = true;
                self.client.send_close_notify();
                self.collect();
            }
            6 if a < 8 => {
                self.is_changed = true;
                self.pipe().is_ended = true;
            }
            _ => self.pipe().room += 20_000,
        }
        self.serve();
        self.receive();
        self.check();
    }

    fn deliver(&mut self, count: usize) {
        let count = count.min(self.on_the_way.len());
        for byte in self.on_the_way.drain(..count).collect::<Vec<u8>>() {
            self.pipe().input.push_back(byte);
            let at = self.unchanged;
            let is_same = self.sent.get(at) == Some(&byte);
            self.is_changed |= !is_same;
            self.has_diverged |= !is_same && self.is_read.get(at) != Some(&false);
            self.unchanged += usize::from(!self.has_diverged);
        }
    }

    /// Only requests are answered of which every byte has come.
    fn check(&self) {
        let complete = self
            .requests
            .iter()
            .filter(|end| **end <= self.unchanged)
            .count();
        let asked = self.asked.load(Relaxed);
        assert!(asked <= complete, "{asked} of {complete} requests");
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((version, operations)) = input.split_first() else {
        return;
    };
    let mut world = World::new(*version);
    world.collect();
    for operation in operations.chunks_exact(3).take(200) {
        world.operate(operation[0], operation[1], operation[2]);
    }
    // Everything arrives in the end.
    for _ in 0..20 + world.requests.len() {
        world.deliver(usize::MAX);
        world.pipe().room += 100_000;
        world.serve();
        world.receive();
        world.check();
    }
    if world.is_changed {
        return;
    }
    let asked = world.asked.load(Relaxed);
    assert_eq!(asked, world.requests.len(), "not all requests are answered");
    let text = String::from_utf8_lossy(&world.answers);
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), asked);
    assert_eq!(text.matches("Strict-Transport-Security").count(), asked);
});
