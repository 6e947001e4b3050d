//! Between the browser and postern: passes each request on as it is, and keeps a copy of both
//! directions. A browser keeps some of that from its pages, and all of it from a page's author.
//!
//! It speaks plain HTTP to the browser, and TLS to postern if postern does: no browser trusts the
//! demo's CA. It is for the page's requests, which have no bodies; others are not passed on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::record::{Exchange, Record};

/// The most connections at once; browsers open up to six to one host.
const MOST_CONNECTIONS: usize = 32;
/// The most bytes of a head, and of a body. postern's are far smaller.
const MOST_BYTES: usize = 64 * 1024;
/// How long a browser's connection may be idle.
const IDLE_TIME: Duration = Duration::from_secs(120);
/// How long postern may take for an answer. It waits for keys for 2 s at most.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Where requests are passed on to.
pub struct Upstream {
    pub addr: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    pub record: Arc<Record>,
}

/// Listens on any free port, and serves until the process ends.
///
/// # Errors
/// What the system says.
pub fn start(upstream: Upstream) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let upstream = Arc::new(upstream);
    let open = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().spawn(move || {
        for browser in listener.incoming().filter_map(Result::ok) {
            if open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (upstream, open) = (Arc::clone(&upstream), Arc::clone(&open));
            thread::spawn(move || {
                // The browser sees a connection that fails as a request that fails.
                let _ = serve(&browser, &upstream);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    })?;
    Ok(addr)
}

fn serve(mut browser: &TcpStream, upstream: &Upstream) -> io::Result<()> {
    browser.set_read_timeout(Some(IDLE_TIME))?;
    browser.set_nodelay(true)?;
    loop {
        let (head, rest) = read_head(&mut browser)?;
        if !rest.is_empty() || header(&head, "Transfer-Encoding").is_some() || length(&head)? > 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let exchange = pass_on(&head, upstream)?;
        let answer = exchange.answer.clone();
        // First, so that it is there when the page asks for it.
        upstream.record.exchange(exchange);
        browser.write_all(answer.as_bytes())?;
        if header(&answer, "Connection").is_some_and(|it| it.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
}

/// Asks on a connection of its own, so that none can be too old.
fn pass_on(request: &str, upstream: &Upstream) -> io::Result<Exchange> {
    let began = Instant::now();
    let mut socket = TcpStream::connect(upstream.addr)?;
    socket.set_read_timeout(Some(ANSWER_TIME))?;
    socket.set_nodelay(true)?;
    let peer = socket.local_addr()?.to_string();
    let answer = match &upstream.tls {
        Some(config) => {
            let name = ServerName::from(upstream.addr.ip());
            let session = ClientConnection::new(Arc::clone(config), name);
            let session = session.map_err(io::Error::other)?;
            ask(&mut StreamOwned::new(session, socket), request)?
        }
        None => ask(&mut socket, request)?,
    };
    Ok(Exchange {
        request: request.to_owned(),
        answer,
        micros: began.elapsed().as_micros().try_into().unwrap_or(u64::MAX),
        peer,
    })
}

fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let (mut answer, mut body) = read_head(stream)?;
    let length = match request.starts_with("HEAD ") {
        true => 0,
        false => length(&answer)?,
    };
    if length > MOST_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let missing = length.saturating_sub(body.len());
    let mut rest = vec![0; missing];
    stream.read_exact(&mut rest)?;
    body.append(&mut rest);
    answer += &text(body)?;
    Ok(answer)
}

/// A head with its blank line, and what came after it.
fn read_head(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((text(bytes)?, rest));
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ if bytes.len() > MOST_BYTES => return Err(ErrorKind::InvalidData.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Browsers and postern send nothing else, so that what is passed on is what came.
fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into())
}

fn length(head: &str) -> io::Result<usize> {
    let length = header(head, "Content-Length").map(str::parse).transpose();
    Ok(length.map_err(io::Error::other)?.unwrap_or(0))
}

fn header<'h>(message: &'h str, name: &str) -> Option<&'h str> {
    let lines = message.lines().take_while(|line| !line.is_empty());
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}
