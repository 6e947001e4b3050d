//! Keys from an earlier run, and clocks that are wrong or jump.

use super::*;

#[test]
fn keys_from_disk_serve_by_their_age_on_the_tenants_clock() {
    let limit = 10 * MINUTE + DAY;
    for (age, serves) in [
        (Duration::ZERO, true),
        (DAY, true),
        (limit, true),
        (limit + SECOND, false),
    ] {
        let mut host = Host::new();
        host.take_stored("a", host.now.wall - age);
        assert_eq!(host.has("a"), serves, "{age:?}");
        assert_eq!(
            host.until_fetch(),
            Duration::ZERO,
            "it is fetched at once all the same"
        );
    }
    let mut host = Host::new();
    host.take_stored("a", host.now.wall - DAY);
    host.pass(10 * MINUTE + SECOND);
    assert!(!host.has("a"), "it ages on");
    host.succeed(fetched("a"));
    assert!(host.has("a"));
}

#[test]
fn keys_from_disk_are_fresh_for_a_day_at_the_most() {
    for (fresh_for, limit) in [(60, 60), (86_400, 86_400), (u64::MAX, 86_400)] {
        let mut host = Host::new();
        let stored = Stored {
            text: text("a").into(),
            fetched: host.now.wall,
            fresh_for: Duration::from_secs(fresh_for),
        };
        let keys = KeySet::parse(&stored.text).unwrap();
        host.state.take_stored(keys, stored, host.now);
        host.pass(Duration::from_secs(limit) + DAY);
        assert!(host.has("a"), "{fresh_for}");
        host.pass(SECOND);
        assert!(!host.has("a"), "{fresh_for}");
    }
}

#[test]
fn a_clock_behind_the_floor_lets_nobody_in_until_it_is_set() {
    let mut host = Host::new();
    let right = host.now.wall;
    host.take_stored("a", right - Duration::from_secs(60));
    host.now.wall = SystemTime::UNIX_EPOCH;
    assert_eq!(
        host.refusal(),
        Unavailable::Clock {
            retry_after: CLOCK_RETRY
        }
    );
    host.now.wall = right - DAY - 2 * MINUTE;
    assert!(matches!(host.refusal(), Unavailable::Clock { .. }));
    host.now.wall = right - DAY;
    assert!(host.has("a"), "a day behind is believed");
    host.now.wall = right;
    assert!(host.has("a"), "set");
}

#[test]
fn keys_from_disk_loaded_under_an_unset_clock_are_judged_when_it_is_set() {
    let mut host = Host::new();
    let right = host.now.wall;
    host.now.wall = SystemTime::UNIX_EPOCH;
    host.take_stored("a", right - 10 * DAY);
    assert!(matches!(host.refusal(), Unavailable::Clock { .. }));
    host.now.wall = right;
    assert!(
        matches!(host.refusal(), Unavailable::Keys { .. }),
        "ten days are too old"
    );
    host.now.wall = right - 9 * DAY - 12 * 60 * MINUTE;
    assert!(host.has("a"));
}

#[test]
fn keys_from_disk_loaded_under_a_clock_years_ahead_serve_when_it_is_set_back() {
    let mut host = Host::new();
    let right = host.now.wall;
    host.now.wall = right + 3000 * DAY;
    host.take_stored("a", right);
    assert!(!host.has("a"));
    host.now.wall = right;
    assert!(host.has("a"));
}

#[test]
fn the_floor_is_the_latest_word_of_the_tenant() {
    let mut host = Host::new();
    let right = host.now.wall;
    let with_date = |date| Fetched {
        date: Some(date),
        ..fetched("a")
    };
    host.succeed(with_date(right + 3 * DAY));
    assert!(matches!(host.refusal(), Unavailable::Clock { .. }));
    host.succeed(with_date(right));
    assert!(host.has("a"), "downwards, too");
    let date = Some(right + 3 * DAY);
    host.fail(FetchFailure { date, ..failure() });
    assert!(
        matches!(host.refusal(), Unavailable::Clock { .. }),
        "a refusal has a date as well"
    );
    host.fail(failure());
    assert!(
        matches!(host.refusal(), Unavailable::Clock { .. }),
        "no date says nothing"
    );
}

#[test]
fn a_copy_on_disk_does_not_lower_the_floor() {
    let mut host = Host::new();
    let program = host.settings.program_date;
    host.take_stored("a", program - 400 * DAY);
    host.now.wall = program - 400 * DAY;
    assert!(matches!(host.refusal(), Unavailable::Clock { .. }));
    // Nor does a tenant.
    let date = Some(program - 400 * DAY);
    host.succeed(Fetched {
        date,
        ..fetched("a")
    });
    assert!(matches!(host.refusal(), Unavailable::Clock { .. }));
    host.now.wall = program;
    assert!(host.has("a"));
}

#[test]
fn the_floor_rises_while_it_runs() {
    let mut host = Host::new();
    let date = Some(host.now.wall);
    host.succeed(Fetched {
        date,
        max_age: Some(DAY),
        ..fetched("a")
    });
    let right = host.now.wall;
    host.pass(DAY + 2 * MINUTE);
    assert!(host.has("a"));
    host.now.wall = right;
    assert!(matches!(host.refusal(), Unavailable::Clock { .. }));
    host.now.wall = right + 3 * MINUTE;
    assert!(host.has("a"));
}

#[test]
fn keys_from_disk_age_by_the_clock_since_boot_if_the_other_is_set_back() {
    let mut host = Host::new();
    let right = host.now.wall;
    host.take_stored("a", right - 20 * MINUTE);
    host.pass(DAY - 5 * MINUTE);
    assert!(!host.has("a"));
    host.now.wall = right;
    assert!(
        host.has("a"),
        "they may have been taken under a clock that was ahead"
    );
    host.pass(16 * MINUTE);
    host.now.wall = right;
    assert!(!host.has("a"));
}

#[test]
fn stamps_never_come_from_this_hosts_clock() {
    let mut host = Host::new();
    let right = host.now.wall;
    host.now.wall = right + 3000 * DAY;
    let date = Some(right);
    let stored = host
        .succeed(Fetched {
            date,
            ..fetched("a")
        })
        .unwrap();
    assert_eq!(stored.fetched, right);
    let mut host = Host::new();
    let stored = host.succeed(fetched("a")).unwrap();
    assert_eq!(
        stored.fetched, host.settings.program_date,
        "without a date, the floor is what is known"
    );
}

#[test]
fn clock_jumps_neither_stop_the_refresher_nor_make_it_spin() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    let before = host.until_fetch();
    for jump in [
        SystemTime::UNIX_EPOCH,
        host.now.wall - 3000 * DAY,
        host.now.wall + 3000 * DAY,
    ] {
        host.now.wall = jump;
        assert_eq!(host.until_fetch(), before);
    }
    assert!(
        host.has("a"),
        "fetched in this run, it ages by the clock that never jumps"
    );
    host.pass(before);
    assert_eq!(host.until_fetch(), Duration::ZERO);
}
