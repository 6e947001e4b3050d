//! Independent implementations of the rules of HTTP, JSON and base64url. The fuzz targets compare
//! postern with them. They are simple and slow, and use none of postern's parsers.

pub mod base64url;
pub mod body;
pub mod crowd;
pub mod http;
pub mod json;
pub mod memory;
pub mod random;

/// A folder for the files of this process. It is not removed here: libFuzzer ends a process without
/// running destructors. `fuzz/run` gives each run a temporary folder, and removes it.
pub fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("postern-fuzz-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    folder
}

/// Fails if `text` is not safe for one log line: it has control characters or is too long.
pub fn assert_one_line(text: &str, max_chars: usize) {
    let strange = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!text.contains(strange), "not one plain line: {text:?}");
    let chars = text.chars().count();
    assert!(chars <= max_chars, "{chars} characters: {text:?}");
}

/// Copies a mutated input into libFuzzer's buffer. `None` if it does not fit.
pub fn put(data: &mut [u8], max_size: usize, made: &[u8]) -> Option<usize> {
    if made.len() > max_size {
        return None;
    }
    data[..made.len()].copy_from_slice(made);
    Some(made.len())
}
