//! A raw-socket HTTP/1.1 client: it sends the bytes it is given and returns the bytes it receives,
//! so that a test sees what was on the wire. No wait is longer than [`PATIENCE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::PATIENCE;

/// One response, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// Names and values, in the order and case received.
    pub headers: Vec<(String, String)>,
    /// The body: `Content-Length` bytes, or everything until the close without that header.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// The values of all headers of that name, in any case.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text. Panics if it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON. Panics if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {:?}", self.text()))
    }

    /// The member `message` of the body, empty if it has none.
    pub fn message(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_owned()
    }

    fn parse_head(head: &[u8]) -> io::Result<Response> {
        let head = std::str::from_utf8(head).map_err(|_| invalid("a head that is not UTF-8"))?;
        let mut lines = head.split("\r\n");
        let mut status_line = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = status_line.next().unwrap_or_default().to_owned();
        let status = status_line.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| invalid("no status code"))?;
        let reason = status_line.next().unwrap_or_default().to_owned();
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| match line.split_once(':') {
                Some((name, value)) => Ok((name.to_owned(), value.trim().to_owned())),
                None => Err(invalid("a header line without a colon")),
            })
            .collect::<io::Result<_>>()?;
        Ok(Response {
            version,
            status,
            reason,
            headers,
            body: Vec::new(),
        })
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// TLS over it, if the client speaks that.
    tls: Option<Box<ClientConnection>>,
    /// Bytes received but not yet returned.
    buffer: Vec<u8>,
}

impl Client {
    /// Connects, or panics.
    pub fn connect(addr: SocketAddr) -> Client {
        Client::try_connect(addr)
            .unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
    }

    /// Connects.
    pub fn try_connect(addr: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect_timeout(&addr, PATIENCE)?)
    }

    /// Connects from this address, such as 127.0.0.2, or panics.
    pub fn connect_from(source: IpAddr, addr: SocketAddr) -> Client {
        Client::try_connect_from(source, addr)
            .unwrap_or_else(|error| panic!("cannot connect from {source} to {addr}: {error}"))
    }

    /// Connects from this address.
    pub fn try_connect_from(source: IpAddr, addr: SocketAddr) -> io::Result<Client> {
        let domain = socket2::Domain::for_address(addr);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        Client::over(socket.into())
    }

    /// Connects from this address with the smallest receive buffer, or panics: the server soon
    /// cannot write more.
    pub fn connect_narrow(source: IpAddr, addr: SocketAddr) -> Client {
        let connect = || -> io::Result<Client> {
            let domain = socket2::Domain::for_address(addr);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_recv_buffer_size(1)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect_timeout(&addr.into(), PATIENCE)?;
            Client::over(socket.into())
        };
        connect().unwrap_or_else(|error| panic!("cannot connect from {source} to {addr}: {error}"))
    }

    /// Wraps an established connection.
    pub fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            tls: None,
            buffer: Vec::new(),
        })
    }

    /// Makes a TLS handshake over this connection, with a server that is `localhost`.
    pub fn try_secure(mut self, config: &Arc<ClientConfig>) -> io::Result<Client> {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name);
        let mut session = Box::new(session.map_err(io::Error::other)?);
        while session.is_handshaking() {
            session.complete_io(&mut self.stream)?;
        }
        self.tls = Some(session);
        Ok(self)
    }

    /// Connects and makes a TLS handshake, or panics.
    pub fn secure(addr: SocketAddr, config: &Arc<ClientConfig>) -> Client {
        let client = Client::connect(addr).try_secure(config);
        client.unwrap_or_else(|error| panic!("no TLS handshake with {addr}: {error}"))
    }

    /// The TLS session. Panics if there is none.
    pub fn session(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("a client that speaks TLS")
    }

    /// Sends the records that the session has.
    pub fn flush_session(&mut self) {
        while self.session().wants_write() {
            let session = self.tls.as_mut().expect("a client that speaks TLS");
            session
                .write_tls(&mut self.stream)
                .expect("the server takes the records");
        }
    }

    /// This end's address, which the server sees as its peer.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("the socket is bound")
    }

    /// Sends these bytes, or panics.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes the bytes");
    }

    /// Sends these bytes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.tls {
            Some(session) => {
                rustls::Stream::new(&mut **session, &mut self.stream).write_all(bytes.as_ref())
            }
            None => self.stream.write_all(bytes.as_ref()),
        }
    }

    /// Sends a request without a body and reads its response, or panics; the connection stays.
    /// `Host` is added unless given.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        self.try_request(method, path, headers)
            .unwrap_or_else(|error| panic!("no response to {method} {path}: {error}"))
    }

    /// Sends a request without a body and reads its response; the connection stays.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response> {
        self.try_send(request_head(method, path, headers))?;
        self.try_response(method == "HEAD")
    }

    /// Reads one response, or panics.
    pub fn response(&mut self) -> Response {
        self.try_response(false).expect("a response is received")
    }

    /// Reads one response. The error is `UnexpectedEof` if the stream ends too early, `TimedOut` if
    /// nothing is received for [`PATIENCE`].
    pub fn try_response(&mut self, to_head: bool) -> io::Result<Response> {
        let head_len = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive()?;
        };
        let mut response = Response::parse_head(&self.buffer[..head_len])?;
        self.buffer.drain(..head_len);
        if response.header("Transfer-Encoding").is_some() {
            return Err(invalid(
                "a Transfer-Encoding, which this client cannot read",
            ));
        }
        let length = match response.header("Content-Length") {
            _ if to_head || matches!(response.status, 100..=199 | 204 | 304) => 0,
            Some(length) => length.parse().map_err(|_| invalid("Content-Length"))?,
            None => {
                response.body = self.rest()?;
                return Ok(response);
            }
        };
        while self.buffer.len() < length {
            self.receive()?;
        }
        response.body = self.buffer.drain(..length).collect();
        Ok(response)
    }

    /// Reads until the server ends the stream, and returns what was received. A reset is an error.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Panics unless the server closes, or resets, without sending anything more.
    pub fn assert_closed(&mut self) {
        match self.rest() {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => panic!(
                "received before the close: {:?}",
                rest.escape_ascii().to_string()
            ),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("not closed: {error}"),
        }
    }

    /// Whether, as of now, the server has neither sent anything more nor closed.
    pub fn is_silent(&self) -> bool {
        let nothing = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        self.buffer.is_empty() && self.peek().is_err_and(nothing)
    }

    /// Whether, as of now, the server has closed, or reset, without sending anything more.
    pub fn is_closed(&self) -> bool {
        let is_end = match self.peek() {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        self.buffer.is_empty() && is_end
    }

    /// Peeks at received bytes without waiting.
    fn peek(&self) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        peeked
    }

    /// Tells the server that no more bytes follow; reading goes on.
    pub fn close_write(&self) {
        // The server may have closed already, which is what the test then finds.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("a socket can linger for no time");
    }

    /// The socket itself, for options.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Waits for more bytes and adds them to the buffer.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        loop {
            let read = match &mut self.tls {
                Some(session) => {
                    rustls::Stream::new(&mut **session, &mut self.stream).read(&mut chunk)
                }
                None => self.stream.read(&mut chunk),
            };
            match read {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.buffer.extend_from_slice(&chunk[..read]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A timeout of a blocking socket.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Sends `GET path` on a connection of its own and returns the response, or panics.
pub fn get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    request(addr, "GET", path, headers)
}

/// Sends a request without a body on a connection of its own and returns the response, or panics.
pub fn request(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    try_request(addr, method, path, headers)
        .unwrap_or_else(|error| panic!("no response to {method} {path}: {error}"))
}

/// Sends a request without a body on a connection of its own and returns the response. `Host` is
/// added unless given, and `Connection: close`.
pub fn try_request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response> {
    let mut client = Client::try_connect(addr)?;
    let headers = [headers, &[("Connection", "close")]].concat();
    client.try_send(request_head(method, path, &headers))?;
    client.try_response(method == "HEAD")
}

/// Sends these bytes on a connection of their own and returns the response to them, or panics.
pub fn exchange(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(addr);
    client.send(bytes);
    client.response()
}

/// The value of an `Authorization` header with this token.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn request_head(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("Host"))
    {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("invalid response: {what}"))
}
