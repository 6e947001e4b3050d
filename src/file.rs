//! Reads of files whose size is bounded.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const MIB: u64 = 1024 * 1024;

/// Why a file cannot be read. Its `Display` goes on after "it" or the file's name.
#[derive(Debug)]
pub enum ReadError {
    /// What the system says.
    Io(io::Error),
    /// It is a folder.
    Folder,
    /// It is neither a file nor a folder: a pipe, a device.
    NotAFile,
    /// It is larger than this, in MiB.
    TooLarge(u64),
}

impl ReadError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "cannot be read ({error})"),
            ReadError::Folder => f.write_str("is a folder"),
            ReadError::NotAFile => f.write_str("is not a file"),
            ReadError::TooLarge(most) => write!(f, "is larger than {most} MiB"),
        }
    }
}

impl Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// Reads a whole file of at most `max_mib` MiB. If it is a pipe, waits for its writer.
///
/// # Errors
/// [`ReadError`].
pub fn read(path: &Path, max_mib: u64) -> Result<Vec<u8>, ReadError> {
    let file = File::open(path)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(ReadError::Folder);
    }
    let max_bytes = max_mib * MIB;
    let mut bytes = Vec::new();
    // One byte more than allowed, to tell; the length in the metadata of a pipe is 0.
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(ReadError::TooLarge(max_mib));
    }
    Ok(bytes)
}

/// As [`read`], but refuses a pipe or a device, whose reading might never end.
///
/// # Errors
/// [`ReadError`].
pub fn read_regular(path: &Path, max_mib: u64) -> Result<Vec<u8>, ReadError> {
    // Checked before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(ReadError::NotAFile);
    }
    read(path, max_mib)
}
