//! Malformed and ambiguous HTTP: requests that hide another one, and clients that break the rules.
//!
//! Each row says what is sent, which answers must come, and why. A marked request follows it. If
//! the contract ends the connection, the marked request must be neither answered nor logged,
//! whatever the bytes before it declared. If the connection continues, it must be answered once.
//!
//! `http.rs` tests limits, deadlines, hosts and keep-alive. `listener.rs` tests floods, slow
//! senders and resets at every byte.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::support::besieged::{Besieged, MIB};
use crate::support::client::{Client, Response};
use crate::support::contract::{PUBLIC, PUBLIC_BODY, assert_headers};
use crate::support::usage::wait_for_usage;

/// How many rows a table may have, so that all marked requests have the same size.
const MAX_ROWS: usize = 1000;

/// What is sent and what must come back.
struct Row {
    name: String,
    why: &'static str,
    bytes: Vec<u8>,
    /// The statuses of all answers, that of the marked request not among them.
    statuses: Vec<u16>,
    /// Whether the marked request is answered as well.
    goes_on: bool,
}

/// The rows of one test, and the server they are tried on.
struct Table {
    server: Besieged,
    why: &'static str,
    rows: Vec<Row>,
}

impl Table {
    fn start() -> Table {
        Table {
            server: Besieged::start(&[]),
            why: "",
            rows: Vec::new(),
        }
    }

    /// Says why the rows from here on get the answers they get.
    fn because(&mut self, why: &'static str) {
        self.why = why;
    }

    /// What is sent gets this answer, which is the last one.
    fn last(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>, status: u16) {
        self.push(name.into(), bytes.into(), vec![status], false);
    }

    /// What is sent gets these answers, and so does the marked request behind it.
    fn kept<const N: usize>(
        &mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        statuses: [u16; N],
    ) {
        self.push(name.into(), bytes.into(), statuses.into(), true);
    }

    fn push(&mut self, name: String, bytes: Vec<u8>, statuses: Vec<u16>, goes_on: bool) {
        let row = Row {
            name,
            why: self.why,
            bytes,
            statuses,
            goes_on,
        };
        self.rows.push(row);
    }

    /// Tries all rows, and asserts that the log, too, tells of no request that was hidden.
    fn try_all(self) {
        let Table { server, rows, .. } = self;
        let mut names = HashSet::new();
        for (at, row) in rows.iter().enumerate() {
            assert!(names.insert(&row.name), "{} is there twice", row.name);
            row.try_on(server.addr(), at);
        }
        assert!(rows.len() <= MAX_ROWS);
        // What was logged before it has been read once this line has.
        server.postern.get("/the-end", &[]);
        server.postern.wait_for_log(" /the-end ");
        let logs = server.postern.logs();
        for (at, row) in rows.iter().enumerate() {
            let line = format!(" {} 404 ", marked_path(at));
            let count = logs.iter().filter(|logged| logged.contains(&line)).count();
            assert_eq!(count, usize::from(row.goes_on), "{} in the log", row.name);
        }
        for line in &logs {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.len() < 1000, "{line:?}");
        }
        assert_as_before(&server);
        println!("{} rows", rows.len());
    }
}

/// Asserts that the server serves, and that neither memory nor threads are left of what was sent.
fn assert_as_before(server: &Besieged) {
    server.assert_memory_below(16 * MIB);
    server.assert_unharmed();
    // Each connection was over before the next: what a table of rows leaves behind would be many.
    let threads = server.before.threads + 2;
    wait_for_usage(server.postern.pid(), |now| now.threads <= threads);
}

/// What only the marked request of a row asks for.
fn marked_path(row: usize) -> String {
    format!("{PUBLIC}/hidden-{row:03}")
}

/// In a row's bytes, stands for the whole marked request, with a `Connection: close`.
const MARKED: &str = "{MARKED}";

impl Row {
    fn try_on(&self, addr: SocketAddr, at: usize) {
        let marked = marked_request(at);
        let mut bytes = replace(&self.bytes, MARKED.as_bytes(), marked.as_bytes());
        bytes.extend_from_slice(marked.as_bytes());
        let mut client = Client::connect(addr);
        client.send(bytes);
        self.check(&all_responses(&mut client, &self.name));
    }

    fn check(&self, responses: &[Response]) {
        let what = format!("{} (because {})", self.name, self.why);
        let found: Vec<_> = responses.iter().map(|response| response.status).collect();
        let mut expected = self.statuses.clone();
        if self.goes_on {
            expected.push(404);
        }
        assert_eq!(found, expected, "{what}");
        for (at, response) in responses.iter().enumerate() {
            assert_headers(response, &what);
            let is_last = at + 1 == expected.len();
            let connection = is_last.then_some("close");
            assert_eq!(response.header("Connection"), connection, "{what}");
            if response.status == 200 && !response.body.is_empty() {
                assert_eq!(response.text(), PUBLIC_BODY, "{what}");
            }
        }
    }
}

fn marked_request(row: usize) -> String {
    let path = marked_path(row);
    format!("GET {path} HTTP/1.1\r\nHost: hidden\r\nConnection: close\r\n\r\n")
}

fn replace(bytes: &[u8], pattern: &[u8], by: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut replaced = Vec::new();
    while let Some(at) = rest.windows(pattern.len()).position(|part| part == pattern) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(by);
        rest = &rest[at + pattern.len()..];
    }
    [&replaced, rest].concat()
}

/// All that the server answers before it closes.
fn all_responses(client: &mut Client, what: &str) -> Vec<Response> {
    let mut responses = Vec::new();
    loop {
        match client.try_response(false) {
            Ok(response) => responses.push(response),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let rest = client.rest().expect(what);
                assert!(rest.is_empty(), "{what}: {}", rest.escape_ascii());
                return responses;
            }
            // A server that has closed for good while this thread had to wait for its turn.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return responses,
            Err(error) => panic!("{what}: {error} after {responses:?}"),
        }
    }
}

/// A request for the public message with these header lines.
fn with_lines(lines: &str) -> String {
    with_method("GET", lines)
}

fn with_method(method: &str, lines: &str) -> String {
    format!("{method} {PUBLIC} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// A request for the public message with this line for a first one.
fn with_first_line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

/// The size of a marked request, which is the same for each row.
fn marked_len() -> usize {
    marked_request(MAX_ROWS - 1).len()
}

#[test]
fn hidden_requests() {
    let mut table = Table::start();
    table.because("it is a control");
    table.kept("no body", with_lines(""), [200]);
    lengths(&mut table);
    encodings(&mut table);
    bodies(&mut table);
    lines(&mut table);
    table.try_all();
}

fn lengths(table: &mut Table) {
    let length = marked_len();
    table.because("two lengths are one too many, even when they are equal");
    for (name, lines) in [
        (
            "0 and 0",
            "Content-Length: 0\r\nContent-Length: 0\r\n".to_owned(),
        ),
        (
            "0 and n",
            format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        ),
        (
            "n and 0",
            format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
        ),
        (
            "n and n",
            format!("content-length: {length}\r\nCONTENT-LENGTH: {length}\r\n"),
        ),
        (
            "apart",
            format!("Content-Length: 0\r\nA: b\r\nContent-Length: {length}\r\n"),
        ),
        ("a list", format!("Content-Length: {length}, {length}\r\n")),
        ("a list with 0", format!("Content-Length: 0,{length}\r\n")),
        (
            "a list in words",
            format!("Content-Length: {length} {length}\r\n"),
        ),
    ] {
        for method in ["GET", "POST"] {
            let head = with_method(method, &lines);
            table.last(format!("CL.CL: {name}, {method}"), head + MARKED, 400);
        }
    }
    table.because("a length is digits that fit 64 bits, and nothing else");
    for value in [
        "",
        "+5",
        "-5",
        "-0",
        "+0",
        "0x5",
        "0o5",
        "0b1",
        "5 5",
        "5;",
        "5,",
        ",5",
        "5.0",
        "5e0",
        "1_0",
        "'5'",
        "\"5\"",
        "five",
        "5\u{b2}",
        "\u{ff15}",
        "\u{665}",
        "NaN",
        "18446744073709551616",
    ] {
        let head = with_lines(&format!("Content-Length: {value}\r\n"));
        table.last(format!("Content-Length: {value:?}"), head + MARKED, 400);
    }
    let digits = "9".repeat(100);
    let head = with_lines(&format!("Content-Length: {digits}\r\n"));
    table.last("Content-Length: 100 digits", head + MARKED, 400);
    table.because("leading zeros and the white space around a value change nothing");
    for value in ["0", "00", "0000000000000000000000000", " 0", "\t0 \t"] {
        let head = with_lines(&format!("Content-Length:{value}\r\n"));
        table.kept(format!("Content-Length:{value:?}"), head, [200]);
    }
    table.because("a body follows, and what is behind its head is not parsed");
    for value in [
        "1",
        "0000000000000000000000001",
        " 1\t",
        "100000000000000",
        "18446744073709551615",
    ] {
        let head = with_lines(&format!("Content-Length:{value}\r\n"));
        table.last(format!("Content-Length:{value:?}"), head + MARKED, 200);
    }
    table.because("these are the lengths of something else, or of nothing");
    for name in [
        "Content_Length",
        "Content-Length2",
        "X-Content-Length",
        "Content-Len\u{67}ths",
    ] {
        let head = with_lines(&format!("{name}: 5\r\n"));
        table.kept(name, head, [200]);
    }
}

fn encodings(table: &mut Table) {
    let length = marked_len();
    let chunk = format!("{length:x}\r\n{MARKED}\r\n0\r\n\r\n");
    table.because("there is a length and an encoding");
    for (name, lines) in [
        (
            "CL.TE",
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "TE.CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        ),
        (
            "CL 0.TE",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "CL.TE identity",
            "Content-Length: 6\r\nTransfer-Encoding: identity\r\n",
        ),
        (
            "CL.TE apart",
            "Content-Length: 6\r\nA: b\r\ntransfer-encoding:chunked\r\n",
        ),
    ] {
        let head = with_method("POST", lines);
        table.last(
            format!("{name}, no chunk"),
            format!("{head}0\r\n\r\n{MARKED}"),
            400,
        );
        table.last(format!("{name}, in a chunk"), head + &chunk, 400);
    }
    table.because("the encoding is not a single `chunked`");
    for value in [
        "",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity, chunked",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        ", ,chunked",
        "chunked;",
        "chunked;q=1",
        "chunked ; a=b",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "chun ked",
        "c\u{127}unked",
        "chunked\u{a0}",
        "\u{feff}chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "identity\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding:",
        "cow\r\ntransfer-encoding: chunked",
    ] {
        let head = with_method("POST", &format!("Transfer-Encoding: {value}\r\n"));
        table.last(format!("Transfer-Encoding: {value:?}"), head + &chunk, 400);
    }
    table.because("it is one line or two, depending on who reads");
    for (name, line) in [
        ("a space in the name", "Transfer Encoding: chunked\r\n"),
        ("space before the colon", "Transfer-Encoding : chunked\r\n"),
        ("tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("space before the name", " Transfer-Encoding: chunked\r\n"),
        ("folded", "Transfer-Encoding:\r\n chunked\r\n"),
        ("folded by a tab", "Transfer-Encoding:\r\n\tchunked\r\n"),
        ("folded before", "A: b\r\n Transfer-Encoding: chunked\r\n"),
        ("behind a LF", "X: x\nTransfer-Encoding: chunked\r\n"),
        ("behind a CR", "X: x\rTransfer-Encoding: chunked\r\n"),
        (
            "behind CR CR LF",
            "X: x\r\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("behind LF CR", "X: x\n\rTransfer-Encoding: chunked\r\n"),
        ("vertical tab", "Transfer-Encoding: \x0bchunked\r\n"),
        ("form feed", "Transfer-Encoding: chunked\x0c\r\n"),
        ("NUL", "Transfer-Encoding: chunked\0\r\n"),
        ("NUL in the name", "Transfer-Encoding\0: chunked\r\n"),
        ("backspace", "X\x08Transfer-Encoding: chunked\r\n"),
        ("no colon", "Transfer-Encoding chunked\r\n"),
        ("equals sign", "Transfer-Encoding=chunked\r\n"),
        ("empty name", ": chunked\r\n"),
        ("non-ASCII name", "Transf\u{e9}r-Encoding: chunked\r\n"),
        ("quoted name", "\"Transfer-Encoding\": chunked\r\n"),
        ("in brackets", "(Transfer-Encoding): chunked\r\n"),
    ] {
        let head = with_method("POST", line);
        table.last(format!("encoding: {name}"), head + &chunk, 400);
    }
    table
        .because("names and this value have no case, and white space around a value is none of it");
    for line in [
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "transfer-encoding:chunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked \t",
    ] {
        let head = with_method("POST", &format!("{line}\r\n"));
        table.last(format!("{line:?}, in a chunk"), head.clone() + &chunk, 405);
        table.last(
            format!("{line:?}, no chunk"),
            format!("{head}0\r\n\r\n{MARKED}"),
            405,
        );
    }
    table.because("HTTP/1.0 knows no encoding");
    for lines in ["", "Content-Length: 6\r\n", "Connection: keep-alive\r\n"] {
        let head = format!("POST {PUBLIC} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{lines}\r\n");
        table.last(format!("HTTP/1.0 {lines:?}"), head + &chunk, 400);
    }
    table.because("these encode nothing");
    for line in [
        "TE: trailers, chunked",
        "TE: chunked",
        "Transfer_Encoding: chunked",
        "Transfer: chunked",
        "Trailer: Host",
    ] {
        table.kept(line, with_lines(&format!("{line}\r\n")), [200]);
    }
}

/// A body is not read, so that no two readers can differ on where it ends.
fn bodies(table: &mut Table) {
    let length = marked_len();
    let smaller = length - 1;
    table.because("what is behind a request with a body is not parsed");
    let chunked = with_method("POST", "Transfer-Encoding: chunked\r\n");
    for (name, body) in [
        ("in a chunk", format!("{length:x}\r\n{MARKED}\r\n0\r\n\r\n")),
        ("behind the last chunk", format!("0\r\n\r\n{MARKED}")),
        (
            "behind a chunk and the last",
            format!("1\r\na\r\n0\r\n\r\n{MARKED}"),
        ),
        ("behind a trailer", format!("0\r\nA: b\r\n\r\n{MARKED}")),
        (
            "behind a trailer with a length",
            format!("0\r\nContent-Length: 5\r\n\r\n{MARKED}"),
        ),
        ("as a trailer", format!("0\r\n{MARKED}")),
        (
            "in a chunk extension",
            format!("5;a=\"\r\n{MARKED}\"\r\n12345\r\n0\r\n\r\n"),
        ),
        (
            "behind a chunk extension with LF",
            format!("2;\n{MARKED}xx\r\n0\r\n\r\n"),
        ),
        (
            "behind 1 KB of chunk extension",
            format!("0;{}\r\n\r\n{MARKED}", "a".repeat(1024)),
        ),
        ("behind a bare LF", format!("0\n\n{MARKED}")),
        (
            "behind a size of 2^64",
            format!("10000000000000000\r\n{MARKED}"),
        ),
        (
            "behind a size of 2^64 + 0",
            format!("10000000000000000\r\n\r\n{MARKED}"),
        ),
        (
            "behind a size of 100 digits",
            format!("{}\r\n{MARKED}", "f".repeat(100)),
        ),
        ("behind a negative size", format!("-1\r\n{MARKED}")),
        ("behind a size in hex", format!("0x0\r\n\r\n{MARKED}")),
        ("behind a size with a space", format!(" 0 \r\n\r\n{MARKED}")),
        (
            "behind a size with zeros",
            format!("00000000000000000000\r\n\r\n{MARKED}"),
        ),
        ("behind no size", format!("\r\n{MARKED}")),
        ("at once", MARKED.to_owned()),
        (
            "behind a chunk too short",
            format!("{smaller:x}\r\n{MARKED}\r\n0\r\n\r\n"),
        ),
    ] {
        table.last(format!("chunked: {name}"), chunked.clone() + &body, 405);
    }
    for (name, method, status) in [
        ("GET", "GET", 200),
        ("POST", "POST", 405),
        ("of its own", "PROPFIND", 405),
        ("OPTIONS", "OPTIONS", 200),
    ] {
        for (what, length) in [
            ("all of it", length),
            ("a part of it", 10),
            ("more than it", 2 * length),
        ] {
            let head = with_method(method, &format!("Content-Length: {length}\r\n"));
            table.last(format!("{name} with a body, {what}"), head + MARKED, status);
        }
    }
    let asked = with_method(
        "POST",
        &format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"),
    );
    table.last("100-continue", asked + MARKED, 405);
    let asked = with_method(
        "POST",
        "Content-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n",
    );
    table.last("keep-alive with a body", asked + "12345", 405);
    let old =
        format!("POST {PUBLIC} HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n");
    table.last("HTTP/1.0 with a body", old + "12345", 405);
    table.because("a value is not what it describes");
    let quoted = with_lines("A: \"GET / HTTP/1.1\\r\\nHost: b\\r\\n\\r\\n\"\r\n");
    table.kept("a request in a value", quoted, [200]);
}

fn lines(table: &mut Table) {
    table.because("where a line ends must be beyond doubt");
    for (name, bytes) in [
        (
            "LF for CR LF",
            format!("GET {PUBLIC} HTTP/1.1\nHost: a\n\n"),
        ),
        (
            "LF behind the request line",
            format!("GET {PUBLIC} HTTP/1.1\nHost: a\r\n\r\n"),
        ),
        (
            "LF for the empty line",
            format!("GET {PUBLIC} HTTP/1.1\r\nHost: a\r\n\n"),
        ),
        ("LF CR", format!("GET {PUBLIC} HTTP/1.1\n\rHost: a\n\r\n\r")),
        (
            "CR for CR LF",
            format!("GET {PUBLIC} HTTP/1.1\rHost: a\r\r"),
        ),
        (
            "CR CR LF",
            format!("GET {PUBLIC} HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        ),
        (
            "NEL for CR LF",
            format!("GET {PUBLIC} HTTP/1.1\r\nHost: a\u{85}\r\n\r\n"),
        ),
        (
            "a space in the empty line",
            format!("GET {PUBLIC} HTTP/1.1\r\nHost: a\r\n \r\n\r\n"),
        ),
        (
            "a tab in the empty line",
            format!("GET {PUBLIC} HTTP/1.1\r\nHost: a\r\n\t\r\n\r\n"),
        ),
        ("NUL before the request", format!("\0{}", with_lines(""))),
        ("a space before the request", format!(" {}", with_lines(""))),
        (
            "byte order mark before it",
            format!("\u{feff}{}", with_lines("")),
        ),
        (
            "two empty lines before it",
            format!("\r\n\r\n{}", with_lines("")),
        ),
        ("LF before it", format!("\n{}", with_lines(""))),
        ("CR before it", format!("\r{}", with_lines(""))),
        (
            "empty line and LF before it",
            format!("\r\n\n{}", with_lines("")),
        ),
    ] {
        table.last(name, bytes + MARKED, 400);
    }
    table.because("one empty line before a request is ignored (RFC 9112, section 2.2)");
    table.kept(
        "an empty line before it",
        format!("\r\n{}", with_lines("")),
        [200],
    );
    let next = format!("{}\r\n{}", with_lines(""), with_lines(""));
    table.kept("an empty line before the next", next, [200, 200]);
    let behind = format!("{}\r\n", with_lines(""));
    table.kept("an empty line behind", behind, [200]);
    table.because("the second of these two is no request");
    for (name, garbage) in [
        ("two empty lines", "\r\n\r\n"),
        ("a word", "garbage\r\n\r\n"),
        ("the end of a chunk", "0\r\n\r\n"),
    ] {
        let bytes = with_lines("") + garbage + MARKED;
        table.push(
            format!("behind it: {name}"),
            bytes.into(),
            vec![200, 400],
            false,
        );
    }
    table.because("the protocol does not change, whatever is asked for");
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let upgrade = with_lines("Connection: Upgrade\r\nUpgrade: h2c\r\n") + preface;
    table.push("h2c".into(), upgrade.into(), vec![200, 505], false);
    let tunnel = with_method("CONNECT", "") + "\x16\x03\x01";
    table.push("a tunnel".into(), tunnel.into(), vec![405, 400], false);
    table.because("HTTP allows any byte of 0x80 and above in a value");
    let high = b"GET /api/messages/public HTTP/1.1\r\nHost: a\r\nA: \x80\xa0\xff\r\n\r\n";
    table.kept("obs-text", high, [200]);
}

#[test]
fn strange_requests() {
    let mut table = Table::start();
    methods(&mut table);
    targets(&mut table);
    versions(&mut table);
    headers_that_ask_for_something(&mut table);
    table.try_all();
}

fn methods(table: &mut Table) {
    table.because("the path is known and the method is not");
    let long = "M".repeat(1024);
    for method in [
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "TRACE",
        "TRACK",
        "CONNECT",
        "PROPFIND",
        "PRI",
        "QUERY",
        "get",
        "Get",
        "head",
        "GETT",
        "GE",
        "G",
        "0",
        "!#$%&'*+-.^_`|~",
        long.as_str(),
    ] {
        table.kept(
            format!("method {method:.20}"),
            with_method(method, ""),
            [405],
        );
    }
    table.because("it says what the path allows");
    table.kept("OPTIONS", with_method("OPTIONS", ""), [200]);
    table.because("it is not a method");
    for method in [
        "",
        "G\"T",
        "G(T",
        "G/T",
        "G:T",
        "G,T",
        "G;T",
        "G@T",
        "G[T",
        "G{T",
        "G=T",
        "GET\t",
        "\u{ff27}ET",
        "GET\x7f",
    ] {
        table.last(
            format!("method {method:?}"),
            with_method(method, "") + MARKED,
            400,
        );
    }
    let endless = "M".repeat(20_000);
    table.last("a method of 20 KB", with_method(&endless, ""), 400);
}

fn targets(table: &mut Table) {
    let get = |target: &str| with_first_line(&format!("GET {target} HTTP/1.1"));
    table.because("it is the path's, whoever's host it is (RFC 9112, section 3.2.2)");
    for scheme in ["http", "HTTP", "https"] {
        for host in ["a", "b.example.com:80", "127.0.0.1", "[::1]:8080"] {
            let target = format!("{scheme}://{host}{PUBLIC}");
            table.kept(format!("absolute: {target}"), get(&target), [200]);
        }
    }
    table.because("a path matches byte by byte, and nothing here is at that one");
    for target in [
        "/",
        "//",
        "/.",
        "//api/messages/public",
        "/api//messages/public",
        "/./api/messages/public",
        "/a/../api/messages/public",
        "/api/messages/public/",
        "/api/messages/public/.",
        "/api/messages/public;a",
        "/api/messages/public#a",
        "/api/messages/%70ublic",
        "/api/messages/public%20",
        "/api/messages/public%00",
        "/api/messages/public%0d%0aA:%20b",
        "/API/messages/public",
        "/api\\messages\\public",
        "/\\api",
        "/*",
        "http://a",
        "http://a/",
        "http://a?b",
        "http://a//api/messages/public",
        "/http://a/api/messages/public",
        "/%",
        "/%zz",
        "/\"<>^`{|}",
        "/../../../etc/passwd",
    ] {
        table.kept(format!("target {target}"), get(target), [404]);
    }
    table.because("the query is ignored");
    for query in [
        "?",
        "??",
        "?a=b&c",
        "?/../admin",
        "?http://b/",
        "?%0d%0a",
        "?a#b",
        "?\\",
    ] {
        table.kept(
            format!("query {query}"),
            get(&format!("{PUBLIC}{query}")),
            [200],
        );
    }
    table.because("it is in no form that a target has, or in one for another method");
    for target in [
        "*",
        "a",
        "a:80",
        "a/api/messages/public",
        "api/messages/public",
        "http:",
        "http:/api/messages/public",
        "http:api",
        "http://",
        "http:///api/messages/public",
        "http://?",
        "http://a:b/",
        "http://a:65536/",
        "http://u@a/",
        "http://u:p@a/",
        "http://[::1/",
        "http://a%/",
        "http://a#b",
        "http://a\\b/",
        "ftp://a/",
        "ws://a/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "?a",
        "#a",
        "\\api",
        "%2fapi/messages/public",
    ] {
        table.last(format!("target {target}"), get(target) + MARKED, 400);
    }
    table.because("a target is printable ASCII without spaces");
    for target in [
        "",
        "/a b",
        "/\u{e9}",
        "/\u{2215}",
        "/a\tb",
        "/a\x0bb",
        "/a\0",
        "/\x7f",
        "/\x1b[2J",
        " /",
        "/ ",
        "/a\rb",
        "/a\nb",
    ] {
        table.last(format!("target {target:?}"), get(target) + MARKED, 400);
    }
    table.because("only OPTIONS asks about the server, and only CONNECT names a host alone");
    let line = |line: &str| with_first_line(line);
    table.kept("OPTIONS *", line("OPTIONS * HTTP/1.1"), [200]);
    table.kept("OPTIONS http://a", line("OPTIONS http://a HTTP/1.1"), [200]);
    for method in ["POST", "CONNECT", "options"] {
        let name = format!("{method} *");
        table.last(name, line(&format!("{method} * HTTP/1.1")) + MARKED, 400);
    }
    table.because("this server is no proxy and opens no tunnel");
    for target in ["a:443", "127.0.0.1:22", "[::1]:22", "a"] {
        let head = line(&format!("CONNECT {target} HTTP/1.1"));
        table.last(format!("CONNECT {target}"), head + MARKED, 400);
    }
    table.kept(
        "CONNECT of an absolute target",
        line("CONNECT http://a/ HTTP/1.1"),
        [404],
    );
}

fn versions(table: &mut Table) {
    table.because("it is a version of HTTP, but neither 1.0 nor 1.1");
    for version in ["0.0", "0.9", "1.2", "1.9", "2.0", "2.1", "3.0", "9.9"] {
        let head = with_first_line(&format!("GET {PUBLIC} HTTP/{version}"));
        table.last(format!("HTTP/{version}"), head + MARKED, 505);
    }
    table.last(
        "the preface of HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        505,
    );
    table.because("it is no version of HTTP");
    for version in [
        "http/1.1",
        "Http/1.1",
        "HTTP/1.1x",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/1,1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/",
        "HTTP",
        "HTTP1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1 .1",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "HTTP/1.1.1",
        "HTTP/2",
        "HTTP/\u{661}.1",
        "ICY/1.1",
        "SHTTP/1.1",
        "RTSP/1.0",
        "SIP/2.0",
    ] {
        let head = with_first_line(&format!("GET {PUBLIC} {version}"));
        table.last(format!("version {version}"), head + MARKED, 400);
    }
    table.because("HTTP/0.9 has no version, and is not spoken");
    table.last("no version", format!("GET {PUBLIC}\r\n{MARKED}"), 400);
    table.last(
        "no version, with lines",
        format!("GET {PUBLIC}\r\nHost: a\r\n\r\n"),
        400,
    );
    table.because("a request line has three parts and a space between each two");
    for line in [
        "",
        " ",
        "GET",
        "GET ",
        "GET  ",
        "GET  HTTP/1.1",
        "GET/ HTTP/1.1",
        "GET /HTTP/1.1",
        "GET /api/messages/public",
        "GET /api/messages/public ",
        "GET  /api/messages/public HTTP/1.1",
        "GET /api/messages/public  HTTP/1.1",
        "GET /api/messages/public HTTP/1.1 ",
        "GET /api/messages/public a HTTP/1.1",
        "GET\t/api/messages/public HTTP/1.1",
        "GET /api/messages/public\tHTTP/1.1",
        "/api/messages/public GET HTTP/1.1",
        "HTTP/1.1 GET /api/messages/public",
        "HTTP/1.1 200 OK",
        "HTTP/a.b",
    ] {
        table.last(
            format!("line {line:?}"),
            with_first_line(line) + MARKED,
            400,
        );
    }
    table.because("this is TLS");
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend((0..505).map(|at| (at * 7 % 251) as u8));
    table.last("TLS", hello, 400);
    table.last(
        "SSL 2.0",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10".to_vec(),
        400,
    );
}

/// What may be asked for in headers, and is not given.
fn headers_that_ask_for_something(table: &mut Table) {
    table.because("the header is not read, and the connection is as it was");
    for lines in [
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
        "Range: bytes=0-0\r\n",
        "Range: bytes=0-0,1-1,2-2,-1\r\n",
        "Range: bytes=99999999-\r\n",
        "Range: bytes=5-1\r\n",
        "If-Range: \"a\"\r\nRange: bytes=0-0\r\n",
        "If-None-Match: *\r\n",
        "If-None-Match: \"a\", W/\"b\"\r\n",
        "If-Match: \"a\"\r\n",
        "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n",
        "If-Modified-Since: garbage\r\n",
        "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Expect: 100-continue\r\n",
        "Expect: 200-ok\r\n",
        "Expect:\r\n",
        "Accept: image/png\r\n",
        "Accept-Encoding: gzip, br;q=1, identity;q=0\r\n",
        "Accept-Charset: utf-16\r\n",
        "Max-Forwards: 0\r\n",
        "X-HTTP-Method-Override: DELETE\r\n",
        "X-Original-URL: /api/messages/admin\r\n",
        "X-Forwarded-Host: b\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
        "Via: 1.1 a, 1.1 a, 1.1 a\r\n",
        "Keep-Alive: timeout=99999999, max=0\r\n",
        "Proxy-Connection: close\r\n",
        "Connection: Host\r\n",
        "Connection: Content-Length, Transfer-Encoding\r\n",
        "Cookie: access_token=a\r\n",
        "A:\r\n",
        "A: \r\n",
        "A:b\r\n",
        "!#$%&'*+-.^_`|~0: b\r\n",
    ] {
        table.kept(format!("{lines:?}"), with_lines(lines), [200]);
    }
    table.because("a host is named in a header, whatever the target says");
    let absolute = format!("GET http://a{PUBLIC} HTTP/1.1\r\n\r\n");
    table.last("no Host, an absolute target", absolute + MARKED, 400);
}

#[test]
fn an_answer_to_head_has_no_content() {
    let server = Besieged::start(&[("HEAD_TIMEOUT_SECONDS", "1")]);
    let head = |lines: &str| with_method("HEAD", lines);
    let long = "a".repeat(20_000);
    for (sent, status) in [
        (head("Connection: close\r\n"), 200),
        (head("Content-Length: 5\r\n") + "12345", 200),
        (head("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 200),
        (with_first_line("HEAD /nowhere HTTP/1.0"), 404),
        // Not even when it is refused: what came behind the head would be the next answer to a
        // proxy that believes the method.
        (head("Content-Length: 5, 5\r\n") + "12345", 400),
        (
            head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (format!("\r\n{}", head("A : b\r\n")), 400),
        (head("\n"), 400),
        (format!("HEAD {PUBLIC} HTTP/1.1\r\n\r\n"), 400),
        (with_first_line("HEAD * HTTP/1.1"), 400),
        (with_first_line("HEAD / HTTP/2.0"), 505),
        (with_first_line(&format!("HEAD /{long} HTTP/1.1")), 414),
        (head(&format!("A: {long}\r\n")), 431),
        ("HEAD / HTTP/1.1\r\n".to_owned(), 408),
    ] {
        let what = format!("{sent:.200}");
        let mut client = Client::connect(server.addr());
        client.send(&sent);
        let response = client.try_response(true).expect(&what);
        assert_eq!(response.status, status, "{what}");
        assert_headers(&response, &what);
        assert_eq!(response.header("Connection"), Some("close"), "{what}");
        client.assert_closed();
    }
    assert_as_before(&server);
}

#[test]
fn a_client_that_has_sent_all_it_will_is_still_answered() {
    let server = Besieged::start(&[]);
    let request = with_lines("");
    let half = &request[..request.len() / 2];
    for (sent, statuses) in [
        (String::new(), vec![]),
        ("\r\n".to_owned(), vec![]),
        (half.to_owned(), vec![]),
        (request.clone(), vec![200]),
        (request.repeat(3), vec![200; 3]),
        (request.repeat(100), vec![200; 100]),
        (request.clone() + half, vec![200]),
        (request.clone() + "\r\n", vec![200]),
        (with_lines("Connection: close\r\n") + &request, vec![200]),
        (with_method("POST", "Content-Length: 9\r\n"), vec![405]),
        (
            with_method("POST", "Content-Length: 9\r\n") + "123456789",
            vec![405],
        ),
        (
            with_method("POST", "Transfer-Encoding: chunked\r\n") + "5\r\n",
            vec![405],
        ),
        (with_lines("A : b\r\n"), vec![400]),
        (with_first_line("GET / HTTP/2.0"), vec![505]),
        (request.clone() + "garbage\r\n", vec![200, 400]),
    ] {
        let what = format!("{sent:.200}");
        let mut client = Client::connect(server.addr());
        client.send(&sent);
        client.close_write();
        let responses = all_responses(&mut client, &what);
        let found: Vec<_> = responses.iter().map(|response| response.status).collect();
        assert_eq!(found, statuses, "{what}");
    }
    assert_as_before(&server);
}

#[test]
fn a_connection_lasts_for_ten_thousand_requests() {
    let server = Besieged::start(&[("RUST_LOG", "warn")]);
    let mut client = Client::connect(server.addr());
    for at in 0..10_000 {
        let response = client.request("GET", PUBLIC, &[]);
        assert_eq!(
            (response.status, response.text()),
            (200, PUBLIC_BODY),
            "{at}"
        );
        assert_eq!(response.header("Connection"), None, "{at}");
    }
    let threads = server.before.threads + 2;
    wait_for_usage(server.postern.pid(), |now| now.threads <= threads);
    drop(client);
    assert_as_before(&server);
}

#[test]
fn a_thousand_requests_in_one_write_get_a_thousand_answers() {
    let server = Besieged::start(&[("RUST_LOG", "warn")]);
    let mut client = Client::connect(server.addr());
    let last = with_lines("Connection: close\r\n");
    client.send(with_lines("").repeat(999) + &last + &with_lines(""));
    let responses = all_responses(&mut client, "a thousand");
    assert_eq!(responses.len(), 1000);
    for response in responses {
        assert_eq!((response.status, response.text()), (200, PUBLIC_BODY));
    }
    assert_as_before(&server);
}

#[test]
fn packets_of_one_byte_are_read_like_one_packet() {
    let server = Besieged::start(&[]);
    let request = |lines: &str| with_lines(lines);
    for (sent, statuses) in [
        (request("").repeat(3), vec![200; 3]),
        (
            format!("\r\n{}\r\n{}", request(""), request("")),
            vec![200; 2],
        ),
        (
            request("Content-Length: 0\r\nExpect: 100-continue\r\n"),
            vec![200],
        ),
        (
            with_method("OPTIONS", "A:\t b \r\n") + &request(""),
            vec![200; 2],
        ),
        (
            with_first_line("GET /nowhere?a=b HTTP/1.1") + &request(""),
            vec![404, 200],
        ),
        // Refused only once all of it is there: nothing is sent to a server that has closed.
        (
            request("") + &request("Content-Length: 5, 5\r\n"),
            vec![200, 400],
        ),
        (
            request("") + &with_method("POST", "Content-Length: 5\r\n"),
            vec![200, 405],
        ),
        (request("") + &request("Host: b\r\n"), vec![200, 400]),
    ] {
        let mut client = Client::connect(server.addr());
        for byte in sent.as_bytes() {
            client.send([*byte]);
        }
        client.close_write();
        let responses = all_responses(&mut client, &sent);
        let found: Vec<_> = responses.iter().map(|response| response.status).collect();
        assert_eq!(found, statuses, "{sent}");
    }
    assert_as_before(&server);
}
