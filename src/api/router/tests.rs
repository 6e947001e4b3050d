//! Methods and paths.

use super::*;
use crate::http::request::MAX_HEADERS;
use crate::http::response::{Persistence, print};

struct Things;

impl Things {
    fn list(&self, _: &Request<'_>) -> Answer {
        Ok(Response::text(200, "list"))
    }

    fn add(&self, _: &Request<'_>) -> Answer {
        Ok(Response::text(201, "add"))
    }

    fn one(&self, request: &Request<'_>) -> Answer {
        Ok(Response::text(200, request.path().to_owned()))
    }

    fn remove(&self, _: &Request<'_>) -> Answer {
        Err(Response::error(409, "Conflict").into())
    }
}

static ROUTES: Router<Things> = Router::new(&[
    Route::get("/things", Things::list),
    Route::post("/things", Things::add),
    Route::get("/things/first", Things::list),
    Route::get("/things/*", Things::one),
    Route::new("DELETE", "/things/*", Things::remove),
    Route::new("PURGE", "/all", Things::remove),
]);

/// The status, and the value of `Allow` if there is one.
fn answer(method: &str, path: &str) -> (u16, Option<String>) {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(head.as_bytes(), &mut storage).unwrap();
    let Ok(response) = ROUTES.answer(&Things, &request) else {
        return (409, None);
    };
    let status = response.status();
    let mut wire = Vec::new();
    print(response, false, Persistence::Implied, &mut wire);
    let text = String::from_utf8(wire).unwrap();
    let allow = text.lines().find_map(|line| line.strip_prefix("Allow: "));
    (status, allow.map(str::to_owned))
}

#[test]
fn a_request_finds_its_action() {
    for (method, path, status) in [
        ("GET", "/things", 200),
        ("HEAD", "/things", 200),
        ("POST", "/things", 201),
        ("GET", "/things/1", 200),
        ("GET", "/things/", 200),
        ("GET", "/things/1/2?three", 200),
        ("DELETE", "/things/first", 409),
        ("PURGE", "/all", 409),
        ("GET", "/thing", 404),
        ("GET", "/Things", 404),
        ("GET", "/thing%73", 404),
        ("POST", "/", 404),
        ("OPTIONS", "/thing", 404),
    ] {
        assert_eq!(answer(method, path), (status, None), "{method} {path}");
    }
}

#[test]
fn other_methods_are_told_which_there_are() {
    for (path, allow) in [
        ("/things", "GET, HEAD, POST, OPTIONS"),
        ("/things/first", "GET, HEAD, DELETE, OPTIONS"),
        ("/things/1", "GET, HEAD, DELETE, OPTIONS"),
        ("/all", "PURGE, OPTIONS"),
    ] {
        for (method, status) in [
            ("PATCH", 405),
            ("TRACE", 405),
            ("get", 405),
            ("OPTIONS", 200),
        ] {
            let expected = (status, Some(allow.to_owned()));
            assert_eq!(answer(method, path), expected, "{method} {path}");
        }
    }
    let all = "GET, HEAD, POST, DELETE, PURGE, OPTIONS";
    assert_eq!(answer("OPTIONS", "*"), (200, Some(all.into())));
}
