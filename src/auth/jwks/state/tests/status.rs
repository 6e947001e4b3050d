//! What those who watch are told, against what requests get.

use super::*;

impl Host {
    /// The status. It must agree with what a request would get.
    fn status(&mut self) -> Status {
        let status = self.state.status(self.now);
        let current = self.state.current(self.now);
        match (status.not_ready, &current) {
            (None, Ok(keys)) => assert_eq!(status.keys, keys.len()),
            (Some(NotReady::Clock(_)), Err(Unavailable::Clock { .. })) => {}
            (Some(not_ready), Err(Unavailable::Keys { .. })) => {
                assert!(!matches!(not_ready, NotReady::Clock(_)));
            }
            (not_ready, current) => panic!("{not_ready:?} and {current:?}"),
        }
        status
    }
}

#[test]
fn without_a_key_set_there_is_no_age() {
    let mut host = Host::new();
    let status = host.status();
    let expected = Status {
        keys: 0,
        ages: None,
        clock_offset: None,
        not_ready: Some(NotReady::NoKeys),
    };
    assert_eq!(status, expected);
    host.fail(failure());
    assert_eq!(host.status(), expected);
}

#[test]
fn keys_age_until_they_serve_no_longer() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    let [minute, fresh, day] = [MINUTE, 10 * MINUTE, DAY].map(|time| time.as_secs_f64());
    let mut age = 0.0;
    for (pass, not_ready) in [
        (Duration::ZERO, None),
        (MINUTE, None),
        (10 * MINUTE, None),
        (DAY - MINUTE, None),
        (MINUTE, Some(NotReady::TooStale(MINUTE))),
    ] {
        host.pass(pass);
        age += pass.as_secs_f64();
        let status = host.status();
        assert_eq!((status.keys, status.not_ready), (1, not_ready), "{age}");
        let ages = status.ages.unwrap();
        assert_eq!(ages.age, age);
        assert_eq!(ages.fresh_for, fresh - age);
        assert_eq!(ages.serves_for, fresh + day - age);
    }
    assert_eq!(age, fresh + day + minute);
    host.succeed(unchanged());
    assert_eq!(host.status().ages.unwrap().age, 0.0);
}

#[test]
fn a_set_without_a_usable_key_is_told_apart() {
    let mut host = Host::new();
    let text = br#"{"keys":[]}"#.to_vec();
    let keys = KeySet::parse(&text).unwrap();
    let etag = None;
    host.succeed(Fetched {
        new: Some(NewKeys { keys, text, etag }),
        ..unchanged()
    });
    let status = host.status();
    assert_eq!(status.not_ready, Some(NotReady::NoUsableKey));
    assert!(status.ages.is_some());
}

#[test]
fn the_offset_follows_both_clocks() {
    let mut host = Host::new();
    let date = host.now.wall - 3 * SECOND;
    host.succeed(Fetched {
        date: Some(date),
        ..fetched("a")
    });
    assert_eq!(host.status().clock_offset, Some(3.0));
    host.pass(DAY);
    assert_eq!(host.status().clock_offset, Some(3.0));
    host.now.wall -= 10 * SECOND;
    assert_eq!(host.status().clock_offset, Some(-7.0));
    host.fail(FetchFailure {
        date: Some(host.now.wall),
        ..failure()
    });
    assert_eq!(host.status().clock_offset, Some(0.0));
    host.now.wall -= 2 * DAY;
    let status = host.status();
    assert_eq!(status.clock_offset, Some(-2.0 * DAY.as_secs_f64()));
    assert!(matches!(status.not_ready, Some(NotReady::Clock(behind)) if behind >= 2 * DAY));
}

#[test]
fn each_reason_is_one_line() {
    for (reason, begin) in [
        (NotReady::Clock(DAY), "clock: 86400 s"),
        (NotReady::NoKeys, "no keys: "),
        (NotReady::NoUsableKey, "no keys: "),
        (NotReady::TooStale(MINUTE), "keys too stale: "),
    ] {
        let line = reason.to_string();
        assert!(line.starts_with(begin) && !line.contains('\n'), "{line}");
    }
}
