//! Each rule by itself, and that all of them together are what a check is.

use serde_json::{Value, json};

use super::super::tests::{at, good_header, good_payload, unsigned, verifier, with};
use super::*;

const NOW: f64 = 2_000_000_000.0;

fn examine(token: &str) -> Examination {
    verifier().examine(token.as_bytes(), at(NOW))
}

/// The names of the rules that are broken.
fn broken(examination: &Examination) -> Vec<&'static str> {
    let is_broken = |rule: &&Rule| matches!(rule.finding, Finding::Broken(_));
    let broken = examination.rules.iter().filter(is_broken);
    broken.map(|rule| rule.name).collect()
}

fn token(header: Value, payload: Value) -> String {
    unsigned(header.to_string(), payload.to_string())
}

#[test]
fn the_rules_are_those_of_the_contract_in_its_order() {
    let examination = examine(&token(good_header(), good_payload()));
    let names: Vec<_> = examination.rules.iter().map(|rule| rule.name).collect();
    let contract = [
        "three parts",
        "alg",
        "typ",
        "kid",
        "crit",
        "jwk, jku, x5u, x5c",
        "iss",
        "aud",
        "exp",
        "nbf",
        "permissions",
        "JSON",
        "base64url",
    ];
    assert_eq!(names, contract);
    assert!(broken(&examination).is_empty());
    assert_eq!(examination.kind, Kind::Signed);
    assert_eq!(examination.key_id.as_deref(), Some("key-1"));
    assert_eq!(examination.times, [("exp", NOW + 60.0)]);
}

/// Changes of a good token, and the rules that each breaks.
fn changes() -> Vec<(String, &'static [&'static str])> {
    let header = |name, value: Value| token(with(good_header(), name, Some(value)), good_payload());
    let payload = |name, value: Value| {
        let changed = with(good_payload(), name, Some(value));
        token(good_header(), changed)
    };
    let without = |name| token(good_header(), with(good_payload(), name, None));
    let text = good_payload().to_string();
    vec![
        (token(good_header(), good_payload()), &[]),
        (header("alg", json!("HS256")), &["alg"]),
        (header("typ", json!("id+jwt")), &["typ"]),
        (header("kid", json!(1)), &["kid"]),
        (header("crit", Value::Null), &["crit"]),
        (header("jwk", json!({})), &[]),
        (payload("iss", json!("x")), &["iss"]),
        (payload("iss", json!(["x"])), &["iss"]),
        (payload("aud", json!(["x"])), &["aud"]),
        (payload("exp", json!(NOW - 60.0)), &["exp"]),
        (payload("exp", json!("soon")), &["exp"]),
        (without("exp"), &["exp"]),
        (payload("nbf", json!(NOW + 60.0)), &["nbf"]),
        (payload("nbf", Value::Null), &["nbf"]),
        (payload("permissions", json!("all")), &[]),
        (unsigned("[]", &text), &["JSON"]),
        (unsigned("{}", "{}"), &["alg", "kid", "iss", "aud", "exp"]),
        (unsigned(good_header().to_string(), r#"{"a":"#), &["JSON"]),
        (
            token(good_header(), good_payload()).replace("eyJ", "ey="),
            &["base64url"],
        ),
        ("opaque".to_owned(), &["three parts"]),
        ("a.b".to_owned(), &["three parts"]),
        ("a.b.c.d.e".to_owned(), &["three parts"]),
        (String::new(), &["three parts"]),
    ]
}

#[test]
fn each_change_breaks_its_own_rule_and_the_check_says_the_same() {
    for (token, rules) in changes() {
        let examination = examine(&token);
        assert_eq!(broken(&examination), rules, "{token}");
        let checked = verifier().read(token.as_bytes(), at(NOW));
        let found = examination.rules.iter().map(|rule| &rule.finding);
        match checked {
            Ok(_) => assert!(rules.is_empty(), "{token}"),
            Err(error) => {
                let finding = Finding::Broken(error);
                assert!(found.clone().any(|found| *found == finding), "{finding:?}");
            }
        }
    }
}

#[test]
fn what_a_broken_part_hides_is_not_judged() {
    let examination = examine(&unsigned("no JSON", good_payload().to_string()));
    let unseen = examination.rules.iter();
    let unseen: Vec<_> = unseen
        .filter(|rule| rule.finding == Finding::Unseen)
        .map(|rule| rule.name)
        .collect();
    assert_eq!(unseen, ["alg", "typ", "kid", "crit"]);
    assert_eq!(examination.header, None, "it may be anything");
    assert_eq!(examination.claims[0].0, "iss");
}

#[test]
fn tokens_for_others_are_told_by_their_form() {
    let encrypted = |header: &str| format!("{}.a.b.c.d", super::super::tests::encode(header));
    let id_token = |members: Value| {
        let mut payload = with(good_payload(), "permissions", None);
        payload["aud"] = json!("my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy");
        for (name, value) in members.as_object().unwrap() {
            payload[name] = value.clone();
        }
        token(good_header(), payload)
    };
    for (token, kind) in [
        ("my2zYkSbWqmuLFfp4Et0qBUyJcXCmAcy".to_owned(), Kind::Opaque),
        ("a.b.c.d.e".to_owned(), Kind::Opaque),
        (encrypted(r#"{"alg":"dir"}"#), Kind::Opaque),
        (
            encrypted(r#"{"alg":"dir","enc":"A256GCM"}"#),
            Kind::Encrypted,
        ),
        (id_token(json!({})), Kind::IdToken),
        (
            id_token(json!({"permissions": [], "nonce": "x"})),
            Kind::IdToken,
        ),
        (id_token(json!({"permissions": []})), Kind::Signed),
        (
            id_token(json!({"aud": "https://api.example"})),
            Kind::Signed,
        ),
    ] {
        assert_eq!(examine(&token).kind, kind, "{token}");
    }
}
