//! The routes: their answers, the order of the checks, the headers of every response, and the log
//! line of a request.

use serde_json::json;

use crate::support::client::{self, Client, Response, bearer};
use crate::support::contract::{ADMIN, Needs, PROTECTED, PUBLIC, ROUTES, assert_headers};
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;
use crate::support::token::{SUBJECT, Token};

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// A token that every route accepts.
fn all_permissions(tenant: &Tenant) -> String {
    let permissions = ROUTES.map(|(_, needs, _)| match needs {
        Needs::Permission(permission) => permission,
        _ => "read:something-else",
    });
    let token = Token::user(tenant).claim("permissions", json!(permissions));
    bearer(&token.sign())
}

/// What a request without a usable token gets.
const AUTHENTICATE: &str = r#"{"message":"Requires authentication"}"#;

fn assert_answer(response: &Response, status: u16, body: &str, what: &str) {
    assert_eq!((response.status, response.text()), (status, body), "{what}");
    assert_headers(response, what);
}

#[test]
fn each_route_answers_its_own_message() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let user = bearer(&Token::user(&tenant).sign());
    for (path, needs, body) in ROUTES {
        let permission = match needs {
            Needs::Permission(permission) => permission,
            _ => "read:something-else",
        };
        let token = Token::user(&tenant).claim("permissions", json!([permission]));
        let permitted = bearer(&token.sign());
        let statuses = match needs {
            Needs::Nothing => [200, 200, 200, 200],
            Needs::Token => [401, 401, 200, 200],
            Needs::Permission(_) => [401, 401, 403, 200],
        };
        let headers = ["", "Bearer rubbish", &user, &permitted];
        for (authorization, status) in headers.into_iter().zip(statuses) {
            let response = postern.get(path, &[("Authorization", authorization)]);
            let what = format!("{path} {authorization:?}");
            assert_eq!(response.status, status, "{what}");
            let challenge = response.header("WWW-Authenticate");
            if status == 200 {
                assert_answer(&response, 200, body, &what);
                assert_eq!(challenge, None, "{what}");
            } else if status == 403 {
                assert_answer(&response, 403, &denied(permission), &what);
                let scope = format!("scope=\"{permission}\"");
                assert!(challenge.unwrap().contains(&scope), "{what}: {challenge:?}");
            }
        }
    }
}

/// The body of 403.
fn denied(permission: &str) -> String {
    format!(
        "{{\"message\":\"Permission denied\",\"error\":\"insufficient_scope\",\
         \"error_description\":\"Requires {permission}\"}}"
    )
}

#[test]
fn head_is_get_without_the_body() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let admin = bearer(&Token::user(&tenant).admin().sign());
    let user = bearer(&Token::user(&tenant).sign());
    let mut client = Client::connect(postern.addr());
    for (path, token, status) in [
        (PUBLIC, "", 200),
        (PROTECTED, &*user, 200),
        (ADMIN, &*admin, 200),
        (ADMIN, &*user, 403),
        (PROTECTED, "", 401),
        (PROTECTED, "Bearer", 400),
        ("/unknown", "", 404),
    ] {
        let authorization = [("Authorization", token)];
        let head = client.request("HEAD", path, &authorization);
        // On the same connection: a body behind the head would be taken for the next answer.
        let get = client.request("GET", path, &authorization);
        let what = format!("HEAD {path} {token:?}");
        assert_eq!((head.status, get.status), (status, status), "{what}");
        assert_headers(&head, &what);
        let fixed = |response: &Response| {
            let mut headers = response.headers.clone();
            headers.retain(|(name, _)| name != "Date");
            headers
        };
        assert_eq!(fixed(&head), fixed(&get), "{what}");
        assert_ne!(get.header("Content-Length"), Some("0"), "{what}");
    }
}

#[test]
fn options_names_the_methods_of_what_is_known() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let routes = ROUTES.map(|(path, ..)| (path, true));
    let others = [
        ("*", true),
        ("http://localhost", true),
        ("/api/messages/admin?x=*", true),
        ("/", false),
        ("/*", false),
        ("/api/messages/", false),
    ];
    for (target, is_known) in routes.into_iter().chain(others) {
        let response = client::request(postern.addr(), "OPTIONS", target, &[]);
        let allow = response.header("Allow");
        if is_known {
            assert_answer(&response, 200, "", target);
            assert_eq!(allow, Some(ALLOW), "{target}");
            assert_eq!(response.header("Content-Length"), Some("0"), "{target}");
        } else {
            assert_answer(&response, 404, r#"{"message":"Not Found"}"#, target);
            assert_eq!(allow, None, "{target}");
        }
    }
}

#[test]
fn any_other_method_is_not_allowed() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = bearer(&Token::user(&tenant).admin().sign());
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "Head", "options", "QUERY",
        "G", "!#$%",
    ] {
        for (path, ..) in ROUTES {
            let headers = [("Authorization", &*token)];
            let response = client::request(postern.addr(), method, path, &headers);
            let what = format!("{method} {path}");
            assert_answer(&response, 405, r#"{"message":"Method Not Allowed"}"#, &what);
            assert_eq!(response.header("Allow"), Some(ALLOW), "{what}");
        }
    }
}

#[test]
fn paths_match_byte_for_byte() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = bearer(&Token::user(&tenant).admin().sign());
    for path in [
        "/",
        "//",
        "/api",
        "/api/messages",
        "/api/messages/",
        "/api/messages/public/",
        "/api/messages/protected/",
        "/api/messages/admin/",
        "/api/messages/Public",
        "/API/messages/admin",
        "/api/messages/publi",
        "/api/messages/publicc",
        "/api/messages/publi%63",
        "/api%2Fmessages/public",
        "/api/messages/public%3F",
        "/api/messages/public%00",
        "/api/messages/public;a=b",
        "/api/messages/public#a",
        "//api/messages/public",
        "/api//messages/public",
        "/api/./messages/public",
        "/api/messages/../messages/public",
        "/?/api/messages/public",
        "http://localhost/api/messages/public/",
        "http://localhost",
        "http://localhost?/api/messages/public",
    ] {
        let response = postern.get(path, &[("Authorization", &token)]);
        assert_answer(&response, 404, r#"{"message":"Not Found"}"#, path);
    }
}

#[test]
fn the_query_is_ignored() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = all_permissions(&tenant);
    for (path, _, body) in ROUTES {
        for query in ["?", "?a=b", "??", "?/", "?a=%ZZ&[]{}|\\^\"<>`"] {
            let target = format!("{path}{query}");
            let response = postern.get(&target, &[("Authorization", &token)]);
            assert_answer(&response, 200, body, &target);
        }
    }
}

#[test]
fn an_absolute_target_is_its_path() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = all_permissions(&tenant);
    for prefix in [
        "http://localhost",
        "HTTP://localhost:6060",
        "https://api.example.com",
        "http://[::1]:80",
    ] {
        for (path, _, body) in ROUTES {
            let target = format!("{prefix}{path}?a=b");
            let response = postern.get(&target, &[("Authorization", &token)]);
            assert_answer(&response, 200, body, &target);
        }
    }
}

#[test]
fn a_token_anywhere_but_in_the_header_is_not_read() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let token = Token::user(&tenant).admin().sign();
    let form = format!("access_token={token}");
    let length = form.len();
    let heads = [
        format!("GET {PROTECTED}?{form} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET {ADMIN}?Authorization=Bearer%20{token} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!(
            "GET {PROTECTED} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
        ),
        format!("GET {PROTECTED} HTTP/1.1\r\nHost: a\r\nCookie: {form}\r\n\r\n"),
        format!("GET {PROTECTED} HTTP/1.1\r\nHost: a\r\nX-Authorization: Bearer {token}\r\n\r\n"),
        format!(
            "GET {PROTECTED} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
        ),
    ];
    for head in heads {
        let response = client::exchange(postern.addr(), &head);
        assert_answer(&response, 401, AUTHENTICATE, &head);
        let challenge = response.header("WWW-Authenticate");
        assert_eq!(challenge, Some(r#"Bearer realm="api""#), "{head}");
    }
}

/// What is wrong is told in this order, whatever else is wrong too.
#[test]
fn checks_come_in_order() {
    let mut tenant = Tenant::start();
    let expired = bearer(&Token::user(&tenant).expired().sign());
    let user = bearer(&Token::user(&tenant).sign());
    let admin = bearer(&Token::user(&tenant).admin().sign());
    let with_keys = Postern::start(&tenant);
    tenant.stop();
    let without_keys = Postern::builder(&tenant).start();

    let body = "Content-Length: 1\r\nContent-Length: 1\r\n";
    for (method, path, extra, authorization, statuses) in [
        // Framing: with and without keys.
        ("POST", "/unknown", body, None, [400, 400]),
        ("GET", PROTECTED, body, Some(&*admin), [400, 400]),
        // Path.
        ("POST", "/unknown", "", Some("Bearer"), [404, 404]),
        ("GET", "/unknown", "", Some(&*admin), [404, 404]),
        // Method.
        ("POST", PROTECTED, "", None, [405, 405]),
        ("DELETE", ADMIN, "", Some("Bearer"), [405, 405]),
        ("POST", ADMIN, "", Some("Bearer a.b.c"), [405, 405]),
        // Authorization.
        ("GET", PROTECTED, "", None, [401, 401]),
        ("HEAD", ADMIN, "", None, [401, 401]),
        ("GET", ADMIN, "", Some("Basic abc"), [401, 401]),
        ("GET", PROTECTED, "", Some("Bearer"), [400, 400]),
        ("GET", ADMIN, "", Some("Bearer a b"), [400, 400]),
        // Keys, then token, then permission.
        ("GET", PROTECTED, "", Some("Bearer a.b.c"), [401, 503]),
        ("GET", ADMIN, "", Some(&*expired), [401, 503]),
        ("GET", ADMIN, "", Some(&*user), [403, 503]),
        ("GET", ADMIN, "", Some(&*admin), [200, 503]),
        ("GET", PUBLIC, "", None, [200, 200]),
    ] {
        let authorization = authorization
            .map(|value| format!("Authorization: {value}\r\n"))
            .unwrap_or_default();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{extra}{authorization}\r\n");
        for (postern, status) in [&with_keys, &without_keys].into_iter().zip(statuses) {
            let mut client = Client::connect(postern.addr());
            client.send(&head);
            let response = client.try_response(method == "HEAD").unwrap();
            assert_eq!(response.status, status, "{head}{}", response.text());
        }
    }
}

#[test]
fn every_response_has_the_fixed_headers() {
    let mut tenant = Tenant::start();
    let user = Token::user(&tenant).sign();
    let with_keys = Postern::builder(&tenant)
        .env("HEAD_TIMEOUT_SECONDS", "1")
        .env("CLIENT_ORIGIN_URL", "https://app.example.com")
        .start();
    with_keys.wait_for_keys();
    tenant.stop();
    let without_keys = Postern::builder(&tenant).start();

    let get = |path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let authorized = format!("Authorization: Bearer {user}\r\n");
    let many = "A: b\r\n".repeat(64);
    for (head, status, message) in [
        (get(PUBLIC, ""), 200, ""),
        (get(PUBLIC, "Origin: https://app.example.com\r\n"), 200, ""),
        (get(PROTECTED, &authorized), 200, ""),
        (
            format!("OPTIONS {PUBLIC} HTTP/1.1\r\nHost: a\r\n\r\n"),
            200,
            "",
        ),
        (format!("GET {PUBLIC} HTTP/1.0\r\n\r\n"), 200, ""),
        (get(PUBLIC, "Host: a\r\n"), 400, "Bad Request"),
        ("\x16\x03\x01".to_owned(), 400, "Bad Request"),
        (
            get(PROTECTED, "Authorization: Bearer\r\n"),
            400,
            "Requires authentication",
        ),
        (get(PROTECTED, ""), 401, "Requires authentication"),
        (
            get(PROTECTED, "Authorization: Bearer a\r\n"),
            401,
            "Bad credentials",
        ),
        (get(ADMIN, &authorized), 403, "Permission denied"),
        (get("/", ""), 404, "Not Found"),
        (
            format!("PUT {PUBLIC} HTTP/1.1\r\nHost: a\r\n\r\n"),
            405,
            "Method Not Allowed",
        ),
        (format!("GET {PUBLIC} HTTP/1.1\r\n"), 408, "Request Timeout"),
        (
            get(&format!("/{}", "a".repeat(8192)), ""),
            414,
            "URI Too Long",
        ),
        (get(PUBLIC, &many), 431, "Request Header Fields Too Large"),
        (
            format!("GET {PUBLIC} HTTP/2.0\r\nHost: a\r\n\r\n"),
            505,
            "HTTP Version Not Supported",
        ),
    ] {
        let response = client::exchange(with_keys.addr(), &head);
        assert_eq!(response.status, status, "{head}");
        assert_headers(&response, &head);
        if !message.is_empty() {
            assert_eq!(response.message(), message, "{head}");
        }
        let is_protocol_error = matches!(status, 408 | 414 | 431 | 505) || message == "Bad Request";
        if is_protocol_error {
            let body = format!(r#"{{"message":"{message}"}}"#);
            assert_eq!(response.text(), body, "{head}");
            assert_eq!(response.header("Connection"), Some("close"), "{head}");
        }
    }
    let response = client::exchange(without_keys.addr(), get(PROTECTED, &authorized));
    assert_eq!(response.status, 503);
    assert_eq!(response.message(), "Unable to verify credentials");
    assert_headers(&response, "no keys");
}

/// The words of the one line at `info` about the request that came from `peer`.
fn info_line(logs: &[String], peer: &str) -> Vec<String> {
    let peer = format!("{peer} ");
    let lines: Vec<_> = logs.iter().filter(|line| line.contains(&peer)).collect();
    assert_eq!(lines.len(), 1, "{peer} in {logs:#?}");
    assert!(lines[0].contains("INFO"), "{lines:?}");
    let (_, rest) = lines[0].split_once(&peer).unwrap();
    rest.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn each_request_is_one_log_line() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let user = bearer(&Token::user(&tenant).sign());
    let admin = bearer(&Token::user(&tenant).admin().sign());
    let nobody = bearer(&Token::user(&tenant).without_claim("sub").sign());
    let expired = bearer(&Token::user(&tenant).expired().sign());
    let sub = format!("sub={SUBJECT}");
    let mut expected = Vec::new();
    for (method, target, token, path, status, sub) in [
        ("GET", PUBLIC, &*user, PUBLIC, "200", None),
        ("HEAD", PUBLIC, "", PUBLIC, "200", None),
        ("OPTIONS", "*", "", "*", "200", None),
        ("GET", PROTECTED, &user, PROTECTED, "200", Some(&sub)),
        ("HEAD", ADMIN, &admin, ADMIN, "200", Some(&sub)),
        ("GET", ADMIN, &user, ADMIN, "403", Some(&sub)),
        ("GET", PROTECTED, &nobody, PROTECTED, "200", None),
        ("GET", PROTECTED, &expired, PROTECTED, "401", Some(&sub)),
        ("GET", PROTECTED, "", PROTECTED, "401", None),
        ("GET", PROTECTED, "Bearer", PROTECTED, "400", None),
        ("POST", PUBLIC, "", PUBLIC, "405", None),
        ("GET", "/unknown?secret", "", "/unknown", "404", None),
        ("GET", "http://a/unknown", "", "/unknown", "404", None),
    ] {
        let mut client = Client::connect(postern.addr());
        client.request(method, target, &[("Authorization", token)]);
        // Kept open, so that no other one gets its port.
        expected.push((client, [method, path, status], sub));
    }
    // What is no request is not logged at this level.
    let mut refused = Client::connect(postern.addr());
    refused.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.response().status, 400);

    let logs = postern.into_logs();
    for (client, words, sub) in expected {
        let found = info_line(&logs, &client.local_addr().to_string());
        assert_eq!(found[..3], words);
        let milliseconds: f64 = found[3].parse().unwrap();
        assert!(milliseconds >= 0.0 && found[4] == "ms", "{found:?}");
        // Behind the time there may also be why it was refused.
        let subject = found[5..].iter().find(|word| word.starts_with("sub="));
        assert_eq!(subject, sub, "{found:?}");
        let is_verified = !found.contains(&"unverified".to_owned());
        assert!(is_verified || words[2] == "401", "{found:?}");
        assert!(words[2] != "200" || found.len() <= 6, "{found:?}");
    }
    let refused = refused.local_addr().to_string();
    assert!(
        !logs.iter().any(|line| line.contains(&refused)),
        "{logs:#?}"
    );
}

/// The parts of what is sent that must never be logged, not even their beginnings.
fn secrets(credentials: &str) -> Vec<&str> {
    let parts = credentials.split(['.', ' ', ',', '\t']);
    parts
        .filter(|part| part.len() >= 16)
        .map(|part| &part[..16])
        .collect()
}

#[test]
fn credentials_are_never_logged() {
    let tenant = Tenant::start();
    let postern = Postern::builder(&tenant).env("RUST_LOG", "trace").start();
    postern.wait_for_keys();
    let user = Token::user(&tenant);
    let token = user.sign();
    let without_dots = token.replace('.', "");
    let too_long = format!("{token}{}", "QUFB".repeat(5000));
    let credentials = [
        bearer(&token),
        bearer(&Token::user(&tenant).admin().sign()),
        bearer(&Token::user(&tenant).expired().sign()),
        bearer(&user.sign_with(&tenant.next_key())),
        bearer(&user.clone().header("kid", "unknown".into()).sign()),
        bearer(&user.clone().raw_header("{\"alg\":\"RS256\"").sign()),
        bearer(&user.clone().raw_payload("\"a string, no claims\"").sign()),
        bearer(&format!("{token}=")),
        bearer(&format!("{token}.{token}")),
        bearer(&without_dots),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer,{token}"),
        format!("Basic {token}"),
        token.clone(),
        // Not even requests.
        format!("Bearer {token}\x01"),
        format!("Bearer {token}\r\n folded"),
        format!("Bearer {token}\nbare"),
        bearer(&too_long),
    ];
    let mut heads: Vec<String> = credentials
        .iter()
        .map(|value| format!("GET {ADMIN} HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\n\r\n"))
        .collect();
    heads.extend([
        format!("GET {PROTECTED}?access_token={token} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET {PROTECTED} HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer {token}\r\n\r\n"),
        format!("GET {PROTECTED} HTTP/1.1\r\nHost: {token}@a\r\n\r\n"),
        format!("GET {PROTECTED} {token} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("POST {PROTECTED} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{token}"),
    ]);
    for head in &heads {
        client::exchange(postern.addr(), head);
    }
    let logs = postern.into_logs();
    // It does log, and at a level that would tell.
    for expected in ["DEBUG", SUBJECT, " 401 ", "is malformed"] {
        assert!(
            logs.iter().any(|line| line.contains(expected)),
            "{expected}"
        );
    }
    for credentials in &credentials {
        let secrets = secrets(credentials);
        assert!(!secrets.is_empty());
        for secret in secrets {
            let line = logs.iter().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} of {credentials:?}");
        }
    }
}

#[test]
fn what_the_network_sends_stays_within_its_log_line() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let request = |target: &str, sub: &str| {
        let token = Token::user(&tenant).claim("sub", sub.into()).sign();
        let mut client = Client::connect(postern.addr());
        client.request("GET", target, &[("Authorization", &bearer(&token))]);
        client
    };
    let hostile = "a\r\n127.0.0.1:1 GET /forged 200\x1b[31m\x00\x07\x7f\u{85}\u{2028}\u{202e}b";
    let escaped = r"sub=a\r\n127.0.0.1:1 GET /forged 200\x1b[31m\0\x07\x7f\x85\u{2028}\u{202e}b";
    let longest = format!("/{}", "p".repeat(255));
    let too_long = format!("/{}", "p".repeat(256));
    let clients = [
        request(PROTECTED, hostile),
        request(&longest, ""),
        request(&too_long, ""),
        request(PROTECTED, &"s".repeat(5000)),
    ];
    let [hostile, longest_one, too_long_one, long_sub] = clients
        .each_ref()
        .map(|client| client.local_addr().to_string());

    let logs = postern.into_logs();
    let line = logs.iter().find(|line| line.contains(&hostile)).unwrap();
    assert!(line.ends_with(escaped), "{line:?}");
    for line in &logs {
        assert!(!line.starts_with("127.0.0.1:1"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 1000, "{line:?}");
    }
    assert_eq!(info_line(&logs, &longest_one)[1], longest);
    // Cut to 256 bytes, of which the ellipsis takes three.
    let cut = format!("{}…", &too_long[..253]);
    assert_eq!(info_line(&logs, &too_long_one)[1], cut);
    assert!(info_line(&logs, &long_sub)[5].starts_with("sub=sss"));
}
