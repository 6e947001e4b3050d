//! Access tokens against the contract's table, read once more by other means; and no token but the
//! one that was signed gets in, byte for byte.
//!
//! Input: a token. Mutations go into the decoded header, payload or signature as well.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use postern::auth::{KeySet, TokenError, Verifier};
use postern_fuzz::json::{self, Fault, Json};
use postern_fuzz::random::Random;
use postern_fuzz::{base64url, put};

const ISSUER: &str = "https://tenant.example/";
const AUDIENCE: &str = "https://api.example";
/// Seconds since 1970.
const NOW: u64 = 2_000_000_000;
const LEEWAY: u64 = 5;
/// The most that an error repeats of a claim, in characters, and an ellipsis.
const MAX_QUOTED: usize = 203;

// Minted with OpenSSL, as the one in src/auth/verifier/tests.rs; the private key was then thrown
// away. The other signed tokens in the corpus are from the same key, each wrong in one thing.
/// The only token that gets in.
const VALID: &[u8] = include_bytes!("../corpus/token/valid");
/// The key it is signed with.
const KEY_SET: &[u8] = include_bytes!("../corpus/key_set/one_key");

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let leeway = Duration::from_secs(LEEWAY);
    Verifier::new(ISSUER.to_owned(), AUDIENCE.to_owned(), leeway)
});
static KEYS: LazyLock<KeySet> = LazyLock::new(|| KeySet::parse(KEY_SET).expect("it is one"));

fuzz_target!(|token: &[u8]| {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let read = VERIFIER.read(token, now);
    let expected = expected(token);
    match (&read, &expected) {
        (Ok(_), Ok(_)) | (Err(_), Err(Fault::Wrong)) | (_, Err(Fault::Unsure)) => {}
        _ => panic!("{read:?} {expected:?}"),
    }
    let verified = read.and_then(|token| {
        if let Ok(expected) = &expected {
            assert_eq!(token.key_id(), expected.key_id);
        }
        match KEYS.get(token.key_id()) {
            Some(key) => token.verify(key),
            None => Err(token.unknown_key()),
        }
    });
    assert_eq!(verified.is_ok(), token == VALID, "{verified:?}");
    match (verified, expected) {
        (Ok(claims), Ok(expected)) => {
            assert_eq!(claims.subject.as_deref(), expected.subject.as_deref());
            assert_eq!(claims.client.as_deref(), expected.client.as_deref());
            assert!(claims.permissions.iter().eq(&expected.permissions));
            assert_eq!(claims.expires_at, expected.expires_at);
            assert_eq!(claims.not_before, expected.not_before);
        }
        (Err(error), _) => check_error(&error),
        (Ok(_), Err(_)) => panic!("the valid token is valid"),
    }
});

/// The description of a refused token: a fixed sentence around the start of a claim.
fn check_error(error: &TokenError) {
    let summary = error.summary();
    assert!(summary.bytes().all(|b| matches!(b, b' '..=b'~')));
    assert!(!summary.contains(['"', '\\']));
    let text = error.to_string();
    assert!(text.chars().count() <= MAX_QUOTED + 120, "{text}");
    assert!(text.ends_with('.'), "{text}");
}

#[derive(Debug)]
struct Expected {
    key_id: String,
    subject: Option<String>,
    client: Option<String>,
    permissions: Vec<String>,
    expires_at: f64,
    not_before: Option<f64>,
}

/// The contract's table, but for the signature and the key.
fn expected(token: &[u8]) -> Result<Expected, Fault> {
    let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err(Fault::Wrong);
    };
    std::str::from_utf8(signature).map_err(|_| Fault::Wrong)?;
    let header = object(header, &["alg", "typ", "kid", "crit"]);
    let payload = object(
        payload,
        &[
            "iss",
            "aud",
            "sub",
            "azp",
            "client_id",
            "exp",
            "nbf",
            "permissions",
        ],
    );
    let (header, payload) = match (header, payload) {
        (Ok(header), Ok(payload)) => (header, payload),
        (Err(Fault::Wrong), _) | (_, Err(Fault::Wrong)) => return Err(Fault::Wrong),
        _ => return Err(Fault::Unsure),
    };
    let text = |object: &Json, name: &str| {
        let value = object.only(name).and_then(Json::as_str);
        value.map(str::to_owned)
    };
    let typ_is_right = match header.only("typ") {
        None => true,
        Some(typ) => typ.as_str().is_some_and(|typ| {
            let typ = typ.to_ascii_lowercase();
            ["jwt", "at+jwt", "application/at+jwt"].contains(&typ.as_str())
        }),
    };
    let audience_is_right = match payload.only("aud") {
        Some(Json::String(audience)) => audience == AUDIENCE,
        Some(audiences) => audiences
            .as_strings()
            .is_some_and(|audiences| audiences.contains(&AUDIENCE)),
        None => false,
    };
    let time = |name: &str| payload.only(name).map(Json::as_f64);
    let (expires_at, not_before) = (time("exp").flatten(), time("nbf"));
    let (earliest, latest) = ((NOW - LEEWAY) as f64, (NOW + LEEWAY) as f64);
    // Parsers differ in the last digit of a fraction.
    let is_near = |time: f64, limit: f64| time.fract() != 0.0 && (time - limit).abs() < 1e-3;
    if expires_at.is_some_and(|time| is_near(time, earliest))
        || not_before
            .flatten()
            .is_some_and(|time| is_near(time, latest))
    {
        return Err(Fault::Unsure);
    }
    let holds = text(&header, "alg").as_deref() == Some("RS256")
        && typ_is_right
        && header.only("crit").is_none()
        && text(&payload, "iss").as_deref() == Some(ISSUER)
        && audience_is_right
        && expires_at.is_some_and(|time| time > earliest)
        && not_before.is_none_or(|time| time.is_some_and(|time| time <= latest));
    match text(&header, "kid") {
        Some(key_id) if holds => Ok(Expected {
            key_id,
            subject: text(&payload, "sub"),
            client: text(&payload, "azp").or_else(|| text(&payload, "client_id")),
            permissions: payload
                .only("permissions")
                .and_then(Json::as_strings)
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            expires_at: expires_at.ok_or(Fault::Wrong)?,
            not_before: not_before.flatten(),
        }),
        _ => Err(Fault::Wrong),
    }
}

/// An object in which none of the named members occurs twice.
fn object(part: &[u8], names: &[&str]) -> Result<Json, Fault> {
    let bytes = base64url::decode(part).ok_or(Fault::Wrong)?;
    let object = json::read(&bytes)?;
    let once = |name: &&str| object.all(name).count() <= 1;
    match object.members() {
        Some(_) if names.iter().all(once) => Ok(object),
        _ => Err(Fault::Wrong),
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate_part(data, size, max_size, seed).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

const NAMES: [&str; 14] = [
    "alg",
    "typ",
    "kid",
    "crit",
    "jwk",
    "iss",
    "aud",
    "sub",
    "azp",
    "client_id",
    "exp",
    "nbf",
    "permissions",
    "scope",
];
const VALUES: [&str; 12] = [
    r#""RS256""#,
    r#""none""#,
    r#""at+jwt""#,
    r#""fuzz""#,
    r#""https://tenant.example/""#,
    r#""https://api.example""#,
    r#"["https://api.example"]"#,
    r#"["read:admin-messages"]"#,
    "1999999995",
    "1999999996",
    "2000000005",
    "2000000006",
];

/// Changes one part of a token, decoded, and encodes it again; or takes the valid token's instead.
fn mutate_part(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let mut random = Random::new(seed.into());
    let mut parts: Vec<&[u8]> = data[..size].split(|byte| *byte == b'.').collect();
    if parts.len() != 3 {
        return None;
    }
    let chosen = random.below(3);
    let part = match random.below(8) {
        0 => return None,
        1 => VALID.split(|byte| *byte == b'.').nth(chosen)?.to_vec(),
        2..5 => {
            let part = base64url::decode(parts[chosen])?;
            base64url::encode(&json::mutate(&part, &mut random, &NAMES, &VALUES)?)
        }
        _ => {
            let mut part = base64url::decode(parts[chosen])?;
            let length = part.len();
            part.resize(length + 64, 0);
            let most = part.len();
            let length = fuzzer_mutate(&mut part, length, most);
            base64url::encode(&part[..length])
        }
    };
    parts[chosen] = &part;
    put(data, max_size, &parts.join(&b'.'))
}
