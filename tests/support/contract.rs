//! What clients rely on: the routes, and the headers of every response.

use std::time::{Duration, SystemTime};

use super::PATIENCE;
use super::client::Response;
use super::tenant::http_date;

/// Needs no token.
pub const PUBLIC: &str = "/api/messages/public";
/// Needs a valid access token.
pub const PROTECTED: &str = "/api/messages/protected";
/// Needs a token with the permission `read:admin-messages`.
pub const ADMIN: &str = "/api/messages/admin";

/// The body of 200 at [`PUBLIC`].
pub const PUBLIC_BODY: &str =
    r#"{"message":"The API doesn't require an access token to share this message."}"#;
/// The body of 200 at [`PROTECTED`].
pub const PROTECTED_BODY: &str =
    r#"{"message":"The API successfully validated your access token."}"#;
/// The body of 200 at [`ADMIN`].
pub const ADMIN_BODY: &str = r#"{"message":"The API successfully recognized you as an admin."}"#;

/// What a request needs to be answered with 200.
#[derive(Debug, Clone, Copy)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A valid access token.
    Token,
    /// A valid access token with this permission.
    Permission(&'static str),
}

/// All routes: the path, what it needs, and the body of its 200.
pub const ROUTES: [(&str, Needs, &str); 3] = [
    (PUBLIC, Needs::Nothing, PUBLIC_BODY),
    (PROTECTED, Needs::Token, PROTECTED_BODY),
    (ADMIN, Needs::Permission("read:admin-messages"), ADMIN_BODY),
];

/// The headers of every response, except `Date`, `Content-Length` and, with a body, `Content-Type`.
const FIXED_HEADERS: [(&str, &str); 9] = [
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
    ("Server", "postern"),
];

/// Headers that no response has.
const ABSENT_HEADERS: [&str; 3] = [
    "Strict-Transport-Security",
    "Access-Control-Allow-Credentials",
    "Transfer-Encoding",
];

/// Panics unless a `response` that has just arrived has the headers of every response, each once
/// and with the right value. `what` names the request.
#[track_caller]
pub fn assert_headers(response: &Response, what: &str) {
    for (name, value) in FIXED_HEADERS {
        assert_eq!(response.headers(name), [value], "{name} of {what}");
    }
    for name in ABSENT_HEADERS {
        assert_eq!(response.header(name), None, "{name} of {what}");
    }
    for (name, _) in &response.headers {
        assert_eq!(response.headers(name).len(), 1, "{name} of {what}");
    }
    let length = response.header("Content-Length").unwrap_or("none");
    let length: usize = length
        .parse()
        .unwrap_or_else(|_| panic!("Content-Length of {what} is {length}"));
    // The answer to HEAD has the length of the body that it leaves out.
    if !response.body.is_empty() {
        assert_eq!(length, response.body.len(), "Content-Length of {what}");
    }
    let expected = (length > 0).then_some("application/json; charset=utf-8");
    let found = response.header("Content-Type");
    assert_eq!(found, expected, "Content-Type of {what}");
    let date = response.header("Date").unwrap_or("none");
    assert!(is_recent(date), "Date of {what} is {date}");
}

/// Whether this HTTP date is at most [`PATIENCE`] old.
fn is_recent(date: &str) -> bool {
    let now = SystemTime::now();
    (0..=PATIENCE.as_secs()).any(|ago| date == http_date(now - Duration::from_secs(ago)))
}
