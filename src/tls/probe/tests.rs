use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::KeyPair;
use rustls::ServerConnection;

use super::super::testing::Folder;
use super::super::testing::certificates::{ServerFiles, keys};
use super::super::{Certificate, Files, server_config};
use super::*;

/// A server with this certificate that says this to one client, and then closes, with
/// `close_notify` or without.
fn server(files: &ServerFiles, says: &'static str, closes: bool) -> (TcpStream, JoinHandle<()>) {
    let pair = Files::from(files).load().unwrap();
    let config = server_config(Certificate::start(pair, |_| {}).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        let session = ServerConnection::new(config).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(says.as_bytes()).unwrap();
        if closes {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
    };
    (client, thread::spawn(serve))
}

#[test]
fn any_certificate_will_do() {
    let folder = Folder::new();
    let files = ServerFiles::new(folder.path());
    let expired = Some((
        std::time::UNIX_EPOCH,
        std::time::UNIX_EPOCH + Duration::from_secs(1),
    ));
    for key in [keys::RSA_2048, keys::P256, keys::P384, keys::ED25519] {
        // For no address, expired, and from an unknown CA.
        let certificate = KeyPair::from_pem(key).unwrap();
        let certificate = files.root.issue(&["example.com"], expired, &certificate);
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        files.write_key(key);
        let (stream, server) = server(&files, "hello yourself", true);
        let mut stream = Client::default().over(stream).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello yourself");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        server.join().unwrap();
    }
}

#[test]
fn a_truncated_answer_is_an_error() {
    let folder = Folder::new();
    let files = ServerFiles::new(folder.path());
    let (stream, server) = server(&files, "hello", false);
    let mut stream = Client::default().over(stream).unwrap();
    stream.write_all(b"hello").unwrap();
    let error = stream.read_to_string(&mut String::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    server.join().unwrap();
}

#[test]
fn a_server_without_tls_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let mut stream = Client::default().over(stream).unwrap();
    assert_eq!(
        stream.write_all(b"hello").unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}
