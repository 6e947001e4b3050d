//! Cross-origin resource sharing: which origins may read the answers, and that no other is told so.

use crate::support::client::{Client, Response, bearer, exchange};
use crate::support::contract::{ADMIN, PROTECTED, PUBLIC, assert_headers};
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::Token;

const APP: &str = "https://app.example.com";
const LOCAL: &str = "http://localhost:4040";

/// A server for these origins that has no keys and needs none.
fn start(origins: &str) -> Postern {
    let mut tenant = Tenant::start();
    tenant.stop();
    Postern::builder(&tenant)
        .env("CLIENT_ORIGIN_URL", origins)
        .start()
}

/// The names and values of the headers that CORS adds, in alphabetical order.
fn cors_headers(response: &Response) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| *name == "Vary" || name.starts_with("Access-Control-"))
        .collect();
    headers.sort();
    headers
}

fn request(postern: &Postern, method: &str, path: &str, lines: &str) -> Response {
    let mut client = Client::connect(postern.addr());
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"
    ));
    let response = client.try_response(method == "HEAD").unwrap();
    assert_headers(&response, &format!("{method} {path} {lines:?}"));
    response
}

#[test]
fn without_origins_there_is_no_cors() {
    let tenant = Tenant::start();
    let servers = [
        Postern::builder(&tenant).start(),
        // Empty is unset.
        Postern::builder(&tenant)
            .env("CLIENT_ORIGIN_URL", "")
            .start(),
    ];
    for postern in &servers {
        for (method, path, lines, status) in [
            ("GET", PUBLIC, "", 200),
            ("GET", PUBLIC, "Origin: https://app.example.com\r\n", 200),
            ("GET", PUBLIC, "Origin: null\r\n", 200),
            ("GET", PUBLIC, "Origin:\r\n", 200),
            ("GET", PROTECTED, "Origin: http://localhost:4040\r\n", 401),
            ("GET", "/", "Origin: http://localhost:4040\r\n", 404),
            ("GET", PUBLIC, "Content-Length: a\r\n", 400),
            (
                "OPTIONS",
                PROTECTED,
                "Origin: http://localhost:4040\r\nAccess-Control-Request-Method: GET\r\n",
                200,
            ),
        ] {
            let response = request(postern, method, path, lines);
            assert_eq!(response.status, status, "{method} {path} {lines}");
            assert_eq!(cors_headers(&response), [], "{method} {path} {lines}");
        }
    }
}

#[test]
fn an_origin_is_allowed_when_it_is_a_configured_one() {
    let one = start(APP);
    let several = start("https://app.example.com, http://localhost:4040,https://[::1]:8443");
    for (lines, in_one, in_several) in [
        ("Origin: https://app.example.com\r\n", Some(APP), Some(APP)),
        ("ORIGIN:https://app.example.com \r\n", Some(APP), Some(APP)),
        ("Origin: http://localhost:4040\r\n", None, Some(LOCAL)),
        (
            "Origin: https://[::1]:8443\r\n",
            None,
            Some("https://[::1]:8443"),
        ),
        // None, or none that is configured.
        ("", None, None),
        ("Origin:\r\n", None, None),
        ("Origin: null\r\n", None, None),
        ("Origin: *\r\n", None, None),
        ("Origin: https://evil.example.com\r\n", None, None),
        // Nearly.
        ("Origin: http://app.example.com\r\n", None, None),
        ("Origin: https://app.example.com/\r\n", None, None),
        ("Origin: https://app.example.com:443\r\n", None, None),
        ("Origin: https://app.example.com.evil.net\r\n", None, None),
        ("Origin: https://app.example.co\r\n", None, None),
        ("Origin: https://xapp.example.com\r\n", None, None),
        ("Origin: https://APP.example.com\r\n", None, None),
        ("Origin: HTTPS://app.example.com\r\n", None, None),
        ("Origin: app.example.com\r\n", None, None),
        ("Origin: https://app.example.com\u{e9}\r\n", None, None),
        ("Origin: http://localhost:404\r\n", None, None),
        ("Origin: http://localhost\r\n", None, None),
        // Two at once, in one line or two.
        (
            "Origin: https://app.example.com http://localhost:4040\r\n",
            None,
            None,
        ),
        (
            "Origin: https://app.example.com, http://localhost:4040\r\n",
            None,
            None,
        ),
        (
            "Origin: https://app.example.com\r\nOrigin: http://localhost:4040\r\n",
            None,
            None,
        ),
        (
            "Origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n",
            None,
            None,
        ),
        // Not what the header is called.
        ("Referer: https://app.example.com\r\n", None, None),
        ("X-Origin: https://app.example.com\r\n", None, None),
    ] {
        for (postern, allowed) in [(&one, in_one), (&several, in_several)] {
            // HEAD and errors have what 200 has.
            for (method, path, status) in [
                ("GET", PUBLIC, 200),
                ("HEAD", PUBLIC, 200),
                ("OPTIONS", PUBLIC, 200),
                ("GET", PROTECTED, 401),
                ("GET", "/unknown", 404),
                ("POST", PUBLIC, 405),
            ] {
                let response = request(postern, method, path, lines);
                let what = format!("{method} {path} {lines:?}");
                assert_eq!(response.status, status, "{what}");
                let mut expected = vec![("Vary", "Origin")];
                if let Some(origin) = allowed {
                    expected.insert(0, ("Access-Control-Allow-Origin", origin));
                }
                assert_eq!(cors_headers(&response), expected, "{what}");
            }
        }
    }
}

#[test]
fn every_error_can_be_read_by_an_allowed_origin() {
    let mut tenant = Tenant::start();
    let start =
        |builder: crate::support::postern::Builder| builder.env("CLIENT_ORIGIN_URL", APP).start();
    let postern = start(Postern::builder(&tenant));
    postern.wait_for_keys();
    let user = bearer(&Token::user(&tenant).sign());
    tenant.stop();
    let without_keys = start(Postern::builder(&tenant));
    let authorized = format!("Authorization: {user}\r\n");
    for (postern, path, lines, status) in [
        (&postern, PROTECTED, "", 401),
        (&postern, PROTECTED, "Authorization: Bearer\r\n", 400),
        (&postern, PROTECTED, "Authorization: Bearer a.b.c\r\n", 401),
        (&postern, ADMIN, &*authorized, 403),
        (&without_keys, ADMIN, &*authorized, 503),
        (&postern, PROTECTED, &*authorized, 200),
    ] {
        let lines = format!("{lines}Origin: {APP}\r\n");
        let response = request(postern, "GET", path, &lines);
        assert_eq!(response.status, status, "{path} {lines}");
        let expected = [("Access-Control-Allow-Origin", APP), ("Vary", "Origin")];
        assert_eq!(cors_headers(&response), expected, "{path} {lines}");
    }
}

#[test]
fn what_is_no_request_varies_too() {
    let postern = start(APP);
    for (bytes, status) in [
        (
            format!("GET {PUBLIC} HTTP/1.1\r\nOrigin: {APP}\r\n\r\n"),
            400,
        ),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)), 414),
        ("A: b\r\n".repeat(99), 400),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(99)),
            431,
        ),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), 505),
    ] {
        let response = exchange(postern.addr(), &bytes);
        assert_eq!(response.status, status, "{bytes}");
        // Its `Origin` has not been read, as far as it has one.
        assert_eq!(cors_headers(&response), [("Vary", "Origin")], "{bytes}");
    }
}

#[test]
fn preflights_are_answered_without_a_token() {
    let postern = start("https://app.example.com,http://localhost:4040");
    let asks = "Access-Control-Request-Method: GET\r\n";
    let vary = ("Vary", "Origin");
    let granted = |origin| {
        vec![
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type",
            ),
            ("Access-Control-Allow-Methods", "GET"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Max-Age", "86400"),
            vary,
        ]
    };
    for path in [PUBLIC, PROTECTED, ADMIN] {
        for (lines, expected) in [
            (format!("Origin: {APP}\r\n{asks}"), granted(APP)),
            (format!("{asks}Origin: {LOCAL}\r\n"), granted(LOCAL)),
            (
                format!(
                    "Origin: {APP}\r\n{asks}\
                     Access-Control-Request-Headers: authorization, x-evil\r\n"
                ),
                granted(APP),
            ),
            // What is allowed does not depend on what is asked for, and nothing is echoed.
            (
                format!("Origin: {APP}\r\nAccess-Control-Request-Method: DELETE\r\n"),
                granted(APP),
            ),
            (
                format!("Origin: {APP}\r\n{asks}Access-Control-Request-Private-Network: true\r\n"),
                granted(APP),
            ),
            // No token is asked for, and a wrong one does not matter.
            (
                format!("Origin: {APP}\r\n{asks}Authorization: Bearer\r\n"),
                granted(APP),
            ),
            (format!("Origin: https://evil.net\r\n{asks}"), vec![vary]),
            (format!("Origin: null\r\n{asks}"), vec![vary]),
            (
                format!("Origin: {APP}\r\nOrigin: {APP}\r\n{asks}"),
                vec![vary],
            ),
            (asks.to_owned(), vec![vary]),
            // OPTIONS, but no preflight.
            (
                format!("Origin: {APP}\r\n"),
                vec![("Access-Control-Allow-Origin", APP), vary],
            ),
        ] {
            let response = request(&postern, "OPTIONS", path, &lines);
            assert_eq!(
                (response.status, response.text()),
                (200, ""),
                "{path} {lines}"
            );
            assert_eq!(cors_headers(&response), expected, "{path} {lines}");
            let allow = response.header("Allow");
            assert_eq!(allow, Some("GET, HEAD, OPTIONS"), "{path} {lines}");
        }
    }
    // A preflight's headers are for preflights: not for other methods, nor for unknown paths.
    for (method, path, status) in [("GET", PUBLIC, 200), ("OPTIONS", "/unknown", 404)] {
        let lines = format!("Origin: {APP}\r\n{asks}");
        let response = request(&postern, method, path, &lines);
        assert_eq!(response.status, status, "{method} {path}");
        let expected = [("Access-Control-Allow-Origin", APP), vary];
        assert_eq!(cors_headers(&response), expected, "{method} {path}");
    }
}
