//! Bodies of requests by RFC 9112 §6 and §7.1 and the limits of this server: the whole of what came
//! is read at once, slowly and strictly.

use std::ops::Range;

use crate::http::{Framing, is_token};

/// The longest body.
pub const MAX_BODY: usize = 1024 * 1024;
/// What all bodies together may take.
pub const MAX_BODIES: usize = 16 * 1024 * 1024;
/// The first buffer of a body whose length is not announced.
const FIRST_BUFFER: usize = 4 * 1024;
const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILER_LINE: usize = 4 * 1024;
const MAX_TRAILERS: usize = 16 * 1024;
/// The longest incomplete line that may be kept, with the CR of its line break.
pub const MAX_REST: usize = MAX_TRAILER_LINE + 1;

/// Stands for so many bytes of its kind, so that a short input makes a long body.
const LONG: (u8, usize) = (0xfe, 16 * 1024);
/// The most of them: enough for the longest body and more.
const MAX_LONG: usize = 70;

/// The stream that a fuzzer's input stands for.
pub fn stretched(input: &[u8]) -> Vec<u8> {
    let mut count = 0;
    let mut stream = Vec::with_capacity(input.len());
    for byte in input {
        let is_long = *byte == LONG.0 && count < MAX_LONG;
        count += usize::from(is_long);
        stream.resize(stream.len() + if is_long { LONG.1 } else { 1 }, *byte);
    }
    stream
}

/// What stands behind a head.
#[derive(Debug)]
pub struct Reading {
    /// Where the bytes of the body are.
    runs: Vec<Range<usize>>,
    end: End,
    /// How many bytes it takes to see that end.
    at: usize,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    Complete,
    /// It is answered with this status.
    Refused(u16),
    /// More must come.
    Incomplete,
}

impl Reading {
    /// How a body ends of which only the first `count` bytes on the wire have come.
    pub fn end(&self, count: usize) -> End {
        if count < self.at {
            End::Incomplete
        } else {
            self.end
        }
    }

    /// How many bytes on the wire a complete body takes.
    pub fn length(&self) -> usize {
        assert_eq!(self.end, End::Complete);
        self.at
    }

    /// How many bytes of the body the first `count` bytes on the wire hold.
    pub fn decoded(&self, count: usize) -> usize {
        let count = count.min(self.at);
        let runs = self.runs.iter().take_while(|run| run.start < count);
        runs.map(|run| run.end.min(count) - run.start).sum()
    }

    /// Whether the last of the first `count` bytes on the wire is one of the body's, so that none
    /// of them has to be kept as they came.
    pub fn is_in_run(&self, count: usize) -> bool {
        let index = self.runs.partition_point(|run| run.end < count);
        self.runs.get(index).is_some_and(|run| run.start < count)
    }

    /// The body, of the `stream` that was read.
    pub fn body(&self, stream: &[u8]) -> Vec<u8> {
        let runs = self.runs.iter().map(|run| &stream[run.clone()]);
        runs.collect::<Vec<_>>().concat()
    }
}

/// The most memory that a body of so many bytes needs so far, with room for it to double.
pub fn most_granted(framing: Framing, limit: usize, decoded: usize) -> usize {
    let longest = match framing {
        Framing::Length(length) => length.min(limit as u64) as usize,
        Framing::Chunked => limit,
    };
    let wanted = (2 * decoded).max(FIRST_BUFFER).min(longest);
    if decoded == 0 { 0 } else { wanted }
}

/// Reads the body at the start of `stream`, of at most `limit` bytes.
pub fn read(stream: &[u8], framing: Framing, limit: usize) -> Reading {
    let mut reader = Reader {
        stream,
        at: 0,
        runs: Vec::new(),
    };
    let read = match framing {
        Framing::Length(length) if length > limit as u64 => Err(Stop::Refused(413, 0)),
        Framing::Length(length) => reader.run(length as usize),
        Framing::Chunked => reader.chunks(limit).and_then(|()| reader.trailers()),
    };
    let (end, at) = match read {
        Ok(()) => (End::Complete, reader.at),
        Err(Stop::Refused(status, at)) => (End::Refused(status), at),
        Err(Stop::Incomplete) => (End::Incomplete, usize::MAX),
    };
    let runs = reader.runs;
    Reading { runs, end, at }
}

/// Why there is no more to read: the stream is over, or wrong, as so many bytes tell.
enum Stop {
    Incomplete,
    Refused(u16, usize),
}

struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
    runs: Vec<Range<usize>>,
}

impl<'a> Reader<'a> {
    /// So many bytes of the body.
    fn run(&mut self, count: usize) -> Result<(), Stop> {
        let end = self.at.saturating_add(count);
        let run = self.at..end.min(self.stream.len());
        if !run.is_empty() {
            self.runs.push(run);
        }
        if end > self.stream.len() {
            return Err(Stop::Incomplete);
        }
        self.at = end;
        Ok(())
    }

    fn chunks(&mut self, limit: usize) -> Result<(), Stop> {
        let mut left = limit;
        loop {
            let line = self.line(MAX_CHUNK_LINE)?;
            let size = chunk_size(line).ok_or(Stop::Refused(400, self.at))?;
            if size == 0 {
                return Ok(());
            }
            let size = usize::try_from(size).ok().filter(|size| *size <= left);
            let size = size.ok_or(Stop::Refused(413, self.at))?;
            self.run(size)?;
            left -= size;
            self.line(0)?;
        }
    }

    fn trailers(&mut self) -> Result<(), Stop> {
        let start = self.at;
        loop {
            let line = self.line(MAX_TRAILER_LINE)?;
            if line.is_empty() {
                return Ok(());
            }
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let is_field = name.len() < line.len() && is_token(name);
            if !is_field || self.at - 2 - start > MAX_TRAILERS {
                return Err(Stop::Refused(400, self.at));
            }
        }
    }

    /// The next line of at most so many bytes, without its line break.
    fn line(&mut self, longest: usize) -> Result<&'a [u8], Stop> {
        let start = self.at;
        for (at, byte) in self.stream.iter().enumerate().skip(start) {
            match byte {
                b'\r' => {
                    match self.stream.get(at + 1) {
                        None => return Err(Stop::Incomplete),
                        Some(b'\n') => self.at = at + 2,
                        Some(_) => return Err(Stop::Refused(400, at + 2)),
                    }
                    return Ok(&self.stream[start..at]);
                }
                b'\t' | b' '..=b'~' | 0x80.. if at - start < longest => {}
                _ => return Err(Stop::Refused(400, at + 1)),
            }
        }
        Err(Stop::Incomplete)
    }
}

/// `chunk-size [ chunk-ext ]`, RFC 9112 §7.1.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
    let (digits, extensions) = line.split_at(line.iter().take_while(is_digit).count());
    if digits.is_empty() || !are_extensions(extensions) {
        return None;
    }
    digits.iter().try_fold(0u64, |size, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(digit.into())
    })
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, RFC 9112 §7.1.1.
fn are_extensions(bytes: &[u8]) -> bool {
    let mut words = Words(bytes);
    while !words.0.is_empty() {
        if !words.skip(b';') || !words.token() {
            return false;
        }
        if words.skip(b'=') && !words.token() && !words.quoted() {
            return false;
        }
    }
    true
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    /// Takes a mark, with the white space around it.
    fn skip(&mut self, mark: u8) -> bool {
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let before = self.0.iter().take_while(blank).count();
        if self.0.get(before) != Some(&mark) {
            return false;
        }
        let rest = &self.0[before + 1..];
        self.0 = &rest[rest.iter().take_while(blank).count()..];
        true
    }

    fn token(&mut self) -> bool {
        let part = |byte: &&u8| is_token(std::slice::from_ref(byte));
        let length = self.0.iter().take_while(part).count();
        self.0 = &self.0[length..];
        length > 0
    }

    fn quoted(&mut self) -> bool {
        let mut is_escaped = false;
        for (at, byte) in self.0.iter().enumerate() {
            match byte {
                b'"' if at == 0 => {}
                _ if at == 0 => return false,
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}
