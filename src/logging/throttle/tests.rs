use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

#[test]
fn one_line_per_interval_tells_how_many_were_left_out() {
    let throttle = Throttle::new(INTERVAL);
    let start = Instant::now();
    let at = |millis| throttle.pass(start + Duration::from_millis(millis));
    assert_eq!(at(0), Some(0));
    assert_eq!(at(0), None);
    assert_eq!(at(5_000), None);
    assert_eq!(at(9_999), None);
    assert_eq!(at(10_000), Some(3));
    // The interval begins anew with each line that passes.
    assert_eq!(at(19_999), None);
    assert_eq!(at(60_000), Some(1));
    assert_eq!(at(70_000), Some(0));
}

#[test]
fn a_time_before_the_latest_line_is_too_early() {
    let throttle = Throttle::new(INTERVAL);
    let start = Instant::now();
    // Threads take the time before they come here, and may overtake each other.
    assert_eq!(throttle.pass(start + INTERVAL), Some(0));
    assert_eq!(throttle.pass(start), None);
    assert_eq!(throttle.pass(start + 2 * INTERVAL), Some(1));
}

#[test]
fn of_many_threads_one_passes_and_none_is_forgotten() {
    static THROTTLE: Throttle = Throttle::new(INTERVAL);
    let now = Instant::now();
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..1000).filter_map(|_| THROTTLE.pass(now)).count()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(passed, 1);
    assert_eq!(THROTTLE.pass(now + INTERVAL), Some(7999));
}
