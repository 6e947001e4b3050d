use super::*;

fn printed(response: Response, without_body: bool, persistence: Persistence) -> String {
    let mut wire = Vec::new();
    print(response, without_body, persistence, &mut wire);
    String::from_utf8(wire).unwrap()
}

#[test]
fn a_response_has_every_fixed_header_once() {
    let text = printed(
        Response::new(200, JSON, &b"{}"[..]),
        false,
        Persistence::Implied,
    );
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n{}"), "{text}");
    for (name, value) in FIXED_HEADERS {
        assert_eq!(
            text.matches(&format!("\r\n{name}: {value}\r\n")).count(),
            1,
            "{name}"
        );
    }
    for name in ["Date", "Content-Length"] {
        assert_eq!(text.matches(&format!("\r\n{name}: ")).count(), 1, "{name}");
    }
    assert!(!text.contains("Connection"), "{text}");
}

#[test]
fn an_empty_response_has_a_length_and_no_type() {
    let text = printed(Response::empty(200), false, Persistence::Close);
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nContent-Length: 0\r\n"), "{text}");
    assert!(!text.contains("Content-Type:"), "{text}");
}

#[test]
fn head_keeps_the_length_and_drops_the_body() {
    let text = printed(
        Response::error(404, "Not Found"),
        true,
        Persistence::KeepAlive,
    );
    assert!(text.contains("\r\nContent-Length: 23\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn an_error_body_leaves_out_what_is_not_set() {
    let body = |response: Response| {
        let text = printed(response, false, Persistence::Implied);
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    assert_eq!(
        body(Response::error(404, "Not Found")),
        r#"{"message":"Not Found"}"#
    );
    let full = Response::detailed_error(401, "m", "e", "a \"quoted\"\nline");
    assert_eq!(
        body(full),
        r#"{"message":"m","error":"e","error_description":"a \"quoted\"\nline"}"#
    );
}

fn not_found() -> Response {
    Response::error(404, "Not Found").with_header("X-Here", "a: b")
}

/// A body that contains every text that is searched for in a head.
fn confusing() -> Response {
    Response::new(
        200,
        JSON,
        &b"\r\nDate: x\r\nContent-Length: 1\r\n\r\n\r\n"[..],
    )
}

#[test]
fn a_prepared_response_is_printed_as_a_new_one() {
    static NOT_FOUND: Prepared = Prepared::new(not_found);
    static EMPTY: Prepared = Prepared::new(|| Response::empty(200));
    static CONFUSING: Prepared = Prepared::new(confusing);
    let kinds = [
        (&NOT_FOUND, not_found as fn() -> Response),
        (&EMPTY, || Response::empty(200)),
        (&CONFUSING, confusing),
    ];
    let add = |mut response: Response, count: usize| {
        for (name, value) in [("Vary", "Origin"), ("X-Other", "")].iter().take(count) {
            response.add_header(name, value);
        }
        response
    };
    for (prepared, new) in kinds {
        assert_eq!(prepared.response().status(), new().status());
        for persistence in [
            Persistence::Implied,
            Persistence::KeepAlive,
            Persistence::Close,
        ] {
            for (without_body, added) in [(false, 0), (true, 0), (false, 1), (false, 2)] {
                let print = |response| printed(add(response, added), without_body, persistence);
                // The clock may pass into the next second between the two.
                let same = (0..10).any(|_| print(prepared.response()) == print(new()));
                assert!(same, "{}", print(prepared.response()));
            }
        }
    }
}

#[test]
fn a_prepared_response_has_the_current_date() {
    static EMPTY: Prepared = Prepared::new(|| Response::empty(200));
    let date = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("Date: "));
        httpdate::parse_http_date(line.unwrap()).unwrap()
    };
    let print = || printed(EMPTY.response(), false, Persistence::Close);
    let first = print();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = print();
    assert!(date(&second) > date(&first));
    assert!(date(&second) <= SystemTime::now());
    assert_eq!(first.len(), second.len());
}

#[test]
fn a_header_is_added_or_replaces_one_that_every_response_has() {
    let response = Response::text(200, "plain")
        .with_header("Cache-Control", "max-age=60")
        .with_header("Set-Cookie", "a=1")
        .with_header("set-cookie", "b=2");
    let text = printed(response, false, Persistence::Implied);
    assert!(text.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    assert!(text.contains("\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"));
    assert_eq!(text.matches("Cache-Control: ").count(), 1, "{text}");
    assert!(text.contains("\r\nCache-Control: max-age=60\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nplain"));
}

#[test]
fn where_a_response_ends_is_not_for_handlers_to_say() {
    for name in SERVER_HEADERS {
        let new = Response::json(200, "text").with_header(name, "7");
        let text = printed(new, false, Persistence::Implied);
        assert!(!text.contains(&format!("{name}: 7")), "{text}");
        assert!(text.contains("\r\nContent-Length: 6\r\n"), "{text}");
    }
    // Longer than what tiny_http sends in one piece.
    let long = Response::text(200, "a".repeat(100_000));
    let text = printed(long, false, Persistence::Implied);
    assert!(text.contains("\r\nContent-Length: 100000\r\n"));
    assert!(!text.contains("chunked"));
}

#[test]
fn statuses_without_a_body_have_neither_body_nor_length() {
    for status in [204, 304] {
        for body in ["", "text"] {
            let text = printed(Response::text(status, body), false, Persistence::Close);
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(!text.contains("Content-Length"), "{text}");
            assert!(text.ends_with("\r\n\r\n"), "{text}");
            assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
        }
    }
}

#[test]
fn what_cannot_be_json_is_a_500() {
    let keys = std::collections::BTreeMap::from([((1, 2), "a key that is no text")]);
    assert_eq!(Response::json(200, &keys).status(), 500);
}
