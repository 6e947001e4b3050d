//! A request head becomes an answer, printed for the wire, and a line of the log.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use log::{debug, error, log, log_enabled};

use crate::escape::Escaped;
use crate::http::body::{BodyError, Collector};
use crate::http::request::{self, HeadError, MAX_HEADERS, Request};
use crate::http::response::{self, Persistence, Response};
use crate::http::service::{Answer, Cause, Context, Interruption, Service};
use crate::http::transport::Transport;
use crate::metrics;

/// The most memory that the printed answers keep between requests, in bytes.
const MAX_KEPT_OUTPUT: usize = 64 * 1024;
/// The longest logged path, in bytes.
const MAX_LOGGED_PATH: usize = 256;

/// What follows a head.
pub(super) enum Step {
    /// The answer has been printed. It may be the connection's last one.
    Printed {
        is_last: bool,
        /// When the request was complete, if its answer is counted.
        began: Option<Instant>,
    },
    /// The handler needs the body first.
    Collect(Collector, Expects),
}

/// Whether the client waits for a `100 Continue` before it sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    Nothing,
    Continue,
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
                Ok(collector) if framing.expects_continue => {
                    return Ok(Step::Collect(collector, Expects::Continue));
                }
                Ok(collector) => return Ok(Step::Collect(collector, Expects::Nothing)),
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
    let (status, refused) = (response.status(), response.refused());
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
        metrics::request(request.route(), status, refused);
    }
    // Logged before it is written, so that the line exists when the client has the answer.
    log!(
        service.role.log_level(),
        "{} {} {} {status} {:.3} ms{}{}",
        service.forwarded.client(context.peer, request),
        Escaped::new(request.method().as_str(), MAX_LOGGED_PATH),
        Escaped::new(request.path(), MAX_LOGGED_PATH),
        taken.as_secs_f64() * 1e3,
        LoggedSubject(request.subject()),
        service.forwarded.question(context.peer, request),
    );
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
    debug!("{} {status} {refusal:?}", context.peer);
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
        Ok(Response::error(500, "Internal Server Error"))
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

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Refusal {
        Refusal::Head(error)
    }
}

/// The end of a request's log line.
struct LoggedSubject<'a>(Option<&'a str>);

impl fmt::Display for LoggedSubject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(subject) => write!(f, " sub={}", Escaped::new(subject, MAX_LOGGED_PATH)),
            None => Ok(()),
        }
    }
}
