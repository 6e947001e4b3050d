use super::*;

#[test]
fn bounds_rise() {
    assert!(BOUNDS.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_time_is_counted_from_its_bound_on() {
    let histogram = Histogram::new();
    let nanosecond = Duration::from_nanos(1);
    for time in [
        Duration::ZERO,
        BOUNDS[0],
        BOUNDS[0] + nanosecond,
        BOUNDS[15],
        BOUNDS[15] + nanosecond,
    ] {
        histogram.observe(time);
    }
    let observed = histogram.observed();
    let counts: Vec<u64> = observed.cumulative().map(|(_, count)| count).collect();
    assert_eq!(counts[..3], [2, 3, 3]);
    assert_eq!(counts[14..], [3, 4]);
    assert_eq!(observed.count(), 5);
    assert_eq!(observed.sum(), 2 * (BOUNDS[0] + BOUNDS[15] + nanosecond));
}

#[test]
fn histograms_add_up() {
    let (first, second) = (Histogram::new(), Histogram::new());
    first.observe(Duration::from_millis(1));
    second.observe(Duration::from_secs(3600));
    let mut both = first.observed();
    both.add(&second);
    assert_eq!(both.count(), 2);
    assert_eq!(both.sum(), Duration::from_millis(3_600_001));
}
