//! The hand-written router: (method, path) to action.

use tiny_http::Method;

use crate::http::response::{Prepared, Response};
use crate::http::{Answer, Request};

const OPTIONS: &str = "OPTIONS";

static NOT_FOUND: Prepared = Prepared::new(|| Response::error(404, "Not Found"));

/// A method and a path, and what is done for them.
#[derive(Debug)]
pub struct Route<A> {
    method: &'static str,
    path: &'static str,
    action: fn(&A, &Request<'_>) -> Answer,
}

impl<A> Route<A> {
    /// `GET` of a path, and `HEAD`, which is answered alike. See [`new`](Route::new).
    pub const fn get(path: &'static str, action: fn(&A, &Request<'_>) -> Answer) -> Route<A> {
        Route::new("GET", path, action)
    }

    /// `POST` to a path. See [`new`](Route::new).
    pub const fn post(path: &'static str, action: fn(&A, &Request<'_>) -> Answer) -> Route<A> {
        Route::new("POST", path, action)
    }

    /// A method of a path. Paths are compared byte for byte, without percent-decoding. One that ends
    /// with `/*` stands for all paths below it.
    pub const fn new(
        method: &'static str,
        path: &'static str,
        action: fn(&A, &Request<'_>) -> Answer,
    ) -> Route<A> {
        Route {
            method,
            path,
            action,
        }
    }

    fn is_at(&self, path: &str) -> bool {
        let is_below = || match self.path.strip_suffix('*') {
            Some(below) => below.ends_with('/') && path.starts_with(below),
            None => false,
        };
        self.path == path || is_below()
    }
}

/// The routes of an API.
#[derive(Debug)]
pub struct Router<A: 'static>(&'static [Route<A>]);

impl<A> Router<A> {
    /// The first route counts that has the method and the path of a request.
    pub const fn new(routes: &'static [Route<A>]) -> Router<A> {
        Router(routes)
    }

    /// What the `api` answers to a request.
    ///
    /// Without a route for its path, that is 404. With routes for other methods only, it is 405, or
    /// for `OPTIONS` an empty 200; both have an `Allow` header with the methods there are.
    ///
    /// # Errors
    /// Those of the route's action.
    pub fn answer(&self, api: &A, request: &Request<'_>) -> Answer {
        let method = match request.method() {
            Method::Head => Method::Get.as_str(),
            method => method.as_str(),
        };
        let mut routes = self.0.iter().filter(|route| route.is_at(request.path()));
        if let Some(route) = routes.find(|route| route.method == method) {
            request.set_route(route.path);
            return (route.action)(api, request);
        }
        let is_asterisk = request.path() == "*" && method == OPTIONS;
        let of_path = |route: &&Route<A>| is_asterisk || route.is_at(request.path());
        let mut routes = self.0.iter().filter(of_path).peekable();
        match routes.peek() {
            _ if is_asterisk => {}
            Some(route) => request.set_route(route.path),
            None => return Ok(NOT_FOUND.response()),
        }
        let response = match method {
            OPTIONS => Response::empty(200),
            _ => Response::error(405, "Method Not Allowed"),
        };
        Ok(response.with_header("Allow", &allow(routes.map(|route| route.method))))
    }
}

/// The value of `Allow` for these methods.
fn allow(methods: impl Iterator<Item = &'static str>) -> String {
    let mut names = Vec::new();
    let mut add = |name: &'static str| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for method in methods {
        add(method);
        if method == "GET" {
            add("HEAD");
        }
    }
    add(OPTIONS);
    names.join(", ")
}

#[cfg(test)]
mod tests;
