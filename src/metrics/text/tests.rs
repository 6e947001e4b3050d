use std::time::Duration;

use super::*;
use crate::metrics::Histogram;

#[test]
fn a_family_begins_with_its_help_and_its_type() {
    let mut exposition = Exposition::default();
    exposition.counter("a_total", "What a is.").value(1);
    exposition.gauge("b", "What b is.").value(-0.5);
    assert_eq!(
        exposition.into_text(),
        "# HELP a_total What a is.\n# TYPE a_total counter\na_total 1\n\
         # HELP b What b is.\n# TYPE b gauge\nb -0.5\n"
    );
}

#[test]
fn what_would_end_a_text_is_escaped() {
    let mut exposition = Exposition::default();
    let mut family = exposition.gauge("a", "one\ntwo \\ \"three\"");
    family.sample(&[("x", "a\"b\\c\nd"), ("y", "é }, {"), ("z", "")], 1);
    assert_eq!(
        exposition.into_text(),
        "# HELP a one\\ntwo \\\\ \"three\"\n# TYPE a gauge\n\
         a{x=\"a\\\"b\\\\c\\nd\",y=\"é }, {\",z=\"\"} 1\n"
    );
}

#[test]
fn values_are_as_the_format_has_them() {
    let printed = |value: Value| value.to_string();
    assert_eq!(printed(u64::MAX.into()), "18446744073709551615");
    assert_eq!(printed(f64::INFINITY.into()), "+Inf");
    assert_eq!(printed(f64::NEG_INFINITY.into()), "-Inf");
    assert_eq!(printed(f64::NAN.into()), "NaN");
    assert_eq!(printed(1e-7.into()), "0.0000001");
    assert_eq!(printed(1e21.into()), "1000000000000000000000");
    assert_eq!(printed(2.0.into()), "2");
}

#[test]
fn a_histogram_ends_in_all_times_their_sum_and_their_count() {
    let histogram = Histogram::new();
    [1, 2, 700, 20_000]
        .map(Duration::from_millis)
        .into_iter()
        .for_each(|time| histogram.observe(time));
    let mut exposition = Exposition::default();
    exposition.histogram("t_seconds", "Times.", &histogram.observed());
    let text = exposition.into_text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[1], "# TYPE t_seconds histogram");
    assert_eq!(lines[2], "t_seconds_bucket{le=\"0.0001\"} 0");
    assert_eq!(lines[5], "t_seconds_bucket{le=\"0.001\"} 1");
    assert_eq!(lines[6], "t_seconds_bucket{le=\"0.0025\"} 2");
    assert_eq!(
        lines[17..],
        [
            "t_seconds_bucket{le=\"10\"} 3",
            "t_seconds_bucket{le=\"+Inf\"} 4",
            "t_seconds_sum 20.703",
            "t_seconds_count 4",
        ]
    );
}

#[test]
fn names_have_few_characters() {
    for name in ["a", "_", "postern_x_total", "a:b", "A9"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "9a", "a-b", "a b", "é"] {
        assert!(!is_name(name), "{name}");
    }
}
