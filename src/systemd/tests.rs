use std::net::TcpListener;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::tls::testing::Folder;
use crate::tls::testing::certificates::ServerFiles;
use crate::tls::{Certificate, Files, server_config};

const TIME: Duration = Duration::from_secs(30);
const ANSWER: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn the_parts_of_a_status_that_have_a_text_make_its_line() {
    let cases = [
        (["", ""], ""),
        (["2 keys", ""], "2 keys"),
        (
            ["", "the TLS certificate has expired"],
            "the TLS certificate has expired",
        ),
        (
            ["2 keys", "the TLS certificate has expired"],
            "2 keys; the TLS certificate has expired",
        ),
    ];
    for (parts, expected) in cases {
        assert_eq!(line(&parts.map(str::to_owned)), expected);
    }
}

/// A server that gives one request this answer, over TLS or not. Returns where it is, and what
/// returns the request.
fn server(
    tls: Option<Arc<ServerConfig>>,
    answer: &'static str,
) -> (Address, thread::JoinHandle<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        match tls {
            None => answer_one(stream, answer),
            Some(config) => {
                let session = ServerConnection::new(config).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                let request = answer_one(&mut stream, answer)?;
                stream.conn.send_close_notify();
                stream.flush().ok()?;
                Some(request)
            }
        }
    };
    (address, thread::spawn(serve))
}

/// Reads a request and answers it; `None` if what comes is no request.
fn answer_one(mut stream: impl Read + Write, answer: &str) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
        if !request[0].is_ascii_uppercase() {
            stream.write_all(answer.as_bytes()).ok()?;
            return None;
        }
    }
    stream.write_all(answer.as_bytes()).ok()?;
    String::from_utf8(request).ok()
}

fn tls() -> Arc<ServerConfig> {
    let folder = Folder::new();
    let files = ServerFiles::new(folder.path());
    let pair = Files::from(&files).load().unwrap();
    server_config(Certificate::start(pair, |_| {}).unwrap())
}

#[test]
fn a_probe_asks_over_tls_or_plainly() {
    let client = Client::default();
    for (config, client) in [(None, None), (Some(tls()), Some(&client))] {
        let (address, served) = server(config.clone(), ANSWER);
        probe(&address, "/probe", client, TIME).unwrap();
        let request = served.join().unwrap().unwrap();
        assert!(request.starts_with("GET /probe HTTP/1.1\r\n"), "{request}");
        let (address, served) = server(config, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{");
        let cut = probe(&address, "/probe", client, TIME).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::InvalidData);
        served.join().unwrap();
    }
}

#[test]
fn a_probe_of_the_other_kind_gets_no_answer() {
    let client = Client::default();
    for (config, client) in [(None, Some(&client)), (Some(tls()), None)] {
        let (address, served) = server(config, ANSWER);
        probe(&address, "/probe", client, TIME).unwrap_err();
        assert_eq!(served.join().unwrap(), None);
    }
}
