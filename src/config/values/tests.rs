use super::*;
use crate::config::tests::{assert_faults, with};

#[test]
fn audiences() {
    for value in [
        "https://api.example.com",
        "https://x/",
        "Hello World",
        "ä",
        "a\"b",
    ] {
        assert_eq!(with("AUTH0_AUDIENCE", value).unwrap().audience, value);
    }
    assert_faults(
        "AUTH0_AUDIENCE",
        &[
            ("\"https://x\"", "without quotes around it: https://x"),
            ("'https://x", "without quotes around it: https://x"),
            ("https://x ", "without spaces around it: https://x"),
            ("\u{a0}https://x", "without spaces around it: https://x"),
            ("https://x\r", "without spaces around it: https://x"),
            ("a\tb", "without control characters"),
            ("a\u{85}b", "without control characters"),
            ("\"\"", "without quotes around it"),
        ],
    );
}

#[test]
fn ports() {
    for (value, port) in [("0", 0), ("1", 1), ("08080", 8080), ("65535", 65535)] {
        assert_eq!(with("PORT", value).unwrap().listen.port(), port);
    }
    let advice = "write a whole number from 1 to 65535, or 0 for any free port";
    assert_faults(
        "PORT",
        &[
            ("65536", advice),
            ("99999999999999999999999", advice),
            ("-1", advice),
            ("+1", advice),
            ("80.0", advice),
            ("http", advice),
            ("tcp://10.0.0.1:80", advice),
            ("٣", advice),
            ("\"6060\"", "without quotes around it: 6060"),
            ("6060 ", "without spaces around it: 6060"),
        ],
    );
}

#[test]
fn hosts() {
    for value in ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1"] {
        let expected: IpAddr = value.parse().unwrap();
        assert_eq!(with("HOST", value).unwrap().listen.ip(), expected);
    }
    let generic = "write an IP address: 127.0.0.1 for this machine only";
    assert_faults(
        "HOST",
        &[
            ("localhost", "write 127.0.0.1"),
            ("LOCALHOST", "write 127.0.0.1"),
            ("[::1]", "write it without brackets: ::1"),
            ("127.0.0.1:8080", "write 127.0.0.1 here and 8080 in PORT"),
            ("[::1]:8080", "write ::1 here and 8080 in PORT"),
            ("*", "write 0.0.0.0"),
            ("x86_64-conda-linux-gnu", generic),
            ("http://127.0.0.1", generic),
            ("127.1", generic),
            ("[localhost]", generic),
        ],
    );
}

#[test]
fn connections_are_counted_in_whole_numbers() {
    assert_eq!(with("PORT", "1").unwrap().max_connections, 256);
    assert_eq!(with("MAX_CONNECTIONS", "1").unwrap().max_connections, 1);
    assert_eq!(
        with("MAX_CONNECTIONS", "65536").unwrap().max_connections,
        65_536
    );
    let advice = "write a whole number from 1 to 65536";
    for wrong in ["0", "65537", "-1", "many", "1k"] {
        assert_faults("MAX_CONNECTIONS", &[(wrong, advice)]);
    }
}

#[test]
fn the_token_cache_may_be_of_no_size() {
    assert_eq!(with("PORT", "1").unwrap().token_cache_size, 1024);
    for (value, size) in [("0", 0), ("1", 1), ("1000000", 1_000_000)] {
        let config = with("TOKEN_CACHE_SIZE", value).unwrap();
        assert_eq!(config.token_cache_size, size);
    }
    let advice = "write a whole number from 0 to 1000000";
    for wrong in ["1000001", "-1", "off", "1k"] {
        assert_faults("TOKEN_CACHE_SIZE", &[(wrong, advice)]);
    }
}

#[test]
fn seconds_are_whole_and_within_their_range() {
    let timeouts = [
        ("HEAD_TIMEOUT_SECONDS", "1"),
        ("IDLE_TIMEOUT_SECONDS", "3600"),
        ("WRITE_TIMEOUT_SECONDS", "60"),
        ("JWKS_COOLDOWN_SECONDS", "001"),
        ("CLOCK_LEEWAY_SECONDS", "0"),
        ("CLOCK_LEEWAY_SECONDS", "300"),
    ];
    for (name, value) in timeouts {
        with(name, value).unwrap();
    }
    assert_eq!(
        with("HEAD_TIMEOUT_SECONDS", "7").unwrap().head_timeout,
        Duration::from_secs(7)
    );
    for (name, _) in &timeouts[..4] {
        let advice = "write a whole number from 1 to 3600";
        let wrong = [
            "0",
            "3601",
            "-1",
            "+1",
            "1.5",
            "10s",
            "1e3",
            "18446744073709551616",
        ];
        assert_faults(name, &wrong.map(|value| (value, advice)));
    }
    let advice = "write a whole number from 0 to 300";
    assert_faults("CLOCK_LEEWAY_SECONDS", &[("301", advice), ("five", advice)]);
}

#[test]
fn log_levels() {
    let levels = ["error", "WARN", "Info", "debug", "trace"];
    for (value, level) in levels.into_iter().zip(LevelFilter::iter().skip(1)) {
        assert_eq!(with("RUST_LOG", value).unwrap().log_level, level);
    }
    let generic = "write one of error, warn, info, debug, trace";
    assert_faults(
        "RUST_LOG",
        &[
            ("postern=debug", "without targets; write debug"),
            ("warn,postern=TRACE", "without targets; write trace"),
            ("postern=x", generic),
            ("off", generic),
            ("verbose", generic),
            ("1", generic),
        ],
    );
}
