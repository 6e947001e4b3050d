//! Reads and writes as far as they go without waiting.

use std::io::{self, ErrorKind};

use super::next::{Close, Interest, Next};
use crate::http::transport::Transport;

/// The most reads that one step discards.
const MAX_DISCARDS: usize = 4;

/// The end of a connection without a further answer.
#[derive(Debug)]
pub(super) enum End {
    Close(Close),
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Broken(error)
    }
}

/// What follows a step.
pub(super) fn next(outcome: Result<Interest, End>) -> Next {
    match outcome {
        Ok(interest) => Next::Wait(interest),
        Err(End::Close(close)) => Next::Close(close),
        Err(End::Broken(_)) => Next::Close(Close::ByPeer),
    }
}

/// Reads the available bytes; 0 if there are none.
pub(super) fn read(transport: &mut impl Transport, buffer: &mut [u8]) -> Result<usize, End> {
    loop {
        match transport.read(buffer) {
            Ok(0) => return Err(End::Close(Close::ByPeer)),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes until all is written or there is no more room. Returns how much was written.
pub(super) fn write(transport: &mut impl Transport, bytes: &[u8]) -> Result<usize, End> {
    let mut written = 0;
    while written < bytes.len() {
        match transport.write(&bytes[written..]) {
            Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Writes the `100 Continue` after which the client sends its body (RFC 9110 §10.1.1). If there is no
/// room, it is left out: the client sends the body anyway after a while.
pub(super) fn invite(transport: &mut impl Transport) -> Result<(), End> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    match write(transport, CONTINUE)? {
        0 => Ok(()),
        count if count == CONTINUE.len() => Ok(()),
        // What follows would be read as a part of it.
        _ => Err(End::Close(Close::Stalled)),
    }
}

/// Reads and discards input, to a bound per step.
pub(super) fn discard(transport: &mut impl Transport, buffer: &mut [u8]) -> Result<Interest, End> {
    for _ in 0..MAX_DISCARDS {
        if read(transport, buffer)? == 0 {
            break;
        }
    }
    Ok(Interest::Read)
}
