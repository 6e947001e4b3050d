//! How the keys stand, for those who watch the server.

use std::fmt;
use std::time::Duration;

use super::{Held, Staleness, State};
use crate::auth::clock::Moment;

/// How the keys stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// How many usable keys there are.
    pub keys: usize,
    /// How old they are, if a key set was ever there.
    pub ages: Option<Ages>,
    /// How far this host's clock is ahead of the tenant's, in seconds, if the tenant has answered.
    pub clock_offset: Option<f64>,
    /// Why no token would be accepted now, if that is so.
    pub not_ready: Option<NotReady>,
}

/// The age of a key set, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ages {
    /// Since the tenant has confirmed it.
    pub age: f64,
    /// Until it is no longer fresh. Negative when that is over.
    pub fresh_for: f64,
    /// Until it serves no longer. Negative when that is over.
    pub serves_for: f64,
}

/// Why no token would be accepted. Its `Display` is one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// The clock of this host is that far behind, so that it cannot be believed.
    Clock(Duration),
    /// No key set was fetched or stored.
    NoKeys,
    /// The tenant's key set has no usable key.
    NoUsableKey,
    /// The keys have been too old to serve for so long.
    TooStale(Duration),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Clock(behind) => write!(
                f,
                "clock: {} s behind the latest known time",
                behind.as_secs()
            ),
            NotReady::NoKeys => f.write_str("no keys: no key set has been fetched"),
            NotReady::NoUsableKey => f.write_str("no keys: the tenant's key set has no usable one"),
            NotReady::TooStale(since) => {
                write!(
                    f,
                    "keys too stale: they serve no longer since {} s ago",
                    since.as_secs()
                )
            }
        }
    }
}

impl State {
    /// How the keys stand.
    pub(in crate::auth::jwks) fn status(&self, now: Moment) -> Status {
        let held = self.held.as_ref();
        Status {
            keys: held.map_or(0, |held| held.keys.len()),
            ages: held.map(|held| held.ages(now, self.max_stale)),
            clock_offset: self.clock_floor.offset(now),
            not_ready: self.not_ready(now),
        }
    }

    /// One line of status after a fetch.
    pub(in crate::auth::jwks) fn standing(&self, failure: Option<&str>, now: Moment) -> String {
        let keys = match &self.held {
            None => "no keys".to_owned(),
            Some(held) if held.keys.is_empty() => "nobody is let in: no usable key".to_owned(),
            Some(held) => match held.staleness(now, self.max_stale) {
                Staleness::Fresh => held.keys.to_string(),
                Staleness::Stale => format!("stale keys: {}", held.keys),
                Staleness::TooStale => format!("keys too stale to serve: {}", held.keys),
            },
        };
        match failure {
            None => format!("{keys} from the tenant"),
            Some(failure) => format!("{keys}; the latest fetch failed: {failure}"),
        }
    }

    /// The same order as in [`current`](State::current).
    fn not_ready(&self, now: Moment) -> Option<NotReady> {
        if let Some(behind) = self.clock_floor.too_far_behind(now) {
            return Some(NotReady::Clock(behind));
        }
        let Some(held) = &self.held else {
            return Some(NotReady::NoKeys);
        };
        if held.keys.is_empty() {
            return Some(NotReady::NoUsableKey);
        }
        let limit = held.fresh_for + self.max_stale;
        (held.staleness(now, self.max_stale) == Staleness::TooStale)
            .then(|| NotReady::TooStale(held.age(now).saturating_sub(limit)))
    }
}

impl Held {
    fn ages(&self, now: Moment, max_stale: Duration) -> Ages {
        let age = self.age(now).as_secs_f64();
        let fresh_for = self.fresh_for.as_secs_f64() - age;
        Ages {
            age,
            fresh_for,
            serves_for: fresh_for + max_stale.as_secs_f64(),
        }
    }
}
