//! Tokens that were found valid before, so that the signature of each is checked once.
//!
//! An entry says only: a token of these very bytes was signed by this key and claims this. Whether
//! that still lets anybody in is asked at each use: the key must be in the current set, and the
//! times must hold. So nothing has to be thrown away when the keys change, or time passes.
//!
//! - Only a token that passed every check enters, so that a stranger can fill nothing.
//! - Memory is reserved once, [`ENTRY_SIZE`] bytes an entry, and never grows. What the claims of an
//!   entry take on top is bounded by [`MAX_CLAIMS`]: a token that claims more is not kept, and is
//!   verified each time.
//! - A hit takes 0.65 us, where verifying takes 27 (`cargo bench --bench hot_path`).
//! - When it is full, the next one to go is found by the CLOCK rule: a hand goes round, spares once
//!   each entry used since it last came by, and takes the first that was not. A token starts as not
//!   used: those that are sent only once make room for each other first.

use std::collections::TryReserveError;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::key_set::{Fingerprint, Key, KeySet};
use super::verifier::Claims;

/// The most bytes that the claims of a token in the cache take, [`Claims`] itself not counted:
/// room for about eighty permissions.
pub const MAX_CLAIMS: usize = 2048;
/// How many entries the hand passes at one time. Without it a large cache of which all entries are
/// in use would be gone through as a whole, under the lock, for one new token.
const MAX_STEPS: usize = 32;
/// No entry: the end of a chain.
const NONE: u32 = u32::MAX;

/// What an entry takes, in bytes, without the texts of its claims: itself, its share of the buckets
/// (at most two), and its claims with the two counters of an [`Arc`].
pub const ENTRY_SIZE: usize =
    size_of::<Entry>() + 2 * size_of::<u32>() + size_of::<Claims>() + 2 * size_of::<usize>();
const _: () = assert!(ENTRY_SIZE <= 256);

/// SHA-256 of a whole compact token, signature included.
///
/// Digests are compared as any bytes are, not in constant time. The time taken could tell how far
/// the digest of a guessed token agrees with one in the cache. But even who knows a whole digest is
/// no nearer to its token: it would take a preimage of SHA-256.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// A cache of verified tokens.
pub struct TokenCache {
    capacity: usize,
    // Held for the few steps of a look-up: 10 ns beside the 600 that the digest takes, which is
    // made outside. More locks than one would gain nothing.
    table: Mutex<Table>,
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// A hash table of chains, in memory of a fixed size.
struct Table {
    /// The first entry of each chain, by the first bits of the digest. A power of two of them.
    ///
    /// The bits of a digest are its hash. An attack on a hash table needs keys of the attacker's
    /// choice, and these are digests of tokens that the tenant signed, so that no secret hash
    /// function is called for.
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    /// Where the hand stands.
    hand: usize,
}

struct Entry {
    digest: Digest,
    key: Fingerprint,
    claims: Arc<Claims>,
    /// The next entry of the chain.
    next: u32,
    /// Whether it has been used since the hand last came by.
    used: bool,
}

/// A token whose digest has been made, to be looked up or to be put in.
pub struct Lookup<'a> {
    cache: &'a TokenCache,
    digest: Digest,
}

impl TokenCache {
    /// A cache of at most `capacity` tokens.
    ///
    /// # Errors
    /// When there is not the memory for it.
    pub fn new(capacity: NonZero<usize>) -> Result<TokenCache, TryReserveError> {
        // More than that have no number, nor any host the memory.
        let capacity = capacity.get().min(NONE as usize);
        let mut table = Table {
            buckets: Vec::new(),
            entries: Vec::new(),
            hand: 0,
        };
        table.entries.try_reserve_exact(capacity)?;
        let buckets = capacity.next_power_of_two();
        table.buckets.try_reserve_exact(buckets)?;
        table.buckets.resize(buckets, NONE);
        Ok(TokenCache {
            capacity,
            table: Mutex::new(table),
        })
    }

    /// Makes the digest of this token.
    pub fn look_up(&self, token: &[u8]) -> Lookup<'_> {
        let digest = digest(&SHA256, token);
        let digest = digest.as_ref().try_into();
        Lookup {
            cache: self,
            digest: digest.expect("SHA-256 has 32 bytes"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing under the lock panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup<'_> {
    /// The claims of the token, if it is there and the key that signed it is in `keys`: the key
    /// itself, not another one of the same `kid`.
    ///
    /// An entry of a key that is gone stays until its room is needed. Should the key come back, the
    /// token is as good as before.
    pub fn get(&self, keys: &KeySet) -> Option<Arc<Claims>> {
        let (key, claims) = {
            let mut table = self.cache.lock();
            let at = table.find(&self.digest)?;
            let entry = &mut table.entries[at];
            entry.used = true;
            (entry.key, Arc::clone(&entry.claims))
        };
        keys.contains(key).then_some(claims)
    }

    /// Keeps the claims of the token, which has passed every check and was signed by `key`.
    pub fn fill(self, key: &Key, claims: &Arc<Claims>) {
        if size(claims) > MAX_CLAIMS {
            return;
        }
        let entry = Entry {
            digest: self.digest,
            key: key.fingerprint(),
            claims: Arc::clone(claims),
            next: NONE,
            used: false,
        };
        let replaced = self.cache.lock().insert(entry, self.cache.capacity);
        // Behind the lock: the last of the claims frees memory.
        drop(replaced);
    }
}

/// What `claims` take in bytes besides themselves.
fn size(claims: &Claims) -> usize {
    let subject = claims.subject.as_ref().map_or(0, |subject| subject.len());
    subject + claims.permissions.size()
}

impl Table {
    fn bucket(&self, digest: &Digest) -> usize {
        let [a, b, c, d, ..] = *digest;
        u32::from_le_bytes([a, b, c, d]) as usize & (self.buckets.len() - 1)
    }

    fn find(&self, digest: &Digest) -> Option<usize> {
        let mut at = self.buckets[self.bucket(digest)];
        while let Some(entry) = self.entries.get(at as usize) {
            if entry.digest == *digest {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    /// Puts `entry` in; what goes for it comes out.
    fn insert(&mut self, mut entry: Entry, capacity: usize) -> Option<Entry> {
        // Another thread may have verified the same token meanwhile.
        if let Some(at) = self.find(&entry.digest) {
            let old = &mut self.entries[at];
            (entry.next, entry.used) = (old.next, old.used);
            return Some(std::mem::replace(old, entry));
        }
        let bucket = self.bucket(&entry.digest);
        if self.entries.len() < capacity {
            entry.next = self.buckets[bucket];
            self.buckets[bucket] = self.entries.len() as u32;
            self.entries.push(entry);
            return None;
        }
        let at = self.victim();
        self.unlink(at);
        entry.next = self.buckets[bucket];
        self.buckets[bucket] = at as u32;
        Some(std::mem::replace(&mut self.entries[at], entry))
    }

    /// The entry that goes next. There is one.
    fn victim(&mut self) -> usize {
        let mut steps = 0;
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.entries.len();
            steps += 1;
            if !std::mem::take(&mut self.entries[at].used) || steps == MAX_STEPS {
                return at;
            }
        }
    }

    /// Takes an entry out of its chain.
    fn unlink(&mut self, at: usize) {
        let next = self.entries[at].next;
        let bucket = self.bucket(&self.entries[at].digest);
        let mut before = self.buckets[bucket];
        if before as usize == at {
            self.buckets[bucket] = next;
            return;
        }
        while let Some(entry) = self.entries.get_mut(before as usize) {
            if entry.next as usize == at {
                entry.next = next;
                return;
            }
            before = entry.next;
        }
    }
}

#[cfg(test)]
mod tests;
