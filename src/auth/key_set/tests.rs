//! Which keys of a set count.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

/// A number of that many bits as JWK has it: all ones, so odd.
fn ones(bits: usize) -> String {
    let mut bytes = vec![0xff; bits.div_ceil(8)];
    bytes[0] >>= bytes.len() * 8 - bits;
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(id: &str) -> Value {
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": ones(2048), "e": "AQAB"})
}

fn parse(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn with(name: &str, value: Value) -> Value {
    let mut key = key("changed");
    key[name] = value;
    key
}

fn without(name: &str) -> Value {
    let mut key = key("changed");
    key.as_object_mut().unwrap().remove(name);
    key
}

#[test]
fn a_set_as_auth0_serves_it() {
    let mut keys = [key("current"), key("next")];
    for key in &mut keys {
        key["x5t"] = json!("NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg");
        key["x5c"] = json!(["MIIDDTCCAfWgAwIBAgIJ"]);
    }
    let set = parse(&keys).unwrap();
    assert_eq!(set.to_string(), "2 keys (current, next)");
    assert!(set.get("current").is_some() && set.get("next").is_some());
    assert!(set.get("Current").is_none() && set.get("").is_none());
    assert!(set.remarks().is_empty());
}

#[test]
fn usable_keys() {
    for (why, changed) in [
        ("no use", without("use")),
        ("no alg", without("alg")),
        ("8192 bits", with("n", json!(ones(8192)))),
        ("to verify", with("key_ops", json!(["verify"]))),
        (
            "to sign and verify",
            with("key_ops", json!(["sign", "verify"])),
        ),
        ("e = 3", with("e", json!("Aw"))),
        ("33 bits of e", with("e", json!(ones(33)))),
        ("unknown members", with("x", json!([[[{}]]]))),
    ] {
        let set = parse(&[key("other"), changed]).unwrap();
        assert!(set.get("changed").is_some(), "{why}: {:?}", set.remarks());
    }
}

#[test]
fn without_a_use_the_operations_decide_alone() {
    for (operations, is_usable) in [
        (json!(["verify"]), true),
        (json!(["verify", "encrypt"]), true),
        (json!(["verify", "unheard of"]), true),
        (json!(["sign"]), false),
        (json!(["Verify"]), false),
    ] {
        let mut key = key("changed");
        key.as_object_mut().unwrap().remove("use");
        key["key_ops"] = operations;
        let set = parse(&[self::key("other"), key.clone()]).unwrap();
        assert_eq!(set.get("changed").is_some(), is_usable, "{key}");
    }
}

#[test]
fn skipped_keys() {
    let even = |bits| {
        let mut bytes = URL_SAFE_NO_PAD.decode(ones(bits)).unwrap();
        *bytes.last_mut().unwrap() = 0xfe;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let padded = |number: &str| {
        let mut bytes = vec![0];
        bytes.extend(URL_SAFE_NO_PAD.decode(number).unwrap());
        URL_SAFE_NO_PAD.encode(bytes)
    };
    for (why, changed) in [
        ("another kty", with("kty", json!("EC"))),
        ("no kty", without("kty")),
        ("for encryption", with("use", json!("enc"))),
        ("use: null", with("use", json!(null))),
        ("to encrypt", with("key_ops", json!(["encrypt"]))),
        ("to sign only", with("key_ops", json!(["sign"]))),
        ("for nothing", with("key_ops", json!([]))),
        ("key_ops: null", with("key_ops", json!(null))),
        ("key_ops: a string", with("key_ops", json!("verify"))),
        ("key_ops: an object", with("key_ops", json!({"verify": 1}))),
        ("a number in key_ops", with("key_ops", json!(["verify", 1]))),
        ("verify twice", with("key_ops", json!(["verify", "verify"]))),
        (
            "sign twice",
            with("key_ops", json!(["sign", "verify", "sign"])),
        ),
        (
            "to verify and encrypt, against its use",
            with("key_ops", json!(["verify", "encrypt"])),
        ),
        (
            "to verify and for something unknown, against its use",
            with("key_ops", json!(["verify", "attest"])),
        ),
        ("another alg", with("alg", json!("RS512"))),
        ("alg: null", with("alg", json!(null))),
        ("no kid", without("kid")),
        ("kid: 1", with("kid", json!(1))),
        ("no n", without("n")),
        (
            "n in other base64",
            with("n", json!(ones(2048).replace('_', "/"))),
        ),
        ("n padded", with("n", json!(format!("{}==", ones(2048))))),
        ("2047 bits", with("n", json!(ones(2047)))),
        ("8193 bits", with("n", json!(ones(8193)))),
        ("leading zeros", with("n", json!(padded(&ones(2048))))),
        ("even n", with("n", json!(even(2048)))),
        ("empty n", with("n", json!(""))),
        ("no e", without("e")),
        ("e = 1", with("e", json!("AQ"))),
        ("e = 2", with("e", json!("Ag"))),
        ("e = 0", with("e", json!("AA"))),
        ("empty e", with("e", json!(""))),
        ("even e", with("e", json!("AQAA"))),
        ("34 bits of e", with("e", json!(ones(34)))),
        ("leading zeros of e", with("e", json!(padded("AQAB")))),
        ("null", json!(null)),
        ("a string", json!("changed")),
        ("an array", json!(["changed"])),
        ("a number", json!(5)),
        ("true", json!(true)),
    ] {
        let set = parse(&[changed.clone(), key("other")]).unwrap();
        assert!(set.get("changed").is_none(), "{why}");
        assert!(set.get("other").is_some(), "{why}");
        assert_eq!(set.remarks().len(), 1, "{why}");
        let alone = parse(&[changed]).unwrap();
        assert!(alone.is_empty() && alone.remarks().len() == 1, "{why}");
    }
}

#[test]
fn of_two_keys_with_one_id_the_first_counts() {
    let mut second = key("same");
    second["n"] = json!(ones(4096));
    let set = parse(&[key("same"), second]).unwrap();
    assert_eq!(set.to_string(), "1 key (same)");
    assert_eq!(set.remarks().len(), 1);
    let jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } =
        set.get("same").unwrap().decoding_key().kind()
    else {
        panic!("not an RSA key");
    };
    assert_eq!(n.len(), 256);
}

#[test]
fn an_unusable_namesake_does_not_hide_a_usable_key() {
    let mut first = key("same");
    first["use"] = json!("enc");
    assert!(parse(&[first, key("same")]).unwrap().get("same").is_some());
}

#[test]
fn a_member_given_twice_spoils_its_key_only() {
    let twice = key("twice")
        .to_string()
        .replacen('{', r#"{"alg":"RS256","#, 1);
    let text = format!(r#"{{"keys":[{twice},{}]}}"#, key("other"));
    let set = KeySet::parse(text.as_bytes()).unwrap();
    assert!(set.get("twice").is_none() && set.get("other").is_some());
}

#[test]
fn a_set_without_keys_is_a_set() {
    let set = parse(&[]).unwrap();
    assert!(set.is_empty() && set.remarks().is_empty() && set.get("a").is_none());
    assert_eq!(set.to_string(), "no usable key");
}

#[test]
fn what_is_no_key_set() {
    for text in [
        "",
        "<html>",
        "null",
        "[]",
        "{}",
        r#"{"keys": null}"#,
        r#"{"keys": {}}"#,
        r#"{"keys": "x"}"#,
        r#"[[]]"#,
    ] {
        let result = KeySet::parse(text.as_bytes());
        assert!(
            matches!(result, Err(KeySetError::NotAKeySet(_))),
            "{text}: {result:?}"
        );
    }
    let many = |count: usize| {
        parse(
            &(0..count)
                .map(|at| key(&at.to_string()))
                .collect::<Vec<_>>(),
        )
    };
    assert!(many(MAX_KEYS).is_ok());
    assert_eq!(many(MAX_KEYS + 1).unwrap_err(), KeySetError::TooManyKeys);
    assert_eq!(many(5 * MAX_KEYS).unwrap_err(), KeySetError::TooManyKeys);
}
