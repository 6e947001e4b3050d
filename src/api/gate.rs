//! The gate: a proxy asks here whether a request may pass (forward authentication).
//!
//! Whatever the method, the answer is that of a protected route; 200 has no body and tells in
//! headers whose token it was. A query like `?permission=a&permission=b` asks for permissions; all
//! of them are needed.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::access::Auth;
use crate::auth::Claims;
use crate::http::response::{Prepared, Response};
use crate::http::{Answer, Handler, Request};
use crate::metrics::Reason;

/// The most bytes that the three headers take together, with their names and line ends. Proxies
/// hold the head of an answer in buffers of a fixed size.
const MAX_HEADERS: usize = 4096;
/// Longer than the three headers of most tokens, in bytes.
const USUAL_LENGTH: usize = 256;
/// The most bytes that a challenge takes, with its name and line end.
const MAX_CHALLENGE: usize = 1024;
/// The most permissions that a query can ask for. Each is looked for in the whole token.
const MAX_PERMISSIONS: usize = 64;
/// The length at which a description is cut, in characters.
const MAX_DESCRIBED: usize = 200;

/// All but visible ASCII, and `%`: so the value decodes to what was encoded, and a space is only
/// between two permissions.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// What is no part of a `scope-token` (RFC 6749 §3.3), and `%`.
const SCOPE: &AsciiSet = &VALUE.add(b'"').add(b'\\');

static PASSED: Prepared = Prepared::new(|| Response::empty(200));

/// Answers one path itself, and leaves all others to another handler.
#[derive(Debug)]
pub struct Gate<H> {
    path: String,
    auth: Auth,
    inner: H,
}

impl<H> Gate<H> {
    /// A gate at `path` in front of `inner`, for tokens that `auth` accepts.
    pub fn new(path: String, auth: Auth, inner: H) -> Gate<H> {
        Gate { path, auth, inner }
    }
}

impl<H: Handler> Handler for Gate<H> {
    fn handle(&self, request: &Request<'_>) -> Answer {
        if request.path() != self.path {
            return self.inner.handle(request);
        }
        // Its path is set by the operator, and the names of routes are texts of the program.
        request.set_route("gate");
        let access = self.auth.authenticate(request)?;
        Ok(decide(access.claims(), request.query()))
    }
}

fn decide(claims: &Claims, query: Option<&str>) -> Response {
    let query = query.unwrap_or_default();
    let has = |needed: Needed<'_>| needed.is_ok_and(|needed| claims.has_permission(&needed));
    match needed(query).all(has) {
        true => passed(claims),
        false => denied(query),
    }
}

fn passed(claims: &Claims) -> Response {
    let [subject, client] = [claims.subject.as_deref(), claims.client.as_deref()];
    // Always all three: a proxy that copies them then replaces what the client has sent. They are
    // printed here, as headers made one by one are slower.
    let mut lines = Vec::with_capacity(USUAL_LENGTH);
    lines.extend_from_slice(b"X-Auth-Subject: ");
    push_encoded(&mut lines, subject.unwrap_or_default());
    lines.extend_from_slice(b"\r\nX-Auth-Permissions: ");
    // An empty one would leave two separators in a row.
    let named = claims.permissions.iter().filter(|text| !text.is_empty());
    for (at, permission) in named.enumerate() {
        if at > 0 {
            lines.push(b' ');
        }
        push_encoded(&mut lines, permission);
    }
    lines.extend_from_slice(b"\r\nX-Auth-Client: ");
    push_encoded(&mut lines, client.unwrap_or_default());
    lines.extend_from_slice(b"\r\n");
    match lines.len() <= MAX_HEADERS {
        true => PASSED.response_with(lines),
        false => too_large(lines.len()),
    }
}

fn push_encoded(lines: &mut Vec<u8>, text: &str) {
    // Most texts need no encoding, and the encoder is slower.
    let is_plain = |byte| matches!(byte, b'!'..=b'~') && byte != b'%';
    if text.bytes().all(is_plain) {
        return lines.extend_from_slice(text.as_bytes());
    }
    for part in utf8_percent_encode(text, VALUE) {
        lines.extend_from_slice(part.as_bytes());
    }
}

/// Tokens with fewer permissions would pass, but no client can know that: there is no challenge.
fn too_large(size: usize) -> Response {
    let description = format!(
        "The token's sub, permissions and client take {size} bytes in headers, {MAX_HEADERS} are \
         possible."
    );
    Response::detailed_error(403, "Permission denied", "claims_too_large", &description)
        .refusing(Reason::Permission, "claims too large")
}

/// As for a route that needs these permissions.
fn denied(query: &str) -> Response {
    let needed: Result<Vec<_>, _> = needed(query).collect();
    let (description, reason) = match &needed {
        Ok(needed) => {
            let needed = needed.join(" ");
            (format!("Requires {needed}"), format!("lacks {needed}"))
        }
        Err(fault) => ((*fault).to_owned(), (*fault).to_owned()),
    };
    let description: String = description.chars().take(MAX_DESCRIBED).collect();
    let challenge = challenge(&needed.unwrap_or_default());
    Response::detailed_error(403, "Permission denied", "insufficient_scope", &description)
        .with_header("WWW-Authenticate", &challenge)
        .refusing(Reason::Permission, reason)
}

/// The challenge to a token that lacks one of these permissions.
fn challenge(needed: &[Cow<'_, str>]) -> String {
    let mut scope = String::new();
    for permission in needed.iter().filter(|permission| !permission.is_empty()) {
        if !scope.is_empty() {
            scope.push(' ');
        }
        match permission.bytes().all(is_scope_byte) {
            true => scope.push_str(permission),
            false => scope.extend(utf8_percent_encode(permission, SCOPE)),
        }
    }
    let start = "Bearer realm=\"api\", error=\"insufficient_scope\"";
    let whole = format!("{start}, scope=\"{scope}\", error_description=\"Requires {scope}\"");
    let size = "WWW-Authenticate: \r\n".len() + whole.len();
    if !scope.is_empty() && size <= MAX_CHALLENGE {
        return whole;
    }
    format!("{start}, error_description=\"Requires permissions that the access token lacks\"")
}

/// RFC 6749 §3.3: a byte of a `scope-token`.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// A permission that a query asks for, or what is wrong with the query. Then no token has it: to
/// skip what cannot be read would let pass whom it is to keep out.
type Needed<'a> = Result<Cow<'a, str>, &'static str>;

/// The values of `permission` in a query, in their order.
fn needed(query: &str) -> impl Iterator<Item = Needed<'_>> {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let values = pairs.filter_map(|(name, value)| match decoded(name) {
        Ok(name) => (name == "permission").then(|| decoded(value)),
        Err(fault) => Some(Err(fault)),
    });
    values
        .enumerate()
        .map(|(at, value)| match at < MAX_PERMISSIONS {
            true => value,
            false => Err("The query asks for too many permissions."),
        })
}

/// Decodes `application/x-www-form-urlencoded` text.
fn decoded(text: &str) -> Needed<'_> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // The decoder would leave other escapes as they are.
    if !text.split('%').skip(1).all(is_escape) {
        return Err("The query is not form-urlencoded: an escape is not % and two digits.");
    }
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned().into()),
        Err(_) => Err("The query is not form-urlencoded UTF-8."),
    }
}

#[cfg(test)]
mod tests;
