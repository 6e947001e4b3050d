//! A request head becomes an answer, printed for the wire, and a line of the log.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::{Level, debug, error, info, log_enabled};

use crate::escape::Escaped;
use crate::http::request::{self, HeadError, MAX_HEADERS, Request};
use crate::http::response::{self, Persistence, Response};
use crate::http::service::{Context, Reply, Service};
use crate::http::transport::Transport;

/// The longest logged path, in bytes.
const MAX_LOGGED_PATH: usize = 256;

/// Asks the handler, and prints its answer. Returns whether that is the connection's last one.
///
/// # Errors
/// If `head` is not a request. Nothing is printed.
pub(super) fn of_request(
    head: &[u8],
    is_draining: bool,
    transport: &impl Transport,
    output: &mut Vec<u8>,
    context: Context<'_>,
) -> Result<bool, HeadError> {
    let service = context.service;
    // For the log only, as reading the clock is not free.
    let started = log_enabled!(Level::Info).then(|| transport.now());
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(head, &mut storage)?;
    let reply = ask_handler(service, &request);
    let mut response = reply.response;
    let is_last = !request.keep_alive || is_draining || context.lifecycle.is_last_answer();
    let persistence = match (is_last, request.version.1) {
        (true, _) => Persistence::Close,
        (false, 0) => Persistence::KeepAlive,
        (false, _) => Persistence::Implied,
    };
    add_headers(Some(&request), &mut response, context);
    let status = response.status();
    let without_body = request.method == tiny_http::Method::Head;
    output.clear();
    response::print(response, without_body, persistence, output);
    // Logged before it is written, so that the line exists when the client has the answer.
    if service.unlogged_path.as_deref() != Some(request.path) {
        let taken = started.map_or(0.0, |started| (transport.now() - started).as_secs_f64());
        info!(
            "{} {} {} {status} {:.3} ms{}",
            context.peer,
            Escaped::new(request.method.as_str(), MAX_LOGGED_PATH),
            Escaped::new(request.path, MAX_LOGGED_PATH),
            taken * 1e3,
            LoggedSubject(reply.subject.as_deref()),
        );
    }
    Ok(is_last)
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
    let mut response = response::error(status, message);
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
        response.add_header(response::header(
            "Strict-Transport-Security",
            "max-age=31536000",
        ));
    }
}

fn ask_handler(service: &Service, request: &Request<'_>) -> Reply {
    // A panic cannot leave the handler's state half changed: what it shares is behind locks, or in
    // `Arc`s that are replaced whole.
    let reply = catch_unwind(AssertUnwindSafe(|| service.handler.handle(request)));
    reply.unwrap_or_else(|_| {
        error!(
            "a handler panicked at {}",
            Escaped::new(request.path, MAX_LOGGED_PATH)
        );
        response::error(500, "Internal Server Error").into()
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
