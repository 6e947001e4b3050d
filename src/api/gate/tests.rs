use std::sync::Arc;

use super::*;
use crate::http::response;

fn claims(permissions: &[&str]) -> Claims {
    Claims {
        subject: Some("auth0|1".into()),
        client: Some("client".into()),
        permissions: permissions.iter().copied().collect(),
        expires_at: 2e9,
        not_before: None,
    }
}

/// The answer as it is sent: the head, and the body.
fn printed(response: Response) -> (String, String) {
    let mut wire = Vec::new();
    response::print(response, false, response::Persistence::Implied, &mut wire);
    let text = String::from_utf8(wire).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn value(head: &str, name: &str) -> Option<String> {
    let mut lines = head.split("\r\n").skip(1);
    lines.find_map(|line| {
        let (found, value) = line.split_once(": ").unwrap();
        (found == name).then(|| value.to_owned())
    })
}

/// The status, and the challenge.
fn decided(permissions: &[&str], query: &str) -> (u16, Option<String>) {
    let response = decide(&claims(permissions), Some(query));
    let status = response.status();
    (status, value(&printed(response).0, "WWW-Authenticate"))
}

#[test]
fn a_query_asks_for_permissions() {
    for (query, expected) in [
        ("", &[][..]),
        ("a=b", &[]),
        ("permission=a", &["a"]),
        ("permission=a&permission=b", &["a", "b"]),
        ("x=1&permission=a&y&permission=a&", &["a", "a"]),
        ("permission=read:a/b?c=d", &["read:a/b?c=d"]),
        ("permission=read%3Aa%20b+c%2B", &["read:a b c+"]),
        ("permission=%C3%A4%f0%9f%a6%80", &["ä🦀"]),
        ("permission=+%C3%A4", &[" ä"]),
        ("permission=a%26permission=b", &["a&permission=b"]),
        ("permission=a%00%0d%0a", &["a\0\r\n"]),
        ("permission=", &[""]),
        ("permission", &[""]),
        ("%70ermission=a", &["a"]),
        (
            "Permission=a&permissions=a&permission+=a&permission%00=a",
            &[],
        ),
        // A semicolon separates nothing.
        ("permission=a;permission=b", &["a;permission=b"]),
    ] {
        let found: Vec<_> = needed(query).map(Result::unwrap).collect();
        assert_eq!(found, expected, "{query}");
    }
    for (count, status) in [(MAX_PERMISSIONS, 200), (MAX_PERMISSIONS + 1, 403)] {
        let many = vec!["permission=a"; count].join("&");
        assert_eq!(decided(&["a"], &many).0, status, "{count}");
    }
}

#[test]
fn a_query_that_cannot_be_read_lets_nobody_pass() {
    let everything = [
        "",
        "a",
        "%",
        "%zz",
        "\u{fffd}",
        "a\u{fffd}",
        "%ff",
        "\u{ff}",
        " ",
        "%4",
    ];
    for query in [
        "permission=%",
        "permission=%4",
        "permission=%zz",
        "permission=%+1",
        "permission=a%ff",
        "permission=%ff",
        "permission=%c3+%a4",
        "permission=%ed%a0%80",
        "permission=%u0061",
        "permission=a&permission=%zz",
        "x=%zz&permission%zz=a",
        "%ff",
    ] {
        let (status, challenge) = decided(&everything, query);
        assert_eq!(status, 403, "{query}");
        let expected = "Bearer realm=\"api\", error=\"insufficient_scope\", \
                        error_description=\"Requires permissions that the access token lacks\"";
        assert_eq!(challenge.as_deref(), Some(expected), "{query}");
    }
}

#[test]
fn all_permissions_are_needed() {
    for (query, status) in [
        ("", 200),
        ("permission=a", 200),
        ("permission=a&permission=b%20c", 200),
        ("permission=b+c&permission=a&permission=a", 200),
        ("permission=b", 403),
        ("permission=a+b+c", 403),
        ("permission=a&permission=c", 403),
        ("permission=c&permission=a", 403),
        ("permission=A", 403),
        ("permission=", 403),
        ("permission", 403),
    ] {
        assert_eq!(decided(&["a", "b c"], query).0, status, "{query}");
    }
    assert_eq!(decided(&[], "permission=").0, 403);
}

#[test]
fn a_challenge_lists_what_is_needed() {
    for (query, scope) in [
        ("permission=read:a", "read:a"),
        ("permission=x&permission=read:a&permission=x", "x read:a x"),
        ("permission=a%25b", "a%b"),
        // No scope-token: encoded whole.
        ("permission=a+b%25", "a%20b%25"),
        (
            "permission=%22,+error=%22&permission=b",
            "%22,%20error=%22 b",
        ),
        ("permission=a%5cb", "a%5Cb"),
        (
            "permission=a%0d%0aSet-Cookie:%20x",
            "a%0D%0ASet-Cookie:%20x",
        ),
        ("permission=%c3%a4%7f%00", "%C3%A4%7F%00"),
        ("permission=&permission=a&permission=", "a"),
    ] {
        let expected = format!(
            "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\", \
             error_description=\"Requires {scope}\""
        );
        assert_eq!(decided(&[], query), (403, Some(expected)), "{query}");
    }
}

#[test]
fn a_challenge_is_bounded() {
    let longest = |length: usize| {
        let query = format!("permission={}", "a".repeat(length));
        decided(&[], &query).1.unwrap()
    };
    let frame = longest(1).len() - 2;
    let room = (MAX_CHALLENGE - "WWW-Authenticate: \r\n".len() - frame) / 2;
    assert_eq!(longest(room).len(), frame + 2 * room);
    let without = longest(room + 1);
    assert!(
        !without.contains("scope=") && without.len() < 200,
        "{without}"
    );
    // Encoded, it is longer.
    let quotes = format!("permission={}", "\"".repeat(room / 3 + 1));
    assert!(!decided(&[], &quotes).1.unwrap().contains("scope="));
}

#[test]
fn the_body_tells_what_is_needed() {
    let body = |query: &str| printed(decide(&claims(&[]), Some(query))).1;
    assert_eq!(
        body("permission=a&permission=%22%c3%a4%0a"),
        concat!(
            r#"{"message":"Permission denied","error":"insufficient_scope","#,
            r#""error_description":"Requires a \"ä\n"}"#
        )
    );
    let long = body(&format!("permission={}", "%c3%a4".repeat(300)));
    let described = format!("Requires {}", "ä".repeat(191));
    assert!(long.ends_with(&format!("\"{described}\"}}")), "{long}");
}

#[test]
fn headers_tell_whose_token_it_is() {
    let long = "a".repeat(3000);
    let cases = [
        (
            Some("auth0|1"),
            Some("c"),
            &["a", "b"][..],
            ["auth0|1", "a b", "c"],
        ),
        (None, None, &[], ["", "", ""]),
        (Some(""), None, &["", "a", "", "b", ""], ["", "a b", ""]),
        (
            Some("a b%20"),
            Some(" "),
            &["a b", "%", "c"],
            ["a%20b%2520", "a%20b %25 c", "%20"],
        ),
        (
            Some("a\r\nX-Auth-Client: evil\0\u{7f}\t"),
            Some("ä\u{2028}🦀"),
            &["\u{85}"],
            [
                "a%0D%0AX-Auth-Client:%20evil%00%7F%09",
                "%C2%85",
                "%C3%A4%E2%80%A8%F0%9F%A6%80",
            ],
        ),
        (Some("!~\"\\,;"), Some(&long), &[], ["!~\"\\,;", "", &long]),
    ];
    for (subject, client, permissions, expected) in cases {
        let claims = Claims {
            subject: subject.map(Arc::from),
            client: client.map(Box::from),
            ..claims(permissions)
        };
        let response = decide(&claims, None);
        assert_eq!(response.status(), 200);
        let (head, body) = printed(response);
        assert_eq!(body, "");
        let names = ["X-Auth-Subject", "X-Auth-Permissions", "X-Auth-Client"];
        assert_eq!(names.map(|name| value(&head, name).unwrap()), expected);
        let lines = head
            .split("\r\n")
            .filter(|line| line.starts_with("X-Auth-"));
        assert_eq!(lines.count(), 3, "{head}");
    }
}

#[test]
fn the_headers_are_bounded() {
    let frame = "X-Auth-Subject: \r\nX-Auth-Permissions: \r\nX-Auth-Client: \r\n".len();
    let room = MAX_HEADERS - frame;
    let with = |subject: usize, client: usize, permissions: &[&str]| {
        let claims = Claims {
            subject: Some("s".repeat(subject).into()),
            client: Some("\n".repeat(client).into()),
            ..claims(permissions)
        };
        printed(decide(&claims, None))
    };
    for (subject, client, permissions, passes) in [
        (room, 0, &[][..], true),
        (room + 1, 0, &[], false),
        (room % 3, room / 3, &[], true),
        (room % 3, room / 3 + 1, &[], false),
        (room - 3, 0, &["a", "b"], true),
        (room - 2, 0, &["a", "b"], false),
    ] {
        let (head, body) = with(subject, client, permissions);
        assert_eq!(head.starts_with("HTTP/1.1 200 "), passes, "{head}");
        assert_eq!(head.contains("X-Auth-"), passes, "{head}");
        if !passes {
            assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
            assert!(!head.contains("WWW-Authenticate"), "{head}");
            assert!(body.contains("\"error\":\"claims_too_large\""), "{body}");
            assert!(body.contains("4096 are possible"), "{body}");
        }
    }
}
