//! The copy of the key set on disk, so that a host can serve after a reboot without network.
//!
//! The file `jwks.json` is replaced atomically: after a crash it is the old copy or the new one. It
//! is not secret, as the keys are public. But whoever can write it decides which tokens are
//! accepted, so only its owner can.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{info, warn};
use serde::{Deserialize, Serialize};

use super::json;
use super::key_set::KeySet;
use crate::file;

/// The name of the file in the state directory.
const FILE: &str = "jwks.json";
/// The name of a new copy until it is complete.
const TEMPORARY: &str = "jwks.json.tmp";
/// The largest copy that is read, in MiB: the largest key set with each of its bytes escaped.
const MAX_MIB: u64 = 4;
/// The age at which a copy of unchanged keys is written again.
const REWRITE_AFTER: Duration = Duration::from_secs(3600);
/// The version of the file format.
const VERSION: u32 = 1;

/// The copy of one tenant's key set.
#[derive(Debug)]
pub struct DiskCopy {
    folder: PathBuf,
    issuer: String,
    /// The text and the time of the copy on disk, as far as known.
    written: Option<(Arc<[u8]>, SystemTime)>,
    /// Whether the last write failed, which has been logged.
    is_failing: bool,
}

/// The text of a key set, and its times.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The JWK Set, as the tenant sent it.
    pub text: Arc<[u8]>,
    /// When it was fetched, in the tenant's time.
    pub fetched: SystemTime,
    /// How long it is fresh from then on.
    pub fresh_for: Duration,
}

/// The contents of the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    issuer: String,
    /// Seconds since 1970.
    fetched: u64,
    /// Seconds.
    fresh_for: u64,
    /// The JWK Set, as the tenant sent it.
    key_set: String,
}

impl DiskCopy {
    /// The copy of `issuer`'s keys in `folder`. Does not read or write yet.
    pub fn new(folder: PathBuf, issuer: String) -> DiskCopy {
        DiskCopy {
            folder,
            issuer,
            written: None,
            is_failing: false,
        }
    }

    /// Reads the copy as [`read`](DiskCopy::read) does. If it cannot be used, logs a warning.
    pub fn load(&mut self) -> Option<(KeySet, Stored)> {
        match self.read() {
            Ok(Some((keys, stored))) => {
                self.written = Some((Arc::clone(&stored.text), stored.fetched));
                Some((keys, stored))
            }
            Ok(None) => None,
            Err(why) => {
                warn!("ignoring {}: {why}", self.path().display());
                None
            }
        }
    }

    /// Reads the copy; `None` if there is no file.
    ///
    /// # Errors
    /// Why it cannot be used: it is incomplete, for another issuer, or not a well-formed key set.
    pub fn read(&self) -> Result<Option<(KeySet, Stored)>, String> {
        match file::read_regular(&self.path(), MAX_MIB) {
            Ok(bytes) => self.parse(&bytes).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(format!("it {error}")),
        }
    }

    /// Where the copy is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Writes a file into the folder as a new copy is written, and removes it. The copy stays as it
    /// is, and a process that writes one meanwhile is not disturbed.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_write(&self) -> io::Result<()> {
        let file = self
            .folder
            .join(format!("check-{}.tmp", std::process::id()));
        let written = write_new(&file, b"{}");
        let removed = fs::remove_file(&file);
        written.and(removed)
    }

    fn parse(&self, bytes: &[u8]) -> Result<(KeySet, Stored), String> {
        let record: Record = json::object(bytes).map_err(|not| format!("it is not {not}"))?;
        if record.version != VERSION {
            return Err(format!("its version is {}, not {VERSION}", record.version));
        }
        if record.issuer != self.issuer {
            return Err("it is for another issuer".to_owned());
        }
        let keys = KeySet::parse(record.key_set.as_bytes()).map_err(|error| error.to_string())?;
        let fetched = UNIX_EPOCH.checked_add(Duration::from_secs(record.fetched));
        let stored = Stored {
            text: record.key_set.into_bytes().into(),
            fetched: fetched.ok_or("its time is out of range")?,
            fresh_for: Duration::from_secs(record.fresh_for),
        };
        Ok((keys, stored))
    }

    /// Writes `stored`, unless the copy on disk is nearly the same. The first of several failures
    /// in a row is logged as a warning.
    pub fn keep(&mut self, stored: Stored) {
        if self.is_kept(&stored) {
            return;
        }
        match self.write(&stored) {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    info!("keeping the keys in {} again", self.folder.display());
                }
                self.written = Some((stored.text, stored.fetched));
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let folder = self.folder.display();
                    warn!(
                        "cannot keep the keys in {folder}: {error}; after a restart without \
                         network there will be none"
                    );
                }
            }
        }
    }

    fn is_kept(&self, stored: &Stored) -> bool {
        let Some((text, fetched)) = &self.written else {
            return false;
        };
        let apart = stored
            .fetched
            .duration_since(*fetched)
            .unwrap_or_else(|later| later.duration());
        *text == stored.text && apart <= REWRITE_AFTER
    }

    fn write(&self, stored: &Stored) -> io::Result<()> {
        let since_1970 = stored
            .fetched
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let record = Record {
            version: VERSION,
            issuer: self.issuer.clone(),
            fetched: since_1970.as_secs(),
            fresh_for: stored.fresh_for.as_secs(),
            key_set: String::from_utf8(stored.text.to_vec()).map_err(io::Error::other)?,
        };
        let temporary = self.folder.join(TEMPORARY);
        let written = write_new(&temporary, &serde_json::to_vec(&record)?)
            .and_then(|()| fs::rename(&temporary, self.path()))
            // The rename is durable only after the folder is synced.
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if written.is_err() {
            // An incomplete file only takes space on a full disk.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A leftover of a crash is removed, not opened: it may be a link.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
