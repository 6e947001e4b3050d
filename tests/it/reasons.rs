//! Why a request was refused, as the log tells it.

use serde_json::json;

use crate::support::client::{Client, bearer};
use crate::support::contract::{ADMIN, PROTECTED, PUBLIC};
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::Tenant;
use crate::support::token::{AUDIENCE, SUBJECT, Token, now};
use crate::support::wall_clock::WallClock;
use crate::support::{TempDir, wait_until};

/// A server that logs, and its tenant.
struct Logged {
    tenant: Tenant,
    postern: Postern,
}

impl Logged {
    fn start() -> Logged {
        Logged::start_with(|builder| builder)
    }

    fn start_with(change: impl FnOnce(Builder) -> Builder) -> Logged {
        let tenant = Tenant::start();
        let postern = change(Postern::builder(&tenant)).start();
        postern.wait_for_keys();
        Logged { tenant, postern }
    }

    /// The lines of requests.
    fn lines(&self) -> Vec<String> {
        let mut lines = self.postern.logs();
        lines.retain(|line| line.contains(" ms") && line.contains(" /"));
        lines
    }

    /// The line of this request, and the answer's status.
    fn line(&self, request: &str) -> (u16, String) {
        let before = self.lines().len();
        let mut client = Client::connect(self.postern.addr());
        client.send(request);
        let status = client.response().status;
        wait_until("the request is logged", || self.lines().len() > before);
        (status, self.lines().pop().unwrap())
    }

    /// The end of the line of a `GET` with these header lines.
    fn end(&self, path: &str, lines: &str, status: u16) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: here:1\r\n{lines}\r\n");
        let (found, line) = self.line(&request);
        assert_eq!(found, status, "{line}");
        let (start, end) = line.split_once(" ms").unwrap();
        assert!(start.contains(&format!(" {status} ")), "{line}");
        end.to_owned()
    }

    fn end_with(&self, path: &str, token: &str, status: u16) -> String {
        let line = format!("Authorization: {}\r\n", bearer(token));
        self.end(path, &line, status)
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let logged = Logged::start();
    let user = || Token::user(&logged.tenant);
    let issuer = logged.tenant.issuer();
    let stranger = logged.tenant.next_key();
    let in_an_hour = now() + 3600;
    let sub = format!(" unverified sub={SUBJECT}");
    let long = "x".repeat(300);
    let cut = format!("{}…", "x".repeat(61));
    for (token, reason) in [
        ("opaque".to_owned(), " not a JWT of three parts".to_owned()),
        (
            user().raw_header("{").sign(),
            format!(
                " header is not a JSON object of the right form: EOF while parsing an object …{sub}"
            ),
        ),
        (
            user().raw_payload("[]").sign(),
            " payload is not a JSON object".to_owned(),
        ),
        (
            user().header("alg", json!("none")).sign(),
            format!(" alg is \"none\", expected RS256{sub}"),
        ),
        (
            user().header("typ", json!("id\n")).sign(),
            format!(" typ is \"id\\n\"{sub}"),
        ),
        (
            user().header("crit", json!(["b64"])).sign(),
            format!(" has a crit header{sub}"),
        ),
        (
            user().without_header("kid").sign(),
            format!(" names no key (kid){sub}"),
        ),
        (
            user().sign_with(&stranger),
            format!(" signature is not valid{sub}"),
        ),
        (
            user().claim("iss", json!("https://evil/")).sign(),
            format!(" issuer is \"https://evil/\", expected \"{issuer}\"{sub}"),
        ),
        (
            user().without_claim("iss").sign(),
            format!(" issuer is missing, expected \"{issuer}\"{sub}"),
        ),
        (
            user().claim("aud", json!("x")).sign(),
            format!(" audience is \"x\", expected \"{AUDIENCE}\"{sub}"),
        ),
        (
            user().without_claim("exp").sign(),
            format!(" exp is missing or not a number{sub}"),
        ),
        (
            user().claim("nbf", json!(in_an_hour)).sign(),
            format!(" not valid for another 3600 s{sub}"),
        ),
        (
            user().claim("exp", json!(now() - 3600)).sign(),
            format!(" expired 3600 s ago{sub}"),
        ),
        // What a stranger writes is escaped and cut.
        (
            user()
                .claim("sub", json!("a b\n\u{1b}[1m"))
                .expired()
                .sign(),
            " expired 86400 s ago unverified sub=a b\\n\\x1b[1m".to_owned(),
        ),
        (
            user().claim("sub", json!(long)).expired().sign(),
            format!(" expired 86400 s ago unverified sub={cut}"),
        ),
        (
            user().claim("sub", json!(1)).expired().sign(),
            " expired 86400 s ago".to_owned(),
        ),
    ] {
        // A second may pass meanwhile.
        let same = |end: &str| {
            let later = [
                ("3600 s", "3601 s"),
                ("3600 s", "3599 s"),
                ("86400", "86401"),
            ];
            let later = later.map(|(now, later)| reason.replace(now, later));
            end == reason || later.iter().any(|reason| end == reason)
        };
        let end = logged.end_with(PROTECTED, &token, 401);
        assert!(same(&end), "{end:?} is not {reason:?}");
    }
    let unknown = user().header("kid", json!("x")).sign();
    let end = logged.end_with(PROTECTED, &unknown, 401);
    assert_eq!(end, format!(" key \"x\" is not in the set{sub}"));
    for (lines, status, reason) in [
        ("", 401, "no token"),
        ("Authorization: Basic dTpw\r\n", 401, "no token"),
        (
            "Authorization: Bearer\r\n",
            400,
            "Authorization is not Bearer <token>",
        ),
        (
            "Authorization: Bearer a b\r\n",
            400,
            "Authorization is not Bearer <token>",
        ),
    ] {
        let end = logged.end(PROTECTED, lines, status);
        assert_eq!(end, format!(" {reason}"));
    }
    let end = logged.end_with(ADMIN, &user().sign(), 403);
    assert_eq!(end, format!(" lacks read:admin-messages sub={SUBJECT}"));
    // What is not refused has no reason.
    let end = logged.end_with(ADMIN, &user().admin().sign(), 200);
    assert_eq!(end, format!(" sub={SUBJECT}"));
    assert_eq!(logged.end(PUBLIC, "", 200), "");
    assert_eq!(logged.end("/nothing", "", 404), "");
}

#[test]
fn a_token_that_was_verified_is_not_called_unverified() {
    let logged = Logged::start_with(|builder| builder.env("CLOCK_LEEWAY_SECONDS", "0"));
    let soon = Token::user(&logged.tenant).claim("exp", json!(now() + 3));
    let token = soon.sign();
    assert_eq!(
        logged.end_with(PROTECTED, &token, 200),
        format!(" sub={SUBJECT}")
    );
    wait_until("it expires", || {
        logged.postern.get_protected(&token).status == 401
    });
    let end = logged.end_with(PROTECTED, &token, 401);
    assert!(end.starts_with(" expired "), "{end}");
    assert!(end.ends_with(&format!(" s ago sub={SUBJECT}")), "{end}");
}

#[test]
fn what_prevents_a_check_is_named() {
    let mut tenant = Tenant::start();
    tenant.stop();
    let token = Token::user(&tenant).sign();
    let postern = Postern::builder(&tenant).start();
    let logged = Logged { tenant, postern };
    let end = logged.end_with(PROTECTED, &token, 503);
    assert_eq!(end, format!(" no keys unverified sub={SUBJECT}"));

    let Some(clock) = WallClock::new() else {
        return;
    };
    let tenant = Tenant::start();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    clock.jump(-(now() as i64));
    let token = Token::user(&tenant).sign();
    let builder = Postern::builder(&tenant).state(state.path());
    let postern = clock.rule(builder).start();
    let logged = Logged { tenant, postern };
    let end = logged.end_with(PROTECTED, &token, 503);
    assert_eq!(end, format!(" clock not set unverified sub={SUBJECT}"));
}

#[test]
fn an_origin_that_is_not_allowed_is_named() {
    let app = "http://localhost:4040";
    for is_set in [true, false] {
        let origins = if is_set { app } else { "" };
        let logged = Logged::start_with(|builder| builder.env("CLIENT_ORIGIN_URL", origins));
        let preflight = "Origin: http://x:1\r\nAccess-Control-Request-Method: GET\r\n";
        let request = format!("OPTIONS {PROTECTED} HTTP/1.1\r\nHost: a\r\n{preflight}\r\n");
        let (status, line) = logged.line(&request);
        assert_eq!(status, 200);
        assert!(
            line.ends_with(" ms origin http://x:1 not allowed"),
            "{line}"
        );
        let end = logged.end(PROTECTED, "Origin: null\r\n", 401);
        assert_eq!(end, " no token origin null not allowed");
        let end = logged.end(PUBLIC, "Origin: a\tb\r\n", 200);
        assert_eq!(end, " origin a\\tb not allowed");
        // Its own origin, and one that is allowed.
        assert_eq!(logged.end(PUBLIC, "Origin: https://here:1\r\n", 200), "");
        let end = logged.end(PUBLIC, &format!("Origin: {app}\r\n"), 200);
        let expected = if is_set {
            ""
        } else {
            " origin http://localhost:4040 not allowed"
        };
        assert_eq!(end, expected);
    }
}

/// The rows of the table of errors that are not about tokens.
#[test]
fn each_other_error_has_its_line() {
    let logged = Logged::start_with(|builder| {
        let builder = builder.env("RUST_LOG", "debug");
        builder.env("HEAD_TIMEOUT_SECONDS", "1")
    });
    let long = "x".repeat(17_000);
    let many = "A: b\r\n".repeat(65);
    for (request, status, line) in [
        (
            "GET /\r\n\r\n",
            400,
            "400 the request is malformed: request line",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            400,
            "400 the request is malformed: Host",
        ),
        (
            "GET / HTTP/1.1\nHost: a\n\n",
            400,
            "400 the request is malformed: bare LF",
        ),
        (
            "GET / HTTP/1.1\r\n",
            408,
            "408 the request head was not complete in time",
        ),
        (
            &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..8192]),
            414,
            "414 the request target is longer than 8192 bytes",
        ),
        (
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
            431,
            "431 the request head is longer than 16384 bytes or 64 header lines",
        ),
        (
            &format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}"),
            431,
            "431 the request head is longer than 16384 bytes or 64 header lines",
        ),
        (
            "GET / HTTP/2.0\r\n\r\n",
            505,
            "505 the HTTP version is neither 1.0 nor 1.1",
        ),
        (
            "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
            404,
            "GET /nothing 404 ",
        ),
        (
            "PUT /api/messages/public HTTP/1.1\r\nHost: a\r\n\r\n",
            405,
            "PUT /api/messages/public 405 ",
        ),
    ] {
        let count = || {
            let lines = logged.postern.logs();
            lines.iter().filter(|logged| logged.contains(line)).count()
        };
        let before = count();
        let mut client = Client::connect(logged.postern.addr());
        // It may refuse it before all is sent.
        let _ = client.try_send(request);
        assert_eq!(client.response().status, status, "{request:?}");
        wait_until(line, || count() > before);
    }
}

#[test]
fn no_line_is_longer_than_511_bytes() {
    let logged = Logged::start_with(|builder| {
        builder
            .env("FORWARD_AUTH_PATH", "/auth")
            .env("TRUSTED_PROXIES", "127.0.0.1")
    });
    let long = "\u{1}x".repeat(300);
    let plain = "x".repeat(300);
    let proxy = format!(
        "X-Forwarded-For: 2001:db8:1111:2222:3333:4444:5555:6666\r\nX-Forwarded-Method: {plain}\r\n\
         X-Forwarded-Host: {plain}\r\nX-Forwarded-Uri: /{plain}\r\nOrigin: {plain}\r\n"
    );
    let user = || Token::user(&logged.tenant).claim("sub", json!(long));
    for (token, status) in [
        (user().claim("iss", json!(long)).sign(), 401),
        (user().expired().sign(), 401),
        (user().sign(), 403),
    ] {
        for path in [format!("/auth?permission={plain}"), format!("/{plain}")] {
            let request = format!(
                "{plain} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n{proxy}\r\n",
                bearer(&token)
            );
            let (found, line) = logged.line(&request);
            let expected = if path.starts_with("/auth") {
                status
            } else {
                404
            };
            assert_eq!(found, expected, "{line}");
            assert!(line.len() < 511, "{} bytes: {line}", line.len());
        }
    }
}

#[test]
fn no_refusal_logs_a_token_or_a_query() {
    let logged = Logged::start_with(|builder| {
        let builder = builder.env("RUST_LOG", "trace");
        builder.env("FORWARD_AUTH_PATH", "/auth")
    });
    let user = || Token::user(&logged.tenant).claim("secret", json!("marked-by-the-test"));
    let tokens = [
        user().sign(),
        user().expired().sign(),
        user().header("alg", json!("none")).sign(),
        user().header("kid", json!("other")).sign(),
        user().claim("aud", json!("other")).sign(),
        user().sign_with(&logged.tenant.next_key()),
        user().raw_header("{").sign(),
    ];
    for token in &tokens {
        for authorization in [
            bearer(token),
            format!("Bearer {token} {token}"),
            token.clone(),
            format!("Basic {token}"),
        ] {
            for path in [PROTECTED, ADMIN, "/auth?permission=other", "/nothing"] {
                let separator = if path.contains('?') { '&' } else { '?' };
                let request = format!(
                    "GET {path}{separator}access_token={token} HTTP/1.1\r\nHost: a\r\n\
                     Authorization: {authorization}\r\n\r\n"
                );
                logged.line(&request);
            }
        }
    }
    let logs = logged.postern.logs().join("\n");
    for token in &tokens {
        let parts = token.split('.').filter(|part| part.len() >= 20);
        parts.for_each(|part| assert!(!logs.contains(&part[..20]), "{part}"));
    }
    assert!(!logs.contains("access_token") && !logs.contains("marked-by-the-test"));
}
