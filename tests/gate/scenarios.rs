//! What a proxy must do with its configuration of this folder.

use std::io::{Read, Write};
use std::thread;

use ring::digest::{SHA256, digest};

use crate::backend::accept;
use crate::house::House;
use crate::proxies::FILE;
use crate::support::client::{Response, bearer};
use crate::support::token::{SUBJECT, Token};

pub type Scenario = (&'static str, fn(&mut House));

/// In this order, each on what the one before has left.
pub const SCENARIOS: [Scenario; 14] = [
    ("a folder is read with a token only", folder),
    ("a service learns whose token it is", told),
    ("and never from the client", forged),
    ("no token and a wrong one are challenged", unauthorized),
    ("what is malformed is called so", malformed),
    ("a missing permission is named", permission),
    ("no spelling of a path gets around one", spellings),
    ("no method gets around a token", methods),
    ("a body of 1 MB passes whole, or not at all", body),
    ("the longest claims reach a service whole", longest),
    ("a WebSocket is opened with a token only", websocket),
    ("1,000 requests, and none fails", many),
    ("nothing passes while postern is stopped", stopped),
    ("without keys, clients learn when to ask again", no_keys),
];

/// The `azp` of a user's token.
const CLIENT: &str = "my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy";
const NONE: [(&str, &str); 0] = [];
const PATHS: [&str; 3] = ["/files/report.txt", "/api/x", "/admin/x"];

fn challenge(response: &Response) -> &str {
    let challenges = response.headers("WWW-Authenticate");
    let [challenge] = challenges[..] else {
        panic!("{response:?}");
    };
    challenge
}

fn folder(house: &mut House) {
    let response = house.ask_with(&house.user, "GET", "/files/report.txt");
    assert_eq!((response.status, response.text()), (200, FILE));
    let response = house.refused(|| house.ask("GET", "/files/report.txt", &NONE));
    assert_eq!(response.status, 401);
    // A path that nobody guards.
    let response = house.refused(|| house.ask_with(&house.user, "GET", "/nothing"));
    assert_eq!(response.status, 404);
    for path in ["/gate/token", "/gate/admin"] {
        let response = house.refused(|| house.ask_with(&house.admin, "GET", path));
        assert_eq!(response.status, 404);
    }
}

/// The header lines of a request as the service has received it, in small letters.
fn received(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{response:?}");
    let lines = response.text().lines();
    lines.map(str::to_ascii_lowercase).collect()
}

fn told(house: &mut House) {
    let response = house.ask_with(&house.admin, "GET", "/admin/x?query=1");
    let lines = received(&response);
    assert_eq!(lines[0], "get /admin/x?query=1 http/1.1");
    for line in [
        format!("x-auth-subject: {SUBJECT}"),
        "x-auth-permissions: read:admin-messages".to_owned(),
        format!("x-auth-client: {CLIENT}"),
        "x-forwarded-for: 127.0.0.2".to_owned(),
    ] {
        let line = line.to_ascii_lowercase();
        assert!(lines.contains(&line), "{line} in {lines:#?}");
    }
    let line = house.postern().wait_for_log("for GET ");
    assert!(line.contains("127.0.0.2 via 127.0.0.1:"), "{line}");
    house.postern().wait_for_log(" for GET localhost/admin/x");
    let logs = house.postern().logs();
    assert!(!logs.iter().any(|line| line.contains("query=1")));
}

fn forged(house: &mut House) {
    // Neither client nor permissions are in the token: nothing takes the place of these.
    let names = [
        "X-Auth-Subject",
        "x-auth-subject",
        "X-AUTH-PERMISSIONS",
        "X-Auth-Client",
        "X_Auth_Subject",
        "x_auth-client",
        "X-Auth_Permissions",
    ];
    let authorization = ("Authorization", house.user.as_str());
    let mut headers = vec![authorization, ("X-Forwarded-For", "203.0.113.9")];
    headers.extend(names.map(|name| (name, "forged")));
    headers.extend([("X-Auth-Subject", "forged"), ("X-Other", "kept")]);
    for path in ["/api/x", "/api/"] {
        let response = house.ask("GET", path, &headers);
        let lines = received(&response);
        let subject = format!("x-auth-subject: {SUBJECT}").to_ascii_lowercase();
        assert!(lines.contains(&subject), "{lines:#?}");
        assert!(lines.contains(&"x-other: kept".to_owned()), "{lines:#?}");
        assert!(!response.text().contains("forged"), "{}", response.text());
    }
    let logs = house.postern().logs();
    let deceived = logs.iter().find(|line| line.contains("203.0.113.9"));
    assert_eq!(deceived, None);
    // And a forged one lets nobody pass.
    let response = house.refused(|| house.ask("GET", "/api/x", &[("X-Auth-Subject", "forged")]));
    assert_eq!(response.status, 401);
}

fn unauthorized(house: &mut House) {
    for path in PATHS {
        let response = house.refused(|| house.ask("GET", path, &NONE));
        assert_eq!(response.status, 401, "{path}");
        assert_eq!(challenge(&response), "Bearer realm=\"api\"", "{path}");
        let response = house.refused(|| house.ask_with("Bearer opaque", "GET", path));
        assert_eq!(response.status, 401, "{path}");
        let found = challenge(&response);
        assert!(found.contains("error=\"invalid_token\""), "{found}");
    }
}

fn malformed(house: &mut House) {
    let twice = [
        ("Authorization", house.user.as_str()),
        ("Authorization", house.user.as_str()),
    ];
    let other = [("Authorization", "Basic dTpw"), twice[0]];
    let one = [("Authorization", "Bearer")];
    let three = format!("{} x", house.user);
    let three = [("Authorization", three.as_str())];
    for headers in [&twice[..], &other, &one, &three] {
        for path in PATHS {
            let response = house.refused(|| house.ask("GET", path, headers));
            assert_eq!(response.status, 400, "{path} {headers:?} {response:?}");
            // nginx refuses two of them itself.
            let server = response.header("Server").unwrap_or_default();
            if headers.len() == 1 || !server.starts_with("nginx") {
                let found = challenge(&response);
                assert!(found.contains("error=\"invalid_request\""), "{found}");
            }
        }
    }
}

fn permission(house: &mut House) {
    let response = house.refused(|| house.ask_with(&house.user, "GET", "/admin/x"));
    assert_eq!(response.status, 403);
    let found = challenge(&response);
    assert!(found.contains("scope=\"read:admin-messages\""), "{found}");
    assert!(found.contains("error=\"insufficient_scope\""), "{found}");
    received(&house.ask_with(&house.admin, "GET", "/admin/x"));
    // The client's query is not the proxy's.
    let query = "/admin/x?permission=";
    let response = house.refused(|| house.ask_with(&house.user, "GET", query));
    assert_eq!(response.status, 403);
    received(&house.ask_with(&house.user, "GET", "/api/x?permission=read:admin-messages"));
}

/// Services may decode and resolve a path: then all of these are `/admin/x`.
fn spellings(house: &mut House) {
    for path in [
        "/%61dmin/x",
        "/%41dmin/x",
        "//admin/x",
        "/./admin/x",
        "/api/../admin/x",
        "/api/%2e%2e/admin/x",
        "/api/..%2fadmin/x",
        "/api//../admin/x",
        "/files/../admin/x",
    ] {
        let response = house.refused(|| house.ask_with(&house.user, "GET", path));
        assert!(
            [400, 403, 404].contains(&response.status),
            "{path} {response:?}"
        );
    }
}

fn methods(house: &mut House) {
    // What a browser asks before a request of another origin.
    let preflight = [
        ("Origin", "https://app.example.com"),
        ("Access-Control-Request-Method", "GET"),
    ];
    for method in ["OPTIONS", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
        for path in PATHS {
            let response = house.refused(|| house.ask(method, path, &preflight));
            assert_eq!(response.status, 401, "{method} {path}");
        }
        let response = house.refused(|| house.ask_with(&house.user, method, "/admin/x"));
        assert_eq!(response.status, 403, "{method}");
        let response = house.ask_with(&house.user, method, "/api/x");
        assert_eq!(response.status, 200, "{method}");
        if method != "HEAD" {
            let line = format!("{} /api/x http/1.1", method.to_ascii_lowercase());
            assert_eq!(received(&response)[0], line);
        }
    }
}

/// `POST` with a body.
fn post(house: &House, authorization: &str, body: &[u8]) -> Response {
    let mut client = house.connect();
    let length = body.len();
    client.send(format!(
        "POST /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
         Content-Length: {length}\r\n\r\n"
    ));
    // A proxy may refuse it unread.
    let _ = client.try_send(body);
    client.response()
}

fn body(house: &mut House) {
    let body: Vec<u8> = (0..1_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let response = post(house, &house.user, &body);
    assert_eq!(response.status, 200);
    let expected = format!("{} bytes {:?}", body.len(), digest(&SHA256, &body));
    assert!(response.text().contains(&expected), "{}", response.text());
    let response = house.refused(|| post(house, "", &body[..1000]));
    assert_eq!(response.status, 401);
    let response = house.refused(|| post(house, "Bearer opaque", &body[..1000]));
    assert_eq!(response.status, 401);
}

/// postern lets 4 KiB pass, and the client sends much more than that.
fn longest(house: &mut House) {
    let subject = "s".repeat(4096 - 200);
    let token = Token::user(&house.tenant).claim("sub", subject.clone().into());
    let token = token.claim("permissions", vec!["read:admin-messages"].into());
    let cookie = "c".repeat(7000);
    let headers = [
        ("Authorization", bearer(&token.sign())),
        ("Cookie", format!("a={cookie}")),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, &**value));
    for path in ["/api/x", "/admin/x"] {
        let lines = received(&house.ask("GET", path, &headers));
        for line in [
            format!("x-auth-subject: {subject}"),
            format!("cookie: a={cookie}"),
            "x-auth-permissions: read:admin-messages".to_owned(),
        ] {
            assert!(lines.contains(&line), "{line} in {lines:#?}");
        }
    }
    let token = Token::user(&house.tenant).claim("sub", "s".repeat(4096).into());
    let authorization = bearer(&token.sign());
    let response = house.refused(|| house.ask_with(&authorization, "GET", "/api/x"));
    assert_eq!(response.status, 403);
}

fn websocket(house: &mut House) {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let ask = |authorization: &str| {
        let mut client = house.connect();
        client.send(format!(
            "GET /api/socket HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n\r\n"
        ));
        let response = client.response();
        (client, response)
    };
    for (authorization, status) in [("", 401), ("Bearer opaque", 401), ("Bearer", 400)] {
        let response = house.refused(|| ask(authorization).1);
        assert_eq!(response.status, status, "{authorization}");
    }
    let (client, response) = ask(&house.user);
    assert_eq!(response.status, 101, "{response:?}");
    let expected = accept(key);
    assert_eq!(response.header("Sec-WebSocket-Accept"), Some(&*expected));
    for round in 0..3_u8 {
        let sent = vec![round; 70_000];
        thread::scope(|scope| {
            scope.spawn(|| client.stream().write_all(&sent).expect("it is sent"));
            let mut echoed = vec![0; sent.len()];
            client
                .stream()
                .read_exact(&mut echoed)
                .expect("it comes back");
            assert_eq!(echoed, sent);
        });
    }
}

fn many(house: &mut House) {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 250;
    let before = house.peers();
    let reached = house.backend.requests();
    thread::scope(|scope| {
        let house = &*house;
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut connection = house.connect();
                for number in 0..REQUESTS {
                    let path = format!("/api/{client}/{number}");
                    let headers = [("Authorization", house.user.as_str())];
                    let response = connection.request("GET", &path, &headers);
                    let line = format!("get {path} http/1.1");
                    assert_eq!(received(&response)[0], line);
                }
            });
        }
    });
    let expected = reached + CLIENTS * REQUESTS;
    assert_eq!(house.backend.requests(), expected);
    let count = house.peers().difference(&before).count();
    println!("           {count} new connections to postern");
    // Now and then, more requests are under way than before.
    assert!(count <= 4 * CLIENTS, "{count} connections to postern");
}

fn stopped(house: &mut House) {
    house.stop_postern();
    let tokens = [house.user.clone(), house.admin.clone(), String::new()];
    for path in PATHS {
        for authorization in &tokens {
            for method in ["GET", "OPTIONS", "POST"] {
                let ask = || house.ask_with(authorization, method, path);
                let response = house.refused(ask);
                assert!([502, 503].contains(&response.status), "{path} {response:?}");
            }
        }
    }
    house.start_postern();
    house.postern().wait_for_keys();
    received(&house.ask_with(&house.user, "GET", "/api/x"));
}

fn no_keys(house: &mut House) {
    house.stop_postern();
    house.tenant.stop();
    house.start_postern();
    for path in PATHS {
        let response = house.refused(|| house.ask_with(&house.admin, "GET", path));
        assert_eq!(response.status, 503, "{path}");
        let seconds = response.header("Retry-After").expect("it tells when");
        let seconds: u64 = seconds.parse().expect("a number");
        assert!((1..=300).contains(&seconds), "{seconds}");
        assert_eq!(response.headers("Retry-After").len(), 1);
    }
    house.tenant.resume();
    house.stop_postern();
    house.start_postern();
    house.postern().wait_for_keys();
    received(&house.ask_with(&house.admin, "GET", "/admin/x"));
}
