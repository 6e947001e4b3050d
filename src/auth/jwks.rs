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
//! A well-formed key set is the tenant's word, even if nothing in it is usable: it replaces the keys
//! in hand, on disk as well. Then requests get 503, and the next fetch is within a minute. Anything
//! else is a failure, which changes nothing about the keys in hand. They serve
//!
//! - while *fresh*: within the `max-age` the tenant gave them (5 min to 24 h, else 10 min);
//! - then while *stale*: for `JWKS_MAX_STALE_SECONDS` more;
//! - then no longer: requests get 503 until a fetch succeeds.
//!
//! A token asks for a fetch when its key is not in the set, or when there is no set to serve, and
//! only if nothing but its signature is left to check. Two fetches that tokens asked for are at
//! least `JWKS_COOLDOWN_SECONDS` apart. Whoever asked waits a little for the outcome.
//!
//! A host whose clock is more than a day behind the [`ClockFloor`](super::clock) has not been told the time yet,
//! and lets nobody in until it has.
//!
//! Within a run, keys age by the clock since boot, which no clock change touches and which counts
//! suspend. The wall clock counts only for keys that an earlier run has left on disk.

mod lines;
mod state;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{error, log};

use super::clock::{BootTime, Moment};
use super::disk::{DiskCopy, Stored};
use super::fetch::{Answer, Fetcher, Question};
use super::key_set::KeySet;
use lines::Line;
use state::{Cause, MIN_PAUSE, State};

pub use state::{Settings, Unavailable};

/// How long a request waits for a fetch: for the very first one, and for any other.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_secs(1);
/// How long the refresher sleeps at one time. Waiting goes by a clock that stands still in suspend;
/// so a fetch that has come due meanwhile begins this much after the host has woken up.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// The longest pause of the refresher after a panic; the first is the shortest after a failure.
const MAX_PANIC_PAUSE: Duration = Duration::from_secs(60);

/// The current key set, shared by all requests.
#[derive(Debug, Clone)]
pub struct Jwks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// How many requests wait for a fetch.
    waiting: AtomicUsize,
    /// Signalled when a fetch is wanted, and when one has ended.
    changed: Condvar,
}

impl Jwks {
    /// Takes the keys from `disk`, if it has usable ones, and starts the refresher, which fetches
    /// at once.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(fetcher: Fetcher, disk: Option<DiskCopy>, settings: Settings) -> io::Result<Jwks> {
        let url = fetcher.url().to_owned();
        let fetch = move |question: &Question| fetcher.fetch(question);
        Jwks::start_with(url, Box::new(fetch), disk, settings)
    }

    fn start_with(
        url: String,
        fetch: Fetch,
        mut disk: Option<DiskCopy>,
        settings: Settings,
    ) -> io::Result<Jwks> {
        let now = Moment::now();
        let mut state = State::new(now, &settings);
        if let Some((keys, stored)) = disk.as_mut().and_then(DiskCopy::load) {
            state.take_stored(keys, stored, now);
        }
        write(state.take_lines());
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
        });
        let refresher = Refresher {
            url,
            fetch,
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
        self.shared.lock().want(Cause::Operator);
        self.shared.changed.notify_all();
    }

    /// The keys that count at this moment.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn current(&self, now: Moment) -> Result<Arc<KeySet>, Unavailable> {
        self.shared.with_state(|state| state.current(now))
    }

    /// The keys after a look at whether the tenant has new ones: for a token that only lacks a key
    /// to verify it. `seen` is the set that does not have it, if there is one. Waits for a fetch,
    /// up to 2 s for the first and 1 s for any other.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be told whether the tenant has that key.
    pub fn newer_than(&self, seen: Option<&Arc<KeySet>>) -> Result<Arc<KeySet>, Unavailable> {
        let asked_at = Moment::now();
        let (ended_before, is_expected) = self.shared.with_state(|state| {
            if state.ask(asked_at) {
                self.shared.changed.notify_all();
            }
            (state.fetches_ended, state.is_expecting())
        });
        if is_expected {
            let _waiting = self.begin_wait()?;
            self.wait_for_end(ended_before);
        }
        let now = Moment::now();
        self.shared.with_state(|state| {
            let keys = state.current(now)?;
            let is_new = seen.is_none_or(|seen| !Arc::ptr_eq(seen, &keys));
            if is_new || state.is_proven(ended_before, asked_at) {
                Ok(keys)
            } else {
                Err(state.no_keys(now))
            }
        })
    }

    /// Called before this thread waits for a fetch, with no lock held. What comes back is dropped
    /// when it has waited.
    fn begin_wait(&self) -> Result<Waiting<'_>, Unavailable> {
        let count = &self.shared.waiting;
        let one_more =
            |waiting| (waiting < self.shared.settings.max_waiting).then_some(waiting + 1);
        match count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Waiting(count)),
            Err(_) => Err(Unavailable::Keys {
                retry_after: MIN_PAUSE,
            }),
        }
    }

    /// Waits until a fetch has ended since there were `ended_before`, none is expected any more, or
    /// the time for it is over.
    fn wait_for_end(&self, ended_before: u64) {
        let deadline = Instant::now() + if ended_before == 0 { FIRST_WAIT } else { WAIT };
        let mut state = self.shared.lock();
        while state.is_expecting() && state.fetches_ended == ended_before {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.wait(state, left);
        }
    }
}

/// A request that waits for a fetch.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Changes the state, or looks at it. Whatever is to be logged of that is written when the lock
    /// is released.
    fn with_state<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let lines = state.take_lines();
        drop(state);
        write(lines);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics half-way through a change; should it, what is there is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

type Fetch = Box<dyn FnMut(&Question) -> Answer + Send>;

/// The thread that does all fetching.
struct Refresher {
    url: String,
    fetch: Fetch,
    disk: Option<DiskCopy>,
    shared: Arc<Shared>,
}

impl Refresher {
    /// Goes on for ever: a panic costs a fetch and a pause.
    fn run(mut self) {
        let mut panics = 0;
        loop {
            if catch_unwind(AssertUnwindSafe(|| self.fetch_once())).is_ok() {
                panics = 0;
                continue;
            }
            let pause = MAX_PANIC_PAUSE.min(MIN_PAUSE * 2u32.saturating_pow(panics));
            panics = panics.saturating_add(1);
            self.shared.lock().abandon(Moment::now(), pause);
            self.shared.changed.notify_all();
            // The log itself may be what panics.
            let _ = catch_unwind(|| {
                let pause = pause.as_secs();
                error!("the thread that fetches the keys panicked, it goes on in {pause} s");
            });
            thread::sleep(pause);
        }
    }

    /// Waits until it is time for a fetch, and sees to what it brings.
    fn fetch_once(&mut self) {
        let question = self.wait_until_wanted();
        let answer = (self.fetch)(&question);
        let to_keep = self.take(answer);
        // Behind the lock and the waiting requests: a slow disk holds up nobody.
        if let (Some(disk), Some(stored)) = (&mut self.disk, to_keep) {
            disk.keep(stored);
        }
    }

    fn wait_until_wanted(&self) -> Question {
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
        let url = &*self.url;
        let (to_keep, standing) = self.shared.with_state(|state| {
            let to_keep = match answer {
                Ok(fetched) => state.succeed(fetched, url, now, random),
                Err(refused) => {
                    state.fail(refused, url, now, random);
                    None
                }
            };
            // Before the log is written, which may take long.
            self.shared.changed.notify_all();
            (to_keep, state.standing(failure.as_deref(), now))
        });
        (self.shared.settings.report)(&standing);
        to_keep
    }
}

fn write(lines: Vec<Line>) {
    for Line { level, text } in lines {
        log!(level, "{text}");
    }
}

/// From 0 to 1, to spread out the fetches of many hosts. Each `RandomState` has keys of its own.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests;
