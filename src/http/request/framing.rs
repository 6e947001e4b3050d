//! Where a request ends, and whether the connection may stay open, by the header lines (RFC 9112 §6,
//! §9.3).

use httparse::Header;

use super::HeadError;

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// After so many bytes. Without a body, that is 0.
    Length(u64),
    /// By the last chunk.
    Chunked,
}

/// What the header lines say about the end of the request and of the connection.
#[derive(Debug)]
pub(crate) struct Framing {
    pub(crate) body: BodyFraming,
    /// Whether the client lets the connection stay open.
    pub(crate) keep_alive: bool,
    /// Whether the client sends the body only after a `100 Continue` (RFC 9110 §10.1.1).
    pub(crate) expects_continue: bool,
}

impl Framing {
    pub(super) fn read(headers: &[Header<'_>], is_1_1: bool) -> Result<Framing, HeadError> {
        let (mut hosts, mut chunked) = (0, 0);
        let mut content_length = None;
        let (mut close, mut keep_alive) = (false, false);
        let mut expects_continue = false;
        for Header { name, value } in headers {
            // Most names differ in length, so few bytes are compared.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    hosts += 1;
                    if !is_host(value) {
                        return Err(HeadError::Bad("Host"));
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let length = parse_content_length(value)?;
                    if content_length.replace(length).is_some() {
                        return Err(HeadError::Bad("several Content-Length"));
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    chunked += 1;
                    if !value.eq_ignore_ascii_case(b"chunked") || !is_1_1 {
                        return Err(HeadError::Bad("Transfer-Encoding"));
                    }
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    // In HTTP/1.0 it is ignored.
                    expects_continue = is_1_1 && value.eq_ignore_ascii_case(b"100-continue");
                }
                _ => {}
            }
        }
        if hosts > 1 || (hosts == 0 && is_1_1) {
            return Err(HeadError::Bad("Host"));
        }
        if chunked > 1 || (chunked == 1 && content_length.is_some()) {
            return Err(HeadError::Bad("Transfer-Encoding"));
        }
        Ok(Framing {
            body: match chunked {
                0 => BodyFraming::Length(content_length.unwrap_or(0)),
                _ => BodyFraming::Chunked,
            },
            keep_alive: !close && (is_1_1 || keep_alive),
            expects_continue,
        })
    }
}

/// `1*DIGIT` that fits 64 bits, RFC 9110 §8.6; no sign, no list.
fn parse_content_length(value: &[u8]) -> Result<u64, HeadError> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(HeadError::Bad("Content-Length"))
}

/// `uri-host [ ":" port ]`, RFC 9110 §7.2, with a host that is not empty (§4.2.1).
pub(super) fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    let (host_is_valid, port) = if let Some(rest) = value.strip_prefix('[') {
        let Some((literal, port)) = rest.split_once(']') else {
            return false;
        };
        (is_ip_literal(literal), port)
    } else {
        let (host, port) = value.split_at(value.find(':').unwrap_or(value.len()));
        (is_reg_name(host), port)
    };
    let port_is_valid = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    host_is_valid && port_is_valid
}

/// RFC 3986 §3.2.2: the text between brackets, an IPv6 address or a future version.
fn is_ip_literal(literal: &str) -> bool {
    let is_future = |rest: &str| {
        rest.split_once('.').is_some_and(|(version, address)| {
            !version.is_empty()
                && version.bytes().all(|b| b.is_ascii_hexdigit())
                && !address.is_empty()
                && address.bytes().all(|b| b == b':' || is_host_byte(b))
        })
    };
    match literal.strip_prefix(['v', 'V']) {
        Some(rest) => is_future(rest),
        None => literal.parse::<std::net::Ipv6Addr>().is_ok(),
    }
}

/// RFC 3986 §3.2.2: unreserved, sub-delims and percent-encoded bytes.
fn is_reg_name(host: &str) -> bool {
    let bytes = host.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at += match bytes[at] {
            b'%' => match bytes.get(at + 1..at + 3) {
                Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => 3,
                _ => return false,
            },
            byte if is_host_byte(byte) => 1,
            _ => return false,
        };
    }
    !bytes.is_empty()
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}
