//! What a token must be like, row by row.

mod openssl;

use serde_json::{Value, json};

use super::*;
use crate::auth::KeySet;

const ISSUER: &str = "https://tenant.example/";
const AUDIENCE: &str = "https://api.example";
/// The time at which the tests look at tokens.
const NOW: u64 = 2_000_000_000;

pub(super) fn verifier() -> Verifier {
    Verifier::new(ISSUER.into(), AUDIENCE.into(), Duration::from_secs(5))
}

pub(super) fn at(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of these parts, with a signature that nothing here looks at.
pub(super) fn unsigned(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}.c2ln", encode(header), encode(payload))
}

pub(super) fn good_header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"})
}

pub(super) fn good_payload() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "auth0|1",
        "aud": [AUDIENCE, "https://tenant.example/userinfo"],
        "exp": NOW + 60,
    })
}

fn read(token: &str) -> Result<Claims, TokenError> {
    verifier()
        .read(token.as_bytes(), at(NOW as f64))
        .map(|token| token.claims)
}

fn with_header(header: &Value) -> Result<Claims, TokenError> {
    read(&unsigned(header.to_string(), good_payload().to_string()))
}

fn with_payload(payload: &Value) -> Result<Claims, TokenError> {
    read(&unsigned(good_header().to_string(), payload.to_string()))
}

/// `object` with one member changed, or taken away.
pub(super) fn with(mut object: Value, name: &str, value: Option<Value>) -> Value {
    let members = object.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.into(), value),
        None => members.remove(name),
    };
    object
}

#[test]
fn a_good_token_tells_its_claims() {
    let payload = with(
        good_payload(),
        "permissions",
        Some(json!(["a", "read:admin-messages"])),
    );
    let claims = with_payload(&with(payload, "nbf", Some(json!(NOW)))).unwrap();
    assert_eq!(claims.subject.as_deref(), Some("auth0|1"));
    assert_eq!(claims.expires_at, (NOW + 60) as f64);
    assert_eq!(claims.not_before, Some(NOW as f64));
    assert!(claims.has_permission("read:admin-messages"));
    assert!(!claims.has_permission("read:admin"));
}

#[test]
fn header_members() {
    let cases: &[(&str, Option<Value>, bool)] = &[
        ("alg", None, false),
        ("alg", Some(json!("none")), false),
        ("alg", Some(json!("rs256")), false),
        ("alg", Some(json!("RS512")), false),
        ("alg", Some(json!("HS256")), false),
        ("alg", Some(json!(["RS256"])), false),
        ("alg", Some(json!(null)), false),
        ("typ", None, true),
        ("typ", Some(json!("jwt")), true),
        ("typ", Some(json!("at+jwt")), true),
        ("typ", Some(json!("AT+JWT")), true),
        ("typ", Some(json!("application/at+jwt")), true),
        ("typ", Some(json!("id+jwt")), false),
        ("typ", Some(json!("")), false),
        ("typ", Some(json!(null)), false),
        ("typ", Some(json!(["JWT"])), false),
        ("kid", None, false),
        ("kid", Some(json!(null)), false),
        ("kid", Some(json!(1)), false),
        ("kid", Some(json!(["key-1"])), false),
        ("kid", Some(json!("")), true),
        ("crit", Some(json!(["exp"])), false),
        ("crit", Some(json!([])), false),
        ("crit", Some(json!(null)), false),
        ("jwk", Some(json!({"kty": "RSA"})), true),
        ("x5c", Some(json!(["x"])), true),
        ("cty", Some(json!("JWT")), true),
    ];
    for (name, value, accepted) in cases {
        let result = with_header(&with(good_header(), name, value.clone()));
        assert_eq!(result.is_ok(), *accepted, "{name} {value:?}: {result:?}");
    }
}

#[test]
fn claims() {
    let leeway = 5;
    let cases: &[(&str, Option<Value>, bool)] = &[
        ("iss", None, false),
        ("iss", Some(json!("https://tenant.example")), false),
        ("iss", Some(json!("https://tenant.example//")), false),
        ("iss", Some(json!("https://TENANT.example/")), false),
        ("iss", Some(json!("http://tenant.example/")), false),
        ("iss", Some(json!([ISSUER])), false),
        ("iss", Some(json!(null)), false),
        ("aud", None, false),
        ("aud", Some(json!(AUDIENCE)), true),
        ("aud", Some(json!([AUDIENCE])), true),
        ("aud", Some(json!(["x", AUDIENCE, "y"])), true),
        ("aud", Some(json!([])), false),
        ("aud", Some(json!("")), false),
        ("aud", Some(json!("https://api.example/")), false),
        ("aud", Some(json!("https://api.exampl")), false),
        ("aud", Some(json!("https://api.example https://x")), false),
        ("aud", Some(json!([AUDIENCE, 1])), false),
        ("aud", Some(json!([[AUDIENCE]])), false),
        ("aud", Some(json!({"aud": AUDIENCE})), false),
        ("aud", Some(json!(null)), false),
        ("exp", None, false),
        ("exp", Some(json!(NOW)), true),
        ("exp", Some(json!(NOW - leeway)), false),
        ("exp", Some(json!(NOW - leeway + 1)), true),
        ("exp", Some(json!((NOW - leeway) as f64 + 0.5)), true),
        ("exp", Some(json!((NOW - leeway) as f64 - 0.5)), false),
        ("exp", Some(json!(0)), false),
        ("exp", Some(json!(-1)), false),
        ("exp", Some(json!(u64::MAX)), true),
        ("exp", Some(json!(1e300)), true),
        ("exp", Some(json!(-1e300)), false),
        ("exp", Some(json!((NOW + 60).to_string())), false),
        ("exp", Some(json!(true)), false),
        ("exp", Some(json!(null)), false),
        ("exp", Some(json!([NOW + 60])), false),
        ("nbf", Some(json!(NOW + leeway)), true),
        ("nbf", Some(json!(NOW + leeway + 1)), false),
        ("nbf", Some(json!(0)), true),
        ("nbf", Some(json!("0")), false),
        ("nbf", Some(json!(null)), false),
        ("iat", Some(json!(NOW + 1000)), true),
        ("sub", None, true),
        ("sub", Some(json!(5)), true),
    ];
    for (name, value, accepted) in cases {
        let result = with_payload(&with(good_payload(), name, value.clone()));
        assert_eq!(result.is_ok(), *accepted, "{name} {value:?}: {result:?}");
    }
}

#[test]
fn the_client_is_azp_or_else_client_id() {
    let cases = [
        (None, None, None),
        (Some(json!("a")), None, Some("a")),
        (None, Some(json!("b")), Some("b")),
        (Some(json!("a")), Some(json!("b")), Some("a")),
        (Some(json!("")), Some(json!("b")), Some("")),
        (Some(json!(["a"])), Some(json!("b")), Some("b")),
        (Some(json!(null)), Some(json!(1)), None),
        (None, Some(json!({"a": "b"})), None),
    ];
    for (azp, client_id, expected) in cases {
        let payload = with(good_payload(), "azp", azp.clone());
        let payload = with(payload, "client_id", client_id.clone());
        let claims = with_payload(&payload).unwrap();
        assert_eq!(claims.client.as_deref(), expected, "{azp:?} {client_id:?}");
    }
}

#[test]
fn only_an_array_of_strings_grants_permissions() {
    let cases = [
        (None, 0),
        (Some(json!([])), 0),
        (Some(json!(["a"])), 1),
        (Some(json!(["a", "b"])), 2),
        (Some(json!("a")), 0),
        (Some(json!(["a", 1])), 0),
        (Some(json!({"a": true})), 0),
        (Some(json!(null)), 0),
    ];
    for (value, count) in cases {
        let claims = with_payload(&with(good_payload(), "permissions", value.clone())).unwrap();
        assert_eq!(claims.permissions.iter().count(), count, "{value:?}");
    }
    let scope = with(good_payload(), "scope", Some(json!("read:admin-messages")));
    let claims = with_payload(&scope).unwrap();
    assert_eq!(claims.permissions.iter().count(), 0);
}

#[test]
fn header_and_payload_are_one_object_each() {
    let header = good_header().to_string();
    let payload = good_payload().to_string();
    let member = |json: &str, extra: &str| json.replacen('{', &format!("{{{extra},"), 1);
    let not_utf8 = |json: &str| {
        member(json, "\"x\": \"?\"")
            .replace('?', "\u{1}")
            .into_bytes()
    };
    let with_bad_byte = |json: &str| -> Vec<u8> {
        not_utf8(json)
            .into_iter()
            .map(|b| if b == 1 { 0xff } else { b })
            .collect()
    };
    let deep = format!("\"x\": {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let accepted = [
        (
            member(&header, &deep).into_bytes(),
            payload.clone().into_bytes(),
        ),
        (
            header.clone().into_bytes(),
            member(&payload, &deep).into_bytes(),
        ),
        (
            format!(" {header}\n").into_bytes(),
            format!("\t{payload} ").into_bytes(),
        ),
    ];
    for (header, payload) in accepted {
        assert!(read(&unsigned(&header, &payload)).is_ok());
    }
    let refused = [
        (
            format!("[{header}]").into_bytes(),
            payload.clone().into_bytes(),
        ),
        (
            header.clone().into_bytes(),
            format!("[{payload}]").into_bytes(),
        ),
        (
            br#"["RS256","JWT","key-1"]"#.to_vec(),
            payload.clone().into_bytes(),
        ),
        (
            format!("{header}{{}}").into_bytes(),
            payload.clone().into_bytes(),
        ),
        (
            header.clone().into_bytes(),
            format!("{payload}x").into_bytes(),
        ),
        (
            member(&header, "\"alg\": \"RS256\"").into_bytes(),
            payload.clone().into_bytes(),
        ),
        (
            member(&header, "\"kid\": \"key-1\"").into_bytes(),
            payload.clone().into_bytes(),
        ),
        (
            header.clone().into_bytes(),
            member(&payload, "\"exp\": 1").into_bytes(),
        ),
        (
            header.clone().into_bytes(),
            member(&payload, "\"permissions\":[],\"permissions\":[]").into_bytes(),
        ),
        (
            header.clone().into_bytes(),
            member(&payload, "\"\\u0069ss\": 1").into_bytes(),
        ),
        (with_bad_byte(&header), payload.clone().into_bytes()),
        (header.clone().into_bytes(), with_bad_byte(&payload)),
        (Vec::new(), payload.clone().into_bytes()),
        (header.clone().into_bytes(), Vec::new()),
    ];
    for (header, payload) in refused {
        let result = read(&unsigned(&header, &payload));
        let text = (
            String::from_utf8_lossy(&header),
            String::from_utf8_lossy(&payload),
        );
        assert!(
            matches!(result, Err(TokenError::Malformed { .. })),
            "{text:?}: {result:?}"
        );
    }
}

#[test]
fn the_compact_form_is_strict() {
    let token = unsigned(good_header().to_string(), good_payload().to_string());
    assert!(read(&token).is_ok());
    for not_compact in [
        "".to_owned(),
        "opaque".to_owned(),
        "a.b".to_owned(),
        format!("{token}."),
        format!("{token}.x.y"),
    ] {
        assert_eq!(
            read(&not_compact),
            Err(TokenError::NotCompact),
            "{not_compact}"
        );
    }
    let (header, rest) = token.split_once('.').unwrap();
    // A length that leaves bits over, the last of which is then set.
    let trailing = encode(format!("{}  ", good_header()));
    assert_ne!(trailing.len() % 4, 0, "the case needs bits over");
    let last = trailing.chars().last().unwrap();
    let altered = format!(
        "{}{}",
        &trailing[..trailing.len() - 1],
        char::from(last as u8 + 1)
    );
    for header in [
        format!("{header}="),
        format!("{header}=="),
        format!(" {header}"),
        header.replacen('e', "+", 1),
        header.replacen('e', "/", 1),
        format!("{header}\n"),
        altered,
    ] {
        let result = read(&format!("{header}.{rest}"));
        assert!(
            matches!(result, Err(TokenError::Malformed { part: "header", .. })),
            "{header}: {result:?}"
        );
    }
    assert!(read(&format!("{trailing}.{rest}")).is_ok());
}

#[test]
fn errors_help_a_human() {
    let say = |payload: Value| with_payload(&payload).unwrap_err().to_string();
    assert_eq!(
        say(with(good_payload(), "exp", Some(json!(NOW - 312)))),
        "The access token expired 312 s ago."
    );
    assert_eq!(
        say(with(good_payload(), "iss", Some(json!("https://a/")))),
        "The token's issuer is https://a/, this API expects https://tenant.example/."
    );
    assert_eq!(
        say(with(good_payload(), "aud", Some(json!(["a", "b"])))),
        "The token's audience is a, b, this API expects https://api.example."
    );
    assert_eq!(
        say(with(good_payload(), "nbf", Some(json!(NOW + 90)))),
        "The access token is not valid for another 90 s."
    );
    let long = say(with(
        good_payload(),
        "iss",
        Some(json!("\u{e9}".repeat(5000))),
    ));
    assert_eq!(long.matches('\u{e9}').count(), MAX_QUOTED);
}

#[test]
fn a_claim_that_is_a_number_of_many_digits_is_cut_as_text_is() {
    for number in [1e300, -1e300] {
        let payload = with(good_payload(), "iss", Some(json!(number)));
        let error = with_payload(&payload).unwrap_err().to_string();
        assert!(error.contains("0..., this API"), "{error}");
        assert!(error.matches('0').count() <= MAX_QUOTED, "{error}");
    }
}

#[test]
fn a_clock_at_1970_or_before_breaks_nothing() {
    let token = unsigned(good_header().to_string(), good_payload().to_string());
    let before = UNIX_EPOCH - Duration::from_secs(1_000_000);
    assert!(verifier().read(token.as_bytes(), UNIX_EPOCH).is_ok());
    assert!(verifier().read(token.as_bytes(), before).is_ok());
    let expired = unsigned(
        good_header().to_string(),
        with(good_payload(), "exp", Some(json!(-2_000_000))).to_string(),
    );
    let result = verifier().read(expired.as_bytes(), before).map(|_| ());
    assert_eq!(result, Err(TokenError::Expired { seconds: 1_000_000 }));
}
