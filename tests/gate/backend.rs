//! A service behind a proxy. It answers each request with what it has received.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::support::PATIENCE;

/// A service that runs until the process ends.
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Backend {
    /// Starts it on any free port.
    pub fn start() -> Backend {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let addr = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // It ends with the connection.
                thread::spawn(move || serve(stream, &counter));
            }
        });
        Backend { addr, requests }
    }

    /// How many requests have reached it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, requests: &AtomicUsize) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        requests.fetch_add(1, Ordering::SeqCst);
        if let Some(key) = value(&head, "sec-websocket-key") {
            return upgrade(&mut reader, &mut writer, key);
        }
        let body = read_body(&mut reader, &head)?;
        let hash = digest(&SHA256, &body);
        let text = format!("{head}\r\n{} bytes {hash:?}\r\n", body.len());
        let sent = if head.starts_with("HEAD ") { "" } else { &text };
        let length = text.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        writer.write_all(format!("{head}{sent}").as_bytes())?;
    }
    Ok(())
}

/// The request line and the header lines; `None` at the end of the stream.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if &head[before..] == "\r\n" {
            head.truncate(before);
            return Ok(Some(head));
        }
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

fn read_body(reader: &mut impl BufRead, head: &str) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut take = |reader: &mut dyn BufRead, length: u64| {
        let count = reader.take(length).read_to_end(&mut body)?;
        match count as u64 == length {
            true => Ok(()),
            false => Err(io::Error::from(ErrorKind::UnexpectedEof)),
        }
    };
    if value(head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            take(reader, length)?;
            reader.read_line(&mut String::new())?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
    let length = value(head, "content-length").unwrap_or("0");
    take(reader, length.parse().map_err(io::Error::other)?)?;
    Ok(body)
}

/// Switches to a WebSocket (RFC 6455 §4.2.2), and sends back all bytes, whatever they are.
fn upgrade(reader: &mut impl BufRead, writer: &mut TcpStream, key: &str) -> io::Result<()> {
    let accept = accept(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    writer.write_all(head.as_bytes())?;
    io::copy(reader, writer).map(|_| ())
}

/// The value of `Sec-WebSocket-Accept` that answers a key.
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}
