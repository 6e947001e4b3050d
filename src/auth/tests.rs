//! What is answered to a token in the cache, under an injected clock: the same as to one that is
//! not.

use std::num::NonZero;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

#[allow(dead_code)]
#[path = "../../tests/support/key.rs"]
mod key;

use self::key::Key;

const ISSUER: &str = "https://tenant.example/";
const AUDIENCE: &str = "https://api.example";
/// The time at which the tests begin.
const NOW: u64 = 2_000_000_000;
const LEEWAY: f64 = 5.0;

/// Two servers with one tenant, of which only the first has a cache.
struct Servers {
    jwks: Jwks,
    cached: Authenticator,
    uncached: Authenticator,
}

fn at(seconds: f64) -> Moment {
    Moment::later(
        Duration::ZERO,
        UNIX_EPOCH + Duration::from_secs_f64(seconds),
    )
}

fn now() -> Moment {
    at(NOW as f64)
}

fn token(key: &Key, claims: Value) -> String {
    let mut payload = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "auth0|1",
        "exp": NOW + 60,
        "permissions": ["a"],
    });
    for (name, value) in claims.as_object().unwrap() {
        payload[name] = value.clone();
    }
    let header = json!({"alg": "RS256", "kid": "kid"});
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = [header, payload].map(|part| encode(part.to_string().as_bytes()));
    let message = message.join(".");
    let signature = encode(&key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A key set in which `key` has the `kid` of all tokens here, and another one has its own.
fn set(key: &Key) -> Vec<u8> {
    let mut named = key.jwk();
    named["kid"] = json!("kid");
    json!({"keys": [named, Key::shared(1).jwk()]})
        .to_string()
        .into_bytes()
}

impl Servers {
    fn new(key: &Key) -> Servers {
        let jwks = Jwks::unattended();
        jwks.take(&set(key));
        let verifier = Verifier::new(
            ISSUER.into(),
            AUDIENCE.into(),
            Duration::from_secs_f64(LEEWAY),
        );
        let cache = TokenCache::new(NonZero::new(10).unwrap()).unwrap();
        Servers {
            cached: Authenticator::new(verifier.clone(), jwks.clone(), Some(cache)),
            uncached: Authenticator::new(verifier, jwks.clone(), None),
            jwks,
        }
    }

    /// What both answer.
    #[track_caller]
    fn check(&self, token: &str, now: Moment) -> Result<Arc<Claims>, AuthError> {
        let answer = self.cached.check(token.as_bytes(), now);
        assert_eq!(answer, self.uncached.check(token.as_bytes(), now));
        answer
    }

    fn cached_count(&self) -> usize {
        self.cached.cache.as_ref().unwrap().len()
    }

    /// Whether a token is let in without a look at its signature.
    fn hits(&self, token: &str) -> bool {
        let keys = self.jwks.current(now()).unwrap();
        let cache = self.cached.cache.as_ref().unwrap();
        cache.look_up(token.as_bytes()).get(&keys).is_some()
    }
}

fn refused(error: TokenError) -> Result<Arc<Claims>, AuthError> {
    Err(AuthError::Token(error))
}

#[test]
fn a_token_is_verified_once() {
    let key = Key::shared(0);
    let servers = Servers::new(&key);
    let token = token(&key, json!({"nbf": NOW}));
    assert!(!servers.hits(&token));
    let first = servers.check(&token, now()).unwrap();
    assert!(servers.hits(&token));
    // The very claims of the first time, not others like them.
    assert!(Arc::ptr_eq(&first, &servers.check(&token, now()).unwrap()));
    assert!(first.permissions.iter().eq(["a"]));
    assert_eq!(servers.cached_count(), 1);
}

#[test]
fn times_are_checked_on_every_hit() {
    let key = Key::shared(0);
    let servers = Servers::new(&key);
    let token = token(&key, json!({"nbf": NOW - 60, "exp": NOW + 60}));
    servers.check(&token, now()).unwrap();
    let (begin, end) = (NOW as f64 - 60.0, NOW as f64 + 60.0);
    let expired = |seconds| refused(TokenError::Expired { seconds });
    let not_yet = |seconds| refused(TokenError::NotYetValid { seconds });
    for (time, refusal) in [
        (end + LEEWAY - 0.5, None),
        (end + LEEWAY, Some(expired(5))),
        (end + 1e6, Some(expired(1_000_000))),
        // The clock is set back.
        (NOW as f64, None),
        (begin - LEEWAY, None),
        (begin - LEEWAY - 0.5, Some(not_yet(6))),
        (begin - 1e6, Some(not_yet(1_000_000))),
        (NOW as f64, None),
    ] {
        assert!(servers.hits(&token));
        let answer = servers.check(&token, at(time));
        match refusal {
            Some(refusal) => assert_eq!(answer, refusal, "at {time}"),
            None => assert!(answer.is_ok(), "at {time}: {answer:?}"),
        }
    }
    assert_eq!(servers.cached_count(), 1);
}

#[test]
fn a_refresh_without_a_change_keeps_the_hits() {
    let key = Key::shared(0);
    let servers = Servers::new(&key);
    let token = token(&key, json!({}));
    servers.check(&token, now()).unwrap();
    servers.jwks.take(&set(&key));
    assert!(servers.hits(&token));
    // Another text with the same key in it.
    let mut text = set(&key);
    text.push(b' ');
    servers.jwks.take(&text);
    assert!(servers.hits(&token));
    servers.check(&token, now()).unwrap();
}

#[test]
fn a_dropped_key_is_unknown_again() {
    let key = Key::shared(0);
    let servers = Servers::new(&key);
    let token = token(&key, json!({}));
    servers.check(&token, now()).unwrap();
    servers.jwks.take(
        json!({"keys": [Key::shared(1).jwk()]})
            .to_string()
            .as_bytes(),
    );
    // The fetch above is proof enough that the tenant does not have it.
    assert_eq!(
        servers.check(&token, now()),
        refused(TokenError::UnknownKey("kid".into()))
    );
    // Once tokens may ask again it asks, for a fetch that here never comes.
    assert!(!servers.jwks.is_fetch_wanted());
    servers.jwks.end_cooldown();
    let unavailable = servers.check(&token, now()).unwrap_err();
    assert!(matches!(unavailable, AuthError::Unavailable(_)));
    assert!(servers.jwks.is_fetch_wanted());
    // What is wrong with it besides comes first.
    assert_eq!(
        servers.check(&token, at(NOW as f64 + 1000.0)),
        refused(TokenError::Expired { seconds: 940 })
    );
    servers.jwks.take(&set(&key));
    assert!(servers.hits(&token));
}

#[test]
fn a_key_replaced_under_its_name_counts_no_more() {
    let (key, other) = (Key::shared(0), Key::shared(2));
    let servers = Servers::new(&key);
    let token = token(&key, json!({}));
    servers.check(&token, now()).unwrap();
    servers.jwks.take(&set(&other));
    assert_eq!(servers.check(&token, now()), refused(TokenError::Signature));
}

#[test]
fn the_clock_and_the_keys_come_before_the_cache() {
    let key = Key::shared(0);
    let servers = Servers::new(&key);
    let token = token(&key, json!({"exp": 4e9}));
    servers.check(&token, now()).unwrap();
    // A fetch is asked for, and never comes.
    servers.jwks.end_cooldown();
    let too_stale = Moment::later(Duration::from_secs(30 * 24 * 3600), now().wall);
    let unavailable = servers.check(&token, too_stale).unwrap_err();
    assert!(matches!(
        unavailable,
        AuthError::Unavailable(Unavailable::Keys { .. })
    ));
    servers
        .jwks
        .set_clock_floor(now().wall + Duration::from_secs(1_000_000));
    let unavailable = servers.check(&token, now()).unwrap_err();
    assert!(matches!(
        unavailable,
        AuthError::Unavailable(Unavailable::Clock { .. })
    ));
}

#[test]
fn only_what_passed_every_check_enters() {
    let (key, other) = (Key::shared(0), Key::shared(2));
    let servers = Servers::new(&key);
    for wrong in [
        token(&other, json!({})),
        token(&key, json!({"exp": NOW - 60})),
        token(&key, json!({"nbf": NOW + 60})),
        token(&key, json!({"aud": "another"})),
        token(&key, json!({"iss": "https://another.example/"})),
        "rubbish".to_owned(),
        "a.b.c".to_owned(),
        String::new(),
    ] {
        servers.check(&wrong, now()).unwrap_err();
    }
    assert_eq!(servers.cached_count(), 0);
    // Not even beside the token it was made from.
    let good = token(&key, json!({}));
    servers.check(&good, now()).unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        servers.check(&changed, now()).unwrap_err();
    }
    assert_eq!(servers.cached_count(), 1);
}
