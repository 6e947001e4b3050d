//! What the server answers to requests with a token: its own router and handlers answer here.

use crate::api::{Auth, Messages};
use crate::auth::Authenticator;
use crate::http::request::{HeadError, HeadScanner, MAX_HEADERS, Request};
use crate::http::response::{self, Persistence};
use crate::http::service::Cause;
use crate::http::{Handler, Interruption, Response};

/// The routes.
const PATHS: [&str; 3] = [
    "/api/messages/public",
    "/api/messages/protected",
    "/api/messages/admin",
];

/// What is answered.
pub(super) struct Answers {
    /// A line for each route: the request, and status and message of its answer.
    pub(super) lines: Vec<String>,
    /// Why a request with this token is not read at all.
    pub(super) fault: Option<HeadError>,
}

impl Answers {
    /// The answers to requests with this token.
    pub(super) fn to(authenticator: Authenticator, token: &[u8]) -> Answers {
        let api = Messages::new(Auth::new(authenticator));
        let mut answers = Answers {
            lines: Vec::new(),
            fault: None,
        };
        for path in PATHS {
            let (status, message) = match ask(&api, path, token) {
                Ok(response) => (response.status(), message(response)),
                Err(fault) => {
                    answers.fault = Some(fault);
                    let (status, message) = fault.status();
                    (status, message.to_owned())
                }
            };
            let line = format!("GET {path:24} {status} {message}");
            answers.lines.push(line);
        }
        answers
    }
}

/// One request with the token, and no other header than it must have.
fn ask(api: &Messages, path: &str, token: &[u8]) -> Result<Response, HeadError> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ");
    let head = [head.as_bytes(), token, b"\r\n\r\n"].concat();
    let end = HeadScanner::default().find_end(&head)?;
    let head = &head[..end.ok_or(HeadError::Bad("no end"))?];
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(head, &mut storage)?;
    Ok(match api.handle(&request) {
        Ok(response) | Err(Interruption(Cause::Error(response))) => response,
        // Does not happen: the messages need no body.
        Err(Interruption(Cause::Body(_))) => Response::empty(200),
    })
}

/// The `message` of a body, its first member. None of them has a quote in it.
fn message(response: Response) -> String {
    let mut wire = Vec::new();
    response::print(response, false, Persistence::Implied, &mut wire);
    let text = String::from_utf8_lossy(&wire);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let message = body.strip_prefix(r#"{"message":""#).unwrap_or(body);
    message.split('"').next().unwrap_or_default().to_owned()
}
