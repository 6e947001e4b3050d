//! The state of the key set, as a pure state machine: no threads, no clocks, no logging.

mod status;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::lines::{Line, Repeated, not_logged};
use crate::auth::clock::{BootTime, ClockFloor, Moment};
use crate::auth::disk::Stored;
use crate::auth::fetch::{FetchFailure, Fetched, NewKeys, Question};
use crate::auth::key_set::KeySet;

pub use self::status::{Ages, NotReady, Status};

/// The bounds of the freshness that a tenant may give its keys, and the default if it gives none.
const MIN_FRESH: Duration = Duration::from_secs(5 * 60);
const MAX_FRESH: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_FRESH: Duration = Duration::from_secs(10 * 60);
/// The pause after a fetch that brought a set without a usable key, before jitter.
const UNUSABLE_PAUSE: Duration = Duration::from_secs(60);
/// The bounds of the pause after a failed fetch.
pub(super) const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long a successful fetch counts as proof that the tenant does not have a key.
const PROOF_TIME: Duration = Duration::from_secs(30);
/// While the clock is not set: `Retry-After` for clients, and how often that is logged.
const CLOCK_RETRY: Duration = Duration::from_secs(30);
const CLOCK_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How the key set is kept up to date.
#[derive(Debug, Clone)]
pub struct JwksSettings {
    /// How long past its freshness a key set is used.
    pub max_stale: Duration,
    /// The least time between two fetches that tokens ask for.
    pub cooldown: Duration,
    /// The date of this program. A clock that is earlier is wrong.
    pub program_date: SystemTime,
    /// Called after each fetch with one line of status, for a service manager.
    pub report: fn(&str),
}

/// Tokens cannot be verified at the moment, which is not the fault of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// There are no keys to verify with.
    Keys {
        /// When to try again.
        retry_after: Duration,
    },
    /// The system clock has not been set.
    Clock {
        /// When to try again.
        retry_after: Duration,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unavailable::Keys { .. } => "there are no signing keys to verify a token with",
            Unavailable::Clock { .. } => "the clock of this host has not been set",
        })
    }
}

impl Error for Unavailable {}

/// The keys, their age, and when to fetch next.
#[derive(Debug)]
pub(super) struct State {
    max_stale: Duration,
    cooldown: Duration,
    /// To be logged after the lock on this is released, as standard error may be slow.
    lines: Vec<Line>,
    held: Option<Held>,
    clock_floor: ClockFloor,
    /// When the next scheduled fetch is due.
    due: BootTime,
    /// The cause of the fetch in progress, if there is one.
    fetching: Option<Cause>,
    /// The cause of a fetch that should start before it is due, if there is one.
    wanted: Option<Cause>,
    /// When a token last caused a fetch.
    last_asked: Option<BootTime>,
    pub(super) fetches_ended: u64,
    /// When the latest fetch ended, if it succeeded.
    last_success: Option<BootTime>,
    /// Failed fetches since the last successful one.
    failures: u32,
    /// The staleness that was logged last.
    logged_staleness: Staleness,
    clock_logged: Option<BootTime>,
    failed: Repeated,
    unusable: Repeated,
}

/// The cause of a fetch. Of several, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// It was due.
    Schedule,
    /// A token whose key is not in the current set.
    Token,
    /// A signal from the operator.
    Operator,
}

/// A key set and its age.
#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    /// The text it was parsed from: to detect changes, and to save it to disk.
    text: Arc<[u8]>,
    etag: Option<String>,
    since: Since,
    fresh_for: Duration,
}

/// When a key set was fetched.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// In this run.
    Fetched(BootTime),
    /// In an earlier run.
    Stored {
        /// The tenant's time then.
        stamp: SystemTime,
        /// When this run loaded it.
        taken: BootTime,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Staleness {
    Fresh,
    Stale,
    TooStale,
}

impl Held {
    fn age(&self, now: Moment) -> Duration {
        match self.since {
            Since::Fetched(at) => now.boot.since(at),
            // Computed anew each time, as the wall clock may be set after the keys are loaded.
            // Setting it back does not make them younger than the time since they were loaded.
            Since::Stored { stamp, taken } => {
                let by_wall = now.wall.duration_since(stamp).unwrap_or_default();
                by_wall.max(now.boot.since(taken))
            }
        }
    }

    fn staleness(&self, now: Moment, max_stale: Duration) -> Staleness {
        match self.age(now) {
            age if age <= self.fresh_for => Staleness::Fresh,
            age if age <= self.fresh_for + max_stale => Staleness::Stale,
            _ => Staleness::TooStale,
        }
    }
}

impl State {
    pub(super) fn new(now: Moment, settings: &JwksSettings) -> State {
        State {
            max_stale: settings.max_stale,
            cooldown: settings.cooldown,
            lines: Vec::new(),
            held: None,
            clock_floor: ClockFloor::new(settings.program_date, now.boot),
            due: now.boot,
            fetching: None,
            wanted: Some(Cause::Schedule),
            last_asked: None,
            fetches_ended: 0,
            last_success: None,
            failures: 0,
            logged_staleness: Staleness::Fresh,
            clock_logged: None,
            failed: Repeated::default(),
            unusable: Repeated::default(),
        }
    }

    /// Takes the keys of an earlier run.
    pub(super) fn take_stored(&mut self, keys: KeySet, stored: Stored, now: Moment) {
        self.clock_floor.set_keys_date(stored.fetched, now.boot);
        let held = Held {
            keys: Arc::new(keys),
            text: stored.text,
            etag: None,
            since: Since::Stored {
                stamp: stored.fetched,
                taken: now.boot,
            },
            // This program does not write more.
            fresh_for: stored.fresh_for.min(MAX_FRESH),
        };
        // Kept even if it is too old by the wall clock, which may be wrong now and set later.
        self.logged_staleness = held.staleness(now, self.max_stale);
        let (keys, age) = (&held.keys, held.age(now).as_secs());
        match self.logged_staleness {
            _ if keys.is_empty() => self.lines.push(Line::error(format!(
                "the key set on disk, fetched {age} s ago, has no usable key: nobody is let in \
                 until a fetch brings one"
            ))),
            Staleness::TooStale => self.lines.push(Line::warn(format!(
                "the keys on disk are too old to serve: {keys}, fetched {age} s ago"
            ))),
            _ => self.lines.push(Line::info(format!(
                "serving {keys} from disk, fetched {age} s ago"
            ))),
        }
        self.held = Some(held);
    }

    /// Takes the lines to log that have been collected.
    pub(super) fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// Returns the current keys, if the clock can be believed and there are usable ones.
    pub(super) fn current(&mut self, now: Moment) -> Result<Arc<KeySet>, Unavailable> {
        if let Some(behind) = self.clock_floor.too_far_behind(now) {
            self.log_clock(behind, now);
            return Err(Unavailable::Clock {
                retry_after: CLOCK_RETRY,
            });
        }
        match &self.held {
            Some(held)
                if !held.keys.is_empty()
                    && held.staleness(now, self.max_stale) != Staleness::TooStale =>
            {
                Ok(Arc::clone(&held.keys))
            }
            _ => Err(self.no_keys(now)),
        }
    }

    /// The error while there are no usable keys, or it is not known whether they are the latest.
    pub(super) fn no_keys(&self, now: Moment) -> Unavailable {
        let until_due = self.due.since(now.boot);
        let until_asked = self.cooldown_left(now);
        let retry_after = if self.fetching.is_some() {
            MIN_PAUSE
        } else {
            until_due.min(until_asked)
        };
        Unavailable::Keys {
            retry_after: retry_after.clamp(MIN_PAUSE, MAX_PAUSE),
        }
    }

    fn cooldown_left(&self, now: Moment) -> Duration {
        let over = self.last_asked.map(|asked| asked + self.cooldown);
        over.map_or(Duration::ZERO, |over| over.since(now.boot))
    }

    /// Requests a fetch before the next one is due.
    pub(super) fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
    }

    /// Requests a fetch for a token. Returns whether that causes a new one.
    pub(super) fn ask(&mut self, now: Moment) -> bool {
        if self.is_expecting() || !self.cooldown_left(now).is_zero() {
            return false;
        }
        self.want(Cause::Token);
        self.last_asked = Some(now.boot);
        true
    }

    /// No fetch follows, whoever asks.
    pub(super) fn ask_no_more(&mut self, now: Moment) {
        self.wanted = None;
        self.last_asked = Some(now.boot);
        self.cooldown = Duration::MAX;
    }

    /// Whether a fetch is in progress or about to start.
    pub(super) fn is_expecting(&self) -> bool {
        self.fetching.is_some() || self.wanted.is_some()
    }

    /// Whether the held set is known to be the tenant's latest: a fetch has succeeded since
    /// `ended_before` fetches had ended, or shortly before `asked_at` with none in progress now.
    pub(super) fn is_proven(&self, ended_before: u64, asked_at: Moment) -> bool {
        let Some(success) = self.last_success else {
            return false;
        };
        self.fetches_ended != ended_before
            || (!self.is_expecting() && success + PROOF_TIME > asked_at.boot)
    }

    /// The time until the next fetch; `None` if it is due.
    pub(super) fn time_to_fetch(&self, now: BootTime) -> Option<Duration> {
        let left = self.due.since(now);
        (self.wanted.is_none() && !left.is_zero()).then_some(left)
    }

    /// A fetch starts. Returns what it asks for.
    pub(super) fn begin(&mut self) -> Question {
        let cause = self.wanted.take().unwrap_or(Cause::Schedule);
        self.fetching = Some(cause);
        Question {
            etag: self.held.as_ref().and_then(|held| held.etag.clone()),
            // Operators and tokens need the tenant's current answer, not a cached one.
            no_cache: cause != Cause::Schedule,
        }
    }

    /// A fetch has ended. Returns its cause.
    fn end(&mut self, date: Option<SystemTime>, now: Moment) -> Cause {
        // A fetch that was requested in the meantime stays requested.
        let cause = self.fetching.take().unwrap_or(Cause::Schedule);
        self.fetches_ended += 1;
        if let Some(date) = date {
            self.clock_floor.set_answer_date(date, now.boot);
        }
        cause
    }

    /// Applies a fetch that succeeded. Returns what to save to disk.
    pub(super) fn succeed(
        &mut self,
        fetched: Fetched,
        url: &str,
        now: Moment,
        random: f64,
    ) -> Option<Stored> {
        let cause = self.end(fetched.date, now);
        if let Some(date) = fetched.date {
            self.clock_floor.set_keys_date(date, now.boot);
        }
        self.last_success = Some(now.boot);
        if self.failures > 0 {
            let text = format!("recovered after {} failed fetches", self.failures);
            self.lines.push(Line::info(text));
        }
        self.failures = 0;
        self.logged_staleness = Staleness::Fresh;
        let fresh_for = freshness(&fetched);
        self.hold(fetched.new, Since::Fetched(now.boot), fresh_for, url);
        self.schedule_refresh(fresh_for, cause, now, random);
        self.held.as_ref().map(|held| Stored {
            text: Arc::clone(&held.text),
            // Never the time of this host's clock.
            fetched: fetched.date.unwrap_or(self.clock_floor.at(now.boot)),
            fresh_for,
        })
    }

    /// Makes `new` the current keys, or renews those there are.
    fn hold(&mut self, new: Option<NewKeys>, since: Since, fresh_for: Duration, url: &str) {
        match (new, &mut self.held) {
            (None, Some(held)) => {
                let text = format!("keys unchanged: {}", held.keys);
                self.lines.push(Line::info(text));
                (held.since, held.fresh_for) = (since, fresh_for);
            }
            (Some(new), Some(held)) if *new.text == *held.text => {
                let text = format!("keys unchanged: {}", held.keys);
                self.lines.push(Line::info(text));
                (held.since, held.fresh_for, held.etag) = (since, fresh_for, new.etag);
            }
            (Some(new), held) => {
                let text = format!("fetched {} from {url}", new.keys);
                self.lines.push(Line::info(text));
                // Not logged again if another text has the same faults.
                let remarks = new.keys.remarks();
                let old = held.as_ref().map(|held| held.keys.remarks());
                if old != Some(remarks) {
                    self.lines.extend(remarks.iter().cloned().map(Line::warn));
                }
                *held = Some(Held {
                    keys: Arc::new(new.keys),
                    text: new.text.into(),
                    etag: new.etag,
                    since,
                    fresh_for,
                });
            }
            // Does not happen: the fetcher accepts a 304 only if it sent the ETag of a held set.
            (None, None) => {}
        }
    }

    fn schedule_refresh(&mut self, fresh_for: Duration, cause: Cause, now: Moment, random: f64) {
        let is_usable = self.held.as_ref().is_some_and(|held| !held.keys.is_empty());
        let most = if is_usable { fresh_for } else { UNUSABLE_PAUSE };
        let pause = most.mul_f64(0.8 * (0.9 + 0.2 * random));
        self.due = now.boot + pause;
        if !is_usable && let Some(left_out) = self.unusable.next(cause == Cause::Token, now.boot) {
            self.lines.push(Line::error(format!(
                "the tenant's key set has no usable key: nobody is let in until it has one;{} next \
                 try in {:.0} s",
                not_logged(left_out),
                pause.as_secs_f64()
            )));
        }
    }

    /// Applies a fetch that failed: the keys stay.
    pub(super) fn fail(&mut self, failure: FetchFailure, url: &str, now: Moment, random: f64) {
        let cause = self.end(failure.date, now);
        self.last_success = None;
        let doubled = MIN_PAUSE * 2u32.saturating_pow(self.failures.min(16));
        let jittered = MIN_PAUSE + (doubled.min(MAX_PAUSE) - MIN_PAUSE).mul_f64(random);
        let pause = failure
            .retry_after
            .unwrap_or(jittered)
            .clamp(MIN_PAUSE, MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.due = now.boot + pause;
        if let Some(left_out) = self.failed.next(cause == Cause::Token, now.boot) {
            let (why, pause) = (failure.error, pause.as_secs_f64());
            self.lines.push(Line::warn(format!(
                "cannot fetch the keys from {url}: {why};{} next try in {pause:.0} s",
                not_logged(left_out)
            )));
        }
        self.log_staleness(now);
    }

    /// The thread that fetches has panicked. A fetch in progress counts as failed.
    pub(super) fn abandon(&mut self, now: Moment, pause: Duration) {
        if self.fetching.is_some() {
            self.end(None, now);
            self.last_success = None;
            self.failures = self.failures.saturating_add(1);
            self.due = now.boot + pause;
        }
    }

    /// Logs, once each, that the keys have become stale and too stale.
    fn log_staleness(&mut self, now: Moment) {
        let Some(held) = &self.held else { return };
        if held.keys.is_empty() {
            return;
        }
        let staleness = held.staleness(now, self.max_stale);
        if staleness != self.logged_staleness {
            let stale_for = held.age(now).saturating_sub(held.fresh_for).as_secs();
            match staleness {
                Staleness::Fresh => {}
                Staleness::Stale => self.lines.push(Line::warn(format!(
                    "serving stale keys since {stale_for} s ago: {}",
                    held.keys
                ))),
                Staleness::TooStale => self.lines.push(Line::error(format!(
                    "staleness limit reached: the keys have been stale for {stale_for} s, nobody \
                     is let in until a fetch succeeds"
                ))),
            }
            self.logged_staleness = staleness;
        }
    }

    fn log_clock(&mut self, behind: Duration, now: Moment) {
        let is_due = |logged: BootTime| now.boot.since(logged) >= CLOCK_LOG_INTERVAL;
        if self.clock_logged.is_none_or(is_due) {
            self.clock_logged = Some(now.boot);
            let days = behind.as_secs() / 86_400;
            self.lines.push(Line::error(format!(
                "the system clock is {days} days behind the latest known time: nobody is let in \
                 until it is set (is time synchronisation running?)"
            )));
        }
    }
}

/// How long keys that have just arrived stay fresh (RFC 9111 §4.2). The time they have spent in
/// caches is subtracted.
fn freshness(fetched: &Fetched) -> Duration {
    let lifetime = fetched.max_age.unwrap_or(DEFAULT_FRESH);
    lifetime
        .saturating_sub(fetched.age)
        .clamp(MIN_FRESH, MAX_FRESH)
}

#[cfg(test)]
mod tests;
