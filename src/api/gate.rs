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

/// The most bytes that the three headers take together, with their names and line ends. Proxies
/// hold the head of an answer in buffers of a fixed size.
const MAX_HEADERS: usize = 4096;
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
        let access = self.auth.authenticate(request)?;
        Ok(decide(access.claims(), request.query()))
    }
}

fn decide(claims: &Claims, query: Option<&str>) -> Response {
    let needed = match query.map(needed).transpose() {
        Ok(needed) => needed.unwrap_or_default(),
        Err(fault) => return denied(&[], fault.to_owned()),
    };
    if !needed.iter().all(|needed| claims.has_permission(needed)) {
        let description = format!("Requires {}", needed.join(" "));
        return denied(&needed, description.chars().take(MAX_DESCRIBED).collect());
    }
    passed(claims)
}

fn passed(claims: &Claims) -> Response {
    let encoded = |text| Cow::from(utf8_percent_encode(text, VALUE));
    let mut permissions = String::new();
    // An empty one would leave two separators in a row.
    let named = claims.permissions.iter().filter(|text| !text.is_empty());
    for permission in named {
        if !permissions.is_empty() {
            permissions.push(' ');
        }
        permissions.push_str(&encoded(permission));
    }
    // Always all three: a proxy that copies them then replaces what the client has sent.
    let lines = [
        (
            "X-Auth-Subject",
            encoded(claims.subject.as_deref().unwrap_or_default()),
        ),
        ("X-Auth-Permissions", permissions.into()),
        (
            "X-Auth-Client",
            encoded(claims.client.as_deref().unwrap_or_default()),
        ),
    ];
    let size = lines.iter().map(|(name, value)| line(name, value)).sum();
    if size > MAX_HEADERS {
        return too_large(size);
    }
    let mut response = PASSED.response();
    for (name, value) in lines {
        response.add_header(name, &value);
    }
    response
}

/// The bytes of a header line.
fn line(name: &str, value: &str) -> usize {
    name.len() + ": ".len() + value.len() + "\r\n".len()
}

/// Tokens with fewer permissions would pass, but no client can know that: there is no challenge.
fn too_large(size: usize) -> Response {
    let description = format!(
        "The token's sub, permissions and client take {size} bytes in headers, {MAX_HEADERS} are \
         possible."
    );
    Response::detailed_error(403, "Permission denied", "claims_too_large", &description)
}

/// As for a route that needs these permissions.
fn denied(needed: &[Cow<'_, str>], description: String) -> Response {
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
    let mut challenge =
        format!("{start}, scope=\"{scope}\", error_description=\"Requires {scope}\"");
    if scope.is_empty() || line("WWW-Authenticate", &challenge) > MAX_CHALLENGE {
        let lacks = "Requires permissions that the access token lacks";
        challenge = format!("{start}, error_description=\"{lacks}\"");
    }
    Response::detailed_error(403, "Permission denied", "insufficient_scope", &description)
        .with_header("WWW-Authenticate", &challenge)
}

/// RFC 6749 §3.3: a byte of a `scope-token`.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// The values of `permission` in a query, in their order.
///
/// # Errors
/// What is wrong with the query. Then no token has what it asks for: to skip the part that cannot
/// be read would let pass whom it is to keep out.
fn needed(query: &str) -> Result<Vec<Cow<'_, str>>, &'static str> {
    let mut needed = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(name)? == "permission" {
            needed.push(decoded(value)?);
        }
    }
    match needed.len() <= MAX_PERMISSIONS {
        true => Ok(needed),
        false => Err("The query asks for too many permissions."),
    }
}

/// Decodes `application/x-www-form-urlencoded` text.
fn decoded(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // The decoder would leave other escapes as they are.
    if !text.split('%').skip(1).all(is_escape) {
        return Err("The query is not form-urlencoded: an escape is not % and two digits.");
    }
    let spaced = match text.contains('+') {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    const NOT_UTF8: &str = "The query is not form-urlencoded UTF-8.";
    Ok(match spaced {
        Cow::Borrowed(text) => percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| NOT_UTF8)?,
        Cow::Owned(text) => {
            let decoded = percent_decode_str(&text).decode_utf8();
            decoded.map_err(|_| NOT_UTF8)?.into_owned().into()
        }
    })
}

#[cfg(test)]
mod tests;
