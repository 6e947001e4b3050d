//! A request head becomes an answer, printed for the wire, and a line of the log.

use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use log::{debug, error, log, log_enabled};

use crate::escape::{Escaped, Escaper};
use crate::http::body::{BodyError, Collector};
use crate::http::request::{self, HeadError, MAX_HEADERS, Request};
use crate::http::response::{self, Persistence, Refused, Response};
use crate::http::service::{Answer, Cause, Context, Interruption, Service};
use crate::http::transport::Transport;
use crate::metrics;

/// The most memory that the printed answers keep between requests, in bytes.
const MAX_KEPT_OUTPUT: usize = 64 * 1024;
// A stranger decides what a line holds. With these it is under 512 bytes: up to 68 stand before it,
// and addresses, status and time take up to 115.
/// The longest logged path, in bytes.
const MAX_LOGGED_PATH: usize = 256;
/// The longest logged method.
const MAX_LOGGED_METHOD: usize = 20;
/// The longest logged `sub`.
const MAX_LOGGED_SUBJECT: usize = 128;
/// The longest logged `Origin`.
const MAX_LOGGED_ORIGIN: usize = 64;
/// The longest end of a line. It comes before the path, which is cut for it.
const MAX_TAIL: usize = 200;
/// The longest path and end of a line together.
const MAX_PATH_AND_TAIL: usize = 300;

/// What follows a head.
pub(super) enum Step {
    /// The answer has been printed. It may be the connection's last one.
    Printed {
        is_last: bool,
        /// When the request was complete, if its answer is counted.
        began: Option<Instant>,
    },
    /// The handler needs the body first.
    Collect {
        collector: Collector,
        /// Whether the client waits for a `100 Continue` before it sends the body.
        expects_continue: bool,
    },
}

/// Asks the handler, and prints its answer. `body` is there once it has been collected.
///
/// # Errors
/// If `head` is not a request. Nothing is printed.
pub(super) fn of_request(
    head: &[u8],
    body: Option<&[u8]>,
    is_draining: bool,
    transport: &impl Transport,
    output: &mut Vec<u8>,
    context: Context<'_>,
) -> Result<Step, HeadError> {
    let role = context.service.role;
    let is_logged = log_enabled!(role.log_level());
    // Reading the clock is not free.
    let began = (is_logged || role.is_counted()).then(|| transport.now());
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(head, &mut storage)?;
    let request = match body {
        Some(body) => request.with_body(body),
        None => request,
    };
    let response = match ask_handler(context.service, &request) {
        Ok(response) => response,
        Err(Interruption(Cause::Error(response))) => response,
        Err(Interruption(Cause::Body(limit))) => {
            let framing = request.framing();
            match Collector::new(framing.body, limit, &context.service.bodies) {
                Ok(collector) => {
                    return Ok(Step::Collect {
                        collector,
                        expects_continue: framing.expects_continue,
                    });
                }
                Err(error) => error.response(),
            }
        }
    };
    let is_last = !request.keeps_alive() || is_draining || context.lifecycle.is_last_answer();
    let taken = match began {
        Some(began) if is_logged => transport.now() - began,
        _ => Duration::ZERO,
    };
    let is_counted = print(&request, response, is_last, taken, output, context);
    let began = began.filter(|_| is_counted);
    Ok(Step::Printed { is_last, began })
}

/// Prints the error that answers a request whose body cannot be collected, always the last answer.
pub(super) fn of_body_error(
    error: BodyError,
    head: &[u8],
    output: &mut Vec<u8>,
    context: Context<'_>,
) {
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match Request::parse(head, &mut storage) {
        Ok(request) => {
            let response = error.response();
            print(&request, response, true, Duration::ZERO, output, context);
        }
        // Does not happen: it was parsed before.
        Err(error) => of_refusal(error.into(), head, output, context),
    }
}

/// Prints the answer to a request, logs it and counts it. Returns whether it is counted.
fn print(
    request: &Request<'_>,
    mut response: Response,
    is_last: bool,
    taken: Duration,
    output: &mut Vec<u8>,
    context: Context<'_>,
) -> bool {
    let persistence = match (is_last, request.version().1) {
        (true, _) => Persistence::Close,
        (false, 0) => Persistence::KeepAlive,
        (false, _) => Persistence::Implied,
    };
    add_headers(Some(request), &mut response, context);
    let (status, refused) = (response.status(), response.take_refused());
    let without_body = *request.method() == tiny_http::Method::Head;
    output.clear();
    // After a large answer, the worker's buffer would stay large.
    output.shrink_to(MAX_KEPT_OUTPUT);
    response::print(response, without_body, persistence, output);
    // The server's own probe.
    let service = context.service;
    if service.unlogged_path.as_deref() == Some(request.path()) {
        return false;
    }
    if service.role.is_counted() {
        let reason = refused.as_ref().map(|refused| refused.reason);
        metrics::request(request.route(), status, reason);
    }
    let level = service.role.log_level();
    if log_enabled!(level) {
        // Logged before it is written, so that the line exists when the client has the answer.
        let tail = tail(request, refused.as_deref(), context);
        let path = MAX_LOGGED_PATH.min(MAX_PATH_AND_TAIL - tail.len());
        log!(
            level,
            "{} {} {} {status} {:.3} ms{tail}",
            service.forwarded.client(context.peer, request),
            Escaped::new(request.method().as_str(), MAX_LOGGED_METHOD),
            Escaped::new(request.path(), path),
            taken.as_secs_f64() * 1e3,
        );
    }
    service.role.is_counted()
}

/// Prints the error that answers what has been `received`, always the last answer.
pub(super) fn of_refusal(
    refusal: Refusal,
    received: &[u8],
    output: &mut Vec<u8>,
    context: Context<'_>,
) {
    let (status, message) = refusal.status();
    debug!("{} {status} {refusal}", context.peer);
    if context.service.role.is_counted() {
        metrics::request(None, status, None);
    }
    let mut response = Response::error(status, message);
    add_headers(None, &mut response, context);
    let without_body = request::begins_with_head(received);
    output.clear();
    response::print(response, without_body, Persistence::Close, output);
}

/// Adds the headers that depend on the connection.
fn add_headers(request: Option<&Request<'_>>, response: &mut Response, context: Context<'_>) {
    context.service.cors.apply(request, response);
    // Over plain HTTP it must not be sent (RFC 6797 §7.2).
    if context.is_secure {
        response.add_header("Strict-Transport-Security", "max-age=31536000");
    }
}

fn ask_handler(service: &Service, request: &Request<'_>) -> Answer {
    // A panic cannot leave the handler's state half changed: what it shares is behind locks, or in
    // `Arc`s that are replaced whole.
    let answer = catch_unwind(AssertUnwindSafe(|| service.handler.handle(request)));
    answer.unwrap_or_else(|_| {
        error!(
            "a handler panicked at {}",
            Escaped::new(request.path(), MAX_LOGGED_PATH)
        );
        Ok(Response::internal_error())
    })
}

/// Why a request is answered with an error and not handled.
#[derive(Debug)]
pub(super) enum Refusal {
    Head(HeadError),
    /// The head was not complete in time.
    Late,
}

impl Refusal {
    fn status(&self) -> (u16, &'static str) {
        match self {
            Refusal::Head(error) => error.status(),
            Refusal::Late => (408, "Request Timeout"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Head(error) => error.fmt(f),
            Refusal::Late => f.write_str("the request head was not complete in time"),
        }
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Refusal {
        Refusal::Head(error)
    }
}

/// The end of a request's log line: why it was refused, who sent it, what a proxy asks about, and an
/// origin that is not allowed.
fn tail(request: &Request<'_>, refused: Option<&Refused>, context: Context<'_>) -> String {
    let mut tail = String::new();
    let mut out = Escaper::new(&mut tail, MAX_TAIL);
    // Writing to an `Escaper` does not fail.
    if let Some(refused) = refused {
        let _ = write!(out, " {}", refused.text);
    }
    if let Some(subject) = request.subject() {
        let _ = write!(out, " sub={}", Escaped::new(&subject, MAX_LOGGED_SUBJECT));
    }
    let service = context.service;
    let _ = write!(out, "{}", service.forwarded.question(context.peer, request));
    if let Some(origin) = service.cors.refused(request) {
        let origin = String::from_utf8_lossy(origin);
        let origin = Escaped::new(&origin, MAX_LOGGED_ORIGIN);
        let _ = write!(out, " origin {origin} not allowed");
    }
    tail
}
