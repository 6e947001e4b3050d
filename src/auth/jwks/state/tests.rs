//! The state machine under an injected clock: days pass in no time.

mod clocks;
mod lines;
mod status;

use log::Level;

use super::*;
use crate::auth::fetch::{FetchError, NewKeys};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl State {
    /// No fetch is under way or wanted, and tokens may not ask for one.
    pub(in crate::auth) fn rest(&mut self, now: Moment) {
        self.wanted = None;
        self.last_asked = Some(now.boot);
    }

    /// Tokens may ask for a fetch again.
    pub(in crate::auth) fn end_cooldown(&mut self) {
        self.last_asked = None;
    }

    pub(in crate::auth) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    pub(in crate::auth) fn set_answer_date(&mut self, date: SystemTime) {
        self.clock_floor.set_answer_date(date, BootTime::now());
    }
}

/// A state machine and the two clocks it sees.
struct Host {
    settings: JwksSettings,
    state: State,
    now: Moment,
}

/// A key set text with one usable key.
fn text(id: &str) -> Vec<u8> {
    let modulus = "_".repeat(341) + "w";
    format!(r#"{{"keys":[{{"kty":"RSA","kid":"{id}","n":"{modulus}","e":"AQAB"}}]}}"#).into_bytes()
}

fn fetched(id: &str) -> Fetched {
    let text = text(id);
    Fetched {
        new: Some(NewKeys {
            keys: KeySet::parse(&text).unwrap(),
            text,
            etag: Some(format!("\"{id}\"")),
        }),
        date: None,
        max_age: None,
        age: Duration::ZERO,
    }
}

fn unchanged() -> Fetched {
    Fetched {
        new: None,
        date: None,
        max_age: None,
        age: Duration::ZERO,
    }
}

fn failure() -> FetchFailure {
    FetchError::Status(500).into()
}

impl Host {
    /// A host whose clocks say what this machine's do.
    fn new() -> Host {
        let now = Moment::now();
        let settings = JwksSettings {
            max_stale: DAY,
            cooldown: Duration::from_secs(30),
            program_date: now.wall - 100 * DAY,
            report: |_| {},
        };
        Host {
            state: State::new(now, &settings),
            settings,
            now,
        }
    }

    /// Time passes, on both clocks.
    fn pass(&mut self, time: Duration) {
        self.now.boot = self.now.boot + time;
        self.now.wall += time;
    }

    fn succeed(&mut self, fetched: Fetched) -> Option<Stored> {
        self.state.begin();
        self.state
            .succeed(fetched, "https://tenant/", self.now, 0.5)
    }

    fn fail(&mut self, failure: FetchFailure) {
        self.state.begin();
        self.state.fail(failure, "https://tenant/", self.now, 0.5);
    }

    fn take_stored(&mut self, id: &str, fetched: SystemTime) {
        let text = text(id);
        let stored = Stored {
            text: text.clone().into(),
            fetched,
            fresh_for: 10 * MINUTE,
        };
        let keys = KeySet::parse(&text).unwrap();
        self.state.take_stored(keys, stored, self.now);
    }

    fn has(&mut self, id: &str) -> bool {
        let keys = self.state.current(self.now);
        keys.is_ok_and(|keys| keys.get(id).is_some())
    }

    fn refusal(&mut self) -> Unavailable {
        self.state.current(self.now).unwrap_err()
    }

    /// How long until the next fetch.
    fn until_fetch(&self) -> Duration {
        self.state
            .time_to_fetch(self.now.boot)
            .unwrap_or(Duration::ZERO)
    }

    fn ask(&mut self) -> bool {
        self.state.ask(self.now)
    }
}

#[test]
fn the_first_fetch_is_due_at_once() {
    let mut host = Host::new();
    assert_eq!(host.until_fetch(), Duration::ZERO);
    assert_eq!(
        host.refusal(),
        Unavailable::Keys {
            retry_after: SECOND
        }
    );
    assert_eq!(host.state.begin(), Question::default());
    assert!(host.state.is_expecting());
}

#[test]
fn freshness_is_what_the_tenant_says_within_bounds() {
    for (max_age, fresh) in [
        (None, 10 * MINUTE),
        (Some(0), 5 * MINUTE),
        (Some(60), 5 * MINUTE),
        (Some(3600), 60 * MINUTE),
        (Some(86_400), DAY),
        (Some(u64::MAX), DAY),
    ] {
        let mut host = Host::new();
        let max_age = max_age.map(Duration::from_secs);
        host.succeed(Fetched {
            max_age,
            ..fetched("a")
        });
        // 80 %, with the jitter in the middle of its range.
        assert_eq!(host.until_fetch(), fresh.mul_f64(0.8), "{max_age:?}");
    }
}

#[test]
fn what_keys_have_spent_in_caches_is_over() {
    for (max_age, age, fresh) in [
        (None, 60, 9 * MINUTE),
        (None, 3600, 5 * MINUTE),
        (Some(3600), 0, 60 * MINUTE),
        (Some(3600), 1200, 40 * MINUTE),
        (Some(3600), 3590, 5 * MINUTE),
        (Some(3600), u64::MAX, 5 * MINUTE),
        (Some(30 * 86_400), 86_400, DAY),
    ] {
        let mut host = Host::new();
        host.succeed(Fetched {
            max_age: max_age.map(Duration::from_secs),
            age: Duration::from_secs(age),
            ..fetched("a")
        });
        let expected = fresh.mul_f64(0.8);
        assert_eq!(host.until_fetch(), expected, "{max_age:?} {age}");
    }
}

#[test]
fn the_refresh_is_spread_by_a_tenth_each_way() {
    for (random, share) in [(0.0, 0.72), (0.5, 0.8), (1.0, 0.88)] {
        let mut host = Host::new();
        host.state.begin();
        host.state.succeed(fetched("a"), "url", host.now, random);
        let expected = (10 * MINUTE).mul_f64(share);
        let apart = host.until_fetch().abs_diff(expected);
        assert!(apart < Duration::from_millis(1), "{random}");
    }
}

#[test]
fn failures_back_off_from_a_second_to_five_minutes() {
    let mut host = Host::new();
    let mut longest = Vec::new();
    for _ in 0..20 {
        host.state.begin();
        host.state.fail(failure(), "url", host.now, 1.0);
        longest.push(host.until_fetch().as_secs());
        host.pass(host.until_fetch());
    }
    assert_eq!(longest[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(longest[19], 300);
    // The jitter reaches down to the shortest pause, never below.
    host.state.begin();
    host.state.fail(failure(), "url", host.now, 0.0);
    assert_eq!(host.until_fetch(), SECOND);
    host.succeed(fetched("a"));
    host.fail(failure());
    assert_eq!(host.until_fetch(), SECOND, "a success starts it anew");
}

#[test]
fn retry_after_is_honoured_within_the_bounds() {
    for (asked, paused) in [(0, 1), (7, 7), (300, 300), (86_400, 300), (u64::MAX, 300)] {
        let mut host = Host::new();
        let retry_after = Some(Duration::from_secs(asked));
        host.fail(FetchFailure {
            retry_after,
            ..failure()
        });
        assert_eq!(host.until_fetch(), Duration::from_secs(paused), "{asked}");
    }
}

#[test]
fn stale_keys_serve_up_to_the_limit() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    host.pass(10 * MINUTE);
    host.fail(failure());
    assert!(host.has("a"), "a failure changes nothing about the keys");
    host.pass(DAY);
    host.fail(failure());
    assert!(host.has("a"));
    host.pass(SECOND);
    assert!(!host.has("a"));
    assert!(matches!(host.refusal(), Unavailable::Keys { .. }));
    host.fail(failure());
    assert!(!host.has("a"));
    host.succeed(fetched("a"));
    assert!(host.has("a"));
}

#[test]
fn a_304_renews_what_is_held() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    for _ in 0..400 {
        host.pass(8 * MINUTE);
        assert_eq!(host.state.begin().etag.as_deref(), Some("\"a\""));
        host.state.succeed(unchanged(), "url", host.now, 0.5);
    }
    assert!(host.has("a"));
    host.pass(10 * MINUTE + DAY);
    assert!(host.has("a"));
    host.pass(SECOND);
    assert!(!host.has("a"));
}

#[test]
fn a_new_set_replaces_the_old_one_as_a_whole() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    host.succeed(fetched("b"));
    assert!(host.has("b") && !host.has("a"));
}

/// A fetch that brings a set with nothing usable in it.
fn unusable(text: &str) -> Fetched {
    Fetched {
        new: Some(NewKeys {
            keys: KeySet::parse(text.as_bytes()).unwrap(),
            text: text.into(),
            etag: Some("\"unusable\"".into()),
        }),
        max_age: Some(DAY),
        ..unchanged()
    }
}

const UNUSABLE: [&str; 2] = [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"EC","kid":"a"}]}"#];

#[test]
fn a_set_without_a_usable_key_replaces_the_keys_and_is_kept() {
    for text in UNUSABLE {
        let mut host = Host::new();
        host.succeed(fetched("a"));
        let stored = host.succeed(unusable(text)).unwrap();
        assert_eq!(*stored.text, *text.as_bytes());
        assert!(matches!(host.refusal(), Unavailable::Keys { .. }));
        // A failure changes nothing about that, nor does a restart.
        host.fail(failure());
        assert!(matches!(host.refusal(), Unavailable::Keys { .. }));
        let keys = KeySet::parse(&stored.text).unwrap();
        let mut restarted = Host::new();
        restarted.state.take_stored(keys, stored, restarted.now);
        assert!(matches!(restarted.refusal(), Unavailable::Keys { .. }));
        restarted.succeed(fetched("a"));
        assert!(restarted.has("a"));
    }
}

#[test]
fn a_set_without_a_usable_key_is_fetched_again_within_a_minute() {
    for text in UNUSABLE {
        let mut host = Host::new();
        for _ in 0..2 {
            for random in [0.0, 0.5, 1.0] {
                host.state.begin();
                host.state.succeed(unusable(text), "url", host.now, random);
                let pause = host.until_fetch();
                assert!(pause > 30 * SECOND && pause < MINUTE, "{pause:?}");
            }
            host.state.begin();
            host.state.succeed(unchanged(), "url", host.now, 0.5);
            assert!(host.until_fetch() < MINUTE, "unchanged");
        }
    }
}

#[test]
fn a_set_without_a_usable_key_is_told_loudly() {
    for text in UNUSABLE {
        let mut host = Host::new();
        host.succeed(fetched("a"));
        host.succeed(unusable(text));
        let lines = host.state.take_lines();
        let is_loud = |line: &Line| {
            line.level == Level::Error && line.text.contains("has no usable key: nobody is let in")
        };
        assert!(lines.iter().any(is_loud), "{lines:?}");
        let standing = host.state.standing(None, host.now);
        assert!(standing.contains("no usable key"), "{standing}");
    }
}

#[test]
fn who_asks_for_a_fetch_gets_past_caches() {
    let mut host = Host::new();
    assert!(!host.state.begin().no_cache, "the first");
    host.state.succeed(fetched("a"), "url", host.now, 0.5);
    assert!(!host.state.begin().no_cache, "by the schedule");
    host.state.succeed(unchanged(), "url", host.now, 0.5);
    assert!(host.ask());
    assert!(host.state.begin().no_cache, "for a token");
    // Wanted while one is under way.
    host.state.want(Cause::Operator);
    host.state.succeed(unchanged(), "url", host.now, 0.5);
    assert!(host.state.begin().no_cache, "for an operator");
    host.state.succeed(unchanged(), "url", host.now, 0.5);
    assert!(!host.state.begin().no_cache);
}

#[test]
fn the_same_text_keeps_the_same_set() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    let first = host.state.current(host.now).unwrap();
    host.succeed(fetched("a"));
    let second = host.state.current(host.now).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn tokens_get_one_fetch_per_cooldown() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    assert!(host.ask());
    assert_eq!(host.until_fetch(), Duration::ZERO);
    assert!(!host.ask(), "one is wanted already");
    host.state.begin();
    assert!(!host.ask(), "one is under way");
    host.state.succeed(unchanged(), "url", host.now, 0.5);
    assert!(!host.ask(), "cooling down");
    host.pass(29 * SECOND);
    assert!(!host.ask());
    host.pass(SECOND);
    assert!(host.ask());
    host.fail(failure());
    assert!(!host.ask(), "whatever became of it");
}

#[test]
fn a_refresh_wanted_during_a_fetch_follows_it() {
    let mut host = Host::new();
    host.state.begin();
    host.state.want(Cause::Operator);
    host.state.succeed(fetched("a"), "url", host.now, 0.5);
    assert_eq!(host.until_fetch(), Duration::ZERO);
    host.succeed(fetched("a"));
    assert!(host.until_fetch() > Duration::ZERO);
}

#[test]
fn only_a_recent_success_proves_that_a_key_is_not_there() {
    let mut host = Host::new();
    assert!(!host.state.is_proven(0, host.now), "never fetched");
    host.succeed(fetched("a"));
    assert!(host.state.is_proven(0, host.now), "fetched since");
    assert!(host.state.is_proven(1, host.now), "fetched just before");
    host.pass(31 * SECOND);
    assert!(!host.state.is_proven(1, host.now), "long ago");
    host.fail(failure());
    assert!(!host.state.is_proven(1, host.now), "failed since");
    assert!(!host.state.is_proven(2, host.now), "failed before");
}

#[test]
fn clients_are_told_when_the_next_fetch_may_come() {
    let mut host = Host::new();
    let retry_after = Some(90 * SECOND);
    host.fail(FetchFailure {
        retry_after,
        ..failure()
    });
    assert_eq!(
        host.refusal(),
        Unavailable::Keys {
            retry_after: SECOND
        },
        "a token may ask"
    );
    assert!(host.ask());
    host.fail(FetchFailure {
        retry_after,
        ..failure()
    });
    assert_eq!(
        host.refusal(),
        Unavailable::Keys {
            retry_after: 30 * SECOND
        },
        "after the cooldown"
    );
    host.pass(20 * SECOND);
    assert_eq!(
        host.refusal(),
        Unavailable::Keys {
            retry_after: 10 * SECOND
        }
    );
}
