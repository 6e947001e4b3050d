//! The router: (method, path) to handler.

use tiny_http::Method;

use super::messages;
use crate::auth::Authenticator;
use crate::http::response::{self, Fixed, Response};
use crate::http::{Handler, Reply, Request};

const ALLOW: &str = "GET, HEAD, OPTIONS";

static NOT_FOUND: Fixed = Fixed::new(|| response::error(404, "Not Found"));
static NOT_ALLOWED: Fixed = Fixed::new(|| allow(response::error(405, "Method Not Allowed")));
static OPTIONS: Fixed = Fixed::new(|| allow(response::empty(200)));

/// The API: answers every request that could be read.
#[derive(Debug)]
pub struct Api {
    authenticator: Authenticator,
}

impl Api {
    /// Lets in whom `authenticator` does.
    pub fn new(authenticator: Authenticator) -> Api {
        Api { authenticator }
    }
}

impl Handler for Api {
    fn handle(&self, request: &Request<'_>) -> Reply {
        let auth = &self.authenticator;
        match (&request.method, request.path) {
            (Method::Options, "*") => options(),
            (method, "/api/messages/public") => get(method, messages::public),
            (method, "/api/messages/protected") => {
                get(method, || messages::protected(auth, request))
            }
            (method, "/api/messages/admin") => get(method, || messages::admin(auth, request)),
            _ => NOT_FOUND.response().into(),
        }
    }
}

/// What a path that can be read answers to each method. HEAD is GET, whose body is left unsent.
fn get(method: &Method, handler: impl FnOnce() -> Reply) -> Reply {
    match method {
        Method::Get | Method::Head => handler(),
        Method::Options => options(),
        _ => NOT_ALLOWED.response().into(),
    }
}

fn options() -> Reply {
    OPTIONS.response().into()
}

fn allow(response: Response) -> Response {
    response.with_header(response::header("Allow", ALLOW))
}
