//! Bodies of requests: where they end (RFC 9112 §6.3, §7.1), and how much memory they may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::request::{BodyFraming, MAX_HEAD, is_token_byte};
use super::response::Response;

/// The longest body, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;
/// The most memory of all bodies together, in bytes.
const MAX_BODIES: usize = 16 * MAX_BODY;
/// The first buffer of a longer body. It grows as the body comes in, whatever length was announced.
const FIRST_BUFFER: usize = 4 * 1024;
/// The longest line that begins a chunk, with its extensions.
const MAX_CHUNK_LINE: usize = 256;
/// The longest line of a trailer section. It is not used.
const MAX_TRAILER_LINE: usize = 4 * 1024;

/// Why a body is not collected. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk or a trailer is malformed: 400.
    Bad,
    /// It is longer than the handler takes: 413.
    TooLarge,
    /// It came too slowly: 408.
    Late,
    /// All bodies together take too much memory: 503.
    NoRoom,
}

impl BodyError {
    /// The answer.
    pub fn response(self) -> Response {
        match self {
            BodyError::Bad => Response::error(400, "Bad Request"),
            BodyError::TooLarge => Response::error(413, "Content Too Large"),
            BodyError::Late => Response::error(408, "Request Timeout"),
            BodyError::NoRoom => Response::unavailable(),
        }
    }
}

/// The memory of all bodies that are being collected.
#[derive(Debug, Default)]
pub struct Bodies {
    used: AtomicUsize,
}

impl Bodies {
    /// The memory of the bodies that are being collected, in bytes.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn grant(&self, bytes: usize) -> Result<(), BodyError> {
        let add = |used: usize| Some(used + bytes).filter(|used| *used <= MAX_BODIES);
        let granted = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        granted.map(drop).map_err(|_| BodyError::NoRoom)
    }
}

/// Collects a body as it comes in.
#[derive(Debug)]
pub struct Collector {
    expects: Expects,
    limit: usize,
    body: Vec<u8>,
    /// The memory that `bodies` has counted for `body`.
    granted: usize,
    bodies: Arc<Bodies>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// So many bytes, the last ones.
    Rest(u64),
    /// The line that begins a chunk.
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line break after a chunk.
    ChunkEnd,
    /// Lines of the trailer section, after so many bytes of it.
    Trailer(usize),
    /// Nothing: the body is complete.
    Nothing,
}

impl Collector {
    /// For a body of at most `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`], when it announces more.
    pub fn new(
        framing: BodyFraming,
        limit: usize,
        bodies: &Arc<Bodies>,
    ) -> Result<Collector, BodyError> {
        let expects = match framing {
            BodyFraming::Length(length) if length > limit as u64 => {
                return Err(BodyError::TooLarge);
            }
            BodyFraming::Length(0) => Expects::Nothing,
            BodyFraming::Length(length) => Expects::Rest(length),
            BodyFraming::Chunked => Expects::ChunkLine,
        };
        Ok(Collector {
            expects,
            limit,
            body: Vec::new(),
            granted: 0,
            bodies: Arc::clone(bodies),
        })
    }

    /// Takes the bytes that belong to the body, and returns how many these are. Less than all of
    /// them are taken when the body ends, or before a line that is incomplete.
    ///
    /// # Errors
    /// [`BodyError`]. The collector must not be used after that.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let mut taken = 0;
        while self.expects != Expects::Nothing {
            let count = self.take_one(&bytes[taken..])?;
            if count == 0 {
                break;
            }
            taken += count;
        }
        Ok(taken)
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.expects == Expects::Nothing
    }

    /// What is there of it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    fn take_one(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let (count, next) = match self.expects {
            Expects::Rest(left) => {
                let count = self.append(bytes, left)?;
                match left - count as u64 {
                    0 => (count, Expects::Nothing),
                    left => (count, Expects::Rest(left)),
                }
            }
            Expects::Chunk(left) => {
                let count = self.append(bytes, left)?;
                match left - count as u64 {
                    0 => (count, Expects::ChunkEnd),
                    left => (count, Expects::Chunk(left)),
                }
            }
            Expects::ChunkLine => match line(bytes, MAX_CHUNK_LINE)? {
                None => (0, self.expects),
                Some(line) => (line.len() + 2, self.begin_chunk(chunk_size(line)?)?),
            },
            Expects::ChunkEnd => match line(bytes, 0)? {
                None => (0, self.expects),
                Some(_) => (2, Expects::ChunkLine),
            },
            Expects::Trailer(seen) => match line(bytes, MAX_TRAILER_LINE)? {
                None => (0, self.expects),
                Some([]) => (2, Expects::Nothing),
                Some(line) if !is_field_line(line) => return Err(BodyError::Bad),
                Some(line) if seen + line.len() > MAX_HEAD => return Err(BodyError::Bad),
                Some(line) => (line.len() + 2, Expects::Trailer(seen + line.len() + 2)),
            },
            Expects::Nothing => (0, self.expects),
        };
        self.expects = next;
        Ok(count)
    }

    fn begin_chunk(&self, size: u64) -> Result<Expects, BodyError> {
        match size {
            0 => Ok(Expects::Trailer(0)),
            size if size > (self.limit - self.body.len()) as u64 => Err(BodyError::TooLarge),
            size => Ok(Expects::Chunk(size)),
        }
    }

    /// Appends at most `left` of `bytes`. `left` is within the limit.
    fn append(&mut self, bytes: &[u8], left: u64) -> Result<usize, BodyError> {
        let count = left.min(bytes.len() as u64) as usize;
        let length = self.body.len() + count;
        if length > self.granted {
            let longest = match self.expects {
                Expects::Rest(left) => self.body.len() + left as usize,
                _ => self.limit,
            };
            let wanted = (2 * self.granted).max(FIRST_BUFFER).max(length);
            let wanted = wanted.min(longest);
            self.bodies.grant(wanted - self.granted)?;
            self.granted = wanted;
            let reserved = self.body.try_reserve_exact(wanted - self.body.len());
            reserved.map_err(|_| BodyError::NoRoom)?;
        }
        self.body.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.bodies.used.fetch_sub(self.granted, Ordering::Relaxed);
    }
}

/// The first line of `bytes`, without its line break; `None` if it is incomplete.
fn line(bytes: &[u8], longest: usize) -> Result<Option<&[u8]>, BodyError> {
    let end = bytes
        .iter()
        .position(|b| b.is_ascii_control() && *b != b'\t');
    let end = end.unwrap_or(bytes.len());
    if end > longest {
        return Err(BodyError::Bad);
    }
    match &bytes[end..] {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(&bytes[..end])),
        _ => Err(BodyError::Bad),
    }
}

/// `field-name ":" field-value`, RFC 9110 §5, as in a head. It is not used, but another parser may
/// take what is no field line for the next request.
fn is_field_line(line: &[u8]) -> bool {
    let colon = memchr::memchr(b':', line).unwrap_or(0);
    colon > 0 && line[..colon].iter().all(|b| is_token_byte(*b))
}

/// `chunk-size [ chunk-ext ]`, RFC 9112 §7.1.
fn chunk_size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at(digits);
    skip_extensions(extensions)
        .and_then(|()| std::str::from_utf8(digits).ok())
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(BodyError::Bad)
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, RFC 9112 §7.1.1. They are not used, but to
/// another parser, a quoted string without its end may go on in the next line.
fn skip_extensions(mut rest: &[u8]) -> Option<()> {
    while !rest.is_empty() {
        rest = skip_token(skip_mark(rest, b';')?)?;
        if let Some(value) = skip_mark(rest, b'=') {
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => skip_quoted(quoted)?,
                None => skip_token(value)?,
            };
        }
    }
    Some(())
}

/// What is behind a mark and the white space around it.
fn skip_mark(bytes: &[u8], mark: u8) -> Option<&[u8]> {
    let rest = bytes.trim_ascii_start().strip_prefix(&[mark])?;
    Some(rest.trim_ascii_start())
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take_while(|b| is_token_byte(**b)).count();
    (length > 0).then(|| &bytes[length..])
}

/// What is behind a quoted string (RFC 9110 §5.6.4) whose first quote has been taken.
fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(&bytes[at + 1..]),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests;
