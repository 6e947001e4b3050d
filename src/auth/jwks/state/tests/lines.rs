//! What is logged, and how often.

use super::*;

#[test]
fn the_log_is_told_once_of_each_change() {
    let mut host = Host::new();
    host.succeed(fetched("a"));
    host.fail(failure());
    assert_eq!(host.state.logged_staleness, Staleness::Fresh);
    host.pass(11 * MINUTE);
    host.fail(failure());
    assert_eq!(host.state.logged_staleness, Staleness::Stale);
    host.pass(DAY);
    host.fail(failure());
    assert_eq!(host.state.logged_staleness, Staleness::TooStale);
    host.succeed(fetched("a"));
    assert_eq!(host.state.logged_staleness, Staleness::Fresh);
}

/// How many lines of this level have been logged since the last look, and the last of them.
fn logged(host: &mut Host, level: Level) -> (usize, String) {
    let lines = host.state.take_lines().into_iter();
    let texts: Vec<_> = lines
        .filter(|line| line.level == level)
        .map(|line| line.text)
        .collect();
    (texts.len(), texts.last().cloned().unwrap_or_default())
}

#[test]
fn lines_that_tokens_cause_are_logged_once_in_ten_seconds_with_a_count() {
    let mut host = Host::new();
    host.state.cooldown = SECOND;
    host.succeed(fetched("a"));
    logged(&mut host, Level::Warn);
    for unusable in [false, true] {
        let level = if unusable { Level::Error } else { Level::Warn };
        let token = |host: &mut Host| {
            host.pass(SECOND);
            assert!(host.ask());
            match unusable {
                true => drop(host.succeed(self::unusable(UNUSABLE[0]))),
                false => host.fail(failure()),
            }
        };
        for round in 0..3 {
            token(&mut host);
            let (count, text) = logged(&mut host, level);
            assert_eq!(count, 1, "{round}");
            let is_counted = text.contains(" 9 times before without a line; next try in ");
            assert_eq!(is_counted, round > 0, "{text}");
            (0..9).for_each(|_| token(&mut host));
            assert_eq!(logged(&mut host, level).0, 0, "{round}");
        }
        // Those that no token causes are all logged.
        for _ in 0..3 {
            match unusable {
                true => drop(host.succeed(self::unusable(UNUSABLE[0]))),
                false => host.fail(failure()),
            }
            assert_eq!(logged(&mut host, level).0, 1);
        }
    }
}

#[test]
fn what_is_wrong_with_a_set_is_logged_once() {
    let mut host = Host::new();
    for (text, count) in [
        (r#"{"keys":[{"kty":"EC"}]}"#, 1),
        (r#"{"keys":[{"kty":"EC"}], "a": 1}"#, 0),
        (r#"{"keys":[{"kty":"EC"}, 1]}"#, 2),
        (r#"{"keys":[{"kty":"EC"}]}"#, 1),
    ] {
        host.succeed(unusable(text));
        assert_eq!(logged(&mut host, Level::Warn).0, count, "{text}");
    }
}
