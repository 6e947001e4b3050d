//! The tenant's current key set: kept behind a mutex, fetched by one thread, never by a request.
//!
//! ```text
//!                          +---------+
//!    disk copy, if any --> |  FETCH  | <----------------------------------------------+
//!                          +---------+                                                |
//!              good set or 304 |  | anything else                                     |
//!                   +----------+  +-------------+                                     |
//!                   v                           v                                     |
//!              +---------+                 +---------+                                |
//!              |  FRESH  |                 |  RETRY  |                                |
//!              +---------+                 +---------+                                |
//!    80 % of max-age   | a token asks,   1 s .. 5 min,   | a token asks,              |
//!    (+-10 %) is over  | or the          doubling, or as | or the                     |
//!                      | operator        Retry-After says| operator                   |
//!                      +--------------------------------+--------------------------->-+
//! ```
//!
//! A failure changes nothing about the keys in hand. They serve
//!
//! - while *fresh*: within the `max-age` the tenant gave them (5 min to 24 h, else 10 min);
//! - then while *stale*: for `JWKS_MAX_STALE_SECONDS` more;
//! - then no longer: requests get 503 until a fetch succeeds.
//!
//! A token asks for a fetch when its key is not in the set, or when there is no set to serve, and
//! only if nothing but its signature is left to check. Two fetches that tokens asked for are at
//! least `JWKS_COOLDOWN_SECONDS` apart. Whoever asked waits a little for the outcome.
//!
//! A host whose clock is more than a day behind the [`ClockFloor`] has not been told the time yet,
//! and lets nobody in until it has.
//!
//! Within a run, keys age by the clock since boot, which no clock change touches and which counts
//! suspend. The wall clock counts only for keys that an earlier run has left on disk.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{error, info, warn};

use super::clock::{BootTime, ClockFloor, Moment};
use super::disk::{DiskCopy, Stored};
use super::fetch::{Answer, Fetched, Fetcher, Refused};
use super::key_set::KeySet;

/// The bounds of the freshness a tenant may give its keys, and what holds when it gives none.
const MIN_FRESH: Duration = Duration::from_secs(5 * 60);
pub(super) const MAX_FRESH: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_FRESH: Duration = Duration::from_secs(10 * 60);
/// The bounds of the pause after a failed fetch.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long a request waits for a fetch: for the very first one, and for any other.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_secs(1);
/// How long a successful fetch proves that the tenant lacks a key.
const PROOF_TIME: Duration = Duration::from_secs(30);
/// What clients are told while the clock is not set, and how often the log is.
const CLOCK_RETRY: Duration = Duration::from_secs(30);
const CLOCK_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How long the refresher sleeps at one time. Waiting goes by a clock that stands still in suspend;
/// so a fetch that has come due meanwhile begins this much after the host has woken up.
const MAX_SLEEP: Duration = Duration::from_secs(60);

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
    /// Told in one line how things stand, after each fetch: for a service manager.
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

/// The current key set, shared by all requests.
#[derive(Debug, Clone)]
pub struct Jwks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// Signalled when a fetch is wanted, and when one has ended.
    changed: Condvar,
}

impl Jwks {
    /// Takes the keys from `disk`, if it has usable ones, and starts the refresher, which fetches
    /// at once.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(
        fetcher: Fetcher,
        mut disk: Option<DiskCopy>,
        settings: Settings,
    ) -> io::Result<Jwks> {
        let now = Moment::now();
        let mut state = State::new(now, &settings);
        if let Some((keys, stored)) = disk.as_mut().and_then(DiskCopy::load) {
            state.take_stored(keys, stored, now, &settings);
        }
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let refresher = Refresher {
            fetcher,
            disk,
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("jwks".into())
            .spawn(move || refresher.run())?;
        Ok(Jwks { shared })
    }

    /// Has the keys fetched now, whatever was fetched when.
    pub fn refresh(&self) {
        self.shared.lock().wanted = true;
        self.shared.changed.notify_all();
    }

    /// The keys that count at this moment.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn current(&self, now: Moment) -> Result<Arc<KeySet>, Unavailable> {
        self.shared.lock().current(now, &self.shared.settings)
    }

    /// The keys after a look at whether the tenant has new ones: for a token that only lacks a key
    /// to verify it. `seen` is the set that does not have it, if there is one. Waits for a fetch,
    /// up to 2 s for the first and 1 s for any other.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be told whether the tenant has that key.
    pub fn newer_than(&self, seen: Option<&Arc<KeySet>>) -> Result<Arc<KeySet>, Unavailable> {
        let settings = &self.shared.settings;
        let asked_at = Moment::now();
        let mut state = self.shared.lock();
        let ended_before = state.fetches_ended;
        let deadline = Instant::now() + if ended_before == 0 { FIRST_WAIT } else { WAIT };
        if state.ask(asked_at, settings) {
            self.shared.changed.notify_all();
        }
        if state.is_expecting() {
            if state.waiting >= settings.max_waiting {
                return Err(Unavailable::Keys {
                    retry_after: MIN_PAUSE,
                });
            }
            state.waiting += 1;
            while state.is_expecting() && state.fetches_ended == ended_before {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.shared.wait(state, left);
            }
            state.waiting -= 1;
        }
        let now = Moment::now();
        let keys = state.current(now, settings)?;
        let is_new = seen.is_none_or(|seen| !Arc::ptr_eq(seen, &keys));
        if is_new || state.is_proven(ended_before, asked_at) {
            Ok(keys)
        } else {
            Err(state.no_keys(now, settings))
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics half-way through a change; should it, what is there is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The thread that does all fetching.
struct Refresher {
    fetcher: Fetcher,
    disk: Option<DiskCopy>,
    shared: Arc<Shared>,
}

impl Refresher {
    fn run(mut self) {
        loop {
            let etag = self.wait_until_wanted();
            let answer = self.fetcher.fetch(etag.as_deref());
            let to_keep = self.take(answer);
            // Behind the lock and the waiting requests: a slow disk holds up nobody.
            if let (Some(disk), Some(stored)) = (&mut self.disk, to_keep) {
                disk.keep(stored);
            }
        }
    }

    fn wait_until_wanted(&self) -> Option<String> {
        let mut state = self.shared.lock();
        loop {
            match state.time_to_fetch(BootTime::now()) {
                None => break,
                Some(left) => state = self.shared.wait(state, left.min(MAX_SLEEP)),
            }
        }
        state.begin()
    }

    /// What is to be kept on disk of it.
    fn take(&self, answer: Answer) -> Option<Stored> {
        let now = Moment::now();
        let random = random();
        let failure = answer
            .as_ref()
            .err()
            .map(|refused| refused.error.to_string());
        let mut state = self.shared.lock();
        let to_keep = match answer {
            Ok(fetched) => state.succeed(fetched, self.fetcher.url(), now, random),
            Err(refused) => {
                state.fail(
                    refused,
                    self.fetcher.url(),
                    now,
                    random,
                    &self.shared.settings,
                );
                None
            }
        };
        let standing = state.standing(failure.as_deref(), now, &self.shared.settings);
        drop(state);
        self.shared.changed.notify_all();
        (self.shared.settings.report)(&standing);
        to_keep
    }
}

/// From 0 to 1, to spread out the fetches of many hosts. Each `RandomState` has keys of its own.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// The state machine, without threads and clocks.
#[derive(Debug)]
struct State {
    held: Option<Held>,
    clock_floor: ClockFloor,
    /// When the next fetch is due by itself.
    due: BootTime,
    /// Whether a fetch is under way.
    fetching: bool,
    /// Whether one is wanted before it is due.
    wanted: bool,
    /// When a token last got a fetch by asking.
    last_asked: Option<BootTime>,
    fetches_ended: u64,
    /// When the latest fetch ended, if it went well.
    last_success: Option<BootTime>,
    /// Failed fetches since the last good one.
    failures: u32,
    /// Requests that wait for a fetch.
    waiting: usize,
    /// What the log was told last of how old the keys are.
    told: Told,
    clock_told: Option<BootTime>,
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
enum Told {
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

    fn staleness(&self, now: Moment, settings: &Settings) -> Told {
        match self.age(now) {
            age if age <= self.fresh_for => Told::Fresh,
            age if age <= self.fresh_for + settings.max_stale => Told::Stale,
            _ => Told::TooStale,
        }
    }
}

impl State {
    fn new(now: Moment, settings: &Settings) -> State {
        State {
            held: None,
            clock_floor: ClockFloor::new(settings.program_date, now.boot),
            due: now.boot,
            fetching: false,
            wanted: true,
            last_asked: None,
            fetches_ended: 0,
            last_success: None,
            failures: 0,
            waiting: 0,
            told: Told::Fresh,
            clock_told: None,
        }
    }

    fn take_stored(&mut self, keys: KeySet, stored: Stored, now: Moment, settings: &Settings) {
        self.clock_floor.set_keys_date(stored.fetched, now.boot);
        let held = Held {
            keys: Arc::new(keys),
            text: stored.text,
            etag: None,
            since: Since::Stored {
                stamp: stored.fetched,
                taken: now.boot,
            },
            fresh_for: stored.fresh_for,
        };
        // It is held even when it is too old by this clock, which may be wrong and set later.
        self.told = held.staleness(now, settings);
        let (keys, age) = (&held.keys, held.age(now).as_secs());
        match self.told {
            Told::TooStale => {
                warn!("the keys on disk are too old to serve: {keys}, fetched {age} s ago")
            }
            _ => info!("serving {keys} from disk, fetched {age} s ago"),
        }
        self.held = Some(held);
    }

    /// The keys that count now, if the clock can be believed.
    fn current(&mut self, now: Moment, settings: &Settings) -> Result<Arc<KeySet>, Unavailable> {
        if let Some(behind) = self.clock_floor.too_far_behind(now) {
            self.tell_clock(behind, now);
            return Err(Unavailable::Clock {
                retry_after: CLOCK_RETRY,
            });
        }
        match &self.held {
            Some(held) if held.staleness(now, settings) != Told::TooStale => {
                Ok(Arc::clone(&held.keys))
            }
            _ => Err(self.no_keys(now, settings)),
        }
    }

    fn no_keys(&self, now: Moment, settings: &Settings) -> Unavailable {
        let until_due = self.due.since(now.boot);
        let until_asked = self.cooldown_left(now, settings);
        let retry_after = if self.fetching {
            MIN_PAUSE
        } else {
            until_due.min(until_asked)
        };
        Unavailable::Keys {
            retry_after: retry_after.clamp(MIN_PAUSE, MAX_PAUSE),
        }
    }

    fn cooldown_left(&self, now: Moment, settings: &Settings) -> Duration {
        let over = self.last_asked.map(|asked| asked + settings.cooldown);
        over.map_or(Duration::ZERO, |over| over.since(now.boot))
    }

    /// A token asks for a fetch. Whether it gets one of its own.
    fn ask(&mut self, now: Moment, settings: &Settings) -> bool {
        if self.is_expecting() || !self.cooldown_left(now, settings).is_zero() {
            return false;
        }
        self.wanted = true;
        self.last_asked = Some(now.boot);
        true
    }

    /// Whether the outcome of a fetch is near.
    fn is_expecting(&self) -> bool {
        self.fetching || self.wanted
    }

    /// Whether the tenant itself has just shown the set that is held: in a fetch that ended since
    /// there were `ended_before`, or shortly before `asked_at` if none is under way that may show
    /// another.
    fn is_proven(&self, ended_before: u64, asked_at: Moment) -> bool {
        let Some(success) = self.last_success else {
            return false;
        };
        self.fetches_ended != ended_before
            || (!self.is_expecting() && success + PROOF_TIME > asked_at.boot)
    }

    /// How long until the next fetch; `None` when it is time.
    fn time_to_fetch(&self, now: BootTime) -> Option<Duration> {
        let left = self.due.since(now);
        (!self.wanted && !left.is_zero()).then_some(left)
    }

    /// A fetch begins: the `ETag` it may be answered "unchanged" to.
    fn begin(&mut self) -> Option<String> {
        self.fetching = true;
        self.wanted = false;
        self.held.as_ref().and_then(|held| held.etag.clone())
    }

    fn end(&mut self, date: Option<SystemTime>, now: Moment) {
        // What an operator wants meanwhile stays wanted; a token that asked has its outcome.
        self.fetching = false;
        self.fetches_ended += 1;
        if let Some(date) = date {
            self.clock_floor.set_answer_date(date, now.boot);
        }
    }

    fn succeed(&mut self, fetched: Fetched, url: &str, now: Moment, random: f64) -> Option<Stored> {
        self.end(fetched.date, now);
        if let Some(date) = fetched.date {
            self.clock_floor.set_keys_date(date, now.boot);
        }
        let fresh_for = fetched
            .max_age
            .map_or(DEFAULT_FRESH, |age| age.clamp(MIN_FRESH, MAX_FRESH));
        self.due = now.boot + fresh_for.mul_f64(0.8 * (0.9 + 0.2 * random));
        self.last_success = Some(now.boot);
        if self.failures > 0 {
            info!("recovered after {} failed fetches", self.failures);
        }
        self.failures = 0;
        self.told = Told::Fresh;
        let since = Since::Fetched(now.boot);
        match (fetched.new, &mut self.held) {
            (None, Some(held)) => {
                info!("keys unchanged: {}", held.keys);
                (held.since, held.fresh_for) = (since, fresh_for);
            }
            (Some(new), Some(held)) if *new.text == *held.text => {
                info!("keys unchanged: {}", held.keys);
                (held.since, held.fresh_for, held.etag) = (since, fresh_for, new.etag);
            }
            (Some(new), held) => {
                info!("fetched {} from {url}", new.keys);
                new.keys
                    .remarks()
                    .iter()
                    .for_each(|remark| warn!("{remark}"));
                *held = Some(Held {
                    keys: Arc::new(new.keys),
                    text: new.text.into(),
                    etag: new.etag,
                    since,
                    fresh_for,
                });
            }
            // The fetcher takes a 304 only for an answer when it sent the ETag of a held set.
            (None, None) => return None,
        }
        self.held.as_ref().map(|held| Stored {
            text: Arc::clone(&held.text),
            // Never by this host's clock.
            fetched: fetched.date.unwrap_or(self.clock_floor.at(now.boot)),
            fresh_for,
        })
    }

    fn fail(&mut self, refused: Refused, url: &str, now: Moment, random: f64, settings: &Settings) {
        self.end(refused.date, now);
        self.last_success = None;
        let doubled = MIN_PAUSE * 2u32.saturating_pow(self.failures.min(16));
        let jittered = MIN_PAUSE + (doubled.min(MAX_PAUSE) - MIN_PAUSE).mul_f64(random);
        let pause = refused
            .retry_after
            .unwrap_or(jittered)
            .clamp(MIN_PAUSE, MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.due = now.boot + pause;
        let (why, pause) = (refused.error, pause.as_secs_f64());
        warn!("cannot fetch the keys from {url}: {why}; next try in {pause:.0} s");
        self.tell_staleness(now, settings);
    }

    /// How things stand after a fetch, in one line.
    fn standing(&self, failure: Option<&str>, now: Moment, settings: &Settings) -> String {
        let keys = match &self.held {
            None => "no keys".to_owned(),
            Some(held) => match held.staleness(now, settings) {
                Told::Fresh => held.keys.to_string(),
                Told::Stale => format!("stale keys: {}", held.keys),
                Told::TooStale => format!("keys too stale to serve: {}", held.keys),
            },
        };
        match failure {
            None => format!("{keys} from the tenant"),
            Some(failure) => format!("{keys}; the latest fetch failed: {failure}"),
        }
    }

    /// Tells the log, once each, that the keys in hand have become stale, and too stale.
    fn tell_staleness(&mut self, now: Moment, settings: &Settings) {
        let Some(held) = &self.held else { return };
        let staleness = held.staleness(now, settings);
        if staleness != self.told {
            let stale_for = held.age(now).saturating_sub(held.fresh_for).as_secs();
            match staleness {
                Told::Fresh => {}
                Told::Stale => warn!("serving stale keys since {stale_for} s ago: {}", held.keys),
                Told::TooStale => error!(
                    "staleness limit reached: the keys have been stale for {stale_for} s, nobody is let in \
                     until a fetch succeeds"
                ),
            }
            self.told = staleness;
        }
    }

    fn tell_clock(&mut self, behind: Duration, now: Moment) {
        let is_due = |told: BootTime| now.boot.since(told) >= CLOCK_LOG_INTERVAL;
        if self.clock_told.is_none_or(is_due) {
            self.clock_told = Some(now.boot);
            let days = behind.as_secs() / 86_400;
            error!(
                "the system clock is {days} days behind the tenant's: nobody is let in until it is set \
                 (is time synchronisation running?)"
            );
        }
    }
}

#[cfg(test)]
mod tests;
