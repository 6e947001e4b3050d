use super::*;

fn utc(text: &str) -> Option<i64> {
    time(UTC_TIME, text.as_bytes()).map(|at| at.0)
}

fn generalized(text: &str) -> Option<i64> {
    time(GENERALIZED_TIME, text.as_bytes()).map(|at| at.0)
}

#[test]
fn times_of_certificates_are_read() {
    // Each as `date --utc --date=... +%s` prints it.
    assert_eq!(utc("700101000000Z"), Some(0));
    assert_eq!(utc("691231235959Z"), Some(-1));
    assert_eq!(utc("500101000000Z"), Some(-631_152_000));
    assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
    assert_eq!(utc("240229123456Z"), Some(1_709_210_096));
    assert_eq!(generalized("20500101000000Z"), Some(2_524_608_000));
    assert_eq!(generalized("20270131120000Z"), Some(1_801_396_800));
    assert_eq!(generalized("20000229000000Z"), Some(951_782_400));
    assert_eq!(generalized("19700101000000Z"), Some(0));
    // "No well-defined expiration date" (RFC 5280 §4.1.2.5).
    assert_eq!(generalized("99991231235959Z"), Some(253_402_300_799));
    assert_eq!(generalized("00000101000000Z"), Some(-62_167_219_200));
}

#[test]
fn other_forms_of_times_are_not_read() {
    let wrong = [
        "",
        "Z",
        // Without seconds, with fractions, with another zone or none.
        "2401011200Z",
        "240101120000.5Z",
        "240101120000",
        "240101120000+0100",
        "240101120000z",
        "2401011200000",
        // No such dates and times.
        "230229000000Z",
        "240001000000Z",
        "241301000000Z",
        "240100000000Z",
        "240132000000Z",
        "240431000000Z",
        "240101240000Z",
        "240101006000Z",
        "240101000060Z",
        // No digits.
        "24010100000 Z",
        " 40101000000Z",
        "-40101000000Z",
        "2401010000\u{661}Z",
        "240101+10000Z",
        // The length of the other tag.
        "20240101000000Z",
    ];
    for text in wrong {
        assert_eq!(utc(text), None, "{text}");
    }
    let wrong = [
        "",
        "240101000000Z",
        "20240101000000",
        "20240101000000.0Z",
        "20240101000000+0000",
        "21000229000000Z",
        "2024010100000aZ",
        "-0240101000000Z",
        "120240101000000Z",
    ];
    for text in wrong {
        assert_eq!(generalized(text), None, "{text}");
    }
    for tag in (0..=255).filter(|tag| ![UTC_TIME, GENERALIZED_TIME].contains(tag)) {
        assert_eq!(time(tag, b"240101000000Z"), None, "{tag}");
        assert_eq!(time(tag, b"20240101000000Z"), None, "{tag}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    for length in 0..=20 {
        for byte in 0..=255 {
            time(UTC_TIME, &vec![byte; length]);
            time(GENERALIZED_TIME, &vec![byte; length]);
        }
    }
}

#[test]
fn times_are_shown_in_utc() {
    let shown = |seconds| Timestamp(seconds).to_string();
    assert_eq!(shown(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(shown(1_801_396_800), "2027-01-31 12:00:00 UTC");
    assert_eq!(shown(253_402_300_799), "9999-12-31 23:59:59 UTC");
    assert_eq!(shown(-62_167_219_200), "0000-01-01 00:00:00 UTC");
    assert_eq!(shown(i64::MAX), "9223372036854775807 s after 1970");
}

#[test]
fn a_certificate_stands_by_the_second() {
    let validity = Validity {
        not_before: Timestamp(1000),
        not_after: Timestamp(1000 + 20 * DAY),
    };
    let end = validity.not_after.0;
    let cases = [
        (0, Standing::NotYet),
        (999, Standing::NotYet),
        (1000, Standing::Valid),
        (end - 14 * DAY, Standing::Valid),
        (end - 14 * DAY + 1, Standing::Soon(13)),
        (end - 13 * DAY, Standing::Soon(13)),
        (end - 13 * DAY + 1, Standing::Soon(12)),
        (end - DAY, Standing::Soon(1)),
        (end - 1, Standing::Soon(0)),
        (end, Standing::Soon(0)),
        (end + 1, Standing::Over),
        (i64::MAX, Standing::Over),
        (i64::MIN, Standing::NotYet),
    ];
    for (now, standing) in cases {
        assert_eq!(validity.standing(Timestamp(now)), standing, "{now}");
    }
}
