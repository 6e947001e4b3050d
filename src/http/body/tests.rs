//! Bodies, whole and cut at every byte, and what they may take.

use super::*;

/// Collects what `bytes` begin with, `step` bytes at a time, as a connection does: what was not
/// taken comes again. Returns the body, and how many bytes it took.
fn collect(
    framing: BodyFraming,
    limit: usize,
    bytes: &[u8],
    step: usize,
) -> Result<Option<(Vec<u8>, usize)>, BodyError> {
    let mut collector = Collector::new(framing, limit, &Arc::default())?;
    let mut taken = 0;
    for end in (step..bytes.len()).step_by(step).chain([bytes.len()]) {
        taken += collector.take(&bytes[taken..end])?;
        if collector.is_complete() {
            return Ok(Some((collector.body().to_vec(), taken)));
        }
    }
    Ok(None)
}

#[track_caller]
fn all_ways(
    framing: BodyFraming,
    limit: usize,
    bytes: &[u8],
) -> Result<Option<(Vec<u8>, usize)>, BodyError> {
    let whole = collect(framing, limit, bytes, bytes.len().max(1));
    for step in [1, 2, 3, 7] {
        let cut = collect(framing, limit, bytes, step);
        assert_eq!(cut, whole, "{} by {step}", bytes.escape_ascii());
    }
    whole
}

#[track_caller]
fn chunked(bytes: &str) -> Result<Option<(String, usize)>, BodyError> {
    let text = |(body, taken)| (String::from_utf8(body).unwrap(), taken);
    Ok(all_ways(BodyFraming::Chunked, 100, bytes.as_bytes())?.map(text))
}

#[test]
fn a_length_is_taken_exactly() {
    let five = BodyFraming::Length(5);
    let body = (b"12345".to_vec(), 5);
    assert_eq!(all_ways(five, 5, b"12345"), Ok(Some(body.clone())));
    assert_eq!(all_ways(five, 5, b"12345GET / HTTP"), Ok(Some(body)));
    assert_eq!(all_ways(five, 5, b"1234"), Ok(None));
    assert_eq!(all_ways(five, 4, b"12345"), Err(BodyError::TooLarge));
    let most = BodyFraming::Length(u64::MAX);
    assert_eq!(all_ways(most, MAX_BODY, b""), Err(BodyError::TooLarge));
    let none = Collector::new(BodyFraming::Length(0), 0, &Arc::default()).unwrap();
    assert!(none.is_complete());
}

#[test]
fn chunks_are_joined() {
    for (bytes, body) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
        ("000a\r\n0123456789\r\n00\r\n\r\n", "0123456789"),
        ("B\r\n01234567890\r\n0\r\n\r\n", "01234567890"),
        // Extensions and trailers are ignored.
        ("2;a=b;c=\"d\"\r\nhi\r\n0;e\r\n\r\n", "hi"),
        ("2 \t;a\r\nhi\r\n0\r\nX: y\r\nZ: \t\r\n\r\n", "hi"),
        ("4\r\n\r\n0\r\r\n0\r\n\r\n", "\r\n0\r"),
    ] {
        let next = format!("{bytes}GET / HTTP/1.1\r\n");
        let expected = Ok(Some((body.to_owned(), bytes.len())));
        assert_eq!(chunked(bytes), expected);
        assert_eq!(chunked(&next), expected);
        for end in 0..bytes.len() {
            assert_eq!(chunked(&bytes[..end]), Ok(None), "{bytes:?} up to {end}");
        }
    }
}

#[test]
fn malformed_chunks_are_refused() {
    let long = |count| "0".repeat(count);
    for bytes in [
        "\r\n",
        "x\r\n",
        "+5\r\nhello\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5 5\r\nhello\r\n",
        ";\r\n",
        ";a\r\n\r\n",
        "5\nhello\n",
        "5\r hello",
        "5\r\nhello0\r\n",
        "5\r\nhello\n0\r\n",
        "5\r\nhello\r0\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5;\0\r\n",
        "5;a\nb\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX\0: y\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rX",
        "11111111111111111\r\n",
        &format!("{}5\r\n", long(MAX_CHUNK_LINE)),
        &format!("5;{}", "a".repeat(MAX_CHUNK_LINE)),
        &format!("0\r\n{}", "a".repeat(MAX_TRAILER_LINE + 1)),
        &format!("0\r\n{}", format!("{}\r\n", "a".repeat(4000)).repeat(5)),
    ] {
        assert_eq!(chunked(bytes), Err(BodyError::Bad), "{bytes:?}");
    }
}

#[test]
fn chunks_have_a_limit_together() {
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "a".repeat(size));
    let full = format!("{}{}0\r\n\r\n", chunk(60), chunk(40));
    assert_eq!(chunked(&full).unwrap().unwrap().0.len(), 100);
    for more in [
        format!("{}{}", chunk(60), chunk(41)),
        format!("{}{}", chunk(100), chunk(1)),
        "65\r\n".into(),
        "ffffffffffffffff\r\n".into(),
    ] {
        assert_eq!(chunked(&more), Err(BodyError::TooLarge), "{more}");
    }
}

#[test]
fn memory_grows_with_what_comes_and_is_given_back() {
    let bodies = Arc::new(Bodies::default());
    let used = || bodies.used.load(Ordering::Relaxed);
    let length = BodyFraming::Length(MAX_BODY as u64);
    let mut collector = Collector::new(length, MAX_BODY, &bodies).unwrap();
    assert_eq!(used(), 0, "nothing has come");
    collector.take(b"1").unwrap();
    assert_eq!(used(), FIRST_BUFFER);
    for _ in 0..3 {
        collector.take(&[0; FIRST_BUFFER]).unwrap();
    }
    assert_eq!(used(), 4 * FIRST_BUFFER);
    while !collector.is_complete() {
        collector.take(&[0; 10_000]).unwrap();
        assert!(collector.body.capacity() <= used());
    }
    assert_eq!(used(), MAX_BODY);
    drop(collector);
    assert_eq!(used(), 0);
}

#[test]
fn all_bodies_together_have_a_bound() {
    let bodies = Arc::new(Bodies::default());
    let start = || Collector::new(BodyFraming::Chunked, MAX_BODY, &bodies).unwrap();
    let chunk = [format!("{MAX_BODY:x}\r\n").as_bytes(), &vec![0; MAX_BODY]].concat();
    let full: Vec<_> = (0..16)
        .map(|_| {
            let mut collector = start();
            assert_eq!(collector.take(&chunk), Ok(chunk.len()));
            collector
        })
        .collect();
    assert_eq!(bodies.used.load(Ordering::Relaxed), MAX_BODIES);
    assert_eq!(start().take(&chunk), Err(BodyError::NoRoom));
    drop(full);
    assert_eq!(start().take(&chunk), Ok(chunk.len()));
    assert_eq!(bodies.used.load(Ordering::Relaxed), 0);
}

/// Whether it is a complete body, and nothing behind it.
fn is_body(chunks: &str) -> bool {
    chunked(chunks).is_ok_and(|body| body.is_some_and(|(_, taken)| taken == chunks.len()))
}

#[test]
fn memory_is_bounded_by_what_can_come() {
    for (framing, bytes, most) in [
        (BodyFraming::Length(2), "a", 2),
        (BodyFraming::Length(900), "a", 900),
        (BodyFraming::Chunked, "1\r\na", 1000),
    ] {
        let bodies = Arc::<Bodies>::default();
        let mut collector = Collector::new(framing, 1000, &bodies).unwrap();
        collector.take(bytes.as_bytes()).unwrap();
        assert_eq!(bodies.used(), most, "{framing:?}");
    }
}

#[test]
fn trailers_are_field_lines() {
    for trailer in ["Expires: 0", "a:", "a:b:c"] {
        assert!(is_body(&format!("0\r\n{trailer}\r\n\r\n")), "{trailer}");
    }
    for wrong in ["GET / HTTP/1.1", "a", ": a", "a : b", " a: b", "\ta"] {
        assert!(!is_body(&format!("0\r\n{wrong}\r\n\r\n")), "{wrong}");
        let after_one = format!("0\r\na: b\r\n{wrong}\r\n\r\n");
        assert!(!is_body(&after_one), "{wrong}");
    }
}

#[test]
fn chunk_extensions_are_well_formed() {
    let chunk = |extension: &str| format!("1{extension}\r\na\r\n0{extension}\r\n\r\n");
    for extension in [
        ";a",
        ";a;b",
        ";a=b",
        " ; a = b\t;c",
        ";a=\"\"",
        ";a=\"b;c=\\\"\\\\ \u{e9}\";d",
    ] {
        assert!(is_body(&chunk(extension)), "{extension}");
    }
    for wrong in [
        " ",
        ";",
        ";;a",
        ";a;",
        ";a ",
        ";a=",
        ";=b",
        "; ",
        ";a b",
        ";a=b c",
        ";\u{e9}",
        // Parsers exist to which a quoted string goes on in the next line.
        ";a=\"",
        ";a=\"\\\"",
        ";a=\"b\"c",
        ";\"a\"",
        ";a\"b\"",
    ] {
        assert!(!is_body(&chunk(wrong)), "{wrong}");
    }
}
