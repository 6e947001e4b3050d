//! A tenant's key set: exactly the keys count that the contract lets count, each as it is written
//! there.

#![no_main]

use jsonwebtoken::DecodingKeyKind;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use postern::auth::KeySet;
use postern::auth::key_set::{KeySetError, MAX_KEYS};
use postern_fuzz::json::{self, Fault, Json};
use postern_fuzz::random::Random;
use postern_fuzz::{assert_one_line, base64url, put};

/// A set that is in order.
const TWO_KEYS: &[u8] = include_bytes!("../corpus/key_set/two_keys");

fuzz_target!(|text: &[u8]| {
    let found = KeySet::parse(text);
    match &found {
        Ok(set) => set
            .remarks()
            .iter()
            .for_each(|line| assert_one_line(line, 300)),
        Err(KeySetError::NotAKeySet(not)) => assert_one_line(not, usize::MAX),
        Err(error) => assert_one_line(&error.to_string(), 300),
    }
    let keys = match json::read(text) {
        Ok(set) => match set.only("keys") {
            Some(Json::Array(keys)) => keys.clone(),
            _ => return assert!(found.is_err(), "{found:?}"),
        },
        Err(Fault::Wrong) => return assert!(found.is_err(), "{found:?}"),
        Err(Fault::Unsure) => return,
    };
    let mut usable: Vec<Usable> = Vec::new();
    for key in keys.iter().filter_map(usable_key) {
        if usable.iter().all(|before| before.id != key.id) {
            usable.push(key);
        }
    }
    match found {
        Ok(set) => {
            assert!(keys.len() <= MAX_KEYS);
            assert_eq!(set.remarks().len(), keys.len() - usable.len());
            let start = match usable.len() {
                0 => "no usable key".to_owned(),
                1 => "1 key (".to_owned(),
                count => format!("{count} keys ("),
            };
            assert!(set.to_string().starts_with(&start), "{set} {start}");
            assert_eq!(set.is_empty(), usable.is_empty());
            usable.iter().for_each(|key| compare(&set, key));
        }
        Err(KeySetError::TooManyKeys) => assert!(keys.len() > MAX_KEYS),
        Err(KeySetError::NotAKeySet(not)) => panic!("not {not}"),
    }
});

struct Usable {
    id: String,
    n: Vec<u8>,
    e: Vec<u8>,
}

fn compare(set: &KeySet, expected: &Usable) {
    let key = set.get(&expected.id).expect("a usable key counts");
    match key.decoding_key().kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            assert_eq!((n, e), (&expected.n, &expected.e));
        }
        DecodingKeyKind::SecretOrDer(_) => panic!("no RSA key"),
    }
}

/// The contract's rules for a key.
fn usable_key(key: &Json) -> Option<Usable> {
    let text = |name: &str| key.only(name).and_then(Json::as_str);
    let absent_or = |name: &str, value: &str| match key.all(name).count() {
        0 => true,
        _ => text(name) == Some(value),
    };
    if text("kty") != Some("RSA") || !absent_or("use", "sig") || !absent_or("alg", "RS256") {
        return None;
    }
    if key.all("key_ops").count() > 0 {
        let mut operations = key.only("key_ops")?.as_strings()?;
        let length = operations.len();
        operations.sort_unstable();
        operations.dedup();
        operations.binary_search(&"verify").ok()?;
        let others = operations.len() - 1 - usize::from(operations.contains(&"sign"));
        if operations.len() != length || (text("use").is_some() && others > 0) {
            return None;
        }
    }
    let id = text("kid")?.to_owned();
    let n = base64url::decode(text("n")?.as_bytes())?;
    let e = base64url::decode(text("e")?.as_bytes())?;
    let modulus = bits(&n)?;
    let exponent = bits(&e)?;
    let odd = |number: &[bool]| number.last() == Some(&true);
    let is_usable = (2048..=8192).contains(&modulus.len())
        && odd(&modulus)
        && (2..=33).contains(&exponent.len())
        && odd(&exponent);
    is_usable.then_some(Usable { id, n, e })
}

/// The bits of a number from its first 1 on; `None` with leading zero bytes, or none at all.
fn bits(number: &[u8]) -> Option<Vec<bool>> {
    number.first().filter(|first| **first != 0)?;
    let bits = number
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1));
    Some(bits.skip_while(|bit| !bit).collect())
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    let made = match random.below(4) {
        0 => json::mutate(&data[..size], &mut random, &NAMES, &VALUES),
        1 => json::mutate(TWO_KEYS, &mut random, &NAMES, &VALUES),
        _ => None,
    };
    made.and_then(|made| put(data, max_size, &made))
        .unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

const NAMES: [&str; 9] = [
    "keys", "kty", "use", "key_ops", "alg", "kid", "n", "e", "x5c",
];
const VALUES: [&str; 14] = [
    r#"["verify"]"#,
    r#"["sign","verify"]"#,
    r#"["verify","verify"]"#,
    r#"["verify","encrypt"]"#,
    r#""RSA""#,
    r#""sig""#,
    r#""RS256""#,
    r#""AQAB""#,
    r#""Aw""#,
    r#""AQ""#,
    r#""AA""#,
    r#""AQAAAAE""#,
    r#""Af____8""#,
    r#""A_____8""#,
];
