//! Makes text from the network, or from a setting, safe for one line of a log.

use std::fmt::{self, Write as _};

const ELLIPSIS: char = '…';

/// Appends `text` to `out` with its control characters escaped, in at most `max_bytes` bytes.
///
/// Escaped are C0 (`\n`, `\r`, `\t`, `\0`, else `\x1b`), DEL, C1, the line separators U+2028 and
/// U+2029, and the invisible characters that reorder or hide text (`\u{202e}`). Text that does
/// not fit is cut between two characters, never inside an escape, and ends in `…`, which counts.
pub fn escape_into(out: &mut String, text: &str, max_bytes: usize) {
    Escaper::new(out, max_bytes).push(text);
}

/// Displays text from the network escaped and cut, as [`escape_into`] does.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max_bytes: usize,
}

impl<'a> Escaped<'a> {
    /// `text` in at most `max_bytes` bytes.
    pub fn new(text: &'a str, max_bytes: usize) -> Self {
        Escaped { text, max_bytes }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.len() <= self.max_bytes && self.text.bytes().all(is_plain) {
            return f.write_str(self.text);
        }
        let mut escaped = String::new();
        escape_into(&mut escaped, self.text, self.max_bytes);
        f.write_str(&escaped)
    }
}

/// Whether a byte stands for itself in a log line.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// A formatter that escapes what is written to it, and drops what does not fit.
#[derive(Debug)]
pub struct Escaper<'a> {
    out: &'a mut String,
    /// The length `out` may reach.
    limit: usize,
    /// The greatest length reached so far that leaves room for an ellipsis.
    cut: usize,
    full: bool,
}

impl<'a> Escaper<'a> {
    /// Escapes into `out`, which grows by `max_bytes` bytes at most.
    pub fn new(out: &'a mut String, max_bytes: usize) -> Self {
        Escaper {
            limit: out.len().saturating_add(max_bytes),
            cut: out.len(),
            out,
            full: false,
        }
    }

    fn push(&mut self, text: &str) {
        let room = self.limit - self.out.len();
        // The common case: nothing to escape, and room for the text and an ellipsis after it.
        if !self.full && text.bytes().all(is_plain) && text.len() + ELLIPSIS.len_utf8() <= room {
            self.out.push_str(text);
            self.cut = self.out.len();
            return;
        }
        for character in text.chars() {
            if self.full {
                return;
            }
            self.push_char(character);
        }
    }

    fn push_char(&mut self, character: char) {
        let _ = match character {
            '\n' => self.out.write_str("\\n"),
            '\r' => self.out.write_str("\\r"),
            '\t' => self.out.write_str("\\t"),
            '\0' => self.out.write_str("\\0"),
            _ if character.is_control() => write!(self.out, "\\x{:02x}", u32::from(character)),
            _ if misleads(character) => write!(self.out, "\\u{{{:x}}}", u32::from(character)),
            _ => self.out.write_char(character),
        };
        if self.out.len() > self.limit {
            self.full = true;
            self.out.truncate(self.cut);
            if self.cut + ELLIPSIS.len_utf8() <= self.limit {
                self.out.push(ELLIPSIS);
            }
        } else if self.out.len() + ELLIPSIS.len_utf8() <= self.limit {
            self.cut = self.out.len();
        }
    }
}

impl fmt::Write for Escaper<'_> {
    /// Never fails, even if full: some `Display` implementations panic if a write fails.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// Whether a character ends a line, reorders the text around it or cannot be seen.
fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests;
