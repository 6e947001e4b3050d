use super::*;
use crate::http::request::MAX_HEADERS;
use crate::network::Network;

/// The proxies of these tests.
fn forwarded() -> Forwarded {
    let networks = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"];
    Forwarded {
        trusted: Trusted {
            networks: networks.map(|text| Network::parse(text).unwrap()).to_vec(),
            unix: true,
        },
        gate: Some("/auth".to_owned()),
    }
}

fn proxy() -> Peer {
    Peer::Tcp("127.0.0.1:4444".parse().unwrap())
}

/// How the client and the request that is asked about are logged.
fn logged(forwarded: &Forwarded, peer: Peer, path: &str, lines: &[u8]) -> (String, String) {
    let start = format!("GET {path} HTTP/1.1\r\nHost: x\r\n");
    let head = [start.as_bytes(), lines, b"\r\n"].concat();
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(&head, &mut storage).unwrap();
    let client = forwarded.client(peer, &request).to_string();
    (client, forwarded.question(peer, &request).to_string())
}

/// The client, without the proxy; empty if no header names one.
fn client_in(lines: &str) -> String {
    let (client, _) = logged(&forwarded(), proxy(), "/", lines.as_bytes());
    let client = client.strip_suffix("127.0.0.1:4444").unwrap();
    client.strip_suffix(" via ").unwrap_or(client).to_owned()
}

#[test]
fn the_last_address_that_is_not_trusted_is_the_client() {
    for (value, client) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
        (
            "1.1.1.1,203.0.113.9 ,\t10.1.1.1,fd00::1,127.0.0.1",
            "203.0.113.9",
        ),
        ("rubbish, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
        // All of them are trusted: the first is where the request began.
        ("10.1.1.2, 10.1.1.1", "10.1.1.2"),
        // What is no address ends the walk.
        ("203.0.113.9, rubbish, 10.1.1.1", "10.1.1.1"),
        ("203.0.113.9, unknown", ""),
        ("203.0.113.9,", ""),
        ("203.0.113.9, _hidden, 10.1.1.3, 10.1.1.1", "10.1.1.3"),
        ("", ""),
        ("203.0.113.256", ""),
        ("203.0.113.9:", ""),
        ("203.0.113.9:65536", ""),
        ("[203.0.113.9]", ""),
        ("[2001:db8::1", ""),
        ("[2001:db8::1]x", ""),
        ("2001:db8::1]", ""),
        ("fe80::1%eth0", ""),
        ("203.0.113.9\u{e9}", ""),
        ("unix:", ""),
    ] {
        let line = format!("X-Forwarded-For: {value}\r\n");
        assert_eq!(client_in(&line), client, "{value}");
    }
    assert_eq!(client_in(""), "");
}

#[test]
fn all_lines_count_as_one_list() {
    let lines = |values: &[&str]| {
        let line = |value: &&str| format!("x-forwarded-for: {value}\r\n");
        values.iter().map(line).collect::<String>()
    };
    let inner = lines(&["1.1.1.1", "203.0.113.9, 10.1.1.2", "10.1.1.1"]);
    assert_eq!(client_in(&inner), "203.0.113.9");
    let last = lines(&["1.1.1.1", "10.1.1.1, 203.0.113.9"]);
    assert_eq!(client_in(&last), "203.0.113.9");
    let cut = lines(&["203.0.113.9", "rubbish", "10.1.1.1"]);
    assert_eq!(client_in(&cut), "10.1.1.1");
}

#[test]
fn only_trusted_peers_are_believed() {
    let lines = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Method: POST\r\n";
    let stranger = Peer::Tcp("192.0.2.1:80".parse().unwrap());
    let mapped = Peer::Tcp("[::ffff:10.0.0.1]:80".parse().unwrap());
    let but_unix = Forwarded {
        trusted: Trusted {
            unix: false,
            ..forwarded().trusted
        },
        ..forwarded()
    };
    for (forwarded, peer, is_believed) in [
        (forwarded(), proxy(), true),
        (forwarded(), mapped, true),
        (forwarded(), Peer::Unix, true),
        (but_unix.clone(), Peer::Unix, false),
        (but_unix, proxy(), true),
        (forwarded(), stranger, false),
        (Forwarded::default(), proxy(), false),
        (Forwarded::default(), Peer::Unix, false),
    ] {
        let expected = match is_believed {
            true => (format!("203.0.113.9 via {peer}"), " for POST".to_owned()),
            false => (peer.to_string(), String::new()),
        };
        assert_eq!(logged(&forwarded, peer, "/auth", lines), expected, "{peer}");
    }
}

#[test]
fn a_gate_request_is_for_another_one() {
    let all = "X-Forwarded-Method: POST\r\nX-Forwarded-Host: example.com\r\n\
               X-Forwarded-Uri: /files/x?token=secret\r\n";
    for (lines, question) in [
        (all, " for POST example.com/files/x"),
        ("", ""),
        ("X-Forwarded-Uri: /a#b?c\r\n", " for /a"),
        ("X-Forwarded-Uri: ?a\r\n", " for "),
        ("X-Forwarded-Method: GET\r\n", " for GET"),
        (
            "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /a\r\n",
            " for GET /a",
        ),
        ("X-Forwarded-Host: x\r\nX-Forwarded-Uri: /a\r\n", " for x/a"),
        // Which of two would be meant?
        ("X-Forwarded-Uri: /a\r\nX-Forwarded-Uri: /b\r\n", ""),
        ("X-Forwarded-Host: a\tb\r\n", " for a\\tb"),
    ] {
        let (_, found) = logged(&forwarded(), proxy(), "/auth?x", lines.as_bytes());
        assert_eq!(found, question, "{lines}");
    }
    // Elsewhere these headers say nothing.
    let (_, found) = logged(&forwarded(), proxy(), "/auth/", all.as_bytes());
    assert_eq!(found, "");
    let bytes = b"X-Forwarded-Uri: /\xff\xe2\x80\xae\r\n";
    let (_, found) = logged(&forwarded(), proxy(), "/auth", bytes);
    assert_eq!(found, " for /\u{fffd}\\u{202e}");
}

#[test]
fn what_is_logged_is_bounded() {
    let long = "a".repeat(4000);
    let lines = format!(
        "X-Forwarded-Method: {long}\r\nX-Forwarded-Host: {long}\r\nX-Forwarded-Uri: /{long}\r\n"
    );
    let (_, found) = logged(&forwarded(), proxy(), "/auth", lines.as_bytes());
    assert_eq!(
        found.len(),
        " for ".len() + MAX_LOGGED + " ".len() + 2 * MAX_LOGGED
    );
}
