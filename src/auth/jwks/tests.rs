//! Keys for the tests of those who use them.

use std::time::SystemTime;

use super::*;
use crate::auth::fetch::{Fetched, NewKeys};

/// For the tests of those who use the keys: a set that no thread looks after.
impl Jwks {
    pub(in crate::auth) fn unattended() -> Jwks {
        let settings = Settings {
            max_stale: Duration::from_secs(24 * 3600),
            cooldown: Duration::from_secs(60),
            // Nobody waits for a fetch that never comes.
            max_waiting: 0,
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
                waiting: AtomicUsize::new(0),
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
