use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

#[test]
fn deadlines_come_out_as_from_a_sorted_map() {
    let start = Instant::now();
    let mut timers = Timers::default();
    let mut expected: BTreeMap<u32, Instant> = BTreeMap::new();
    let mut random = 1_u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (number, milliseconds) = ((random >> 33) as u32 % 200, random >> 40);
        let time = start + Duration::from_millis(milliseconds % 5_000);
        if random >> 63 == 0 {
            let entry = expected.entry(number).or_insert(time);
            *entry = time.min(*entry);
            timers.set(number, time);
        } else if let Some(number) = timers.pop_due(time) {
            let due = expected.remove(&number).unwrap();
            assert!(due <= time);
            assert!(expected.values().all(|other| *other >= due));
        } else {
            assert!(expected.values().all(|due| *due > time));
        }
        assert_eq!(timers.next(), expected.values().min().copied());
    }
    assert!(!expected.is_empty());
}

#[test]
fn a_later_time_changes_nothing() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let mut timers = Timers::default();
    assert!(timers.set(7, start));
    assert!(!timers.set(7, later));
    assert!(!timers.set(3, later));
    assert_eq!(timers.pop_due(start), Some(7));
    assert_eq!(timers.pop_due(start), None);
    assert_eq!(timers.next(), Some(later));
}
