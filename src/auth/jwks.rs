//! The tenant's current key set: behind a mutex, fetched in the background.
//!
//! One thread does all fetching. Requests read the set, and may ask for a newer one when a token
//! names a key that the set lacks; they never fetch, and never hold the mutex while waiting.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::fetch::Fetcher;
use super::key_set::KeySet;

/// The longest a request waits for a fetch it asked for.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How long a successful fetch proves that the tenant lacks a key.
const PROOF_TIME: Duration = Duration::from_secs(30);
/// The pauses after failed fetches: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The current key set, shared by all requests.
#[derive(Debug, Clone)]
pub struct Jwks {
    shared: Arc<Shared>,
}

/// There are no keys to verify with, through no fault of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    /// When to try again: the `Retry-After` of the answer.
    pub retry_after: Duration,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a fetch is asked for, and when one has ended.
    changed: Condvar,
    /// The least time between two fetches that tokens ask for.
    cooldown: Duration,
}

#[derive(Debug)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// Fetches that have ended.
    fetches: u64,
    /// Whether one is under way.
    fetching: bool,
    /// Whether a token has asked for one.
    asked: bool,
    /// When a token last asked for one that was granted.
    last_asked: Option<Instant>,
    /// When the latest fetch ended well; `None` when it failed, or there was none.
    proven: Option<Instant>,
    /// When the refresher tries by itself.
    next_try: Option<Instant>,
}

impl Jwks {
    /// Starts the refresher, which fetches at once. `cooldown` is the least time between two
    /// fetches that tokens ask for.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(fetcher: Fetcher, cooldown: Duration) -> io::Result<Jwks> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                keys: None,
                fetches: 0,
                fetching: true,
                asked: false,
                last_asked: None,
                proven: None,
                next_try: None,
            }),
            changed: Condvar::new(),
            cooldown,
        });
        let refresher = Refresher {
            fetcher,
            shared: Arc::clone(&shared),
            failures: 0,
        };
        thread::Builder::new()
            .name("jwks".into())
            .spawn(move || refresher.run())?;
        Ok(Jwks { shared })
    }

    /// The current keys.
    ///
    /// # Errors
    /// [`Unavailable`] while there have never been any.
    pub fn current(&self) -> Result<Arc<KeySet>, Unavailable> {
        let state = self.shared.lock();
        state.keys.clone().ok_or_else(|| state.unavailable())
    }

    /// The keys after a look at whether the tenant has new ones, for a token whose key is not in
    /// `seen`. Waits for the fetch, 1 s at most. At most one such fetch per cooldown; in between
    /// the answer is immediate.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be told whether the tenant has that key.
    pub fn refreshed(&self, seen: &Arc<KeySet>) -> Result<Arc<KeySet>, Unavailable> {
        let now = Instant::now();
        let deadline = now + MAX_WAIT;
        let mut state = self.shared.lock();
        let fetches = state.fetches;
        let is_new = |state: &State| state.keys.clone().filter(|keys| !Arc::ptr_eq(keys, seen));
        if let Some(keys) = is_new(&state) {
            return Ok(keys);
        }
        let cooling = state
            .last_asked
            .is_some_and(|asked| now < asked + self.shared.cooldown);
        if !state.fetching && !cooling {
            state.asked = true;
            state.last_asked = Some(now);
            self.shared.changed.notify_all();
        }
        while (state.asked || state.fetching) && state.fetches == fetches {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state.unavailable());
            }
            state = self.shared.wait(state, left);
        }
        let proven = state
            .proven
            .is_some_and(|at| state.fetches != fetches || at + PROOF_TIME > now);
        match &state.keys {
            Some(keys) if proven => Ok(Arc::clone(keys)),
            _ => Err(state.unavailable()),
        }
    }
}

impl State {
    fn unavailable(&self) -> Unavailable {
        let now = Instant::now();
        let left = self
            .next_try
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        Unavailable {
            retry_after: left.max(Duration::from_secs(1)),
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

/// Does the fetching.
struct Refresher {
    fetcher: Fetcher,
    shared: Arc<Shared>,
    /// Failed fetches since the last good one.
    failures: u32,
}

impl Refresher {
    fn run(mut self) {
        loop {
            self.fetch();
            self.wait();
        }
    }

    fn fetch(&mut self) {
        let fetched = self.fetcher.fetch();
        let mut state = self.shared.lock();
        match fetched {
            Ok(keys) => {
                info!("fetched {keys} from {}", self.fetcher.url());
                keys.remarks().iter().for_each(|remark| warn!("{remark}"));
                self.failures = 0;
                state.keys = Some(Arc::new(keys));
                state.proven = Some(Instant::now());
                state.next_try = None;
            }
            Err(error) => {
                let pause = (BACK_OFF.0 * 2u32.saturating_pow(self.failures)).min(BACK_OFF.1);
                self.failures = (self.failures + 1).min(16);
                warn!(
                    "cannot fetch the keys from {}: {error}; next try in {} s",
                    self.fetcher.url(),
                    pause.as_secs()
                );
                state.proven = None;
                state.next_try = Some(Instant::now() + pause);
            }
        }
        state.fetches += 1;
        state.fetching = false;
        state.asked = false;
        self.shared.changed.notify_all();
    }

    /// Until the next fetch is due or asked for.
    fn wait(&self) {
        let mut state = self.shared.lock();
        while !state.asked {
            let now = Instant::now();
            let left = match state.next_try {
                Some(at) if at <= now => break,
                Some(at) => at - now,
                None => Duration::MAX,
            };
            // A wait without an end is a wait of a day, again and again.
            state = self
                .shared
                .wait(state, left.min(Duration::from_secs(86_400)));
        }
        state.fetching = true;
    }
}
