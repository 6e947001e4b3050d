//! A request head to a [`Request`], by the framing rules of RFC 9112.
//!
//! What stands in a head decides where the next request begins, so nothing here is lenient: a head
//! that two parsers could read in two ways is refused, and the connection closed.

mod framing;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use httparse::Header;
use memchr::memchr2;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tiny_http::{HTTPVersion, Method};

pub use self::framing::BodyFraming;
pub(crate) use self::framing::Framing;
use self::framing::is_host;
use super::body::{BodyError, MAX_BODY};
use super::response::Response;
use super::service::Interruption;

/// The longest request head, in bytes, from the request line to the empty line.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most header lines in a head.
pub const MAX_HEADERS: usize = 64;
/// The longest request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// Why a head is refused. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP, or ambiguous: 400. The text is for the log.
    Bad(&'static str),
    /// The target is longer than [`MAX_TARGET`]: 414.
    UriTooLong,
    /// More than [`MAX_HEAD`] bytes or [`MAX_HEADERS`] lines: 431.
    TooLarge,
    /// A version other than 1.0 and 1.1: 505.
    Version,
}

impl HeadError {
    /// The status and the message that answer it.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            HeadError::Bad(_) => (400, "Bad Request"),
            HeadError::UriTooLong => (414, "URI Too Long"),
            HeadError::TooLarge => (431, "Request Header Fields Too Large"),
            HeadError::Version => (505, "HTTP Version Not Supported"),
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Bad(what) => write!(f, "the request is malformed: {what}"),
            HeadError::UriTooLong => {
                write!(f, "the request target is longer than {MAX_TARGET} bytes")
            }
            HeadError::TooLarge => write!(
                f,
                "the request head is longer than {MAX_HEAD} bytes or {MAX_HEADERS} header lines"
            ),
            HeadError::Version => f.write_str("the HTTP version is neither 1.0 nor 1.1"),
        }
    }
}

impl Error for HeadError {}

/// Finds the end of a head in bytes that arrive in pieces. Each byte is scanned once.
#[derive(Debug, Default)]
pub struct HeadScanner {
    /// Bytes already looked at.
    scanned: usize,
    /// Where the current line starts.
    line: usize,
    /// Whether the request line is there.
    request_line: bool,
    /// Bytes of an incomplete head already checked.
    checked: usize,
}

impl HeadScanner {
    /// Takes all bytes received so far. Returns the length of the head, including its empty line,
    /// once it is complete.
    ///
    /// A fault that no further byte can fix is reported at once, so that a peer that speaks another
    /// protocol (TLS, HTTP/0.9) does not wait for the deadline.
    ///
    /// # Errors
    /// [`HeadError`], when the head is too large or cannot become a valid one.
    pub fn find_end(&mut self, received: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(offset) = memchr2(b'\r', b'\n', &received[self.scanned..]) {
            let at = self.scanned + offset;
            if received[at] == b'\n' {
                return Err(HeadError::Bad("bare LF"));
            }
            match received.get(at + 1) {
                None => {
                    self.scanned = at;
                    return self.incomplete(received);
                }
                Some(b'\n') => {}
                Some(_) => return Err(HeadError::Bad("bare CR")),
            }
            let empty = at == self.line;
            // RFC 9112 §2.2: one empty line before the request line is ignored.
            if empty && at > 0 {
                let end = at + 2;
                return if end > MAX_HEAD {
                    Err(HeadError::TooLarge)
                } else if self.request_line {
                    Ok(Some(end))
                } else {
                    Err(HeadError::Bad("no request line"))
                };
            }
            if !empty && !self.request_line {
                self.request_line = true;
                parse_request_line(&received[self.line..at])?;
            }
            self.line = at + 2;
            self.scanned = at + 2;
        }
        self.scanned = received.len();
        self.incomplete(received)
    }

    /// Checks a head whose end has not arrived yet.
    fn incomplete(&mut self, received: &[u8]) -> Result<Option<usize>, HeadError> {
        let is_control = |b: &u8| (*b < b' ' && !b"\t\r\n".contains(b)) || *b == 0x7f;
        if received[self.checked..].iter().any(is_control) {
            return Err(HeadError::Bad("control character"));
        }
        self.checked = received.len();
        if received.len() < MAX_HEAD {
            return Ok(None);
        }
        if !self.request_line {
            parse_request_line(&received[self.line..])?;
        }
        Err(HeadError::TooLarge)
    }
}

/// Whether the bytes begin with a `HEAD` request line, whatever follows. The answer to `HEAD` has
/// no content even if it is an error (RFC 9110 §9.3.2).
pub fn begins_with_head(received: &[u8]) -> bool {
    received[skip_empty_line(received)..].starts_with(b"HEAD ")
}

fn skip_empty_line(head: &[u8]) -> usize {
    if head.starts_with(b"\r\n") { 2 } else { 0 }
}

/// One request, borrowed from the bytes of its head.
#[derive(Debug)]
pub struct Request<'a> {
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    version: HTTPVersion,
    framing: Framing,
    headers: &'a [Header<'a>],
    /// `None` until it has been collected.
    body: Option<&'a [u8]>,
    /// The path of its route, for the metrics.
    route: Cell<Option<&'static str>>,
    /// The `sub` of its valid token, for the log.
    subject: RefCell<Option<Arc<str>>>,
}

impl<'a> Request<'a> {
    /// Reads a whole head, as found by [`HeadScanner::find_end`]. `storage` holds the header lines.
    ///
    /// # Errors
    /// [`HeadError`], when the head breaks a rule of RFC 9112 §2 to §6 that decides where the
    /// request ends or what it asks for.
    #[doc(hidden)]
    pub fn parse(
        head: &'a [u8],
        storage: &'a mut [Header<'a>; MAX_HEADERS],
    ) -> Result<Request<'a>, HeadError> {
        let head = &head[skip_empty_line(head)..];
        let end = memchr::memchr(b'\r', head).ok_or(HeadError::Bad("no request line"))?;
        let line = parse_request_line(&head[..end])?;
        let headers = parse_headers(&head[end + 2..], storage)?;
        let framing = Framing::read(headers, line.version == HTTPVersion(1, 1))?;
        let (path, query) = path_and_query(line.target, &line.method)?;
        Ok(Request {
            path,
            query,
            method: line.method,
            framing,
            version: line.version,
            headers,
            body: None,
            route: Cell::new(None),
            subject: RefCell::new(None),
        })
    }

    /// The method; compared case-sensitively (RFC 9110 §9.1).
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target's path, as sent: up to the `?`, not decoded. `*` for `OPTIONS *`.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// What stands behind the `?` of the target, as sent; `None` without a `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The values of a name in the query, in order, decoded as
    /// [`application/x-www-form-urlencoded`](https://url.spec.whatwg.org/#urlencoded-parsing):
    /// `+` is a space, `%41` is `A`. A name without `=` has the value `""`. Between two `&` in
    /// succession there is no name. Bytes that are not UTF-8 become U+FFFD.
    pub fn query_values(&self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let pairs = self.query.into_iter().flat_map(|query| query.split('&'));
        pairs
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(move |(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
    }

    /// The values of all header lines of that name, in order, without the white space around them.
    pub fn headers(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|header| header.value)
    }

    /// The value of the only header line of that name; `None` when there is none or several.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.headers(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }

    /// The body, of at most `limit` bytes. `limit` counts up to [`MAX_BODY`].
    ///
    /// A body is received only after a handler has asked for it, so that nothing is kept for a
    /// client that is not let in. Return the error with `?`: the handler is called again, **from
    /// its start**, when the body is there. So ask for it after all checks, and before anything
    /// that must not happen twice.
    ///
    /// # Errors
    /// The [`Interruption`] that waits for the body, or answers 413 when it is longer.
    pub fn body(&self, limit: usize) -> Result<&'a [u8], Interruption> {
        let limit = limit.min(MAX_BODY);
        let (length, body) = match (self.body, self.framing.body) {
            (Some(body), _) => (body.len() as u64, Some(body)),
            (None, BodyFraming::Length(0)) => (0, Some(&[][..])),
            (None, BodyFraming::Length(length)) => (length, None),
            (None, BodyFraming::Chunked) => (0, None),
        };
        if length > limit as u64 {
            return Err(BodyError::TooLarge.response().into());
        }
        body.ok_or(Interruption::wants_body(limit))
    }

    /// The body as JSON: [`body`](Request::body), read as a `T`.
    ///
    /// # Errors
    /// As [`body`](Request::body); and 400, which says what is wrong, when it is not a `T`.
    pub fn json<T: Deserialize<'a>>(&self, limit: usize) -> Result<T, Interruption> {
        let read = serde_json::from_slice(self.body(limit)?);
        read.map_err(|error| {
            let what = format!("The body is not the JSON that is expected: {error}.");
            Response::detailed_error(400, "Bad Request", "invalid_body", &what).into()
        })
    }

    /// `HTTP/1.0` or `HTTP/1.1`.
    #[doc(hidden)]
    pub fn version(&self) -> &HTTPVersion {
        &self.version
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.framing.body != BodyFraming::Length(0)
    }

    /// Whether the connection stays open (RFC 9112 §9.3). After a body that is not received, it is
    /// unknown where the next request begins.
    #[doc(hidden)]
    pub fn keeps_alive(&self) -> bool {
        self.framing.keep_alive && (self.body.is_some() || !self.has_body())
    }

    /// How the body ends, and whether its client waits for a `100 Continue`.
    pub(crate) fn framing(&self) -> &Framing {
        &self.framing
    }

    /// The same request with its body.
    pub(crate) fn with_body(mut self, body: &'a [u8]) -> Request<'a> {
        self.body = Some(body);
        self
    }

    /// Notes who sends it, for the log. The first note counts.
    pub fn set_subject(&self, subject: Arc<str>) {
        self.subject.borrow_mut().get_or_insert(subject);
    }

    /// Notes the route that answers it, for the metrics: its path, or another name for it. The
    /// first note counts. A [`Router`](crate::Router) does it; a handler without one may, too.
    /// At most 32 routes are told apart.
    pub fn set_route(&self, route: &'static str) {
        self.route.set(self.route.get().or(Some(route)));
    }

    /// The route that answers it, if there is one.
    pub(crate) fn route(&self) -> Option<&'static str> {
        self.route.get()
    }

    /// Who sends it, as far as it is known.
    pub(crate) fn subject(&self) -> Option<Arc<str>> {
        self.subject.borrow().clone()
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(decode(&text.replace('+', " ")).into_owned()),
        false => percent_decode_str(text).decode_utf8_lossy(),
    }
}

struct RequestLine<'a> {
    method: Method,
    target: &'a str,
    version: HTTPVersion,
}

/// `method SP request-target SP HTTP-version`, RFC 9112 §3, with single spaces.
fn parse_request_line(line: &[u8]) -> Result<RequestLine<'_>, HeadError> {
    const BAD: HeadError = HeadError::Bad("request line");
    let line = std::str::from_utf8(line).map_err(|_| BAD)?;
    let (method, rest) = line.split_once(' ').ok_or(BAD)?;
    if method.is_empty() || !method.bytes().all(is_token_byte) {
        return Err(HeadError::Bad("method"));
    }
    // A line that is too long and has no version counts as a target that is too long.
    let too_long = |target: &str| target.len() > MAX_TARGET;
    let Some((target, version)) = rest.split_once(' ') else {
        return Err(if too_long(rest) {
            HeadError::UriTooLong
        } else {
            BAD
        });
    };
    if too_long(target) {
        return Err(HeadError::UriTooLong);
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(HeadError::Bad("target"));
    }
    let version = match version.as_bytes() {
        b"HTTP/1.1" => HTTPVersion(1, 1),
        b"HTTP/1.0" => HTTPVersion(1, 0),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(HeadError::Version);
        }
        _ => return Err(BAD),
    };
    // It fails only if the method is not ASCII, but token bytes are.
    let method = method.parse().map_err(|()| HeadError::Bad("method"))?;
    Ok(RequestLine {
        method,
        target,
        version,
    })
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn parse_headers<'a>(
    lines: &'a [u8],
    storage: &'a mut [Header<'a>; MAX_HEADERS],
) -> Result<&'a [Header<'a>], HeadError> {
    match httparse::parse_headers(lines, storage) {
        Ok(httparse::Status::Complete((length, headers))) if length == lines.len() => Ok(headers),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLarge),
        _ => Err(HeadError::Bad("header line")),
    }
}

/// The path and the query of a request target (RFC 9112 §3.2).
fn path_and_query<'a>(
    target: &'a str,
    method: &Method,
) -> Result<(&'a str, Option<&'a str>), HeadError> {
    const BAD: HeadError = HeadError::Bad("target");
    let path_and_query = if target.starts_with('/') {
        target
    } else if target == "*" {
        // §3.2.4: asterisk-form is for OPTIONS only.
        return if *method == Method::Options {
            Ok(("*", None))
        } else {
            Err(BAD)
        };
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(BAD)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(BAD);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !is_host(authority.as_bytes()) {
            return Err(BAD);
        }
        match rest {
            // §3.2.4: OPTIONS on an absolute target without path and query is `OPTIONS *`.
            "" if *method == Method::Options => "*",
            rest => rest,
        }
    };
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    // RFC 9110 §4.2.3: an empty path is `/`, also before a query.
    Ok((if path.is_empty() { "/" } else { path }, query))
}

#[cfg(test)]
mod tests;
