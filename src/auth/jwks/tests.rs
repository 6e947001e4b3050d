//! The thread that fetches, when it panics; and keys for the tests of those who use them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::SystemTime;

use super::*;
use crate::auth::fetch::{FetchError, Fetched, NewKeys};
use crate::blocking::{Standby, TooManyWait};

/// For a fetch that never comes.
struct NobodyWaits;

impl Standby for NobodyWaits {
    fn begin_wait(&self) -> Result<(), TooManyWait> {
        Err(TooManyWait)
    }

    fn end_wait(&self) {}
}

/// For the tests of those who use the keys: a set that no thread looks after.
impl Jwks {
    pub(in crate::auth) fn unattended() -> Jwks {
        blocking::join(Arc::new(NobodyWaits));
        let settings = JwksSettings {
            max_stale: Duration::from_secs(24 * 3600),
            cooldown: Duration::from_secs(60),
            program_date: SystemTime::UNIX_EPOCH,
            report: |_| {},
        };
        let now = Moment::now();
        let mut state = State::new(now, &settings);
        state.rest(now);
        Jwks {
            shared: Arc::new(Shared {
                settings,
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// A fetch brings this text, now.
    pub(in crate::auth) fn take(&self, text: &[u8]) {
        let new = NewKeys {
            keys: KeySet::parse(text).unwrap(),
            text: text.into(),
            etag: None,
        };
        let fetched = Fetched {
            new: Some(new),
            date: None,
            max_age: None,
            age: Duration::ZERO,
        };
        let mut state = self.shared.lock();
        state.begin();
        state.succeed(fetched, "https://tenant/", Moment::now(), 0.5);
    }

    /// Tokens may ask for a fetch again.
    pub(in crate::auth) fn end_cooldown(&self) {
        self.shared.lock().end_cooldown();
    }

    pub(in crate::auth) fn is_fetch_wanted(&self) -> bool {
        self.shared.lock().is_wanted()
    }

    pub(in crate::auth) fn set_clock_floor(&self, floor: SystemTime) {
        self.shared.lock().set_answer_date(floor);
    }
}

/// How long anything is waited for before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(report: fn(&str)) -> JwksSettings {
    JwksSettings {
        max_stale: Duration::from_secs(24 * 3600),
        cooldown: Duration::from_secs(1),
        program_date: SystemTime::UNIX_EPOCH,
        report,
    }
}

#[test]
fn a_panic_after_a_fetch_does_not_end_the_fetching() {
    static REPORTS: AtomicUsize = AtomicUsize::new(0);
    fn report(_: &str) {
        assert_ne!(REPORTS.fetch_add(1, Ordering::Relaxed), 0, "the first");
    }
    // Nobody listens there.
    let fetcher = Fetcher::new("127.0.0.1:1", Vec::new(), None);
    let jwks = Jwks::start(fetcher, None, settings(report)).unwrap();
    let started = Instant::now();
    while REPORTS.load(Ordering::Relaxed) < 3 {
        assert!(started.elapsed() < PATIENCE, "no more fetches");
        jwks.refresh();
        thread::sleep(Duration::from_millis(10));
    }
    assert!(started.elapsed() >= MIN_PAUSE, "it has paused");
}

#[test]
fn a_panic_in_a_fetch_ends_it_and_no_more() {
    let (sender, fetches) = mpsc::channel();
    let mut count = 0;
    let fetch = move |_: &Question| {
        sender.send(Instant::now()).unwrap();
        count += 1;
        assert!(count > 3, "the first three");
        Err(FetchError::Status(500).into())
    };
    let url = "https://tenant/".to_owned();
    let jwks = Jwks::start_with(url, Box::new(fetch), None, settings(|_| {})).unwrap();
    let next = || fetches.recv_timeout(PATIENCE).expect("it goes on");
    let times: [Instant; 4] = std::array::from_fn(|_| {
        // Whoever waits is told that there are no keys, and is not left waiting.
        let started = Instant::now();
        jwks.newer_than(None).unwrap_err();
        assert!(started.elapsed() < PATIENCE);
        next()
    });
    for (at, pause) in [1, 2, 4].into_iter().enumerate() {
        let apart = times[at + 1] - times[at];
        assert!(apart >= Duration::from_secs(pause), "{at}: {apart:?}");
    }
    let ended = || jwks.shared.lock().fetches_ended;
    let started = Instant::now();
    while ended() < 4 {
        assert!(started.elapsed() < PATIENCE, "{} have ended", ended());
        thread::sleep(Duration::from_millis(10));
    }
}
