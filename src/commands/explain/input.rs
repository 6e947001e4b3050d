//! The token, from standard input.

use std::fmt;
use std::io::{self, IsTerminal, Read};

use super::terminal;

/// The most that is read, in bytes: several times what the head of a request may have.
const MAX_INPUT: usize = 64 * 1024;

/// Why there is no token.
#[derive(Debug)]
pub(super) enum InputError {
    /// What the system says.
    Io(io::Error),
    /// Nothing but white space and what may stand before a token.
    Empty,
    /// More than [`MAX_INPUT`] bytes.
    TooLong,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::Io(error) => write!(f, "cannot read standard input: {error}"),
            InputError::Empty => {
                f.write_str("there is no token on standard input: postern explain < FILE")
            }
            InputError::TooLong => write!(
                f,
                "standard input has more than {} KiB, which is no token",
                MAX_INPUT / 1024
            ),
        }
    }
}

/// Reads the token, without what may stand before it.
pub(super) fn token() -> Result<Vec<u8>, InputError> {
    let stdin = io::stdin();
    // One byte more than allowed, to tell.
    let most = MAX_INPUT + 1;
    let input = match stdin.is_terminal() {
        true => terminal::read_line(&stdin, most),
        false => {
            let mut input = Vec::new();
            let mut limited = stdin.lock().take(most as u64);
            limited.read_to_end(&mut input).map(|_| input)
        }
    };
    let input = input.map_err(InputError::Io)?;
    if input.len() > MAX_INPUT {
        return Err(InputError::TooLong);
    }
    match bare(&input) {
        b"" => Err(InputError::Empty),
        token => Ok(token.to_owned()),
    }
}

/// A token without `Authorization: Bearer ` or `Bearer ` before it, nor white space around it.
fn bare(input: &[u8]) -> &[u8] {
    let input = input.trim_ascii();
    let input = without(input, b"authorization:").unwrap_or(input);
    match without(input, b"bearer") {
        Some(b"") => b"",
        Some(rest) if rest[0].is_ascii_whitespace() => rest.trim_ascii(),
        _ => input.trim_ascii(),
    }
}

/// What follows `begin`, which is in small letters, without white space before `begin`.
fn without<'a>(text: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    let text = text.trim_ascii();
    let (first, rest) = text.split_at_checked(begin.len())?;
    first.eq_ignore_ascii_case(begin).then_some(rest)
}

/// The value of a header `Authorization` with this token.
pub(super) fn authorization(token: &[u8]) -> Vec<u8> {
    [b"Bearer ", token].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_token_is_left_out() {
        for input in [
            "a.b.c",
            " a.b.c\r\n",
            "Bearer a.b.c",
            "bearer\ta.b.c\n",
            "Authorization: Bearer a.b.c\r\n",
            "authorization:bearer  a.b.c",
            "AUTHORIZATION: a.b.c",
        ] {
            assert_eq!(bare(input.as_bytes()), b"a.b.c", "{input:?}");
        }
        for input in [
            "",
            " \n",
            "Bearer",
            "Bearer \n",
            "Authorization:",
            "Authorization: Bearer",
        ] {
            assert_eq!(bare(input.as_bytes()), b"", "{input:?}");
        }
        assert_eq!(bare(b"bearera.b.c"), b"bearera.b.c");
        assert_eq!(bare(b"Basic eDp5"), b"Basic eDp5");
        assert_eq!(bare(b"\xff\xfe"), b"\xff\xfe");
    }
}
