//! The tenant's key set: how it is fetched, which of its keys count, and what becomes of requests
//! while it cannot be had.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::client::{Response, bearer};
use crate::support::contract::{
    ADMIN, ADMIN_BODY, PROTECTED, PROTECTED_BODY, PUBLIC, PUBLIC_BODY, assert_headers,
};
use crate::support::key::Key;
use crate::support::postern::Postern;
use crate::support::tenant::{Behaviour, Certificate, Tenant};
use crate::support::token::Token;
use crate::support::{PATIENCE, TempDir, wait_until};

/// `GET` of the protected message with this token.
fn get_protected(postern: &Postern, token: &str) -> Response {
    let response = postern.get_protected(token);
    assert_headers(&response, PROTECTED);
    response
}

/// The same, once the fetch that it may cause has ended.
fn get_settled(postern: &Postern, path: &str, token: &str) -> Response {
    let response = postern.get_settled(path, &[("Authorization", &bearer(token))]);
    assert_headers(&response, path);
    response
}

#[track_caller]
fn assert_accepted(postern: &Postern, token: &str) {
    let response = get_settled(postern, PROTECTED, token);
    assert_eq!((response.status, response.text()), (200, PROTECTED_BODY));
}

/// Asserts 401, and that the header says this.
#[track_caller]
fn assert_refused(postern: &Postern, token: &str, summary: &str) {
    let response = get_settled(postern, PROTECTED, token);
    assert_eq!(response.status, 401, "{}", response.text());
    let challenge = response.header("WWW-Authenticate").unwrap();
    assert!(challenge.contains(summary), "{challenge}");
}

const UNKNOWN_KEY: &str = "signed with an unknown key";
const SIGNATURE: &str = "has an invalid signature";

/// Asserts that the token could not be checked, and that the client is not blamed.
#[track_caller]
fn assert_unavailable(response: &Response) {
    assert_headers(response, "without keys");
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.header("WWW-Authenticate"), None);
    let seconds = response.header("Retry-After").expect("Retry-After");
    let seconds: u64 = seconds.parse().expect("Retry-After in seconds");
    assert!((1..=300).contains(&seconds), "Retry-After: {seconds}");
    let body = response.json();
    assert_eq!(body["message"], "Unable to verify credentials");
    assert_eq!(body["error"], "signing_key_unavailable");
    assert!(body["error_description"].as_str().unwrap().ends_with('.'));
    assert_eq!(body.as_object().unwrap().len(), 3);
}

/// A token with a `kid` that no key has.
fn with_unknown_kid(tenant: &Tenant) -> String {
    Token::user(tenant).header("kid", json!("unknown")).sign()
}

fn lines_with(logs: &[String], texts: &[&str]) -> Vec<String> {
    let has_all = |line: &&String| texts.iter().all(|text| line.contains(text));
    logs.iter().filter(has_all).cloned().collect()
}

#[test]
fn the_key_set_is_fetched_once_and_politely() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    for _ in 0..3 {
        assert_accepted(&postern, &Token::user(&tenant).sign());
        let other = Token::user(&tenant).header("kid", json!(tenant.next_key().kid()));
        assert_accepted(&postern, &other.sign_with(&tenant.next_key()));
    }
    assert_eq!((tenant.fetches(), tenant.connections()), (1, 1));
    let request = tenant.last_request().to_lowercase();
    let version = env!("CARGO_PKG_VERSION");
    assert!(request.starts_with("get /.well-known/jwks.json http/1.1\r\n"));
    for line in [
        "accept: application/json",
        &format!("user-agent: postern/{version}"),
        &format!("host: {}", tenant.domain()),
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    for name in ["authorization", "cookie", "referer"] {
        assert!(!request.contains(&format!("\r\n{name}:")), "{request}");
    }
    let fetched = postern.wait_for_log("fetched 2 keys");
    for text in [
        tenant.key().kid(),
        tenant.next_key().kid(),
        &tenant.issuer(),
    ] {
        assert!(fetched.contains(text), "{fetched}");
    }
}

/// Bytes as a JSON Web Key has them.
fn number(bytes: &[u8]) -> Value {
    json!(URL_SAFE_NO_PAD.encode(bytes))
}

/// An odd number of this many bits.
fn odd_number(bits: usize) -> Value {
    let mut bytes = vec![0xa5; bits.div_ceil(8)];
    bytes[0] = 1 << ((bits - 1) % 8);
    number(&bytes)
}

#[test]
fn keys_that_cannot_verify_are_skipped_one_log_line_each() {
    let tenant = Tenant::start();
    let good = tenant.key();
    let modulus = |change: &dyn Fn(&mut Vec<u8>)| {
        let jwk = good.jwk();
        let mut n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        change(&mut n);
        number(&n)
    };
    // The tenant's own key with one member changed: were it used, it would verify.
    let usable = [
        ("use", None),
        ("use", Some(json!("sig"))),
        ("alg", None),
        ("x5c", None),
        ("x5c", Some(json!(1))),
        ("x5t", None),
        ("key_ops", Some(json!(["verify"]))),
        ("key_ops", Some(json!(["sign", "verify"]))),
        ("unheard_of", Some(json!({"a": [1, {}]}))),
    ];
    // Nobody has the private halves of these keys: they are known, and the signature is wrong.
    let known = [
        ("n", Some(odd_number(2048))),
        ("n", Some(odd_number(2049))),
        ("n", Some(odd_number(8192))),
        ("e", Some(number(&[3]))),
        ("e", Some(number(&[1, 0, 0, 0, 1]))),
    ];
    let skipped = [
        ("kty", None),
        ("kty", Some(json!("EC"))),
        ("kty", Some(json!("oct"))),
        ("kty", Some(json!("rsa"))),
        ("kty", Some(Value::Null)),
        ("use", Some(json!("enc"))),
        ("use", Some(json!("SIG"))),
        ("use", Some(Value::Null)),
        ("use", Some(json!(["sig"]))),
        ("key_ops", Some(json!(["encrypt"]))),
        ("key_ops", Some(json!(["sign"]))),
        ("key_ops", Some(json!([]))),
        ("key_ops", Some(Value::Null)),
        ("key_ops", Some(json!("verify"))),
        ("key_ops", Some(json!({"verify": true}))),
        ("key_ops", Some(json!(["verify", 1]))),
        ("key_ops", Some(json!(["verify", "verify"]))),
        ("key_ops", Some(json!(["verify", "encrypt"]))),
        ("key_ops", Some(json!(["VERIFY"]))),
        ("alg", Some(json!("RS512"))),
        ("alg", Some(json!("PS256"))),
        ("alg", Some(json!("HS256"))),
        ("alg", Some(json!("rs256"))),
        ("alg", Some(Value::Null)),
        ("n", None),
        ("n", Some(Value::Null)),
        ("n", Some(json!(""))),
        ("n", Some(json!(12345))),
        ("n", Some(json!("not base64url!"))),
        ("n", Some(modulus(&|n| n.insert(0, 0)))),
        ("n", Some(modulus(&|n| *n.last_mut().unwrap() &= 0xfe))),
        ("n", Some(odd_number(1024))),
        ("n", Some(odd_number(2047))),
        ("n", Some(odd_number(8193))),
        ("e", None),
        ("e", Some(json!(65537))),
        ("e", Some(json!(""))),
        ("e", Some(json!("AQAB="))),
        ("e", Some(number(&[0, 1, 0, 1]))),
        ("e", Some(number(&[0]))),
        ("e", Some(number(&[1]))),
        ("e", Some(number(&[2]))),
        ("e", Some(number(&[1, 0, 0]))),
        ("e", Some(number(&[2, 0, 0, 0, 1]))),
        ("e", Some(number(&[1, 0, 0, 0, 0, 1]))),
    ];
    let cases = usable.iter().map(|case| (case, ""));
    let cases = cases.chain(known.iter().map(|case| (case, SIGNATURE)));
    let cases = cases.chain(skipped.iter().map(|case| (case, UNKNOWN_KEY)));
    let cases: Vec<_> = cases
        .enumerate()
        .map(|(at, ((name, value), verdict))| {
            let mut jwk = good.jwk();
            let members = jwk.as_object_mut().unwrap();
            let kid = format!("<{at}>");
            members.insert("kid".into(), json!(kid));
            match value {
                Some(value) => members.insert((*name).into(), value.clone()),
                None => members.remove(*name),
            };
            (kid, jwk, *name, verdict)
        })
        .collect();
    let mut keys: Vec<_> = cases.iter().map(|(_, jwk, ..)| jwk.clone()).collect();
    // Without a name, and no keys at all.
    let mut nameless = good.jwk();
    nameless.as_object_mut().unwrap().remove("kid");
    keys.push(nameless.clone());
    nameless["kid"] = json!(1);
    keys.extend([nameless, json!("a key"), json!(1), Value::Null, json!([[]])]);
    let nameless_count = 6;
    keys.push(good.jwk());
    tenant.set_keys(keys);

    let postern = Postern::start(&tenant);
    assert_accepted(&postern, &Token::user(&tenant).sign());
    for (kid, jwk, name, verdict) in &cases {
        let token = Token::user(&tenant).header("kid", json!(kid)).sign();
        let response = get_settled(&postern, PROTECTED, &token);
        let challenge = response.header("WWW-Authenticate").unwrap_or_default();
        let what = format!("{name} of {jwk:.300}: {}", response.text());
        let status = if verdict.is_empty() { 200 } else { 401 };
        assert_eq!(response.status, status, "{what}");
        assert!(challenge.contains(verdict), "{what}");
    }
    let logs = postern.into_logs();
    // The unknown ones have made it fetch the set again, which had not changed: nothing is said
    // twice.
    let fetches =
        lines_with(&logs, &["fetched "]).len() + lines_with(&logs, &["keys unchanged"]).len();
    assert_eq!(fetches, tenant.fetches());
    for (kid, jwk, name, verdict) in &cases {
        let lines = lines_with(&logs, &["WARN", &format!("{kid} is skipped:")]);
        let is_skipped = *verdict == UNKNOWN_KEY;
        assert_eq!(
            lines.len(),
            usize::from(is_skipped),
            "{name} of {jwk}: {lines:#?}"
        );
    }
    let lines = lines_with(&logs, &["WARN", "a key without kid is skipped:"]);
    assert_eq!(lines.len(), nameless_count, "{lines:#?}");
}

#[test]
fn of_two_keys_with_one_name_the_first_counts() {
    let tenant = Tenant::start();
    let (first, second) = (tenant.key(), tenant.next_key());
    let named_like_the_first = |key: &Key| {
        let mut jwk = key.jwk();
        jwk["kid"] = json!(first.kid());
        jwk
    };
    let mut unusable = named_like_the_first(&second);
    unusable["use"] = json!("enc");
    // One that is skipped anyway is not the first of two.
    tenant.set_keys(vec![unusable, first.jwk(), named_like_the_first(&second)]);
    let postern = Postern::start(&tenant);
    assert_accepted(&postern, &Token::user(&tenant).sign());
    let by_the_second = Token::user(&tenant).sign_with(&second);
    assert_refused(&postern, &by_the_second, SIGNATURE);
    let warning = postern.wait_for_log("is there twice");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains(first.kid()), "{warning}");
    postern.wait_for_log("is skipped: its use is not sig");
}

#[test]
fn names_of_keys_are_escaped_in_the_log() {
    let tenant = Tenant::start();
    let mut hostile = tenant.key().jwk();
    hostile["kid"] = json!("a\r\nINFO forged\x1b[31m\0");
    let mut skipped = hostile.clone();
    skipped["use"] = json!("enc\n");
    tenant.set_keys(vec![hostile.clone(), skipped]);
    let postern = Postern::start(&tenant);
    postern.wait_for_log("is skipped");
    let token = Token::user(&tenant).header("kid", hostile["kid"].clone());
    assert_accepted(&postern, &token.sign());
    let logs = postern.into_logs();
    let escaped = r"a\r\nINFO forged\x1b[31m\0";
    assert_eq!(lines_with(&logs, &[escaped]).len(), 2, "{logs:#?}");
    for line in &logs {
        assert!(!line.starts_with("INFO forged"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn a_rotated_key_is_found_when_a_token_names_it() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let old = Token::user(&tenant).sign();
    assert_accepted(&postern, &old);
    // The next key is in the set already.
    tenant.rotate();
    assert_accepted(&postern, &Token::user(&tenant).sign());
    assert_eq!(tenant.fetches(), 1);
    // The one after it is not: the token waits for a fetch and is accepted.
    tenant.rotate();
    let token = Token::user(&tenant).admin().sign();
    let response = get_settled(&postern, ADMIN, &token);
    assert_eq!((response.status, response.text()), (200, ADMIN_BODY));
    assert_eq!(tenant.fetches(), 2);
    // A key revoked meanwhile counts no more.
    assert_refused(&postern, &old, UNKNOWN_KEY);
    assert_eq!(tenant.fetches(), 2);
}

#[test]
fn an_unknown_key_causes_one_fetch_per_cooldown() {
    let tenant = Tenant::start();
    let slow = Postern::start(&tenant);
    let unknown = with_unknown_kid(&tenant);
    // By default it takes longer than this test may: one fetch, however many tokens ask.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_refused(&slow, &unknown, UNKNOWN_KEY));
        }
    });
    for at in 0..50 {
        let token = Token::user(&tenant).header("kid", json!(format!("unknown {at}")));
        assert_refused(&slow, &token.sign(), UNKNOWN_KEY);
    }
    // A token whose key is known asks for nothing, nor does one that is refused anyway.
    let expired = Token::user(&tenant).expired().header("kid", json!("a"));
    assert_refused(&slow, &expired.sign(), "expired");
    assert_accepted(&slow, &Token::user(&tenant).sign());
    assert_eq!(tenant.fetches(), 2);
    drop(slow);

    let quick = Postern::builder(&tenant)
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    let started = Instant::now();
    quick.wait_for_keys();
    assert_eq!(tenant.fetches(), 3);
    while tenant.fetches() < 6 {
        assert!(started.elapsed() < PATIENCE, "no fetch after the cooldown");
        assert_refused(&quick, &unknown, UNKNOWN_KEY);
    }
    // Three fetches that tokens asked for are two cooldowns apart.
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_tenant_that_is_down_at_the_start_is_waited_for() {
    let mut tenant = Tenant::start();
    tenant.stop();
    let postern = Postern::builder(&tenant).start();
    let token = Token::user(&tenant).sign();
    let warning = postern.wait_for_log("cannot fetch the keys");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains("connecting failed"), "{warning}");
    assert!(warning.contains(&tenant.domain()), "{warning}");
    assert_unavailable(&get_protected(&postern, &token));
    // Whatever the token is: nothing can be said about it.
    assert_unavailable(&get_protected(&postern, "rubbish"));
    let response = postern.get(PUBLIC, &[]);
    assert_eq!((response.status, response.text()), (200, PUBLIC_BODY));

    // It is found without a request having asked.
    tenant.resume();
    postern.wait_for_keys();
    assert_accepted(&postern, &token);
    assert_eq!(tenant.fetches(), 1);
}

#[test]
fn pauses_after_failures_grow() {
    let tenant = Tenant::start();
    tenant.answer(Behaviour::Status(500));
    let postern = Postern::builder(&tenant).start();
    let failures = || lines_with(&postern.logs(), &["cannot fetch the keys", "next try in "]);
    wait_until("three failures are logged", || failures().len() >= 3);
    // The first pause is the shortest there is; chance shortens the others, and not below it.
    for (line, longest) in failures().iter().zip([1, 2, 4]) {
        let pause = line
            .rsplit("next try in ")
            .next()
            .unwrap()
            .trim_end_matches(" s");
        let pause: u64 = pause.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!((1..=longest).contains(&pause), "{line}");
    }
    tenant.answer(Behaviour::Keys);
    let token = Token::user(&tenant).sign();
    wait_until("it is served", || {
        get_protected(&postern, &token).status == 200
    });
}

#[test]
fn a_failed_fetch_keeps_the_keys_there_are() {
    let mut tenant = Tenant::start();
    let postern = Postern::builder(&tenant)
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    postern.wait_for_keys();
    let (token, unknown) = (Token::user(&tenant).sign(), with_unknown_kid(&tenant));
    for failure in [
        Behaviour::Status(500),
        Behaviour::Body(br#"{"kez":[]}"#.to_vec()),
    ] {
        let good = Instant::now();
        tenant.answer(failure.clone());
        // With the cooldown over and a fetch failed, 401 turns into 503: it cannot be told.
        wait_until(&format!("503 with {failure:?}"), || {
            get_protected(&postern, &unknown).status == 503
        });
        // It is the failure that counts: 30 s after the last good fetch it would be 503 anyway.
        assert!(good.elapsed() < Duration::from_secs(20), "{failure:?}");
        assert_unavailable(&get_protected(&postern, &unknown));
        // Known keys go on to be known.
        assert_accepted(&postern, &token);
        assert_refused(&postern, &Token::user(&tenant).expired().sign(), "expired");
        // And it finds back by itself.
        tenant.answer(Behaviour::Keys);
        wait_until(&format!("401 after {failure:?}"), || {
            get_protected(&postern, &unknown).status == 401
        });
    }
    tenant.stop();
    wait_until("503 without a tenant", || {
        get_protected(&postern, &unknown).status == 503
    });
    assert_accepted(&postern, &token);
}

/// Key sets with nothing usable in them.
fn unusable_sets(tenant: &Tenant) -> [Vec<Value>; 3] {
    let mut for_encryption = tenant.key().jwk();
    for_encryption["use"] = json!("enc");
    let curve = json!({"kty": "EC", "kid": "a", "crv": "P-256", "x": "", "y": ""});
    [vec![], vec![curve], vec![for_encryption]]
}

#[test]
fn a_set_without_a_usable_key_revokes_all_there_were() {
    for at in 0..3 {
        let mut tenant = Tenant::start();
        tenant.set_headers(vec![("Cache-Control", "max-age=86400")]);
        let state = TempDir::new();
        let start = |tenant: &Tenant| Postern::builder(tenant).state(state.path()).start();
        let postern = start(&tenant);
        postern.wait_for_keys();
        let remembered = Token::user(&tenant).sign();
        assert_accepted(&postern, &remembered);
        let minted = Token::user(&tenant).admin().sign();
        let unusable = unusable_sets(&tenant)[at].clone();
        let skipped = unusable.len();
        tenant.set_keys(unusable);
        postern.signal("HUP");
        let error = postern.wait_for_log("has no usable key");
        assert!(error.contains("ERROR"), "{error}");
        assert!(error.contains("nobody is let in"), "{error}");
        let (_, pause) = error.split_once("next try in ").expect("it says when");
        let pause: u64 = pause.trim_end_matches(" s").parse().expect("in seconds");
        assert!((1..=60).contains(&pause), "{error}");
        for token in [&remembered, &minted] {
            assert_unavailable(&get_protected(&postern, token));
        }
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        let remarks = lines_with(&postern.logs(), &["WARN", "is skipped"]);
        assert_eq!(remarks.len(), skipped, "{remarks:#?}");

        // Nor are they taken from disk again.
        let copy = state.path().join("jwks.json");
        let is_kept = || !fs::read_to_string(&copy).unwrap().contains("\\\"sig\\\"");
        wait_until("the set is kept", is_kept);
        drop(postern);
        tenant.stop();
        let postern = start(&tenant);
        postern.wait_for_log("the key set on disk");
        postern.wait_for_log("cannot fetch the keys");
        for token in [&remembered, &minted] {
            assert_unavailable(&get_protected(&postern, token));
        }

        // A usable key is taken as soon as there is one.
        tenant.resume();
        tenant.set_keys(vec![tenant.key().jwk()]);
        postern.signal("HUP");
        postern.wait_for_keys();
        wait_until("it is served", || {
            get_protected(&postern, &remembered).status == 200
        });
    }
}

#[test]
fn who_asks_for_a_fetch_asks_past_caches() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let has_no_cache = || {
        let request = tenant.last_request().to_lowercase();
        request.contains("\r\ncache-control: no-cache\r\n")
    };
    assert!(!has_no_cache(), "{}", tenant.last_request());
    assert_refused(&postern, &with_unknown_kid(&tenant), UNKNOWN_KEY);
    tenant.wait_for_fetches(2);
    assert!(has_no_cache(), "{}", tenant.last_request());
    postern.wait_for_log("keys unchanged");
    postern.signal("HUP");
    tenant.wait_for_fetches(3);
    assert!(has_no_cache(), "{}", tenant.last_request());
}

#[test]
fn what_keys_have_spent_in_a_cache_is_not_fresh_time() {
    let tenant = Tenant::start();
    for (headers, fresh_for) in [
        (vec![("Cache-Control", "max-age=3600")], 3600),
        (
            vec![("Cache-Control", "max-age=3600"), ("Age", "1200")],
            2400,
        ),
        (vec![("Cache-Control", "max-age=3600"), ("Age", "-1")], 3600),
        (
            vec![("Cache-Control", "max-age=3600"), ("Age", "86400")],
            300,
        ),
        (vec![("Age", "60")], 540),
    ] {
        tenant.set_headers(headers.clone());
        let state = TempDir::new();
        Postern::fill_state(&tenant, state.path());
        let copy = fs::read(state.path().join("jwks.json")).unwrap();
        let copy: Value = serde_json::from_slice(&copy).unwrap();
        assert_eq!(copy["fresh_for"], fresh_for, "{headers:?}");
    }
}

#[test]
fn a_slow_tenant_holds_up_only_who_asks_for_an_unknown_key() {
    let tenant = Tenant::start();
    let postern = Postern::start(&tenant);
    let (token, unknown) = (Token::user(&tenant).sign(), with_unknown_kid(&tenant));
    tenant.answer(Behaviour::Stall);
    thread::scope(|scope| {
        let asking = scope.spawn(|| get_protected(&postern, &unknown));
        tenant.wait_for_fetches(2);
        assert_accepted(&postern, &token);
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        // After a second it is given up.
        assert_unavailable(&asking.join().unwrap());
    });
    assert_accepted(&postern, &token);
    // The fetch continues, and its result answers later requests.
    tenant.answer(Behaviour::Keys);
    wait_until("401", || get_protected(&postern, &unknown).status == 401);
}

/// A key set of so many keys, of which the tenant's comes last.
fn set_of(tenant: &Tenant, count: usize) -> Vec<u8> {
    let mut keys = vec![tenant.next_key().jwk(); count];
    for (at, key) in keys.iter_mut().enumerate() {
        key["kid"] = json!(format!("key {at}"));
    }
    keys[count - 1] = tenant.key().jwk();
    json!({ "keys": keys }).to_string().into_bytes()
}

/// The tenant's key set with blanks around it, of so many bytes.
fn set_of_bytes(tenant: &Tenant, bytes: usize) -> Vec<u8> {
    let mut text = set_of(tenant, 2);
    text.resize(bytes, b' ');
    text
}

#[test]
fn a_key_set_may_have_a_hundred_keys_and_512_kib() {
    let tenant = Tenant::start();
    let set = json!({"keys": [tenant.key().jwk()], "unheard_of": {"keys": []}});
    for body in [
        set_of(&tenant, 100),
        set_of_bytes(&tenant, 512 * 1024),
        serde_json::to_vec_pretty(&set).unwrap(),
    ] {
        tenant.answer(Behaviour::Body(body));
        let postern = Postern::start(&tenant);
        assert_accepted(&postern, &Token::user(&tenant).sign());
    }
}

/// Asserts that a server for this tenant gets no keys, says so in warnings with this text, one per
/// attempt, and serves what needs none.
fn assert_no_keys(tenant: &Tenant, text: &str) {
    let before = tenant.connections();
    let postern = Postern::builder(tenant).start();
    let warning = postern.wait_for_log("cannot fetch the keys");
    assert!(warning.contains("WARN"), "{warning}");
    assert!(warning.contains(text), "{text:?} is not in {warning}");
    assert!(warning.contains(&tenant.domain()), "{warning}");
    assert!(warning.contains("next try in 1 s"), "{warning}");
    let token = Token::user(tenant).sign();
    assert_unavailable(&get_protected(&postern, &token));
    assert_eq!(postern.get(PUBLIC, &[]).status, 200);
    let warnings = lines_with(&postern.into_logs(), &["WARN"]);
    // There was an attempt for each, and no line for another reason.
    assert!(
        warnings.len() <= tenant.connections() - before,
        "{warnings:#?}"
    );
    let others = lines_with(&warnings, &["cannot fetch the keys", text]);
    assert_eq!(others, warnings);
}

#[test]
fn answers_that_are_no_key_set_are_failures() {
    let tenant = Tenant::start();
    let elsewhere = Tenant::start();
    let body = |text: &str| Behaviour::Body(text.as_bytes().to_vec());
    let raw = |text: &str| Behaviour::Raw(text.as_bytes().to_vec());
    let redirect = format!("{}.well-known/jwks.json", elsewhere.issuer());
    for (behaviour, text) in [
        (Behaviour::Status(500), "HTTP 500"),
        (Behaviour::Status(429), "HTTP 429"),
        (Behaviour::Status(404), "HTTP 404"),
        (Behaviour::Status(201), "HTTP 201"),
        (Behaviour::Redirect(redirect), "redirects are not followed"),
        (body("<!doctype html><title>Sign in</title>"), "not a JSON"),
        (body(""), "not a JSON object"),
        (body("[]"), "not a JSON object"),
        (body("{}"), "not a JSON object of the right form"),
        (
            body(r#"{"keys":{}}"#),
            "not a JSON object of the right form",
        ),
        (body(r#"{"keys":[]"#), "not a JSON object of the right form"),
        (Behaviour::Body(set_of(&tenant, 101)), "more than 100 keys"),
        (
            Behaviour::Body(set_of_bytes(&tenant, 512 * 1024 + 1)),
            "more than 512 KiB",
        ),
        (
            Behaviour::Body([set_of(&tenant, 1).as_slice(), b"\xff"].concat()),
            "not UTF-8",
        ),
        (raw("no HTTP at all\r\n\r\n"), "HTTP"),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"keys\":["),
            "the connection broke off",
        ),
        (Behaviour::Close, "the connection broke off"),
    ] {
        tenant.answer(behaviour);
        assert_no_keys(&tenant, text);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_tenant_that_cannot_be_trusted_is_a_failure() {
    for (tenant, text) in [
        (
            Tenant::with_certificate(Certificate::WrongName),
            "TLS failed",
        ),
        (
            Tenant::with_certificate(Certificate::Expired),
            "(is this host's clock right?)",
        ),
        (
            Tenant::with_certificate(Certificate::UnknownCa),
            "put its certificate into SSL_CERT_FILE",
        ),
        (Tenant::without_tls(), "TLS failed"),
    ] {
        assert_no_keys(&tenant, text);
        assert_eq!(tenant.fetches(), 0, "{text}");
    }
}

#[test]
fn a_tenant_that_does_not_answer_is_a_failure() {
    thread::scope(|scope| {
        for stall in [
            Behaviour::Stall,
            Behaviour::StallAccept,
            Behaviour::RawThenStall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()),
        ] {
            scope.spawn(|| {
                let tenant = Tenant::start();
                tenant.answer(stall);
                assert_no_keys(&tenant, "no complete answer within 5 s");
            });
        }
    });
}
