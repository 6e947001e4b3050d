//! The router: (method, path) to handler.

use tiny_http::Method;

use super::messages;
use crate::auth::Authenticator;
use crate::http::response::{self, Prepared, Response};
use crate::http::{Handler, Reply, Request};

const ALLOW: &str = "GET, HEAD, OPTIONS";

static NOT_FOUND: Prepared = Prepared::new(|| response::error(404, "Not Found"));
static NOT_ALLOWED: Prepared = Prepared::new(|| allow(response::error(405, "Method Not Allowed")));
static OPTIONS: Prepared = Prepared::new(|| allow(response::empty(200)));

/// The API: answers every request that could be read.
#[derive(Debug)]
pub struct Api {
    authenticator: Authenticator,
}

impl Api {
    /// An API that accepts the tokens that `authenticator` accepts.
    pub fn new(authenticator: Authenticator) -> Api {
        Api { authenticator }
    }

    /// Answers each method of a path. `HEAD` is answered as `GET`; its body is not sent.
    fn get(
        &self,
        request: &Request<'_>,
        handler: fn(&Authenticator, &Request<'_>) -> Reply,
    ) -> Reply {
        match request.method {
            Method::Get | Method::Head => handler(&self.authenticator, request),
            Method::Options => OPTIONS.response().into(),
            _ => NOT_ALLOWED.response().into(),
        }
    }
}

impl Handler for Api {
    fn handle(&self, request: &Request<'_>) -> Reply {
        match request.path {
            "/api/messages/public" => self.get(request, messages::public),
            "/api/messages/protected" => self.get(request, messages::protected),
            "/api/messages/admin" => self.get(request, messages::admin),
            "*" if request.method == Method::Options => OPTIONS.response().into(),
            _ => NOT_FOUND.response().into(),
        }
    }
}

fn allow(response: Response) -> Response {
    response.with_header(response::header("Allow", ALLOW))
}
