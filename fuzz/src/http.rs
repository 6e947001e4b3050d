//! HTTP/1.1 by RFC 9110, RFC 9112 and the limits of this server: requests read slowly and
//! strictly, and answers read as a strict client would.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

pub const MAX_HEAD: usize = 16 * 1024;
pub const MAX_HEADERS: usize = 64;
pub const MAX_TARGET: usize = 8 * 1024;

/// What stands at the start of a stream.
#[derive(Debug)]
pub enum Start<'a> {
    /// A request, and the length of its head.
    Request(Head<'a>, usize),
    /// A head that is refused, with one of these statuses.
    Refused(BTreeSet<u16>),
    /// A head without its end. It may be refused already, with one of these statuses.
    Incomplete(BTreeSet<u16>),
}

/// A request.
#[derive(Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub is_1_1: bool,
    pub lines: Vec<(&'a str, &'a [u8])>,
    pub framing: Framing,
    /// Whether the client lets the connection stay open.
    pub keep_alive: bool,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked,
}

impl Head<'_> {
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// Whether another request may follow: not behind a body that was not received.
    pub fn keeps_alive(&self, body_is_received: bool) -> bool {
        self.keep_alive && (body_is_received || !self.has_body())
    }

    /// Whether the client says that it waits for `100 Continue`. `None`: it says different things.
    pub fn expects_continue(&self) -> Option<bool> {
        let values = self.values("Expect");
        let expects = |value: &&[u8]| value.eq_ignore_ascii_case(b"100-continue");
        match values.iter().filter(|value| expects(value)).count() {
            0 => Some(false),
            count if count == values.len() => Some(self.is_1_1),
            _ if self.is_1_1 => None,
            _ => Some(false),
        }
    }

    /// The values of all lines of that name.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.lines.iter();
        let named = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value).collect()
    }
}

/// Reads the head at the start of `stream`.
pub fn read(stream: &[u8]) -> Start<'_> {
    let skipped = if stream.starts_with(b"\r\n") { 2 } else { 0 };
    let body = &stream[skipped..];
    if body.starts_with(b"\r\n") {
        return Start::Refused([400].into());
    }
    let end = position(body, b"\r\n\r\n").map(|at| skipped + at + 4);
    let seen = &stream[..end.unwrap_or(stream.len()).min(MAX_HEAD)];
    let mut faults = BTreeSet::new();
    if has_stray_bytes(seen) {
        faults.insert(400);
    }
    let lines = &seen[skipped.min(seen.len())..];
    let first = position(lines, b"\r\n");
    let line = first.map(|end| request_line(&lines[..end], &mut faults));
    let Some(end) = end.filter(|end| *end <= MAX_HEAD) else {
        if stream.len() < MAX_HEAD {
            return Start::Incomplete(faults);
        }
        faults.insert(431);
        if first.is_none() {
            // Not split into its parts yet.
            faults.extend([400, 414]);
        }
        return Start::Refused(faults);
    };
    let first = first.expect("a head with an end has a first line");
    let lines = header_lines(&stream[skipped + first + 2..end - 2], &mut faults);
    let line = line.flatten();
    let head = line.map(|line| framed(line, lines, &mut faults));
    match head {
        Some(head) if faults.is_empty() => Start::Request(head, end),
        _ => Start::Refused(faults),
    }
}

/// Where `wanted`, which begins with CR, first stands.
fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|byte| *byte == b'\r')?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// CR without LF, LF without CR, other control characters than HTAB.
fn has_stray_bytes(seen: &[u8]) -> bool {
    seen.iter().enumerate().any(|(at, byte)| match byte {
        b'\t' => false,
        // What follows the last byte is not known.
        b'\r' => seen.get(at + 1).is_some_and(|next| *next != b'\n'),
        b'\n' => at == 0 || seen[at - 1] != b'\r',
        byte => byte.is_ascii_control(),
    })
}

struct Line<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    is_1_1: bool,
}

fn request_line<'a>(line: &'a [u8], faults: &mut BTreeSet<u16>) -> Option<Line<'a>> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if parts.get(1).is_some_and(|target| target.len() > MAX_TARGET) {
        faults.insert(414);
    }
    if let Some(version) = parts.last() {
        match *version {
            b"HTTP/1.0" | b"HTTP/1.1" => {}
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                faults.insert(505);
            }
            _ => {
                faults.insert(400);
            }
        }
    }
    let line = match parts[..] {
        [method, target, version] if is_token(method) => path(method, target).map(|path| Line {
            method: std::str::from_utf8(method).expect("a token is ASCII"),
            path,
            query: query(target),
            is_1_1: version == b"HTTP/1.1",
        }),
        _ => None,
    };
    if line.is_none() {
        faults.insert(400);
    }
    line
}

/// RFC 9110 §5.6.2.
pub fn is_token(name: &[u8]) -> bool {
    let separators = b"\"(),/:;<=>?@[\\]{}";
    !name.is_empty()
        && name
            .iter()
            .all(|b| b.is_ascii_graphic() && !separators.contains(b))
}

/// The path that a target asks for.
fn path<'a>(method: &[u8], target: &'a [u8]) -> Option<&'a str> {
    if !target.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let target = std::str::from_utf8(target).ok()?;
    let asks_server = method == b"OPTIONS";
    if target == "*" {
        return asks_server.then_some("*");
    }
    let before_query = |text: &'a str| text.split('?').next().unwrap_or(text);
    if target.starts_with('/') {
        return Some(before_query(target));
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let host_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(host_end);
    if !is_host(host.as_bytes()) {
        return None;
    }
    Some(match before_query(rest) {
        "" if rest.is_empty() && asks_server => "*",
        "" => "/",
        path => path,
    })
}

/// What stands behind the first question mark of a valid target.
fn query(target: &[u8]) -> Option<&str> {
    let mark = target.iter().position(|byte| *byte == b'?')?;
    std::str::from_utf8(&target[mark + 1..]).ok()
}

/// The fields of a query, by the parser of `application/x-www-form-urlencoded` in the URL standard.
pub fn form_fields(query: &str) -> Vec<(String, String)> {
    let sequences = query.as_bytes().split(|byte| *byte == b'&');
    let sequences = sequences.filter(|sequence| !sequence.is_empty());
    let field = |sequence: &[u8]| match sequence.iter().position(|byte| *byte == b'=') {
        Some(at) => (form_text(&sequence[..at]), form_text(&sequence[at + 1..])),
        None => (form_text(sequence), String::new()),
    };
    sequences.map(field).collect()
}

fn form_text(mut encoded: &[u8]) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::new();
    while let [first, rest @ ..] = encoded {
        encoded = rest;
        match (first, rest) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high * 16 + low) as u8);
                    encoded = behind;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn header_lines<'a>(lines: &'a [u8], faults: &mut BTreeSet<u16>) -> Vec<(&'a str, &'a [u8])> {
    let mut all = Vec::new();
    let mut rest = lines;
    while let Some(end) = position(rest, b"\r\n") {
        match header_line(&rest[..end]) {
            Some(line) => all.push(line),
            None => {
                faults.insert(400);
            }
        }
        rest = &rest[end + 2..];
    }
    if all.len() > MAX_HEADERS || lines.split(|b| *b == b'\n').count() > MAX_HEADERS + 1 {
        faults.insert(431);
    }
    all
}

fn header_line(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let plain = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    if !is_token(name) || !value.iter().all(plain) {
        return None;
    }
    Some((std::str::from_utf8(name).ok()?, trimmed(value)))
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn framed<'a>(
    line: Line<'a>,
    lines: Vec<(&'a str, &'a [u8])>,
    faults: &mut BTreeSet<u16>,
) -> Head<'a> {
    let mut head = Head {
        method: line.method,
        path: line.path,
        query: line.query,
        is_1_1: line.is_1_1,
        lines,
        framing: Framing::Length(0),
        keep_alive: false,
    };
    let (hosts, lengths, codings, options) = (
        head.values("Host"),
        head.values("Content-Length"),
        head.values("Transfer-Encoding"),
        head.values("Connection").join(&b","[..]),
    );
    let host_missing = head.is_1_1 && hosts.is_empty();
    if hosts.len() > 1 || host_missing || !hosts.iter().all(|host| is_host(host)) {
        faults.insert(400);
    }
    let length = lengths.first().map(|length| number(length, u64::MAX));
    if lengths.len() > 1 || length == Some(None) {
        faults.insert(400);
    }
    let is_chunked = codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked");
    let coding_is_wrong = !is_chunked || !head.is_1_1 || !lengths.is_empty();
    if !codings.is_empty() && coding_is_wrong {
        faults.insert(400);
    }
    let has_option = |wanted: &[u8]| {
        let mut options = options.split(|byte| *byte == b',').map(trimmed);
        options.any(|option| option.eq_ignore_ascii_case(wanted))
    };
    let is_kept = !has_option(b"close") && (head.is_1_1 || has_option(b"keep-alive"));
    head.framing = match is_chunked {
        true => Framing::Chunked,
        false => Framing::Length(length.flatten().unwrap_or(0)),
    };
    head.keep_alive = is_kept;
    head
}

/// A number of digits only, at most `max`.
fn number(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        let number = number.checked_mul(10)?.checked_add(digit.into())?;
        (number <= max).then_some(number)
    })
}

/// `uri-host [ ":" port ]`, the host not empty.
fn is_host(value: &[u8]) -> bool {
    let literal_end = match value.first() {
        Some(b'[') => match value.iter().position(|byte| *byte == b']') {
            Some(end) => end + 1,
            None => return false,
        },
        _ => 0,
    };
    let colon = value[literal_end..].iter().position(|byte| *byte == b':');
    let (host, port) = match colon {
        Some(colon) => value.split_at(literal_end + colon),
        None => (value, &b":"[..]),
    };
    let port = &port[1..];
    if !port.is_empty() && number(port, 65535).is_none() {
        return false;
    }
    match host {
        [] => false,
        [b'[', literal @ .., b']'] => is_literal(literal),
        name => is_name(name),
    }
}

fn is_literal(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else {
        return false;
    };
    let Some(future) = text.strip_prefix(['v', 'V']) else {
        return text.parse::<Ipv6Addr>().is_ok();
    };
    match future.split_once('.') {
        Some((version, rest)) => {
            !version.is_empty()
                && version.chars().all(|c| c.is_ascii_hexdigit())
                && !rest.is_empty()
                && rest.chars().all(|c| c == ':' || is_name_char(c))
        }
        None => false,
    }
}

fn is_name(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    // What stands behind each percent sign begins with two hexadecimal digits.
    let mut parts = name.split('%');
    let starts = parts.next().unwrap_or_default();
    let is_plain = |text: &str| text.chars().all(is_name_char);
    let is_encoded = |text: &str| {
        text.len() >= 2
            && text.bytes().take(2).all(|b| b.is_ascii_hexdigit())
            && is_plain(&text[2..])
    };
    is_plain(starts) && parts.all(is_encoded)
}

fn is_name_char(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '~' | '!' | '$' | '&' | '\'')
        || matches!(c, '(' | ')' | '*' | '+' | ',' | ';' | '=')
}

/// An answer.
#[derive(Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub lines: Vec<(&'a str, &'a str)>,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The values of all lines of that name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.lines.iter();
        let named = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value).collect()
    }

    pub fn content_length(&self) -> Option<usize> {
        let values = self.values("Content-Length");
        let [length] = values[..] else { return None };
        number(length.as_bytes(), u64::MAX).map(|length| length as usize)
    }
}

/// Takes one answer off the front of `written`; `None` when it is not all there. Panics when it is
/// not one that every client reads in the same way.
pub fn take_answer<'a>(written: &mut &'a [u8], has_body: bool) -> Option<Answer<'a>> {
    let end = position(written, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&written[..end]).expect("an answer's head is ASCII");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .unwrap_or_else(|| panic!("status line {status_line:?}"));
    let (status, reason) = status.split_at(3);
    assert!(reason.len() > 1 && reason.starts_with(' '), "{status_line}");
    let lines = lines.map(|line| {
        assert!(
            line.bytes().all(|b| matches!(b, b' '..=b'~')),
            "header line {line:?}"
        );
        let (name, value) = line.split_once(": ").expect("a name and a value");
        assert!(is_token(name.as_bytes()), "header name {name:?}");
        assert_eq!(value, value.trim(), "{name}");
        (name, value)
    });
    let mut answer = Answer {
        status: number(status.as_bytes(), 999).expect("three digits") as u16,
        lines: lines.collect(),
        body: b"",
    };
    assert!(answer.values("Transfer-Encoding").is_empty());
    let length = answer.content_length().expect("one Content-Length");
    let length = if has_body { length } else { 0 };
    answer.body = written.get(end + 4..end + 4 + length)?;
    *written = &written[end + 4 + length..];
    Some(answer)
}
