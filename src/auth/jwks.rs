//! The tenant's current key set, behind a mutex. One thread fetches it; no request does.
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
//! A well-formed key set always replaces the current keys, in memory and on disk, even if none of
//! its keys is usable. In that case requests get 503, and the next fetch follows within a minute.
//! Any other answer is a failure and leaves the current keys as they are. They are used
//!
//! - while *fresh*: for the `max-age` of the tenant's answer, less its `Age` (5 min to 24 h; 10 min
//!   without a `max-age`);
//! - then while *stale*: for `JWKS_MAX_STALE_SECONDS` more;
//! - then no longer: requests get 503 until a fetch succeeds.
//!
//! A token causes a fetch if its key is not in the set, or if there is no usable set, and if all of
//! it but the signature is valid. Two fetches that tokens cause are at least
//! `JWKS_COOLDOWN_SECONDS` apart. The request waits a short time for the outcome.
//!
//! If the host's clock is more than a day behind the [clock floor](super::clock), it is not
//! believed, and requests get 503.
//!
//! The age of keys fetched in this run is measured by the time since boot, which includes suspend
//! and does not jump. The wall clock is used only for keys that an earlier run left on disk.

mod lines;
mod state;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{error, log};

use self::lines::Line;
pub use self::state::{Ages, JwksSettings, NotReady, Status, Unavailable};
use self::state::{Cause, MIN_PAUSE, State};
use super::clock::{BootTime, Moment};
use super::disk::{DiskCopy, Stored};
use super::fetch::{Answer, Fetcher, Question, outcome};
use super::key_set::KeySet;
use crate::blocking;
use crate::metrics;

/// How long a request waits for the first fetch, and for any other.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_secs(1);
/// The longest sleep of the refresher. A sleep is measured by a clock that stops during suspend;
/// with this bound, a fetch that became due during suspend starts soon after it.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// The longest pause after a panic of the refresher. The first one is [`MIN_PAUSE`].
const MAX_PANIC_PAUSE: Duration = Duration::from_secs(60);

/// The current key set, shared by all requests.
#[derive(Debug, Clone)]
pub struct Jwks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: JwksSettings,
    state: Mutex<State>,
    /// Notified when a fetch is wanted and when one has ended.
    changed: Condvar,
}

impl Jwks {
    /// Loads the key set from `disk`, if there is one, and starts the thread that fetches, which
    /// does so at once.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        fetcher: Fetcher,
        disk: Option<DiskCopy>,
        settings: JwksSettings,
    ) -> io::Result<Jwks> {
        let url = fetcher.url().to_owned();
        let fetch = move |question: &Question| fetcher.fetch(question);
        Jwks::start_with(url, Box::new(fetch), disk, settings)
    }

    fn start_with(
        url: String,
        fetch: Fetch,
        mut disk: Option<DiskCopy>,
        settings: JwksSettings,
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

    /// The keys as they are after a start with a copy on disk and the outcome of the first fetch,
    /// as far as there are both. No thread fetches others, and nobody waits for any. Also returns
    /// one line of status.
    pub fn at_rest(
        stored: Option<(KeySet, Stored)>,
        answer: Option<Answer>,
        url: &str,
        settings: JwksSettings,
    ) -> (Jwks, String) {
        let now = Moment::now();
        let mut state = State::new(now, &settings);
        if let Some((keys, stored)) = stored {
            state.take_stored(keys, stored, now);
        }
        let failure = match answer {
            None => None,
            Some(Ok(fetched)) => {
                state.begin();
                state.succeed(fetched, url, now, random());
                None
            }
            Some(Err(failure)) => {
                let text = failure.error.to_string();
                state.begin();
                state.fail(failure, url, now, random());
                Some(text)
            }
        };
        state.ask_no_more(now);
        let standing = state.standing(failure.as_deref(), now);
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        (Jwks { shared }, standing)
    }

    /// Starts a fetch now, whenever the last one was.
    pub fn refresh(&self) {
        self.shared.lock().want(Cause::Operator);
        self.shared.changed.notify_all();
    }

    /// Returns the current key set, which has at least one key.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn current(&self, now: Moment) -> Result<Arc<KeySet>, Unavailable> {
        self.shared.with_state(|state| state.current(now))
    }

    /// How the keys stand, for those who watch.
    pub fn status(&self, now: Moment) -> Status {
        self.shared.lock().status(now)
    }

    /// Returns a key set that is recent enough to decide on a token whose key is unknown. `seen` is
    /// the set that lacks the key, if there is a set. Waits for a fetch if need be: up to 2 s for
    /// the first one, 1 s for any other.
    ///
    /// # Errors
    /// [`Unavailable`], if it stays unknown whether the tenant has that key.
    pub fn newer_than(&self, seen: Option<&Arc<KeySet>>) -> Result<Arc<KeySet>, Unavailable> {
        let asked_at = Moment::now();
        let (ended_before, is_expected) = self.shared.with_state(|state| {
            if state.ask(asked_at) {
                self.shared.changed.notify_all();
            }
            (state.fetches_ended, state.is_expecting())
        });
        if is_expected {
            // With no lock held: it may start a thread.
            let _waiting = blocking::begin_wait().map_err(|_| Unavailable::Keys {
                retry_after: MIN_PAUSE,
            })?;
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

    /// Waits until a fetch has ended, no fetch is expected any more, or the time is over.
    /// `ended_before` is the number of fetches that had ended before.
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

impl Shared {
    /// Runs `change` under the lock, then releases the lock and logs the lines that `change` left.
    fn with_state<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let lines = state.take_lines();
        drop(state);
        write(lines);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics halfway through a change, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

type Fetch = Box<dyn FnMut(&Question) -> Answer + Send>;

/// The thread that fetches the keys.
struct Refresher {
    url: String,
    fetch: Fetch,
    disk: Option<DiskCopy>,
    shared: Arc<Shared>,
}

impl Refresher {
    /// Never returns. After a panic it pauses and goes on.
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
            // Logging itself may be what panics.
            let _ = catch_unwind(|| {
                let pause = pause.as_secs();
                error!("the thread that fetches the keys panicked; it restarts in {pause} s");
            });
            thread::sleep(pause);
        }
    }

    /// Waits until it is time for a fetch, fetches, and applies the result.
    fn fetch_once(&mut self) {
        let question = self.wait_until_wanted();
        let began = BootTime::now();
        let answer = (self.fetch)(&question);
        metrics::FETCHES[outcome(&answer) as usize].add();
        metrics::FETCH_TIMES.observe(BootTime::now().since(began));
        let to_keep = self.take(answer);
        // Last, and without the lock: a slow disk must not delay requests.
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

    /// Applies a fetch result. Returns what to save to disk.
    fn take(&self, answer: Answer) -> Option<Stored> {
        let now = Moment::now();
        let random = random();
        let failure = answer
            .as_ref()
            .err()
            .map(|failure| failure.error.to_string());
        let url = &*self.url;
        let (to_keep, standing) = self.shared.with_state(|state| {
            let to_keep = match answer {
                Ok(fetched) => state.succeed(fetched, url, now, random),
                Err(failure) => {
                    state.fail(failure, url, now, random);
                    None
                }
            };
            // Before the log is written, which may take a while.
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

/// A random number from 0 to 1, so that many hosts do not fetch at the same time. Each
/// `RandomState` has its own random keys.
fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests;
