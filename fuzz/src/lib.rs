//! What the fuzz targets hold postern against: the rules of HTTP, JSON and base64url once more,
//! written down without looking at speed, and without postern's parsers.

pub mod base64url;
pub mod http;
pub mod json;
pub mod memory;
pub mod random;

/// A folder for the files of this process. It stays: libFuzzer ends a process without destructors,
/// and `fuzz/run` gives each run a temporary folder that it takes away.
pub fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("postern-fuzz-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    folder
}

/// Fails when `text` is not fit for a line of a log: control characters, or too much of it.
pub fn assert_one_line(text: &str, max_chars: usize) {
    let strange = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!text.contains(strange), "not one plain line: {text:?}");
    let chars = text.chars().count();
    assert!(chars <= max_chars, "{chars} characters: {text:?}");
}

/// Puts what a mutator made into libFuzzer's buffer; `None` when it does not fit.
pub fn put(data: &mut [u8], max_size: usize, made: &[u8]) -> Option<usize> {
    if made.len() > max_size {
        return None;
    }
    data[..made.len()].copy_from_slice(made);
    Some(made.len())
}
