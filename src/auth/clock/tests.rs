//! Time since boot, compared with the system's, and the floor of the wall clock.

use std::time::UNIX_EPOCH;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Moment {
    /// That much later by the time since boot, and this time by the wall clock.
    pub(in crate::auth) fn later(time: Duration, wall: SystemTime) -> Moment {
        Moment {
            boot: BootTime::now() + time,
            wall,
        }
    }
}

/// So many days after 1970.
fn day(days: u32) -> SystemTime {
    UNIX_EPOCH + DAY * days
}

const BOOT: BootTime = BootTime(Duration::ZERO);

/// The first number of `/proc/uptime`, which counts suspend, in seconds.
#[cfg(target_os = "linux")]
fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Distinguishes the clocks on a host that was suspended, or in a time namespace:
/// `unshare --time --boottime 86400 --fork`.
#[cfg(target_os = "linux")]
#[test]
fn suspend_counts() {
    let before = uptime();
    let now = BootTime::now().0.as_secs_f64();
    let after = uptime();
    // It has two decimals, cut off.
    assert!(
        (before..after + 0.02).contains(&now),
        "{before} {now} {after}"
    );
}

#[test]
fn the_floor_is_the_latest_date_known() {
    for (program, keys, answer, floor) in [
        (10, None, None, 10),
        (10, Some(20), None, 20),
        (10, Some(9), None, 10),
        (10, None, Some(9), 10),
        (10, Some(20), Some(30), 30),
        (10, Some(30), Some(20), 30),
        (40, Some(30), Some(20), 40),
    ] {
        let mut clock_floor = ClockFloor::new(day(program), BOOT);
        if let Some(keys) = keys {
            clock_floor.set_keys_date(day(keys), BOOT);
        }
        if let Some(answer) = answer {
            clock_floor.set_answer_date(day(answer), BOOT);
        }
        assert_eq!(clock_floor.at(BOOT), day(floor));
        assert_eq!(clock_floor.at(BOOT + DAY), day(floor + 1), "it rises");
    }
}

#[test]
fn each_date_rises_from_when_it_became_known() {
    let mut floor = ClockFloor::new(day(10), BOOT);
    floor.set_keys_date(day(12), BOOT + DAY);
    assert_eq!(floor.at(BOOT + DAY * 2), day(13));
    floor.set_answer_date(day(12), BOOT + DAY * 4);
    assert_eq!(floor.at(BOOT + DAY * 4), day(15), "from the keys");
    floor.set_keys_date(day(1), BOOT + DAY * 4);
    assert_eq!(floor.at(BOOT + DAY * 4), day(14), "from the program");
}

#[test]
fn the_next_right_date_replaces_one_that_was_ahead() {
    let mut floor = ClockFloor::new(day(10), BOOT);
    floor.set_keys_date(day(5000), BOOT);
    floor.set_answer_date(day(5000), BOOT);
    floor.set_answer_date(day(20), BOOT);
    assert_eq!(floor.at(BOOT), day(5000), "it came with the keys");
    floor.set_keys_date(day(20), BOOT);
    assert_eq!(floor.at(BOOT), day(20));
}

#[test]
fn a_clock_is_believed_up_to_a_day_behind() {
    let floor = ClockFloor::new(day(10), BOOT);
    let behind = |boot, wall| floor.too_far_behind(Moment { boot, wall });
    assert_eq!(behind(BOOT, day(5000)), None);
    assert_eq!(behind(BOOT, day(9)), None);
    assert_eq!(behind(BOOT, day(9) - SECOND), Some(DAY + SECOND));
    assert_eq!(behind(BOOT + SECOND, day(9)), Some(DAY + SECOND));
    assert_eq!(behind(BOOT, UNIX_EPOCH), Some(DAY * 10));
}

#[test]
fn a_date_at_the_end_of_all_time_is_no_panic() {
    let mut last = UNIX_EPOCH;
    for power in (0..63).rev() {
        let next = last.checked_add(Duration::from_secs(1 << power));
        last = next.unwrap_or(last);
    }
    let mut floor = ClockFloor::new(day(10), BOOT);
    floor.set_keys_date(last, BOOT);
    assert_eq!(floor.at(BOOT + DAY), last);
}
