//! The keys to check a token with: those on disk, or fetched now.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::auth::clock::{Moment, program_date};
use crate::auth::disk::{DiskCopy, Stored};
use crate::auth::fetch::{FETCH_TIME, Fetcher, Question};
use crate::auth::jwks::{Jwks, JwksSettings};
use crate::auth::key_set::KeySet;
use crate::auth::{TokenError, Verifier};
use crate::commands::output::Output;
use crate::config::{Survey, Tenant};

/// Where keys come from.
pub(super) struct Sources {
    tenant: Tenant,
    state_directory: Option<PathBuf>,
    max_stale: Duration,
}

/// The keys, as the server would have them.
pub(super) struct Keys {
    pub(super) jwks: Jwks,
    /// One line about them.
    pub(super) standing: String,
}

impl Sources {
    /// `None` if a setting that they need is missing or wrong.
    pub(super) fn of(survey: &Survey) -> Option<Sources> {
        Some(Sources {
            tenant: survey.tenant.clone()?,
            state_directory: survey.state_directory.clone()?,
            max_stale: survey.jwks_max_stale?,
        })
    }

    /// The keys for a token that names the key `key_id`. They are fetched, unless they are on disk,
    /// fresh, and that key is among them.
    pub(super) fn keys(&self, key_id: Option<&str>, is_offline: bool, output: &Output) -> Keys {
        let copy = self.state_directory.clone();
        let copy = copy.map(|folder| DiskCopy::new(folder, self.tenant.issuer()));
        let read = copy.as_ref().map(DiskCopy::read);
        let path = copy.map(|copy| copy.path().display().to_string());
        let path = path.unwrap_or_default();
        let stored = match read {
            Some(Err(why)) => {
                output.line(format_args!("passing over {path}: {why}"));
                None
            }
            read => read.and_then(Result::ok).flatten(),
        };
        let is_enough = stored.as_ref().is_some_and(|(keys, stored)| {
            is_fresh(stored) && key_id.is_some_and(|id| keys.get(id).is_some())
        });
        match is_offline || is_enough {
            true => self.on_disk(stored, &path),
            false => self.fetched(stored, output),
        }
    }

    fn on_disk(&self, stored: Option<(KeySet, Stored)>, path: &str) -> Keys {
        let standing = match &stored {
            Some((keys, stored)) => {
                let age = SystemTime::now().duration_since(stored.fetched);
                let age = age.unwrap_or_default().as_secs();
                format!("{keys} from {path}, fetched {age} s ago")
            }
            None if self.state_directory.is_none() => "none: STATE_DIRECTORY is not set".to_owned(),
            None => format!("none in {path}"),
        };
        let (jwks, _) = Jwks::at_rest(stored, None, "", self.settings());
        Keys { jwks, standing }
    }

    fn fetched(&self, stored: Option<(KeySet, Stored)>, output: &Output) -> Keys {
        let Tenant {
            domain,
            extra_roots,
            proxy,
        } = self.tenant.clone();
        let fetcher = Fetcher::new(&domain, extra_roots, proxy);
        let most = FETCH_TIME.as_secs();
        output.wait(
            &format!("{:13}", "keys"),
            format_args!("waiting up to {most} s for those of {domain}"),
        );
        // Past caches, as for a token whose key is unknown.
        let answer = fetcher.fetch(&Question {
            etag: None,
            no_cache: true,
        });
        let (jwks, standing) = Jwks::at_rest(stored, Some(answer), fetcher.url(), self.settings());
        Keys { jwks, standing }
    }

    fn settings(&self) -> JwksSettings {
        JwksSettings {
            max_stale: self.max_stale,
            cooldown: Duration::ZERO,
            program_date: program_date(),
            report: |_| {},
        }
    }
}

impl Keys {
    /// Whether there is a key with this `kid`; `None` if that cannot be told.
    pub(super) fn have(&self, key_id: &str) -> Option<bool> {
        let keys = self.jwks.current(Moment::now()).ok()?;
        let newest = match keys.get(key_id) {
            Some(_) => return Some(true),
            None => self.jwks.newer_than(Some(&keys)).ok()?,
        };
        Some(newest.get(key_id).is_some())
    }

    /// Whether the signature of a token is that of the key `key_id`, which it names; `None` if that
    /// cannot be told.
    pub(super) fn signature(
        &self,
        rules: &Verifier,
        token: &[u8],
        key_id: Option<&str>,
    ) -> Option<Result<(), TokenError>> {
        let keys = self.jwks.current(Moment::now()).ok()?;
        rules.examine_signature(token, keys.get(key_id?)?)
    }
}

/// Whether the server would not ask for newer ones.
fn is_fresh(stored: &Stored) -> bool {
    let age = SystemTime::now().duration_since(stored.fetched);
    age.is_ok_and(|age| age <= stored.fresh_for)
}
