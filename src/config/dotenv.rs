//! The file `.env`.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use super::report::Report;
use super::settings::{VARIABLES, named};
use super::values::MAX_FILE_MIB;
use crate::file;

/// The variables that `.env` sets, in its order; none if there is no such file.
///
/// A report never shows a line: the file may hold secrets of other programs.
pub(super) fn read(path: &Path, report: &mut Report) -> Vec<(String, String)> {
    let text = match file::read(path, MAX_FILE_MIB) {
        Err(fault) if fault.is_not_found() => return Vec::new(),
        Err(fault) => Err(fault.to_string()),
        Ok(bytes) => String::from_utf8(bytes).map_err(|e| {
            let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
            format!("is not UTF-8 in line {line}")
        }),
    };
    match text {
        Ok(text) => parse(&text, report),
        Err(fault) => {
            VARIABLES.iter().for_each(|v| report.unread(v.name));
            let name = path.display();
            report.problem(format!(
                "{name} {fault}: make it a readable text file, or remove it"
            ));
            Vec::new()
        }
    }
}

pub(super) fn parse(text: &str, report: &mut Report) -> Vec<(String, String)> {
    // dotenvy reads a byte order mark as part of a name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines_read = Cell::new(0);
    let lines = LineReader {
        rest: text.as_bytes(),
        lines_read: &lines_read,
    };
    let mut vars = Vec::new();
    // dotenvy refuses a last line that ends in a space without a newline.
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    for entry in dotenvy::from_read_iter(lines.chain(end)) {
        match entry {
            Ok(var) => vars.push(var),
            Err(dotenvy::Error::LineParse(unread, _)) => {
                // An open quote takes in all lines that follow; the first is the one to fix.
                let taken = unread.lines().count().max(1);
                let first = (lines_read.get() + 1).saturating_sub(taken).max(1);
                let entry: Vec<&str> = text.lines().skip(first - 1).take(taken).collect();
                entry.iter().for_each(|line| report.unread(line));
                report.problem(fault(first, entry.first().unwrap_or(&"")));
            }
            // A read error, which bytes in memory do not have.
            Err(_) => break,
        }
    }
    vars
}

fn fault(number: usize, line: &str) -> String {
    let name = line.split('=').next().unwrap_or(line).trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim_start();
    let of = match named(name) {
        Some((_, name)) => format!(" ({name})"),
        None => String::new(),
    };
    format!(
        ".env line {number}{of} is malformed: write NAME=value, and single quotes around a value \
         that holds spaces, quotes, $, # or a backslash"
    )
}

/// Returns one line per read, so that the count of lines tells how far dotenvy has come.
struct LineReader<'a> {
    rest: &'a [u8],
    lines_read: &'a Cell<usize>,
}

impl Read for LineReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.split_inclusive(|&byte| byte == b'\n').next();
        let mut line = line.unwrap_or_default();
        let length = line.read(out)?;
        // A line that takes several reads counts once, at its end.
        if length > 0 && line.is_empty() {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
