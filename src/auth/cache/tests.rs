//! The cache by itself, given claims as the verifier would.

use std::collections::HashSet;
use std::sync::Weak;

use super::*;

/// A set of keys that nobody has the private half of.
fn keys(ids: &[&str]) -> KeySet {
    set(&ids.iter().map(|id| (*id, "w")).collect::<Vec<_>>())
}

/// The same, with the last digit of each modulus.
fn set(keys: &[(&str, &str)]) -> KeySet {
    let keys: Vec<_> = keys
        .iter()
        .map(|(id, digit)| {
            let modulus = "_".repeat(341) + digit;
            format!(r#"{{"kty":"RSA","kid":"{id}","n":"{modulus}","e":"AQAB"}}"#)
        })
        .collect();
    KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
}

fn claims(subject: &str) -> Arc<Claims> {
    Arc::new(Claims {
        subject: Some(subject.into()),
        client: Some("client".into()),
        permissions: ["read:admin-messages"].into_iter().collect(),
        expires_at: 2e9,
        not_before: None,
    })
}

fn cache(capacity: usize) -> TokenCache {
    TokenCache::new(NonZero::new(capacity).unwrap()).unwrap()
}

impl TokenCache {
    fn fill(&self, token: &str, keys: &KeySet) {
        let key = keys.get("a").unwrap();
        self.look_up(token.as_bytes()).fill(key, &claims(token));
    }

    /// Whether it has the token, and then with the right claims.
    fn has(&self, token: &str, keys: &KeySet) -> bool {
        let found = self.look_up(token.as_bytes()).get(keys);
        if let Some(found) = &found {
            assert_eq!(found.subject.as_deref(), Some(token));
        }
        found.is_some()
    }

    pub(in crate::auth) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Panics unless each entry is found once, by its own chain.
    fn assert_whole(&self) {
        let table = self.lock();
        let mut seen = HashSet::new();
        for (bucket, first) in table.buckets.iter().enumerate() {
            let mut at = *first;
            while at != NONE {
                assert!(seen.insert(at), "entry {at} is in two chains, or in a loop");
                let entry = &table.entries[at as usize];
                assert_eq!(table.bucket(&entry.digest), bucket);
                at = entry.next;
            }
        }
        assert_eq!(seen.len(), table.entries.len());
        assert!(table.entries.len() <= self.capacity);
    }
}

#[test]
fn a_token_is_found_again_with_its_claims() {
    let (cache, keys) = (cache(2), keys(&["a", "b"]));
    assert!(!cache.has("one", &keys));
    cache.fill("one", &keys);
    cache.fill("two", &keys);
    assert!(cache.has("one", &keys) && cache.has("two", &keys));
    assert!(!cache.has("on", &keys) && !cache.has("onf", &keys) && !cache.has("", &keys));
}

#[test]
fn a_token_counts_only_while_its_very_key_does() {
    let cache = cache(2);
    cache.fill("one", &keys(&["a", "b"]));
    for (what, keys, found) in [
        ("dropped", keys(&["b"]), false),
        ("renamed", keys(&["b", "c"]), false),
        ("replaced under its name", set(&[("a", "Q")]), false),
        ("back", keys(&["c", "a"]), true),
        (
            "no longer the first of that name",
            set(&[("a", "Q"), ("a", "w")]),
            false,
        ),
        ("as it was", keys(&["a", "b"]), true),
    ] {
        assert_eq!(cache.has("one", &keys), found, "{what}");
    }
}

#[test]
fn a_hundred_thousand_tokens_take_the_room_of_the_first_thousand() {
    let (cache, keys) = (cache(1000), keys(&["a"]));
    let key = keys.get("a").unwrap();
    let address = |cache: &TokenCache| {
        let table = cache.lock();
        (
            table.entries.as_ptr() as usize,
            table.entries.capacity(),
            table.buckets.as_ptr() as usize,
            table.buckets.capacity(),
        )
    };
    let before = address(&cache);
    assert_eq!((before.1, before.3), (1000, 1024));
    let mut given: Vec<Weak<Claims>> = Vec::new();
    for number in 0..100_000 {
        let token = number.to_string();
        let claims = claims(&token);
        given.push(Arc::downgrade(&claims));
        cache.look_up(token.as_bytes()).fill(key, &claims);
    }
    cache.assert_whole();
    assert_eq!(address(&cache), before);
    assert_eq!(cache.len(), 1000);
    let alive = given.iter().filter(|claims| claims.strong_count() > 0);
    assert_eq!(alive.count(), 1000);
    assert!((99_000..100_000).all(|number| cache.has(&number.to_string(), &keys)));
}

#[test]
fn what_is_in_use_outlives_what_is_not() {
    let (cache, keys) = (cache(100), keys(&["a"]));
    for number in 0..10 {
        cache.fill(&format!("used {number}"), &keys);
    }
    for number in 0..10_000 {
        cache.fill(&number.to_string(), &keys);
        let used = format!("used {}", number % 10);
        assert!(cache.has(&used, &keys), "{used} at {number}");
    }
    cache.assert_whole();
}

#[test]
fn room_is_found_in_few_steps_when_all_is_in_use() {
    let (cache, keys) = (cache(1000), keys(&["a"]));
    (0..1000).for_each(|number| cache.fill(&number.to_string(), &keys));
    assert!((0..1000).all(|number| cache.has(&number.to_string(), &keys)));
    cache.fill("new", &keys);
    assert_eq!(cache.lock().hand, MAX_STEPS);
    assert!(cache.has("new", &keys));
    cache.assert_whole();
}

#[test]
fn a_token_that_claims_much_is_not_kept() {
    let (cache, keys) = (cache(2), keys(&["a"]));
    let key = keys.get("a").unwrap();
    let room = MAX_CLAIMS - size_of::<u32>() - "s".len() - "client".len();
    for (permission, is_kept) in [(room, true), (room + 1, false)] {
        let claims = Arc::new(Claims {
            permissions: [&*"p".repeat(permission)].into_iter().collect(),
            ..Claims::clone(&claims("s"))
        });
        let token = permission.to_string();
        cache.look_up(token.as_bytes()).fill(key, &claims);
        let found = cache.look_up(token.as_bytes()).get(&keys);
        assert_eq!(found, is_kept.then_some(claims));
    }
    let many = Arc::new(Claims {
        permissions: std::iter::repeat_n("", 1000).collect(),
        ..Claims::clone(&claims("s"))
    });
    cache.look_up(b"many").fill(key, &many);
    assert_eq!(cache.look_up(b"many").get(&keys), None);
}

#[test]
fn any_size_works() {
    let keys = keys(&["a"]);
    for capacity in [1, 2, 3, 5, 64, 100] {
        let cache = cache(capacity);
        for number in 0..300 {
            // Some come twice, as when two threads verify the same token.
            cache.fill(&(number / 3).to_string(), &keys);
            assert!(cache.has(&(number / 3).to_string(), &keys), "{capacity}");
        }
        cache.assert_whole();
        assert_eq!(cache.len(), capacity);
    }
}

#[test]
fn many_threads_share_it() {
    let (cache, keys) = (cache(50), keys(&["a"]));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (cache, keys) = (&cache, &keys);
            scope.spawn(move || {
                for number in 0..2000 {
                    let token = (number * (thread + 1) % 100).to_string();
                    if !cache.has(&token, keys) {
                        cache.fill(&token, keys);
                    }
                }
            });
        }
    });
    cache.assert_whole();
    assert_eq!(cache.len(), 50);
}
