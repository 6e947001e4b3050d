//! Keys that survive: rotation, outage, reboot without network, floods of forged tokens, a clock
//! that is not set. What takes hours is tested beside the state machine, under an injected clock.

use std::fs;
use std::io::{PipeReader, PipeWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::support::client::{Client, bearer};
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::{Behaviour, Tenant, http_date};
use crate::support::token::{AUDIENCE, Token, now};
use crate::support::verdict::assert_unavailable;
use crate::support::{Ending, TempDir, wait_until};

const DAY: u64 = 86_400;

/// A token that is valid except for its signature, by a key that nobody has.
fn forged(tenant: &Tenant, kid: &str) -> String {
    let token = Token::user(tenant).header("kid", json!(kid));
    token.sign_by(|_| vec![0x55; 256])
}

/// A server that keeps its keys in `state`.
fn with_state(tenant: &Tenant, state: &Path) -> Builder {
    Postern::builder(tenant).state(state)
}

fn read_copy(state: &Path) -> Value {
    let text = fs::read(state.join("jwks.json")).unwrap();
    serde_json::from_slice(&text).expect("the copy is whole")
}

fn change_copy(state: &Path, change: impl FnOnce(&mut Value)) {
    let mut copy = read_copy(state);
    change(&mut copy);
    fs::write(state.join("jwks.json"), copy.to_string()).unwrap();
}

#[test]
fn a_new_key_is_taken_at_its_first_use_and_a_dropped_one_goes_with_it() {
    for overlap in [true, false] {
        let tenant = Tenant::start();
        let postern = Postern::start(&tenant);
        let old = Token::user(&tenant).sign();
        assert_eq!(postern.get_protected(&old).status, 200);
        let old_key = tenant.key().jwk();
        tenant.rotate();
        let mut keys = vec![tenant.key().jwk()];
        if overlap {
            keys.push(old_key);
        }
        tenant.set_keys(keys);
        let new = Token::user(&tenant)
            .header("kid", json!(tenant.key().kid()))
            .sign_with(&tenant.key());
        let started = Instant::now();
        // The new key of a rotation may be the one announced before: then nothing is fetched.
        assert_eq!(
            postern.get_protected(&new).status,
            200,
            "overlap: {overlap}"
        );
        assert!(
            started.elapsed() < Duration::from_millis(1500),
            "{:?}",
            started.elapsed()
        );
        postern.get_protected(&forged(&tenant, "to have the set refreshed"));
        assert_eq!(
            postern.get_protected(&old).status,
            if overlap { 200 } else { 401 }
        );
    }
}

#[test]
fn a_restart_without_network_serves_from_disk() {
    let state = TempDir::new();
    let mut tenant = Tenant::start();
    Postern::fill_state(&tenant, state.path());
    let user = Token::user(&tenant).sign();
    let fetches = tenant.fetches();
    tenant.stop();
    let postern = with_state(&tenant, state.path()).start();
    assert_eq!(postern.get_protected(&user).status, 200);
    assert_unavailable(
        &postern.get_protected(&forged(&tenant, "unknown")),
        "signing_key_unavailable",
    );
    postern.wait_for_log("from disk");
    assert_eq!(tenant.fetches(), fetches);
    tenant.resume();
    postern.wait_for_log("keys unchanged");
    assert_eq!(postern.get_protected(&user).status, 200);
}

#[test]
fn keys_on_disk_age_by_the_tenants_clock() {
    let state = TempDir::new();
    let mut tenant = Tenant::start();
    Postern::fill_state(&tenant, state.path());
    let stamp = read_copy(state.path())["fetched"].as_u64().unwrap();
    assert!(now().abs_diff(stamp) < 300, "{stamp}");
    let user = Token::user(&tenant).sign();
    tenant.stop();
    change_copy(state.path(), |copy| copy["fetched"] = json!(now() - DAY));
    let stale = with_state(&tenant, state.path()).start();
    assert_eq!(stale.get_protected(&user).status, 200);
    change_copy(state.path(), |copy| {
        copy["fetched"] = json!(now() - DAY - 3600)
    });
    let too_stale = with_state(&tenant, state.path()).start();
    too_stale.wait_for_log("too old to serve");
    assert_unavailable(&too_stale.get_protected(&user), "signing_key_unavailable");
    let patient = with_state(&tenant, state.path())
        .env("JWKS_MAX_STALE_SECONDS", "100000")
        .start();
    assert_eq!(patient.get_protected(&user).status, 200);
    tenant.resume();
    too_stale.wait_for_log("keys unchanged");
    assert_eq!(too_stale.get_protected(&user).status, 200);
}

#[test]
fn an_old_copy_does_not_make_an_old_clock_right() {
    use crate::support::wall_clock::WallClock;
    const YEAR: u64 = 365 * DAY;
    let Some(clock) = WallClock::new() else {
        return;
    };
    let state = TempDir::new();
    let mut tenant = Tenant::start();
    Postern::fill_state(&tenant, state.path());
    change_copy(state.path(), |copy| copy["fetched"] = json!(now() - YEAR));
    let year_old = Token::user(&tenant).claim("exp", json!(now() - YEAR + DAY));
    let year_old = year_old.sign();
    tenant.stop();
    clock.jump(-(YEAR as i64));
    for _ in 0..3 {
        let postern = clock.rule(with_state(&tenant, state.path())).start();
        assert_unavailable(&postern.get_protected(&year_old), "clock_unset");
    }
}

#[test]
fn a_broken_copy_is_a_warning_and_no_more() {
    let state = TempDir::new();
    let tenant = Tenant::start();
    Postern::fill_state(&tenant, state.path());
    let file = state.path().join("jwks.json");
    let whole = fs::read(&file).unwrap();
    let user = Token::user(&tenant).sign();
    let other = String::from_utf8(whole.clone())
        .unwrap()
        .replace(&tenant.issuer(), "https://other.example/");
    let cases: [(&str, &dyn Fn()); 5] = [
        ("truncated", &|| {
            fs::write(&file, &whole[..whole.len() / 2]).unwrap()
        }),
        ("empty", &|| fs::write(&file, "").unwrap()),
        ("another tenant's", &|| fs::write(&file, &other).unwrap()),
        ("oversized", &|| {
            fs::write(&file, vec![b' '; 5 << 20]).unwrap()
        }),
        ("a folder", &|| {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }),
    ];
    for (what, spoil) in cases {
        spoil();
        let postern = with_state(&tenant, state.path()).start();
        postern.wait_for_log("ignoring ");
        postern.wait_for_keys();
        assert_eq!(postern.get_protected(&user).status, 200, "{what}");
        assert!(
            !postern.logs().iter().any(|line| line.contains("from disk")),
            "{what}"
        );
    }
}

#[test]
fn a_state_folder_that_cannot_be_used_stops_nothing() {
    let tenant = Tenant::start();
    let user = Token::user(&tenant).sign();
    let folder = TempDir::new();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for state in [folder.path().join("nowhere"), file] {
        let postern = with_state(&tenant, &state).start();
        postern.wait_for_log("cannot keep the keys");
        assert_eq!(
            postern.get_protected(&user).status,
            200,
            "{}",
            state.display()
        );
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_copy() {
    let state = TempDir::new();
    let tenant = Tenant::start();
    Postern::fill_state(&tenant, state.path());
    let (current, next) = (tenant.key().jwk(), tenant.next_key().jwk());
    let mut differing = 0;
    for round in 0..200_u64 {
        // Another set each time, so that each start writes.
        let mut keys = vec![current.clone()];
        let mut spare = next.clone();
        spare["kid"] = json!(format!("round-{round}"));
        keys.push(spare);
        tenant.set_keys(keys);
        let before = read_copy(state.path());
        let postern = with_state(&tenant, state.path()).start();
        postern.wait_for_log("fetched ");
        // From before the write begins to after it ends.
        thread::sleep(Duration::from_micros((round * 997) % 20_000));
        drop(postern);
        let after = read_copy(state.path());
        assert!(after["key_set"].as_str().unwrap().contains("\"keys\""));
        differing += usize::from(before != after);
    }
    let _last = with_state(&tenant, state.path()).start();
    let current = || {
        read_copy(state.path())["key_set"]
            .as_str()
            .unwrap()
            .contains("round-199")
    };
    wait_until("a server that is left alone writes", current);
    println!("{differing} of 200 kills came after the write");
}

#[test]
fn a_rotation_during_an_outage_throws_nobody_out() {
    let mut tenant = Tenant::start();
    let postern = Postern::builder(&tenant)
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    postern.wait_for_keys();
    tenant.set_keys(vec![tenant.key().jwk()]);
    let known = Token::user(&tenant).sign();
    tenant.stop();
    let fresh_key = crate::support::key::Key::shared(5);
    let unknown = Token::user(&tenant)
        .header("kid", json!(fresh_key.kid()))
        .sign_with(&fresh_key);
    for _ in 0..5 {
        assert_unavailable(&postern.get_protected(&unknown), "signing_key_unavailable");
        assert_eq!(postern.get_protected(&known).status, 200);
    }
    tenant.set_keys(vec![tenant.key().jwk(), fresh_key.jwk()]);
    tenant.resume();
    wait_until("the new key is found", || {
        let response = postern.get_protected(&unknown);
        if response.status != 200 {
            assert_unavailable(&response, "signing_key_unavailable");
        }
        response.status == 200
    });
}

#[test]
fn the_first_fetch_is_waited_for() {
    let tenant = Tenant::start();
    tenant.answer(Behaviour::Stall);
    let postern = Postern::builder(&tenant).start();
    tenant.wait_for_fetches(1);
    let user = Token::user(&tenant).sign();
    let expired = Token::user(&tenant).expired().sign();
    assert_unavailable(&postern.get_protected(&expired), "signing_key_unavailable");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| postern.get_protected(&user));
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        tenant.answer(Behaviour::Keys);
        assert_eq!(waiting.join().unwrap().status, 200);
    });
}

/// Asks for the protected message until told to stop, and tells how long each answer took.
fn legitimate_client(postern: &Postern, token: &str, is_over: &AtomicBool) -> Vec<Duration> {
    let authorization = bearer(token);
    let headers = [("Authorization", authorization.as_str())];
    let mut client = Client::connect(postern.addr());
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) || times.len() < 100 {
        let started = Instant::now();
        let response = client.request("GET", PROTECTED, &headers);
        assert_eq!(response.status, 200, "{:?}", response.json());
        times.push(started.elapsed());
    }
    times
}

fn percentile_99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
fn failures_that_tokens_cause_do_not_fill_the_log() {
    let tenant = Tenant::start();
    let postern = Postern::builder(&tenant)
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    postern.wait_for_keys();
    // No fetch but those that tokens ask for.
    tenant.set_headers(vec![("Retry-After", "300")]);
    tenant.answer(Behaviour::Status(500));
    let started = Instant::now();
    let unknown = forged(&tenant, "unknown");
    wait_until("five fetches have failed", || {
        postern.get_protected(&unknown);
        tenant.fetches() >= 6
    });
    postern.wait_for_log("cannot fetch the keys");
    let most = 1 + started.elapsed().as_secs() / 10;
    let logs = postern.into_logs();
    let is_failure = |line: &&String| line.contains("cannot fetch the keys");
    let failures: Vec<_> = logs.iter().filter(is_failure).collect();
    assert!(failures.len() as u64 <= most, "{failures:#?}");
}

#[test]
fn requests_parked_on_a_stalled_tenant_hold_up_nobody_else() {
    let tenant = Tenant::start();
    let postern = Postern::builder(&tenant)
        .env("MAX_CONNECTIONS", "400")
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    postern.wait_for_keys();
    tenant.answer(Behaviour::Stall);
    let known = Token::user(&tenant).sign();
    let unknown = bearer(&forged(&tenant, "unknown"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = Ending(&is_over);
        let legitimate = scope.spawn(|| legitimate_client(&postern, &known, &is_over));
        let mut parked: Vec<_> = (0..300).map(|_| Client::connect(postern.addr())).collect();
        for client in &mut parked {
            client.send(format!(
                "GET {PROTECTED} HTTP/1.1\r\nHost: x\r\nAuthorization: {unknown}\r\n\r\n"
            ));
        }
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        for client in &mut parked {
            assert_unavailable(&client.response(), "signing_key_unavailable");
        }
        drop(ending);
        let p99 = percentile_99(legitimate.join().unwrap());
        assert!(p99 < Duration::from_millis(250), "{p99:?}");
    });
    // One fetch for all of them after the first fetch, however long they and the tenant took.
    assert!(tenant.fetches() <= 3, "{}", tenant.fetches());
}

/// A request with a forged token that claims so many permissions, in a head as long as it may be.
fn with_permissions(tenant: &Tenant, count: usize) -> Vec<u8> {
    let issuer = tenant.issuer();
    let permissions = vec![r#""a""#; count].join(",");
    let payload = format!(
        r#"{{"iss":"{issuer}","aud":"{AUDIENCE}","exp":{},"permissions":[{permissions}]}}"#,
        now() + DAY
    );
    let token = Token::user(tenant)
        .raw_header(r#"{"alg":"RS256","kid":"unknown"}"#)
        .raw_payload(payload);
    let authorization = bearer(&token.sign_by(|_| vec![0x55; 3]));
    let head =
        format!("GET {PROTECTED} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nX: ");
    format!("{head:x<16380}\r\n\r\n").into_bytes()
}

/// The most memory that a server takes beyond what it takes idle, in bytes, while 64 of these
/// requests wait for a fetch beside 192 long heads.
fn memory_while_waiting(request: impl Fn(&Tenant) -> Vec<u8>) -> u64 {
    use crate::support::usage::usage;
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let request = request(&tenant);
    assert_eq!(request.len(), 16_384);
    let idle = usage(postern.pid()).memory;
    let connect = |_| Client::connect(postern.addr());
    let mut others: Vec<_> = (0..192).map(connect).collect();
    let incomplete = &request[..16_000];
    others.iter_mut().for_each(|other| other.send(incomplete));
    tenant.answer(Behaviour::Stall);
    let mut waiting: Vec<_> = (0..64).map(connect).collect();
    waiting.iter_mut().for_each(|client| client.send(&request));
    let mut most = 0;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let _ending = Ending(&is_over);
            for client in &mut waiting {
                assert_unavailable(&client.response(), "signing_key_unavailable");
            }
        });
        while !is_over.load(Ordering::Relaxed) {
            most = most.max(usage(postern.pid()).memory);
            thread::sleep(Duration::from_millis(5));
        }
        answers.join().unwrap();
    });
    assert_eq!(tenant.fetches(), 2, "they have waited for a fetch");
    most - idle
}

#[test]
fn what_a_token_claims_takes_no_memory_while_it_waits() {
    let [few, many] =
        [1, 3000].map(|count| memory_while_waiting(|tenant| with_permissions(tenant, count)));
    println!(
        "{} KiB, with 3000 permissions {} KiB",
        few / 1024,
        many / 1024
    );
    assert!(many < few + 2 * 1024 * 1024, "{many} bytes, not {few}");
}

#[test]
fn a_flood_of_forged_tokens_neither_reaches_the_tenant_nor_harms_others() {
    const CONNECTIONS: usize = 16;
    const TOKENS: usize = 20_000;
    let tenant = Tenant::start();
    let postern = Postern::builder(&tenant).env("RUST_LOG", "info").start();
    postern.wait_for_keys();
    let known = Token::user(&tenant).sign();
    let is_over = AtomicBool::new(false);
    let before = tenant.fetches();
    let started = Instant::now();
    thread::scope(|scope| {
        let ending = Ending(&is_over);
        let legitimate = scope.spawn(|| legitimate_client(&postern, &known, &is_over));
        let strangers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (tenant, postern) = (&tenant, &postern);
                scope.spawn(move || {
                    let mut client = Client::connect(postern.addr());
                    for count in 0..TOKENS / CONNECTIONS {
                        let token = bearer(&forged(tenant, &format!("{connection}-{count}")));
                        let response =
                            client.request("GET", PROTECTED, &[("Authorization", &token)]);
                        assert_eq!(response.status, 401, "{:?}", response.json());
                    }
                })
            })
            .collect();
        strangers
            .into_iter()
            .for_each(|stranger| stranger.join().unwrap());
        drop(ending);
        let p99 = percentile_99(legitimate.join().unwrap());
        assert!(p99 < Duration::from_millis(250), "{p99:?}");
    });
    let cooldowns = started.elapsed().as_secs() as usize / 30;
    let fetches = tenant.fetches() - before;
    assert!(
        fetches <= cooldowns + 1,
        "{fetches} fetches in {:?}",
        started.elapsed()
    );
}

/// A pipe that is full and not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let now = Timespec::default();
    // A pipe that can be written takes this much without waiting.
    while poll(&mut [PollFd::new(&writer, PollFlags::OUT)], Some(&now)).unwrap() > 0 {
        writer.write_all(&[b' '; 4096]).unwrap();
    }
    (reader, writer)
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_token() {
    let tenant = Tenant::start();
    let (_reader, stderr) = full_pipe();
    let postern = Postern::builder(&tenant)
        .env("RUST_LOG", "warn")
        .stderr(stderr)
        .start();
    let known = Token::user(&tenant).sign();
    let answer = postern.settled(|| postern.get_protected(&known));
    assert_eq!(answer.status, 200);
    tenant.answer(Behaviour::Status(500));
    postern.signal("HUP");
    tenant.wait_for_fetches(2);
    // While it is told that the fetch failed, and after.
    let authorization = bearer(&known);
    let mut client = Client::connect(postern.addr());
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        let answer = client.request("GET", PROTECTED, &[("Authorization", &authorization)]);
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn a_clock_behind_the_tenants_lets_nobody_in() {
    let tenant = Tenant::start();
    let ahead = SystemTime::now() + Duration::from_secs(2 * DAY);
    tenant.set_headers(vec![("Date", &http_date(ahead))]);
    let postern = Postern::start(&tenant);
    let user = Token::user(&tenant).sign();
    let response = postern.get_protected(&user);
    assert_unavailable(&response, "clock_unset");
    assert_eq!(response.header("Retry-After"), Some("30"));
    assert_eq!(response.header("WWW-Authenticate"), None);
    assert_eq!(
        postern.get(PROTECTED, &[]).status,
        401,
        "who has no token is told so"
    );
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    for _ in 0..5 {
        assert_unavailable(&postern.get_protected("nonsense"), "clock_unset");
    }
    postern.wait_for_log("the system clock is");
    let logs = postern.into_logs();
    let told = logs
        .iter()
        .filter(|line| line.contains("the system clock is"));
    assert_eq!(told.count(), 1, "it is said once a minute");
}

#[test]
fn an_unchanged_set_is_not_sent_again() {
    let tenant = Tenant::start();
    tenant.set_headers(vec![
        ("ETag", "\"one\""),
        ("Cache-Control", "public, max-age=3600"),
    ]);
    let postern = Postern::builder(&tenant)
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    postern.wait_for_keys();
    assert!(!tenant.last_request().contains("If-None-Match"));
    assert_eq!(
        postern.get_protected(&forged(&tenant, "unknown")).status,
        401
    );
    assert!(
        tenant
            .last_request()
            .contains("\r\nif-none-match: \"one\"\r\n"),
        "{}",
        tenant.last_request()
    );
    postern.wait_for_log("keys unchanged");
    let user = Token::user(&tenant).sign();
    assert_eq!(postern.get_protected(&user).status, 200);
}
