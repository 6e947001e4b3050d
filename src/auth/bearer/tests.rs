use super::BearerError::{Malformed, Missing};
use super::*;

#[test]
fn one_header() {
    let cases: &[(&str, Result<&str, BearerError>)] = &[
        ("Bearer abc", Ok("abc")),
        ("bearer abc", Ok("abc")),
        ("BEARER abc", Ok("abc")),
        ("Bearer   abc", Ok("abc")),
        ("Bearer\tabc", Ok("abc")),
        ("Bearer \t abc", Ok("abc")),
        ("  Bearer abc  ", Ok("abc")),
        ("Bearer Bearer", Ok("Bearer")),
        ("Bearer a.b.c", Ok("a.b.c")),
        ("", Err(Missing)),
        (" \t ", Err(Missing)),
        ("Basic dXNlcjpwYXNz", Err(Missing)),
        ("Bearerabc def", Err(Missing)),
        ("Digest a=b,c=d", Err(Missing)),
        ("Bearer", Err(Malformed)),
        ("Bearer ", Err(Malformed)),
        ("Basic", Err(Malformed)),
        ("abc", Err(Malformed)),
        ("Bearer abc def", Err(Malformed)),
        ("Basic abc def", Err(Malformed)),
        ("Bearer abc, Bearer def", Err(Malformed)),
        ("Bearer abc,Bearer def", Err(Malformed)),
        ("Bearer abc,def", Err(Malformed)),
        ("Bearer abc,", Err(Malformed)),
        ("Bearer abc ,", Err(Malformed)),
    ];
    for (value, expected) in cases {
        let token = token([value.as_bytes()].into_iter());
        assert_eq!(token, expected.map(str::as_bytes), "{value:?}");
    }
}

#[test]
fn no_header_and_several() {
    assert_eq!(token([].into_iter()), Err(Missing));
    let same: [&[u8]; 2] = [b"Bearer abc", b"Bearer abc"];
    assert_eq!(token(same.into_iter()), Err(Malformed));
    let empty: [&[u8]; 2] = [b"", b""];
    assert_eq!(token(empty.into_iter()), Err(Malformed));
}

#[test]
fn bytes_outside_ascii_are_the_verifiers_to_refuse() {
    assert_eq!(token([&b"Bearer \xff"[..]].into_iter()), Ok(&b"\xff"[..]));
}
