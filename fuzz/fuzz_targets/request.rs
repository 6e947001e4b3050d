//! A request head: accepted and refused as by an independent parser, and the same
//! however the bytes arrive.
//!
//! Input: a byte that decides how the head is cut, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::http::Request;
use postern::http::request::{HeadError, HeadScanner, MAX_HEADERS};
use postern_fuzz::http::{self, MAX_HEAD, Start};
use postern_fuzz::random::Random;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = find_end(stream, None);
    let pieces = find_end(stream, Some(Random::new(cut.into())));
    let (whole, pieces) = (parsed(stream, whole), parsed(stream, pieces));
    match (whole, pieces, http::read(stream)) {
        (Ok(Some(a)), Ok(Some(b)), Start::Request(head, length)) => {
            assert_eq!((a, b), (length, length));
            compare(stream, length, &head);
        }
        (Err(a), Err(b), Start::Refused(statuses)) => {
            assert!(statuses.contains(&a.status().0), "{a:?} {statuses:?}");
            assert!(statuses.contains(&b.status().0), "{b:?} {statuses:?}");
        }
        (a, b, Start::Incomplete(statuses)) => {
            for found in [a, b] {
                match found {
                    Ok(found) => assert_eq!(found, None),
                    Err(error) => {
                        assert!(statuses.contains(&error.status().0), "{error:?}");
                        cannot_be_completed(stream);
                    }
                }
            }
        }
        differing => panic!("{differing:?}"),
    }
});

/// What the scanner finds, fed with ever more of `stream`, up to what a connection holds.
fn find_end(stream: &[u8], random: Option<Random>) -> Result<Option<usize>, HeadError> {
    let most = stream.len().min(MAX_HEAD);
    let mut scanner = HeadScanner::default();
    let Some(mut random) = random else {
        return scanner.find_end(&stream[..most]);
    };
    let mut end = 0;
    while end < most {
        let longest = random.pick(&[1, 2, 20, MAX_HEAD]);
        end = (end + 1 + random.below(longest)).min(most);
        if let Some(length) = scanner.find_end(&stream[..end])? {
            assert!(length <= end);
            return Ok(Some(length));
        }
    }
    Ok(None)
}

/// What becomes of a head that was found.
fn parsed(
    stream: &[u8],
    found: Result<Option<usize>, HeadError>,
) -> Result<Option<usize>, HeadError> {
    let Some(length) = found? else {
        return Ok(None);
    };
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    Request::parse(&stream[..length], &mut storage).map(|_| Some(length))
}

fn compare(stream: &[u8], length: usize, head: &http::Head<'_>) {
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let request = Request::parse(&stream[..length], &mut storage).expect("it was parsed before");
    assert_eq!(request.method().as_str(), head.method);
    assert_eq!(request.path(), head.path);
    let is_1_1 = *request.version() == tiny_http::HTTPVersion(1, 1);
    assert_eq!(is_1_1, head.is_1_1);
    assert_eq!(request.has_body(), head.has_body());
    assert_eq!(request.keeps_alive(), head.keeps_alive(false));
    assert_eq!(request.query(), head.query);
    compare_query(&request, head.query);
    for name in ["Authorization", "Origin", "Host", "a", "X-Name"] {
        let values: Vec<&[u8]> = request.headers(name).collect();
        assert_eq!(values, head.values(name), "{name}");
        let only = (values.len() == 1).then(|| values[0]);
        assert_eq!(request.header(name), only, "{name}");
    }
}

/// The values of each name in the query, and of names that may not be there.
fn compare_query(request: &Request<'_>, query: Option<&str>) {
    let fields = http::form_fields(query.unwrap_or_default());
    let names = fields.iter().map(|(name, _)| name.as_str());
    for name in names.take(16).chain(["", "a", "permission", "\u{fffd}"]) {
        let named = fields.iter().filter(|(n, _)| n == name);
        let expected: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        let values: Vec<_> = request.query_values(name).collect();
        assert_eq!(values, expected, "{name:?}");
    }
}

/// A head that is refused before its end must be one that no further byte can fix.
fn cannot_be_completed(stream: &[u8]) {
    // The faults are the same in a long one, which only takes longer to read so many times.
    if stream.len() > 500 {
        return;
    }
    for rest in [
        "\r\n",
        "\n",
        "\r\n\r\n",
        "\n\r\n",
        "\r\nHost: x\r\n\r\n",
        "\nHost: x\r\n\r\n",
        ": x\r\n\r\n",
        "x: x\r\n\r\n",
        "x\r\nHost: x\r\n\r\n",
        "1\r\nHost: x\r\n\r\n",
        " HTTP/1.1\r\nHost: x\r\n\r\n",
        "/ HTTP/1.1\r\nHost: x\r\n\r\n",
        " / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let whole = [stream, rest.as_bytes()].concat();
        if let Start::Request(head, _) = http::read(&whole) {
            panic!("refused, but with {rest:?} it is {head:?}");
        }
    }
}
