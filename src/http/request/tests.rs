//! Heads, valid and not. Each is cut at every byte as well, as a slow network would.

use super::*;

/// What is read of a head, in a form to compare: method, path, body follows, stays open.
type Read = (String, String, bool, bool);

/// Reads `head` as a connection does that receives it `step` bytes at a time.
fn read(head: &[u8], step: usize) -> Result<Option<Read>, HeadError> {
    let mut scanner = HeadScanner::default();
    let mut end = None;
    for received in (step..head.len()).step_by(step).chain([head.len()]) {
        end = scanner.find_end(&head[..received])?;
        if end.is_some() {
            break;
        }
    }
    let Some(end) = end else { return Ok(None) };
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(&head[..end], &mut storage)?;
    Ok(Some((
        request.method().to_string(),
        request.path().to_owned(),
        request.has_body(),
        request.keeps_alive(),
    )))
}

/// The way it is cut may change the reason of a refusal, but neither what is refused nor how.
fn read_all_ways(head: &[u8]) -> Result<Option<Read>, HeadError> {
    let outcome = |step| read(head, step).map_err(HeadError::status);
    let at_once = head.len().max(1);
    for step in [1, 2, 3, 7] {
        assert_eq!(
            outcome(step),
            outcome(at_once),
            "{} by {step}",
            head.escape_ascii()
        );
    }
    read(head, at_once)
}

#[track_caller]
fn accepts(head: &str, method: &str, path: &str, has_body: bool, keep_alive: bool) {
    let expected = (method.to_owned(), path.to_owned(), has_body, keep_alive);
    assert_eq!(
        read_all_ways(head.as_bytes()),
        Ok(Some(expected)),
        "{head:?}"
    );
}

#[track_caller]
fn refuses(head: impl AsRef<[u8]>, status: u16) {
    let head = head.as_ref();
    match read_all_ways(head) {
        Err(error) => assert_eq!(
            error.status().0,
            status,
            "{} {error:?}",
            head.escape_ascii()
        ),
        other => panic!("{}: {other:?}", head.escape_ascii()),
    }
}

/// Refuses the request `GET / HTTP/1.1` with these header lines besides a good `Host`.
#[track_caller]
fn refuses_lines(lines: impl AsRef<[u8]>, status: u16) {
    let head = [b"GET / HTTP/1.1\r\nHost: x\r\n", lines.as_ref(), b"\r\n"].concat();
    refuses(head, status);
}

#[test]
fn plain_requests() {
    accepts("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/", false, true);
    accepts(
        "GET /a/b?c=d?e HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET",
        "/a/b",
        false,
        true,
    );
    accepts(
        "GET /%61 HTTP/1.1\r\nHOST:x\r\n\r\n",
        "GET",
        "/%61",
        false,
        true,
    );
    accepts(
        "BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        "BREW",
        "/",
        false,
        true,
    );
    accepts("get / HTTP/1.1\r\nHost: x\r\n\r\n", "get", "/", false, true);
    accepts("GET / HTTP/1.0\r\n\r\n", "GET", "/", false, false);
    accepts(
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET",
        "GET",
        "/",
        false,
        true,
    );
}

#[test]
fn one_empty_line_before_the_request_line_is_ignored() {
    accepts(
        "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET",
        "/",
        false,
        true,
    );
    refuses("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400);
    refuses("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400);
}

#[test]
fn targets() {
    for (target, path) in [
        ("http://x/a?b", "/a"),
        ("HTTP://x:80/a", "/a"),
        ("https://[::1]:8080/a", "/a"),
        ("http://x", "/"),
        ("http://x/", "/"),
        ("//x", "//x"),
        ("/a#b", "/a#b"),
        ("/?", "/"),
    ] {
        accepts(
            &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"),
            "GET",
            path,
            false,
            true,
        );
    }
    for target in ["*", "http://x"] {
        accepts(
            &format!("OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n"),
            "OPTIONS",
            "*",
            false,
            true,
        );
    }
    for target in [
        "*",
        "a",
        "x:80",
        "?a",
        "ftp://x/a",
        "http:/x",
        "http:///a",
        "http://u@x/a",
        "http://x:99999/a",
        "http://x y/a",
        "/a b",
        "/\u{e9}",
        "/a\u{7f}",
        "/a\tb",
        "",
    ] {
        refuses(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    }
    refuses("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400);
    refuses(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400);
}

#[test]
fn the_query_is_behind_the_first_question_mark() {
    for (target, query) in [
        ("/a", None),
        ("/a?", Some("")),
        ("/a?b=%3F?c", Some("b=%3F?c")),
        ("http://x/a?b", Some("b")),
        ("http://x?b", Some("b")),
        ("http://x", None),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let request = Request::parse(head.as_bytes(), &mut storage).unwrap();
        assert_eq!(request.query(), query, "{target}");
    }
}

#[test]
fn an_absolute_target_with_a_query_and_no_path_asks_for_the_root() {
    for method in ["GET", "OPTIONS"] {
        let head = format!("{method} http://x?a HTTP/1.1\r\nHost: x\r\n\r\n");
        accepts(&head, method, "/", false, true);
    }
}

/// By the parser of the URL standard, which skips what is empty between two `&`.
#[test]
fn values_of_a_query() {
    let head = b"GET /?a=1&&b&=c&a=%41+%2B&%61=%f&a HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(head, &mut storage).unwrap();
    let values = |name| request.query_values(name).collect::<Vec<_>>();
    assert_eq!(values("a"), ["1", "A +", "%f", ""]);
    assert_eq!(values("b"), [""]);
    assert_eq!(values(""), ["c"]);
    assert!(values("c").is_empty());
}

#[test]
fn versions() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0"] {
        refuses(format!("GET / {version}\r\nHost: x\r\n\r\n"), 505);
    }
    refuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    for version in [
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.10",
        "HTTP/11",
        "http/1.1",
        "HTTPS/1.1",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "",
    ] {
        refuses(format!("GET / {version}\r\nHost: x\r\n\r\n"), 400);
    }
}

#[test]
fn what_is_not_http_is_refused_before_its_end() {
    refuses("GET /\r\n", 400);
    refuses("hello\r\n", 400);
    refuses("\x16\x03\x01\x02\x00\x01\x00", 400);
    refuses("GET / HTTP/1.1\nHost: x\n\n", 400);
    refuses("GET / HTTP/1.1\rHost: x\r\r", 400);
    refuses("GET / HTTP/1.1\r\nA: b\rc", 400);
    refuses("GET / HTTP/1.1\r\nA: \0", 400);
    refuses("(GET) / HTTP/1.1\r\n", 400);
    refuses(" GET / HTTP/1.1\r\n", 400);
    refuses("GET  / HTTP/1.1\r\n", 400);
    refuses("GET\t/\tHTTP/1.1\r\n", 400);
    assert_eq!(read_all_ways(b"GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
    assert_eq!(read_all_ways(b""), Ok(None));
}

#[test]
fn header_lines() {
    accepts(
        "GET / HTTP/1.1\r\nHost: x\r\nA: \t b \u{e9}\t\r\nB:\r\n\r\n",
        "GET",
        "/",
        false,
        true,
    );
    for lines in [
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: b\r\n\tc\r\n",
        "A\r\n",
        ": b\r\n",
        "A b: c\r\n",
        "A: b\x01\r\n",
        "A: b\x7f\r\n",
        "A(: b\r\n",
        "\u{e9}: b\r\n",
        "A: b\rc: d\r\n",
        "A: b\nc: d\r\n",
    ] {
        refuses_lines(lines, 400);
    }
    refuses_lines(b"A: \x00\r\n", 400);
}

#[test]
fn hosts() {
    for host in [
        "x",
        "x:80",
        "x:",
        "a.b-c_d~e",
        "127.0.0.1:6060",
        "[::1]",
        "[::1]:6060",
        "[v1.x:y]",
        "%41",
        "a!$&'()*+,;=",
    ] {
        accepts(
            &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "GET",
            "/",
            false,
            true,
        );
    }
    for host in [
        "",
        " ",
        ":80",
        "x:y",
        "x:70000",
        "x:-1",
        "x:+1",
        "x y",
        "x/y",
        "u@x",
        "[::1",
        "[::1]x",
        "[]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "::1",
        "%4",
        "%zz",
        "x,y:z",
        "\u{e9}",
        "<x>",
        "[v.x]",
        "[v1.]",
    ] {
        refuses(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
    }
    refuses("GET / HTTP/1.1\r\n\r\n", 400);
    refuses("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400);
    refuses("GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400);
    refuses("GET / HTTP/1.0\r\nHost: x y\r\n\r\n", 400);
}

#[test]
fn bodies() {
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    accepts(&post("Content-Length: 0\r\n"), "POST", "/", false, true);
    accepts(&post("Content-Length: 5\r\n"), "POST", "/", true, false);
    accepts(
        &post("content-length: 18446744073709551615\r\n"),
        "POST",
        "/",
        true,
        false,
    );
    accepts(
        &post("Transfer-Encoding: chunked\r\n"),
        "POST",
        "/",
        true,
        false,
    );
    accepts(
        &post("transfer-encoding: CHUNKED\r\n"),
        "POST",
        "/",
        true,
        false,
    );
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: abc\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        refuses_lines(lines, 400);
    }
    refuses("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

#[test]
fn connection_options() {
    for (version, value, keep_alive) in [
        ("1.1", "close", false),
        ("1.1", "Close", false),
        ("1.1", "keep-alive", true),
        ("1.1", "keep-alive, close", false),
        ("1.1", "upgrade", true),
        ("1.1", "closed", true),
        ("1.1", "x,close ,y", false),
        ("1.0", "keep-alive", true),
        ("1.0", "Keep-Alive", true),
        ("1.0", "close, keep-alive", false),
        ("1.0", "upgrade", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: x\r\nConnection: {value}\r\n\r\n");
        accepts(&head, "GET", "/", false, keep_alive);
    }
    let two_lines = "GET / HTTP/1.1\r\nHost: x\r\nConnection: a\r\nConnection: close\r\n\r\n";
    accepts(two_lines, "GET", "/", false, false);
}

#[test]
fn limits() {
    let padded = |target: usize, rest: usize| {
        let start = format!("GET /{} HTTP/1.1\r\nHost: x\r\nA: ", "a".repeat(target - 1));
        let fill = rest.saturating_sub(start.len() + 4);
        format!("{start}{}\r\n\r\n", "b".repeat(fill))
    };
    let at_once = |head: &str| read(head.as_bytes(), head.len()).map(|read| read.is_some());
    assert_eq!(at_once(&padded(1, MAX_HEAD)), Ok(true));
    assert_eq!(at_once(&padded(1, MAX_HEAD + 1)), Err(HeadError::TooLarge));
    assert_eq!(at_once(&padded(MAX_TARGET, 0)), Ok(true));
    assert_eq!(
        at_once(&padded(MAX_TARGET + 1, 0)),
        Err(HeadError::UriTooLong)
    );

    let unfinished = |text: String| read(text.as_bytes(), text.len()).map(|read| read.is_some());
    let filled = |start: &str| format!("{start}{}", "a".repeat(MAX_HEAD - start.len()));
    assert_eq!(unfinished(filled("GET /")), Err(HeadError::UriTooLong));
    assert_eq!(
        unfinished(filled("GET / HTTP/1.1\r\nA: ")),
        Err(HeadError::TooLarge)
    );
    assert!(matches!(unfinished(filled("")), Err(HeadError::Bad(_))));

    let lines = |count| "A: b\r\n".repeat(count);
    let head = |count| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", lines(count - 1));
    assert_eq!(at_once(&head(MAX_HEADERS)), Ok(true));
    assert_eq!(at_once(&head(MAX_HEADERS + 1)), Err(HeadError::TooLarge));
}

#[test]
fn header_values() {
    let head = b"GET / HTTP/1.1\r\nHost: x\r\nA:  one \r\nB: only\r\na: two\r\n\r\n";
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(head, &mut storage).unwrap();
    assert_eq!(request.headers("A").collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!(request.header("A"), None);
    assert_eq!(request.header("b"), Some(&b"only"[..]));
    assert_eq!(request.header("C"), None);
}

#[test]
fn a_query_is_read_as_a_form() {
    for (target, query, values) in [
        ("/", None, &[][..]),
        ("/?", Some(""), &[]),
        ("/?p", Some("p"), &[""]),
        ("/?p=", Some("p="), &[""]),
        ("/?p=a&q=b&p=c", Some("p=a&q=b&p=c"), &["a", "c"]),
        ("/?%70=a%20b+c%2B", Some("%70=a%20b+c%2B"), &["a b c+"]),
        ("/?p=a=b?c", Some("p=a=b?c"), &["a=b?c"]),
        ("/?p=%", Some("p=%"), &["%"]),
        ("/?p=%ff", Some("p=%ff"), &["\u{fffd}"]),
        ("/?pp=1&P=2&&=3", Some("pp=1&P=2&&=3"), &[]),
        ("http://x?p=1", Some("p=1"), &["1"]),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let request = Request::parse(head.as_bytes(), &mut storage).unwrap();
        assert_eq!(request.query(), query, "{target}");
        let found: Vec<_> = request.query_values("p").collect();
        assert_eq!(found, values, "{target}");
    }
}
