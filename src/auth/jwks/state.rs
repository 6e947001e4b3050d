//! The state machine, without threads and clocks.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::auth::clock::{BootTime, ClockFloor, Moment};
use crate::auth::disk::Stored;
use crate::auth::fetch::{Fetched, Question, Refused};
use crate::auth::key_set::KeySet;

use super::lines::{Line, Repeated, not_logged};

/// The bounds of the freshness a tenant may give its keys, and what holds when it gives none.
const MIN_FRESH: Duration = Duration::from_secs(5 * 60);
const MAX_FRESH: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_FRESH: Duration = Duration::from_secs(10 * 60);
/// The pause after a fetch that brought a set without a usable key.
const UNUSABLE_PAUSE: Duration = Duration::from_secs(60);
/// The bounds of the pause after a failed fetch.
pub(super) const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long a successful fetch proves that the tenant lacks a key.
const PROOF_TIME: Duration = Duration::from_secs(30);
/// What clients are told while the clock is not set, and how often the log is.
const CLOCK_RETRY: Duration = Duration::from_secs(30);
const CLOCK_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How the key set is kept up to date.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long past its freshness the last good set serves.
    pub max_stale: Duration,
    /// The least time between two fetches that tokens ask for.
    pub cooldown: Duration,
    /// The most requests that wait for a fetch at one time.
    pub max_waiting: usize,
    /// The date of this program: no clock is right that says less.
    pub program_date: SystemTime,
    /// Staleness in one line how things stand, after each fetch: for a service manager.
    pub report: fn(&str),
}

/// Nobody can be let in at the moment, through no fault of theirs.
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

/// What is known of the keys, and when they are fetched next.
#[derive(Debug)]
pub(super) struct State {
    max_stale: Duration,
    cooldown: Duration,
    /// What is to be logged once the lock on this is released: standard error may be slow.
    lines: Vec<Line>,
    held: Option<Held>,
    clock_floor: ClockFloor,
    /// When the next fetch is due by itself.
    due: BootTime,
    /// What caused the fetch that is under way, if there is one.
    fetching: Option<Cause>,
    /// What wants one before it is due.
    wanted: Option<Cause>,
    /// When a token last got a fetch by asking.
    last_asked: Option<BootTime>,
    pub(super) fetches_ended: u64,
    /// When the latest fetch ended, if it went well.
    last_success: Option<BootTime>,
    /// Failed fetches since the last good one.
    failures: u32,
    /// How old the keys were when that was last logged.
    logged_staleness: Staleness,
    clock_logged: Option<BootTime>,
    failed: Repeated,
    unusable: Repeated,
}

/// What causes a fetch; of several, the last one here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The time for it has come.
    Schedule,
    /// A token whose key the set in hand lacks.
    Token,
    /// Somebody at this host.
    Operator,
}

/// A key set and how old it is.
#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    /// The text it was read from: to see a change, and to be kept on disk.
    text: Arc<[u8]>,
    etag: Option<String>,
    since: Since,
    fresh_for: Duration,
}

/// When a key set was the tenant's.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// Fetched in this run.
    Fetched(BootTime),
    /// Fetched in an earlier run.
    Stored {
        /// What the tenant's clock said then.
        stamp: SystemTime,
        /// When this run took it.
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
            // This host's clock may have been wrong when the keys were taken, and been set since:
            // so it is asked each time. A clock that is set back makes them no younger than they
            // have become in this run.
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
    pub(super) fn new(now: Moment, settings: &Settings) -> State {
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
            // No run of this program has written more.
            fresh_for: stored.fresh_for.min(MAX_FRESH),
        };
        // It is held even when it is too old by this clock, which may be wrong and set later.
        self.logged_staleness = held.staleness(now, self.max_stale);
        let (keys, age) = (&held.keys, held.age(now).as_secs());
        match self.logged_staleness {
            _ if keys.is_empty() => self.lines.push(Line::error(format!(
                "the key set on disk, fetched {age} s ago, has no usable key: nobody is let in until a \
                 fetch brings one"
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

    /// What is to be logged of what has happened since this was last asked.
    pub(super) fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// The keys that count now, if the clock can be believed.
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

    /// Has the keys fetched before it is time.
    pub(super) fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
    }

    /// A token asks for a fetch. Whether it gets one of its own.
    pub(super) fn ask(&mut self, now: Moment) -> bool {
        if self.is_expecting() || !self.cooldown_left(now).is_zero() {
            return false;
        }
        self.want(Cause::Token);
        self.last_asked = Some(now.boot);
        true
    }

    /// Whether the outcome of a fetch is near.
    pub(super) fn is_expecting(&self) -> bool {
        self.fetching.is_some() || self.wanted.is_some()
    }

    /// Whether the tenant itself has just shown the set that is held: in a fetch that ended since
    /// there were `ended_before`, or shortly before `asked_at` if none is under way that may show
    /// another.
    pub(super) fn is_proven(&self, ended_before: u64, asked_at: Moment) -> bool {
        let Some(success) = self.last_success else {
            return false;
        };
        self.fetches_ended != ended_before
            || (!self.is_expecting() && success + PROOF_TIME > asked_at.boot)
    }

    /// How long until the next fetch; `None` when it is time.
    pub(super) fn time_to_fetch(&self, now: BootTime) -> Option<Duration> {
        let left = self.due.since(now);
        (self.wanted.is_none() && !left.is_zero()).then_some(left)
    }

    /// A fetch begins: what it asks for.
    pub(super) fn begin(&mut self) -> Question {
        let cause = self.wanted.take().unwrap_or(Cause::Schedule);
        self.fetching = Some(cause);
        Question {
            etag: self.held.as_ref().and_then(|held| held.etag.clone()),
            // Who asks wants to know what the tenant says now.
            no_cache: cause != Cause::Schedule,
        }
    }

    /// A fetch has ended. What had caused it.
    fn end(&mut self, date: Option<SystemTime>, now: Moment) -> Cause {
        // What an operator wants meanwhile stays wanted; a token that asked has its outcome.
        let cause = self.fetching.take().unwrap_or(Cause::Schedule);
        self.fetches_ended += 1;
        if let Some(date) = date {
            self.clock_floor.set_answer_date(date, now.boot);
        }
        cause
    }

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
        let fresh_for = freshness(&fetched);
        self.last_success = Some(now.boot);
        if self.failures > 0 {
            let text = format!("recovered after {} failed fetches", self.failures);
            self.lines.push(Line::info(text));
        }
        self.failures = 0;
        self.logged_staleness = Staleness::Fresh;
        let since = Since::Fetched(now.boot);
        match (fetched.new, &mut self.held) {
            (None, Some(held)) => {
                self.lines
                    .push(Line::info(format!("keys unchanged: {}", held.keys)));
                (held.since, held.fresh_for) = (since, fresh_for);
            }
            (Some(new), Some(held)) if *new.text == *held.text => {
                self.lines
                    .push(Line::info(format!("keys unchanged: {}", held.keys)));
                (held.since, held.fresh_for, held.etag) = (since, fresh_for, new.etag);
            }
            (Some(new), held) => {
                let text = format!("fetched {} from {url}", new.keys);
                self.lines.push(Line::info(text));
                // Logged once, however often a set comes that differs in something else.
                let remarks = new.keys.remarks();
                if held
                    .as_ref()
                    .is_none_or(|held| held.keys.remarks() != remarks)
                {
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
            // The fetcher takes a 304 only for an answer when it sent the ETag of a held set.
            (None, None) => {}
        }
        let is_usable = self.held.as_ref().is_some_and(|held| !held.keys.is_empty());
        let until_refresh = if is_usable { fresh_for } else { UNUSABLE_PAUSE };
        let pause = until_refresh.mul_f64(0.8 * (0.9 + 0.2 * random));
        self.due = now.boot + pause;
        if !is_usable && let Some(left_out) = self.unusable.next(cause == Cause::Token, now.boot) {
            self.lines.push(Line::error(format!(
                "the tenant's key set has no usable key: nobody is let in until it has one;{} next try \
                 in {:.0} s",
                not_logged(left_out),
                pause.as_secs_f64()
            )));
        }
        self.held.as_ref().map(|held| Stored {
            text: Arc::clone(&held.text),
            // Never by this host's clock.
            fetched: fetched.date.unwrap_or(self.clock_floor.at(now.boot)),
            fresh_for,
        })
    }

    pub(super) fn fail(&mut self, refused: Refused, url: &str, now: Moment, random: f64) {
        let cause = self.end(refused.date, now);
        self.last_success = None;
        let doubled = MIN_PAUSE * 2u32.saturating_pow(self.failures.min(16));
        let jittered = MIN_PAUSE + (doubled.min(MAX_PAUSE) - MIN_PAUSE).mul_f64(random);
        let pause = refused
            .retry_after
            .unwrap_or(jittered)
            .clamp(MIN_PAUSE, MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.due = now.boot + pause;
        if let Some(left_out) = self.failed.next(cause == Cause::Token, now.boot) {
            let (why, pause) = (refused.error, pause.as_secs_f64());
            self.lines.push(Line::warn(format!(
                "cannot fetch the keys from {url}: {why};{} next try in {pause:.0} s",
                not_logged(left_out)
            )));
        }
        self.log_staleness(now);
    }

    /// The thread that fetches has panicked. If it was fetching, then that has failed.
    pub(super) fn abandon(&mut self, now: Moment, pause: Duration) {
        if self.fetching.is_some() {
            self.end(None, now);
            self.last_success = None;
            self.failures = self.failures.saturating_add(1);
            self.due = now.boot + pause;
        }
    }

    /// How things stand after a fetch, in one line.
    pub(super) fn standing(&self, failure: Option<&str>, now: Moment) -> String {
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

    /// Tells the log, once each, that the keys in hand have become stale, and too stale.
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
                    "staleness limit reached: the keys have been stale for {stale_for} s, nobody is let in \
                     until a fetch succeeds"
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
                "the system clock is {days} days behind the tenant's: nobody is let in until it is set \
                 (is time synchronisation running?)"
            )));
        }
    }
}

/// How long keys that have just come stay fresh (RFC 9111 §4.2): what they have spent in caches is
/// over.
fn freshness(fetched: &Fetched) -> Duration {
    let lifetime = fetched.max_age.unwrap_or(DEFAULT_FRESH);
    lifetime
        .saturating_sub(fetched.age)
        .clamp(MIN_FRESH, MAX_FRESH)
}

#[cfg(test)]
mod tests;
