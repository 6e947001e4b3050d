//! A system clock that jumps while the server runs, or is wrong when it starts. Answers follow the
//! clock. While it cannot be right, no token is accepted; once it is right, tokens are accepted
//! again.
//!
//! A preloaded library gives the server a clock of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::TempDir;
use crate::support::client::{Response, bearer};
use crate::support::contract::PUBLIC;
use crate::support::postern::{Builder, Postern, binary};
use crate::support::tenant::Tenant;
use crate::support::token::{Token, now};
use crate::support::verdict::{EXPIRED, NOT_YET, assert_invalid_token, assert_unavailable};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The clock of one server.
struct Clock {
    dir: TempDir,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right. `None` when the server is a static binary, which takes no library:
    /// whose code is the same.
    fn new() -> Option<Clock> {
        let program = fs::read(binary()).unwrap();
        let loader = b"/lib64/ld-linux";
        let generic = b"/lib/ld-linux";
        let has = |name: &[u8]| program.windows(name.len()).any(|part| part == name);
        if !has(loader) && !has(generic) {
            eprintln!("not tried: {} is static", binary().display());
            return None;
        }
        let dir = TempDir::new();
        let library = dir.path().join("clock.so");
        let source = dir.path().join("clock.c");
        fs::write(&source, include_str!("../support/clock.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        let status = compiler.arg(&library).arg(&source).status();
        assert!(status.is_ok_and(|status| status.success()), "{compiler:?}");
        let clock = Clock { dir, library };
        clock.jump(0);
        Some(clock)
    }

    /// From now on it is that many seconds off.
    fn jump(&self, offset: i64) {
        let [file, new] = ["offset", "offset.new"].map(|name| self.dir.path().join(name));
        fs::write(&new, offset.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// A server that goes by it.
    fn builder(&self, tenant: &Tenant) -> Builder {
        let offset = self.dir.path().join("offset");
        Postern::builder(tenant)
            .env("LD_PRELOAD", self.library.display().to_string())
            .env("CLOCK_OFFSET_FILE", offset.display().to_string())
    }
}

#[track_caller]
fn assert_clock_unset(response: &Response) {
    assert_unavailable(response, "clock_unset");
    assert_eq!(response.header("Retry-After"), Some("30"));
}

#[test]
fn a_clock_that_jumps_changes_the_answers_and_nothing_else() {
    let Some(clock) = Clock::new() else { return };
    let tenant = Tenant::start();
    let postern = clock.builder(&tenant).start();
    postern.wait_for_keys();
    let day = Token::user(&tenant).claim("nbf", json!(now() - 60)).sign();
    let years = Token::user(&tenant).claim("exp", json!(now() + 30 * YEAR as u64));
    let years = years.sign();
    let assert_right = || {
        assert_eq!(postern.get_protected(&day).status, 200);
        assert_eq!(postern.get_protected(&years).status, 200);
    };
    for round in 0..2 {
        // The second time as well, when both tokens have been verified long ago.
        assert_right();
        for later in [2 * DAY, 20 * YEAR] {
            clock.jump(later);
            assert_invalid_token(&postern.get_protected(&day), "expired", EXPIRED);
            assert_eq!(
                postern.get_protected(&years).status,
                200,
                "{later} s, round {round}"
            );
        }
        clock.jump(-HOUR);
        assert_invalid_token(&postern.get_protected(&day), "not yet valid", NOT_YET);
        assert_eq!(postern.get_protected(&years).status, 200);
        // A clock without a battery starts in 1970. Linux refuses earlier times.
        for earlier in [-2 * DAY, -20 * YEAR, -(now() as i64)] {
            clock.jump(earlier);
            assert_clock_unset(&postern.get_protected(&day));
            assert_clock_unset(&postern.get_protected(&years));
            assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        }
        clock.jump(0);
    }
    assert_right();
    assert_eq!(tenant.fetches(), 1, "no interval has changed");
}

#[test]
fn a_start_without_a_clock_or_a_network_lasts_until_the_clock_is_set() {
    let Some(clock) = Clock::new() else { return };
    let mut tenant = Tenant::start();
    let state = TempDir::new();
    Postern::fill_state(&tenant, state.path());
    let user = Token::user(&tenant).sign();
    clock.jump(-(now() as i64));
    tenant.stop();
    let builder = clock.builder(&tenant).state(state.path());
    let postern = builder.env("FORWARD_AUTH_PATH", "/auth").start();
    assert_clock_unset(&postern.get_protected(&user));
    let headers = [("Authorization", &*bearer(&user))];
    assert_clock_unset(&postern.get("/auth", &headers));
    clock.jump(0);
    assert_eq!(postern.get_protected(&user).status, 200);
}

#[test]
fn a_wrong_clock_does_not_keep_it_from_stopping() {
    let Some(clock) = Clock::new() else { return };
    let tenant = Tenant::start();
    for offset in [-20 * YEAR, 20 * YEAR] {
        clock.jump(0);
        let mut postern = clock.builder(&tenant).start();
        postern.wait_for_keys();
        clock.jump(offset);
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        postern.signal("TERM");
        assert_eq!(postern.wait_exit().code(), Some(0));
    }
}
