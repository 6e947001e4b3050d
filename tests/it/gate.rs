//! The gate: a proxy asks whether a request may pass.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::json;

use crate::support::TempDir;
use crate::support::client::{self, Client, Response, bearer, exchange};
use crate::support::contract::{ADMIN, PROTECTED, PUBLIC, PUBLIC_BODY, assert_headers};
use crate::support::key::Key;
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::Tenant;
use crate::support::token::{SUBJECT, Token};
use crate::support::verdict::{
    assert_insufficient_scope, assert_invalid_request, assert_unavailable,
};

const GATE: &str = "/auth";
/// The `azp` of [`Token::user`].
const CLIENT: &str = "my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy";
const METHODS: [&str; 10] = [
    "GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "get",
];

fn builder(tenant: &Tenant) -> Builder {
    Postern::builder(tenant).env("FORWARD_AUTH_PATH", GATE)
}

fn start(tenant: &Tenant) -> Postern {
    let postern = builder(tenant).start();
    postern.wait_for_keys();
    postern
}

/// The answer to a token, with this query behind the gate's path.
fn ask(postern: &Postern, query: &str, token: &Token) -> Response {
    let authorization = bearer(&token.sign());
    postern.get(
        &format!("{GATE}{query}"),
        &[("Authorization", &authorization)],
    )
}

#[track_caller]
fn assert_passed(response: &Response, told: [&str; 3], what: &str) {
    assert_eq!((response.status, response.text()), (200, ""), "{what}");
    assert_headers(response, what);
    let names = ["X-Auth-Subject", "X-Auth-Permissions", "X-Auth-Client"];
    for (name, value) in names.into_iter().zip(told) {
        assert_eq!(response.headers(name), [value], "{name} of {what}");
    }
}

#[track_caller]
fn assert_told_nothing(response: &Response, what: &str) {
    let mut names = response.headers.iter().map(|(name, _)| name);
    let told = names.find(|name| name.to_ascii_lowercase().starts_with("x-auth"));
    assert_eq!(told, None, "{what}");
}

/// What is always the same, and the body.
fn fixed(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| name != "Date");
    (response.status, headers, response.text().to_owned())
}

#[test]
fn there_is_none_unless_its_path_is_set() {
    let tenant = Tenant::start();
    for value in [None, Some("")] {
        let postern = match value {
            Some(value) => Postern::builder(&tenant).env("FORWARD_AUTH_PATH", value),
            None => Postern::builder(&tenant),
        };
        let postern = postern.start();
        postern.wait_for_keys();
        let response = ask(&postern, "", &Token::user(&tenant));
        assert_eq!(response.status, 404);
        assert_told_nothing(&response, "a server without a gate");
    }
}

#[test]
fn its_path_is_compared_byte_by_byte_and_other_routes_stay() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let token = bearer(&Token::user(&tenant).sign());
    let headers = [("Authorization", &*token)];
    for (target, status) in [
        ("/auth", 200),
        ("/auth?", 200),
        ("/auth?x=y", 200),
        ("http://localhost/auth?x", 200),
        ("/auth/", 404),
        ("/Auth", 404),
        ("/%61uth", 404),
        ("//auth", 404),
        ("/auth#x", 404),
        ("/aut", 404),
        ("/", 404),
        (PROTECTED, 200),
        (ADMIN, 403),
        ("/api/messages/admin?permission=x", 403),
        ("/api/messages/protected?permission=x", 200),
    ] {
        assert_eq!(postern.get(target, &headers).status, status, "{target}");
    }
    let public = postern.get(PUBLIC, &[]);
    assert_eq!((public.status, public.text()), (200, PUBLIC_BODY));
    let options = client::request(postern.addr(), "OPTIONS", PUBLIC, &[]);
    assert_eq!(options.header("Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn every_method_is_decided_alike() {
    let tenant = Tenant::start();
    let postern = builder(&tenant)
        .env("CLIENT_ORIGIN_URL", "https://app.example.com")
        .start();
    postern.wait_for_keys();
    let token = bearer(&Token::user(&tenant).sign());
    // A preflight, if the method is OPTIONS.
    let browser = [
        ("Origin", "https://app.example.com"),
        ("Access-Control-Request-Method", "GET"),
    ];
    for method in METHODS {
        let mut client = Client::connect(postern.addr());
        for (authorization, path, status) in [
            ("", "/auth", 401),
            ("Bearer", "/auth", 400),
            ("Bearer rubbish", "/auth", 401),
            (&*token, "/auth?permission=read:files", 403),
            (&*token, "/auth", 200),
        ] {
            for more in [&browser[..], &[]] {
                let headers = [more, &[("Authorization", authorization)]].concat();
                let response = client.request(method, path, &headers);
                let what = format!("{method} {path} {authorization:?}");
                assert_eq!(response.status, status, "{what}");
                assert_eq!(response.header("Allow"), None, "{what}");
                match status {
                    200 => assert_eq!(response.header("X-Auth-Subject"), Some(SUBJECT)),
                    _ => assert_told_nothing(&response, &what),
                }
            }
        }
    }
}

#[test]
fn its_errors_are_those_of_a_protected_route() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let user = Token::user(&tenant);
    let token = user.sign();
    let mut credentials = vec![
        vec![],
        vec![String::new()],
        vec!["Basic dTpw".to_owned()],
        vec!["Bearer".to_owned()],
        vec![format!("Bearer {token} x")],
        vec![format!("Bearer {token}, Bearer {token}")],
        vec![bearer(&token), bearer(&token)],
        vec![bearer("opaque")],
    ];
    let invalid = [
        user.clone().expired().sign(),
        user.sign_with(&Key::shared(2)),
        user.clone().header("kid", "unknown".into()).sign(),
        user.clone().claim("aud", json!("https://another")).sign(),
        user.clone().claim("iss", json!("https://a\u{7f}/")).sign(),
        user.clone().header("alg", "none".into()).sign(),
        user.clone().raw_payload("[]").sign(),
    ];
    credentials.extend(invalid.iter().map(|token| vec![bearer(token)]));
    for values in &credentials {
        let headers: Vec<_> = values.iter().map(|v| ("Authorization", &**v)).collect();
        let expected = postern.get_settled(PROTECTED, &headers);
        assert!([400, 401].contains(&expected.status), "{values:?}");
        let found = postern.get_settled(GATE, &headers);
        assert_headers(&found, &format!("{values:?}"));
        assert_eq!(fixed(&found), fixed(&expected), "{values:?}");
        // What is needed besides a token does not matter without one.
        let found = postern.get_settled("/auth?permission=%zz", &headers);
        assert_eq!(fixed(&found), fixed(&expected), "{values:?}");
    }
    let headers = [("Authorization", &*bearer(&token))];
    let expected = postern.get(ADMIN, &headers);
    let found = postern.get("/auth?permission=read:admin-messages", &headers);
    assert_insufficient_scope(&found, "the gate");
    assert_eq!(fixed(&found), fixed(&expected));
    let twice = [("Authorization", "Bearer a"), ("Authorization", "Bearer a")];
    assert_invalid_request(&postern.get(GATE, &twice), "the gate");
}

#[test]
fn what_is_no_request_is_refused_here_too() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let long = "a".repeat(20_000);
    for (request, status) in [
        ("GET /auth HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET /auth HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /auth HTTP/1.1\r\nHost: x\r\nA: b\nc\r\n\r\n".to_owned(),
            400,
        ),
        ("GET /auth HTTP/2.0\r\n\r\n".to_owned(), 505),
        (
            format!("GET /auth?permission={long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            414,
        ),
        (
            format!("GET /auth HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"),
            431,
        ),
    ] {
        let response = exchange(postern.addr(), &request);
        assert_eq!(response.status, status, "{request}");
        assert_told_nothing(&response, &request);
    }
}

#[test]
fn without_keys_it_says_when_to_ask_again() {
    let mut tenant = Tenant::start();
    tenant.stop();
    let postern = builder(&tenant).start();
    for method in METHODS {
        let headers = [("Authorization", &*bearer(&Token::user(&tenant).sign()))];
        let response = client::request(postern.addr(), method, GATE, &headers);
        if method == "HEAD" {
            assert_eq!(response.status, 503);
            assert!(response.header("Retry-After").is_some());
        } else {
            assert_unavailable(&response, "signing_key_unavailable");
        }
        assert_headers(&response, method);
        assert_told_nothing(&response, method);
    }
    // Who has no token learns nothing of that.
    assert_eq!(postern.get(GATE, &[]).status, 401);
}

#[test]
fn it_tells_whose_token_it_is() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let user = Token::user(&tenant);
    let with = |name: &str, value| user.clone().claim(name, value);
    let no_azp = user.clone().without_claim("azp");
    let hostile = "a\r\nX-Auth-Permissions: all\0\t\u{7f} %\u{e9}\u{2028}";
    let encoded = "a%0D%0AX-Auth-Permissions:%20all%00%09%7F%20%25%C3%A9%E2%80%A8";
    let all = user
        .clone()
        .claim("sub", json!(hostile))
        .claim("azp", json!(hostile))
        .claim("permissions", json!(["read:a", hostile, "b c", ""]));
    for (token, told) in [
        (user.clone(), [SUBJECT, "", CLIENT]),
        (
            user.clone().admin(),
            [SUBJECT, "read:admin-messages", CLIENT],
        ),
        (
            with("permissions", json!(["b", "a"])),
            [SUBJECT, "b a", CLIENT],
        ),
        (with("permissions", json!("a b")), [SUBJECT, "", CLIENT]),
        (with("scope", json!("read:a")), [SUBJECT, "", CLIENT]),
        (with("client_id", json!("other")), [SUBJECT, "", CLIENT]),
        (
            no_azp.clone().claim("client_id", json!("c@clients")),
            [SUBJECT, "", "c@clients"],
        ),
        (no_azp.without_claim("sub"), ["", "", ""]),
        (with("sub", json!(["a"])), ["", "", CLIENT]),
        (all, [encoded, &format!("read:a {encoded} b%20c"), encoded]),
    ] {
        // The second time it comes from the cache.
        for _ in 0..2 {
            let response = ask(&postern, "", &token);
            assert_passed(&response, told, &token.payload_text());
        }
    }
}

#[test]
fn what_does_not_fit_into_headers_does_not_pass() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let frame = "X-Auth-Subject: \r\nX-Auth-Permissions: \r\nX-Auth-Client: \r\n".len();
    let room = 4096 - frame - CLIENT.len();
    let user = |length| Token::user(&tenant).claim("sub", json!("s".repeat(length)));
    assert_passed(
        &ask(&postern, "", &user(room)),
        [&"s".repeat(room), "", CLIENT],
        "the longest",
    );
    let response = ask(&postern, "", &user(room + 1));
    assert_eq!(response.status, 403);
    assert_headers(&response, "one too long");
    assert_told_nothing(&response, "one too long");
    assert_eq!(response.header("WWW-Authenticate"), None);
    let body = response.json();
    assert_eq!(body["message"], "Permission denied");
    assert_eq!(body["error"], "claims_too_large");
    let described = body["error_description"].as_str().unwrap();
    assert!(described.contains("4097 bytes"), "{described}");
    // Many permissions, which make three bytes of each.
    let many = vec!["%"; 1200];
    let token = Token::user(&tenant).claim("permissions", json!(many));
    assert_eq!(ask(&postern, "?permission=%25", &token).status, 403);
    // A route has no such limit.
    let headers = [("Authorization", &*bearer(&token.sign()))];
    assert_eq!(postern.get(PROTECTED, &headers).status, 200);
}

#[test]
fn the_query_asks_for_permissions() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let permissions = ["read:a", "b c", "ä", "%zz", "", "\u{fffd}"];
    let token = Token::user(&tenant).claim("permissions", json!(permissions));
    for (query, status) in [
        ("?permission=read:a", 200),
        ("?permission=read%3aa&permission=b+c&permission=b%20c", 200),
        ("?permission=%C3%A4&other=x", 200),
        ("?permission=%25zz", 200),
        ("?permission=%EF%BF%BD", 200),
        ("?permission=read:b", 403),
        ("?permission=read:a&permission=read:b", 403),
        ("?permission=read:b&permission=read:a", 403),
        ("?permission=read:a+read:a", 403),
        ("?permission=Read:a", 403),
        ("?permission=%zz", 403),
        ("?permission=%ff", 403),
        ("?permission=%", 403),
    ] {
        let response = ask(&postern, query, &token);
        assert_eq!(response.status, status, "{query}");
        if status == 403 {
            assert_eq!(response.json()["error"], "insufficient_scope", "{query}");
            assert_told_nothing(&response, query);
        }
    }
    let query = "?permission=read:b&permission=%22,%20x=%22%0d%0aX-Auth-Subject:%20a";
    let response = ask(&postern, query, &token);
    assert_headers(&response, query);
    assert_told_nothing(&response, query);
    let scope = "read:b %22,%20x=%22%0D%0AX-Auth-Subject:%20a";
    let challenge = format!(
        "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\", \
         error_description=\"Requires {scope}\""
    );
    assert_eq!(response.headers("WWW-Authenticate"), [challenge]);
    let described = "Requires read:b \", x=\"\r\nX-Auth-Subject: a";
    assert_eq!(response.json()["error_description"], described);
    let long = format!("?permission={}", "%C3%A4".repeat(1000));
    let response = ask(&postern, &long, &token);
    let challenge = response.header("WWW-Authenticate").unwrap();
    assert!(!challenge.contains("scope="), "{challenge}");
    assert!(challenge.len() < 1024, "{challenge}");
}

#[test]
fn a_body_is_no_part_of_the_question() {
    let tenant = Tenant::start();
    let postern = start(&tenant);
    let token = Token::user(&tenant).sign();
    let next = "GET /api/messages/public HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        format!("Content-Length: {}\r\n\r\n{next}", next.len()),
        format!("Content-Length: 1000000\r\n\r\n{next}"),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{next}\r\n0\r\n\r\n",
            next.len()
        ),
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".to_owned(),
    ] {
        let head = "POST /auth HTTP/1.1\r\nHost: x\r\n";
        for (authorization, status) in [(&*bearer(&token), 200), ("", 401)] {
            let mut client = Client::connect(postern.addr());
            client.send(format!("{head}Authorization: {authorization}\r\n{framing}"));
            let response = client.response();
            assert_eq!(response.status, status, "{framing}");
            assert_eq!(response.header("Connection"), Some("close"), "{framing}");
            client.assert_closed();
        }
    }
}

/// The headers of a proxy that asks about a request.
const FORWARDED: [(&str, &str); 4] = [
    ("X-Forwarded-For", "198.51.100.1, 203.0.113.9, 127.0.0.1"),
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-Host", "example.com"),
    ("X-Forwarded-Uri", "/files/x?secret=1"),
];

/// What is logged of a request of this server's gate, and of one of its public message: the peer,
/// what is before it, and what is behind the time taken.
fn logged(builder: Builder, token: &str) -> [(String, String); 2] {
    let postern = builder.start();
    postern.wait_for_keys();
    let authorization = bearer(token);
    let headers = [&FORWARDED[..], &[("Authorization", &authorization)]].concat();
    let paths = [GATE, PUBLIC];
    let clients = paths.map(|path| {
        let mut client = Client::connect(postern.addr());
        assert_eq!(client.request("GET", path, &headers).status, 200);
        client
    });
    let logs = postern.into_logs();
    std::array::from_fn(|at| {
        let peer = clients[at].local_addr().to_string();
        let lines: Vec<_> = logs.iter().filter(|line| line.contains(&peer)).collect();
        let [line] = lines[..] else {
            panic!("{peer} in {logs:#?}");
        };
        assert!(
            line.contains(&format!("{peer} GET {} 200 ", paths[at])),
            "{line}"
        );
        assert!(!line.contains("secret"), "{line}");
        let (before, rest) = line.split_once(&peer).unwrap();
        let (_, end) = rest.split_once(" ms").unwrap();
        (before.trim_end().to_owned(), end.to_owned())
    })
}

#[test]
fn a_trusted_proxy_names_the_client_and_the_request_in_the_log() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    let sub = format!(" sub={SUBJECT}");
    for value in ["127.0.0.1", "::1,127.0.0.0/8", "unix,0.0.0.0/0"] {
        let builder = builder(&tenant).env("TRUSTED_PROXIES", value);
        let client = match value {
            // All of them are trusted.
            "unix,0.0.0.0/0" => "198.51.100.1 via",
            _ => "203.0.113.9 via",
        };
        let [gate, public] = logged(builder, &token);
        assert!(gate.0.ends_with(client), "{gate:?}");
        assert_eq!(gate.1, format!("{sub} for POST example.com/files/x"));
        assert!(public.0.ends_with(client), "{public:?}");
        assert_eq!(public.1, "");
    }
    for value in ["", "unix", "::1", "10.0.0.0/8,127.0.0.2"] {
        let builder = builder(&tenant).env("TRUSTED_PROXIES", value);
        let [gate, public] = logged(builder, &token);
        assert!(!gate.0.contains("via") && !public.0.contains("via"));
        assert_eq!((gate.1, public.1), (sub.clone(), String::new()));
    }
}

#[test]
fn a_proxy_on_a_unix_socket_is_trusted_as_unix() {
    let tenant = Tenant::start();
    let folder = TempDir::new();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let postern = builder(&tenant)
        .env("TRUSTED_PROXIES", "unix")
        .socket(listener)
        .start();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(
            b"GET /auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
              X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Uri: /x\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let line = postern.wait_for_log("203.0.113.9 via unix GET /auth 401 ");
    assert!(line.ends_with(" ms no token for /x"), "{line}");
}
