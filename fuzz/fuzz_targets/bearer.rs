//! The `Authorization` header lines of a request, as RFC 6750 §2.1 and the contract read them.
//!
//! Input: the values, a line each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::auth::bearer::{self, BearerError};

fuzz_target!(|data: &[u8]| {
    let values: Vec<&[u8]> = match data {
        [] => Vec::new(),
        data => data.split(|byte| *byte == b'\n').collect(),
    };
    let found = bearer::token(values.iter().copied());
    assert_eq!(found, expected(&values));
    if let Ok(token) = found {
        assert!(!token.is_empty());
        assert!(!token.iter().any(|byte| b" \t,".contains(byte)));
    }
});

fn expected<'a>(values: &[&'a [u8]]) -> Result<&'a [u8], BearerError> {
    match values {
        [] => Err(BearerError::Missing),
        [value] => match &words(value)[..] {
            [] => Err(BearerError::Missing),
            [scheme, token] if scheme.eq_ignore_ascii_case(b"bearer") => {
                match token.iter().filter(|byte| **byte == b',').count() {
                    0 => Ok(token),
                    _ => Err(BearerError::Malformed),
                }
            }
            [_, _] => Err(BearerError::Missing),
            _ => Err(BearerError::Malformed),
        },
        _ => Err(BearerError::Malformed),
    }
}

/// What spaces and tabs separate.
fn words(value: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte) in value.iter().enumerate() {
        match (byte, start) {
            (b' ' | b'\t', Some(from)) => {
                words.push(&value[from..at]);
                start = None;
            }
            (b' ' | b'\t', None) => {}
            (_, None) => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.map(|from| &value[from..]));
    words
}
