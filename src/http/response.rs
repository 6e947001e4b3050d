//! Responses: JSON bodies, the headers of every response, and printing.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;
use serde::Serialize;
use tiny_http::{HTTPVersion, Header, StatusCode};

/// A response with its body in memory, so that its length is known and it is never chunked.
pub struct Response(Kind);

enum Kind {
    New(New),
    /// The header lines added to it follow, printed.
    Prepared(&'static Printed, Vec<u8>),
}

/// tiny_http prints the head only. It would print the body with `io::copy`, which takes 8 KiB of
/// stack.
struct New {
    head: tiny_http::Response<io::Empty>,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        match &self.0 {
            Kind::New(new) => new.head.status_code().0,
            Kind::Prepared(printed, _) => printed.status,
        }
    }

    /// The same response with one more header line.
    pub fn with_header(mut self, header: Header) -> Response {
        self.add_header(header);
        self
    }

    /// Adds a header line.
    pub fn add_header(&mut self, header: Header) {
        match &mut self.0 {
            Kind::New(new) => new.head.add_header(header),
            Kind::Prepared(_, more) => {
                let (name, value) = (header.field.as_str(), header.value.as_str());
                for part in [name.as_str(), ": ", value, "\r\n"] {
                    more.extend_from_slice(part.as_bytes());
                }
            }
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A response that is always the same except for its `Date`. It is printed once, at its first use.
///
/// A request of the public route took 19 us of processor time without it, system calls included,
/// and 3 us less with it (x86_64 with glibc, 64 connections of wrk).
pub struct Prepared {
    make: fn() -> Response,
    printed: OnceLock<Printed>,
}

impl Prepared {
    /// The response that `make` makes.
    pub const fn new(make: fn() -> Response) -> Prepared {
        Prepared {
            make,
            printed: OnceLock::new(),
        }
    }

    /// The response.
    pub fn response(&'static self) -> Response {
        let printed = self.printed.get_or_init(|| Printed::new((self.make)()));
        Response(Kind::Prepared(printed, Vec::new()))
    }
}

/// A printed response, and the positions at which it is changed for each use.
struct Printed {
    status: u16,
    wire: Vec<u8>,
    /// Where the header lines begin, and where a `Connection` line is inserted.
    lines: usize,
    /// Where the value of `Date` is.
    date: Range<usize>,
    /// Where `Content-Length`, the last header line, begins. Added lines go before it.
    length: usize,
    /// Where the body begins.
    body: usize,
}

/// The headers of every response. Clients of the API rely on them.
const FIXED_HEADERS: [(&str, &str); 10] = [
    ("Server", "postern"),
    (
        "Cache-Control",
        "no-cache, no-store, max-age=0, must-revalidate",
    ),
    ("Pragma", "no-cache"),
    ("Expires", "0"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "deny"),
    ("X-XSS-Protection", "0"),
    (
        "Content-Security-Policy",
        "default-src 'self'; frame-ancestors 'none';",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Type", "application/json; charset=utf-8"),
];

/// Longer than most responses, in bytes.
const USUAL_LENGTH: usize = 1024;

/// `Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110 §5.6.7.
const DATE_LENGTH: usize = 29;

/// The body of an error.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// What happened, the same for every request of its kind.
    pub message: &'a str,
    /// The error code: of RFC 6750 §3.1, or postern's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    /// What was wrong with this request, one plain sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_description: Option<&'a str>,
}

/// A header line. `value` must be printable ASCII: it comes from this program or from checked
/// configuration, never from the network.
pub fn header(name: &'static str, value: &str) -> Header {
    // tiny_http would print a line break unchanged, and refuses only what is not ASCII. A value
    // with either is a bug here: it loses those characters, and the response is still sent.
    let safe: Vec<u8> = value.bytes().filter(|b| matches!(b, b' '..=b'~')).collect();
    debug_assert_eq!(safe.len(), value.len(), "{name}: {value:?}");
    Header::from_bytes(name, safe).expect("the bytes were just filtered to ASCII")
}

/// A response with a JSON body.
pub fn json(status: u16, body: impl Into<Cow<'static, [u8]>>) -> Response {
    with_fixed_headers(status, body.into(), FIXED_HEADERS.len())
}

/// A response with an empty body, and so without a `Content-Type`.
pub fn empty(status: u16) -> Response {
    with_fixed_headers(status, Cow::Borrowed(b""), FIXED_HEADERS.len() - 1)
}

/// An error with a message only.
pub fn error(status: u16, message: &str) -> Response {
    error_with(
        status,
        &ErrorBody {
            message,
            error: None,
            error_description: None,
        },
    )
}

/// An error with its JSON body.
pub fn error_with(status: u16, body: &ErrorBody<'_>) -> Response {
    let body = serde_json::to_vec(body).expect("three strings always serialize");
    json(status, body)
}

fn with_fixed_headers(status: u16, body: Cow<'static, [u8]>, count: usize) -> Response {
    let headers = FIXED_HEADERS[..count]
        .iter()
        .map(|(name, value)| header(name, value))
        .collect();
    let length = Some(body.len());
    let head = tiny_http::Response::new(StatusCode(status), headers, io::empty(), length, None);
    Response(Kind::New(New { head, body }))
}

/// Whether the connection persists after a response (RFC 9112 §9.3), as its `Connection` header
/// says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// None: HTTP/1.1 keeps a connection open by default.
    Implied,
    /// `keep-alive`, which HTTP/1.0 needs.
    KeepAlive,
    /// `close`: the server closes after this answer.
    Close,
}

impl Persistence {
    fn line(self) -> &'static [u8] {
        match self {
            Persistence::Implied => b"",
            Persistence::KeepAlive => b"Connection: keep-alive\r\n",
            Persistence::Close => b"Connection: close\r\n",
        }
    }
}

/// Appends the printed `response` to `wire`. An answer to `HEAD` is printed `without_body`.
pub fn print(response: Response, without_body: bool, persistence: Persistence, wire: &mut Vec<u8>) {
    match response.0 {
        Kind::New(new) => new.print(without_body, persistence, wire),
        Kind::Prepared(printed, more) => printed.print(&more, without_body, persistence, wire),
    }
}

impl New {
    fn print(self, without_body: bool, persistence: Persistence, wire: &mut Vec<u8>) {
        let start = wire.len();
        wire.reserve(USUAL_LENGTH);
        // No request headers are passed: a `TE` among them would turn on chunked encoding.
        self.head
            .raw_print(&mut *wire, HTTPVersion(1, 1), &[], true, None)
            .expect("writing to memory cannot fail");
        // tiny_http drops a `Connection` header, so it is inserted after the status line.
        let line = persistence.line();
        if let Some(end) = memchr::memchr(b'\n', &wire[start..]) {
            let at = start + end + 1;
            wire.splice(at..at, line.iter().copied());
        }
        if !without_body {
            wire.extend_from_slice(&self.body);
        }
    }
}

impl Printed {
    fn new(response: Response) -> Printed {
        let status = response.status();
        let mut wire = Vec::new();
        print(response, false, Persistence::Implied, &mut wire);
        let find = |text: &[u8]| memchr::memmem::find(&wire, text).map(|at| at + text.len());
        // The first match of each is in the head, as the body comes last.
        let lines = find(b"\r\n").expect("a status line was printed");
        let date = find(b"\r\nDate: ").expect("tiny_http adds a date");
        let length = find(b"\r\nContent-Length").expect("tiny_http adds the length");
        Printed {
            status,
            lines,
            date: date..date + DATE_LENGTH,
            length: length - "Content-Length".len(),
            body: find(b"\r\n\r\n").expect("a head was printed"),
            wire,
        }
    }

    fn print(&self, more: &[u8], without_body: bool, persistence: Persistence, wire: &mut Vec<u8>) {
        let line = persistence.line();
        let end = match without_body {
            true => self.body,
            false => self.wire.len(),
        };
        let start = wire.len();
        wire.reserve(end + line.len() + more.len());
        wire.extend_from_slice(&self.wire[..self.lines]);
        wire.extend_from_slice(line);
        wire.extend_from_slice(&self.wire[self.lines..self.length]);
        wire.extend_from_slice(more);
        wire.extend_from_slice(&self.wire[self.length..end]);
        let moved = start + line.len();
        let date = moved + self.date.start..moved + self.date.end;
        wire[date].copy_from_slice(&date_now());
    }
}

/// The date as tiny_http prints it. It is formatted once a second and thread.
fn date_now() -> [u8; DATE_LENGTH] {
    thread_local! {
        static LATEST: Cell<(u64, [u8; DATE_LENGTH])> = const { Cell::new((0, [0; DATE_LENGTH])) };
    }
    let now = SystemTime::now();
    // No date was formatted for the second 0: a clock before 1970 is formatted each time.
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let (latest, mut date) = LATEST.get();
    if latest != second || second == 0 {
        // As long at any time until the year 9999.
        write!(&mut date[..], "{}", HttpDate::from(now)).expect("a date has one length");
        LATEST.set((second, date));
    }
    date
}

#[cfg(test)]
mod tests;
