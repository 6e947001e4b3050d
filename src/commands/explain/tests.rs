use super::*;

#[test]
fn times_are_told_in_words() {
    for (time, words) in [
        (1_795_514_400.0, "2026-11-24T10:00:00Z, 3600 s ago"),
        (1_795_518_000.0, "2026-11-24T11:00:00Z, in 0 s"),
        (1_795_521_600.9, "2026-11-24T12:00:00Z, in 3600 s"),
        (-1.0, "1969-12-31T23:59:59Z, 1795518001 s ago"),
        (1e300, "in 9223372035059257807 s"),
        (-1e300, "9223372036854775807 s ago"),
    ] {
        let told = in_words(time, 1_795_518_000);
        assert!(told.ends_with(words), "{told}");
    }
}
