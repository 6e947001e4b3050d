//! The copy of the key set on disk: only a valid file is loaded, with exactly its content, and a
//! saved copy is loaded again.
//!
//! Input: a byte, even for a file as it is found, odd for a key set that is kept; then its bytes.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use postern::auth::KeySet;
use postern::auth::disk::{DiskCopy, Stored};
use postern_fuzz::json::{self, Fault, Json};
use postern_fuzz::put;
use postern_fuzz::random::Random;

const ISSUER: &str = "https://tenant.example/";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A file that is in order, behind its first byte.
const WHOLE: &[u8] = include_bytes!("../corpus/disk/whole");

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| postern_fuzz::folder("disk"));

fuzz_target!(|data: &[u8]| {
    let Some((&mode, bytes)) = data.split_first() else {
        return;
    };
    let _ = fs::remove_file(FOLDER.join("jwks.json"));
    if mode % 2 == 0 {
        found_file(bytes);
    } else {
        kept_set(bytes, mode);
    }
});

fn copy() -> DiskCopy {
    DiskCopy::new(FOLDER.clone(), ISSUER.to_owned())
}

fn found_file(bytes: &[u8]) {
    fs::write(FOLDER.join("jwks.json"), bytes).expect("the folder can be written");
    let loaded = copy().load();
    let expected = expected(bytes);
    match (&loaded, &expected) {
        (Some((keys, stored)), Ok(expected)) => {
            assert_eq!(stored, expected);
            let again = KeySet::parse(&stored.text).expect("it is a key set");
            assert_eq!(keys.to_string(), again.to_string());
        }
        (None, Err(Fault::Wrong)) | (_, Err(Fault::Unsure)) => {}
        _ => panic!("{loaded:?} {expected:?}"),
    }
    if let Some((_, stored)) = loaded {
        comes_back(&stored);
    }
}

fn kept_set(text: &[u8], mode: u8) {
    if KeySet::parse(text).is_ok() {
        comes_back(&Stored {
            text: text.into(),
            fetched: UNIX_EPOCH + DAY * u32::from(mode),
            fresh_for: Duration::from_secs(u64::from(mode) * 7),
        });
    }
}

fn comes_back(stored: &Stored) {
    let _ = fs::remove_file(FOLDER.join("jwks.json"));
    copy().keep(stored.clone());
    let (_, back) = copy().load().expect("what is kept comes back");
    assert_eq!(back, *stored);
    assert!(!FOLDER.join("jwks.json.tmp").exists());
}

/// The content of the file, if it is valid.
fn expected(bytes: &[u8]) -> Result<Stored, Fault> {
    let record = json::read(bytes)?;
    let text = |name: &str| record.only(name).and_then(Json::as_str);
    let number = |name: &str| record.only(name).and_then(Json::as_u64);
    if number("version") != Some(1) || text("issuer") != Some(ISSUER) {
        return Err(Fault::Wrong);
    }
    let keys = text("key_set").ok_or(Fault::Wrong)?;
    let fetched = Duration::from_secs(number("fetched").ok_or(Fault::Wrong)?);
    let fresh_for = Duration::from_secs(number("fresh_for").ok_or(Fault::Wrong)?);
    KeySet::parse(keys.as_bytes()).map_err(|_| Fault::Wrong)?;
    Ok(Stored {
        text: keys.as_bytes().into(),
        fetched: UNIX_EPOCH.checked_add(fetched).ok_or(Fault::Wrong)?,
        fresh_for,
    })
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    let made = match (size, random.below(4)) {
        (1.., 0) => json::mutate(&data[1..size], &mut random, &NAMES, &VALUES),
        (1.., 1) => json::mutate(&WHOLE[1..], &mut random, &NAMES, &VALUES),
        _ => None,
    };
    made.and_then(|made| put(&mut data[1..], max_size - 1, &made))
        .map_or_else(|| fuzzer_mutate(data, size, max_size), |length| length + 1)
});

const NAMES: [&str; 8] = [
    "version",
    "issuer",
    "fetched",
    "fresh_for",
    "key_set",
    "keys",
    "kid",
    "n",
];
const VALUES: [&str; 8] = [
    r#""https://tenant.example/""#,
    "600",
    "86401",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e3",
];
