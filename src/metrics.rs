//! What is counted: the rooms add to it, and the admin address prints it.
//!
//! Nothing here takes a lock. What each request adds to is kept once for each of a few groups of
//! threads, so that processors do not wait for each other's cache lines. What is rarer is one
//! number for all.
//!
//! No text from the network is kept: labels are variants of the enums here, or texts of the
//! program.

mod histogram;
mod labels;
mod shards;
pub mod text;

use std::sync::atomic::{AtomicU64, Ordering};

pub use self::histogram::{BOUNDS, Histogram, Observed};
pub use self::labels::{Fetch, Handshake, Reason};
pub use self::shards::{
    RequestCount, cache_hit, cache_lookups, cache_miss, latencies, latency, refusals, request,
    requests,
};

/// A number that only rises, or one that is set.
#[derive(Debug)]
pub struct Number(AtomicU64);

impl Number {
    /// Zero.
    pub const fn new() -> Number {
        Number(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Number {
    fn default() -> Number {
        Number::new()
    }
}

/// Connections accepted.
pub static ACCEPTED: Number = Number::new();
/// Connections closed to give their places to others.
pub static EVICTED: Number = Number::new();
/// Connections that got no place.
pub static REFUSED: Number = Number::new();
/// Verified tokens that are kept.
pub static CACHED_TOKENS: Number = Number::new();

/// TLS handshakes that have ended.
pub static HANDSHAKES: [Number; Handshake::COUNT] = [const { Number::new() }; Handshake::COUNT];
/// Fetches of the keys that have ended.
pub static FETCHES: [Number; Fetch::COUNT] = [const { Number::new() }; Fetch::COUNT];
/// How long the fetches of the keys took.
pub static FETCH_TIMES: Histogram = Histogram::new();
