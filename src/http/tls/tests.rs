//! A server's stream over memory, against rustls's client.

use std::collections::VecDeque;

use rcgen::CertifiedKey;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The server's transport: what the peer has sent, and what it is sent.
#[derive(Default)]
struct Pipe {
    input: VecDeque<u8>,
    is_ended: bool,
    output: Vec<u8>,
    /// The most bytes of output before there is no more room.
    room: Option<usize>,
    is_write_closed: bool,
}

impl Transport for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() && !self.is_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.unwrap_or(usize::MAX) - self.output.len();
        let count = bytes.len().min(room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.output.extend(&bytes[..count]);
        Ok(count)
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.is_write_closed = true;
        Ok(())
    }
}

/// A server's stream and a client.
struct Pair {
    server: TlsStream<Pipe>,
    client: ClientConnection,
    /// What the client has received.
    received: Vec<u8>,
}

fn config() -> (Arc<ServerConfig>, ClientConfig) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), client)
}

impl Pair {
    fn new() -> Pair {
        let (server, client) = config();
        let name = ServerName::try_from("localhost").unwrap();
        Pair {
            server: TlsStream::new(Pipe::default(), server),
            client: ClientConnection::new(Arc::new(client), name).unwrap(),
            received: Vec::new(),
        }
    }

    /// A pair with its handshake done.
    fn connected() -> Pair {
        let mut pair = Pair::new();
        for _ in 0..10 {
            pair.client_sends();
            pair.server.handshake().unwrap();
            pair.client_receives();
        }
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
        // Sends the tickets.
        assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
        assert!(!pair.server.wants_write());
        pair.client_receives();
        pair
    }

    fn client_sends(&mut self) {
        while self.client.wants_write() {
            self.client
                .write_tls(&mut self.server.transport.input)
                .unwrap();
        }
    }

    fn client_receives(&mut self) {
        let sent = std::mem::take(&mut self.server.transport.output);
        let mut sent = &sent[..];
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).unwrap();
            self.client.process_new_packets().unwrap();
            // `WouldBlock` after the last byte.
            let _ = self.client.reader().read_to_end(&mut self.received);
        }
    }

    /// What the client has received since the last call.
    fn received(&mut self) -> Vec<u8> {
        self.client_receives();
        std::mem::take(&mut self.received)
    }

    fn client_writes(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
        self.client_sends();
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 1000];
        let count = self.server.read(&mut buffer)?;
        Ok(buffer[..count].to_vec())
    }
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn plaintext_passes_in_both_directions() {
    let mut pair = Pair::connected();
    assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
    pair.client_writes(b"question");
    assert_eq!(pair.read().unwrap(), b"question");
    assert_eq!(pair.server.write(b"answer").unwrap(), 6);
    assert_eq!(pair.received(), b"answer");
    let agreed = Some((ProtocolVersion::TLSv1_3, HandshakeKind::Full));
    assert_eq!(pair.server.agreed(), agreed);
}

#[test]
fn a_handshake_that_drips_goes_on() {
    let mut pair = Pair::new();
    let mut sent = VecDeque::new();
    while pair.server.is_handshaking() {
        pair.client.write_tls(&mut sent).unwrap();
        for byte in sent.drain(..) {
            pair.server.transport.input.push_back(byte);
            pair.server.handshake().unwrap();
        }
        pair.client_receives();
    }
    pair.client_writes(b"x");
    assert_eq!(pair.read().unwrap(), b"x");
}

#[test]
fn a_read_makes_no_part_of_a_handshake() {
    let mut pair = Pair::new();
    for _ in 0..2 {
        pair.client_sends();
        let waiting = pair.server.transport.input.len();
        assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
        assert_eq!(pair.server.transport.input.len(), waiting);
        assert!(pair.server.is_handshaking());
        pair.server.handshake().unwrap();
        pair.client_receives();
    }
    assert!(!pair.server.is_handshaking());
}

#[test]
fn what_was_decrypted_and_not_read_is_known() {
    let mut pair = Pair::connected();
    pair.client_writes(&[b'x'; 2500]);
    assert!(!pair.server.has_input());
    for left in [true, true, false] {
        assert!(!pair.read().unwrap().is_empty());
        assert_eq!(pair.server.has_input(), left);
    }
    assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
}

#[test]
fn a_record_without_room_is_sent_once() {
    let mut pair = Pair::connected();
    pair.server.transport.room = Some(10);
    for _ in 0..3 {
        assert_eq!(kind(pair.server.write(b"answer")), ErrorKind::WouldBlock);
        assert!(pair.server.wants_write());
    }
    pair.server.transport.room = None;
    assert_eq!(pair.server.write(b"answer").unwrap(), 6);
    assert!(!pair.server.wants_write());
    assert_eq!(pair.received(), b"answer");
}

#[test]
fn a_large_answer_becomes_several_records() {
    let mut pair = Pair::connected();
    let answer = vec![b'x'; 40_000];
    let mut written = 0;
    while written < answer.len() {
        written += pair.server.write(&answer[written..]).unwrap();
    }
    assert_eq!(pair.received(), answer);
}

#[test]
fn an_end_that_came_with_bytes_is_known() {
    let mut pair = Pair::connected();
    pair.client_writes(b"question");
    pair.client.send_close_notify();
    pair.client_sends();
    assert_eq!(pair.read().unwrap(), b"question");
    assert!(pair.server.has_input());
    assert_eq!(pair.read().unwrap(), b"");
    assert!(!pair.server.has_input());
}

#[test]
fn the_end_is_told_and_known() {
    let mut pair = Pair::connected();
    pair.client.send_close_notify();
    pair.client_sends();
    assert_eq!(pair.read().unwrap(), b"");
    pair.server.close_write().unwrap();
    assert!(pair.server.transport.is_write_closed);
    pair.client_receives();
    let mut end = [0; 1];
    assert_eq!(pair.client.reader().read(&mut end).unwrap(), 0);
}

#[test]
fn the_end_is_told_when_there_is_room() {
    let mut pair = Pair::connected();
    pair.server.transport.room = Some(0);
    pair.server.close_write().unwrap();
    assert!(!pair.server.transport.is_write_closed && pair.server.wants_write());
    pair.server.transport.room = None;
    assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
    assert!(pair.server.transport.is_write_closed);
}

#[test]
fn a_cut_stream_is_an_error() {
    let mut pair = Pair::connected();
    pair.client_writes(b"half of a");
    pair.server.transport.is_ended = true;
    assert_eq!(pair.read().unwrap(), b"half of a");
    assert_eq!(kind(pair.read()), ErrorKind::UnexpectedEof);
    // Also in the middle of the handshake.
    let mut pair = Pair::new();
    pair.client_sends();
    pair.server.transport.input.truncate(50);
    pair.server.transport.is_ended = true;
    assert_eq!(kind(pair.server.handshake()), ErrorKind::UnexpectedEof);
}

#[test]
fn a_changed_record_ends_the_connection_with_an_alert() {
    let mut pair = Pair::connected();
    pair.client_writes(b"question");
    let last = pair.server.transport.input.back_mut().unwrap();
    *last ^= 1;
    assert_eq!(kind(pair.read()), ErrorKind::InvalidData);
    assert!(pair.server.transport.is_write_closed);
    let alert = std::mem::take(&mut pair.server.transport.output);
    pair.client.read_tls(&mut &alert[..]).unwrap();
    let error = pair.client.process_new_packets().unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn plain_http_is_recognised() {
    let first = [
        (&b"GET / HTTP/1.1\r\n"[..], Some(false)),
        (b"HEAD / HTTP/1.1\r\n", Some(true)),
        (b"get", Some(false)),
        (b"P", Some(false)),
        (b"\x16", None),
        (b"\x80\x2e\x01", None),
    ];
    for (bytes, expected) in first {
        let mut pair = Pair::new();
        pair.server.transport.input.extend(bytes);
        let _ = pair.server.handshake();
        assert_eq!(pair.server.plain_http(), expected, "{bytes:?}");
        if expected.is_some() {
            assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
        }
    }
}

/// Records of a handshake message that is `length` long.
fn long_hello(length: u32) -> Vec<u8> {
    let mut message = vec![1];
    message.extend(&length.to_be_bytes()[1..]);
    message.resize(4 + length as usize, 0);
    let records = message.chunks(4000).flat_map(|part| {
        let length = (part.len() as u16).to_be_bytes();
        [&[0x16, 3, 1], &length[..], part].concat()
    });
    records.collect()
}

#[test]
fn a_hello_that_is_too_long_ends_the_connection() {
    let mut pair = Pair::new();
    pair.server.transport.input = long_hello(60_000).into();
    let sent = pair.server.transport.input.len();
    let error = pair.server.handshake().unwrap_err();
    assert_eq!(error.to_string(), "the handshake is too long");
    assert!(pair.server.received <= MAX_HANDSHAKE + 4096, "of {sent}");
}

#[test]
fn an_error_names_the_alert() {
    let sent: [(&[u8], &str); 2] = [
        (b"\x17\x03\x03\x00\x05hello", "alert UnexpectedMessage"),
        (
            b"\x15\x03\x03\x00\x02\x02\x30",
            "received fatal alert: UnknownCA",
        ),
    ];
    for (bytes, expected) in sent {
        let mut pair = Pair::new();
        pair.server.transport.input.extend(bytes);
        let error = pair.server.handshake().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
