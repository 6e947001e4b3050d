//! Cross-origin resource sharing: which browser origins may read the answers.

use tiny_http::Method;

use super::request::Request;
use super::response::Response;

/// The origins allowed to read answers. Without any, no CORS header is ever sent.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// `origins` as browsers send them: `scheme://host[:port]`, lower case.
    pub fn new(origins: Vec<String>) -> Cors {
        Cors { origins }
    }

    /// Adds the CORS headers to `response`. `request` is `None` when it could not be read.
    pub fn apply(&self, request: Option<&Request<'_>>, response: &mut Response) {
        if self.origins.is_empty() {
            return;
        }
        // Always, so that a cache never gives one origin's answer to another.
        response.add_header("Vary", "Origin");
        let Some((request, origin)) = request.and_then(|r| Some((r, self.allowed(r)?))) else {
            return;
        };
        // The configured text, not the client's: they are equal, and this one is known to be safe.
        response.add_header("Access-Control-Allow-Origin", origin);
        if is_preflight(request) && response.status() == 200 {
            response.add_header("Access-Control-Allow-Methods", &methods(response));
            response.add_header(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type",
            );
            response.add_header("Access-Control-Max-Age", "86400");
        }
    }

    /// The `Origin` of a request that may not read the answer. A server that is also the origin of
    /// its web app is sent its own, which needs no permission.
    pub fn refused<'a>(&self, request: &Request<'a>) -> Option<&'a [u8]> {
        let origin = request.header("Origin")?;
        let is_own = || {
            let (http, https) = (b"http://".as_slice(), b"https://".as_slice());
            let host = origin.strip_prefix(http).or(origin.strip_prefix(https));
            host.is_some() && host == request.header("Host")
        };
        (self.allowed(request).is_none() && !is_own()).then_some(origin)
    }

    fn allowed(&self, request: &Request<'_>) -> Option<&str> {
        let origin = request.header("Origin")?;
        self.origins
            .iter()
            .map(String::as_str)
            .find(|allowed| allowed.as_bytes() == origin)
    }
}

/// The methods that a browser must be told of, by the answer's `Allow`.
fn methods(response: &Response) -> String {
    let allowed = response.header("Allow").unwrap_or("GET").split(", ");
    let methods: Vec<&str> = allowed
        .filter(|method| !matches!(*method, "HEAD" | "OPTIONS"))
        .collect();
    methods.join(", ")
}

fn is_preflight(request: &Request<'_>) -> bool {
    *request.method() == Method::Options
        && request
            .headers("Access-Control-Request-Method")
            .next()
            .is_some()
}
