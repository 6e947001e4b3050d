//! The counts that every request adds to, kept once for each of a few groups of threads.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::histogram::{Histogram, Observed};
use super::{Number, Reason};

/// The most routes that are told apart. Requests of further ones count as [`OTHER`].
const MAX_ROUTES: usize = 32;
/// The label of requests that no route has answered.
const OTHER: &str = "other";
/// The statuses that are told apart, frequent ones first. The last is for all others.
const STATUSES: [u16; 29] = [
    200, 401, 403, 404, 503, 400, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 405, 408, 409,
    411, 412, 413, 414, 422, 429, 431, 500, 505, 0,
];

/// Groups of threads. More than processors of most hosts that postern is for.
const SHARDS: usize = 8;

/// The counts of a group of threads. Aligned, so that no two groups share a cache line, nor the
/// pair of them that some processors fetch together.
#[repr(align(128))]
struct Shard {
    /// By status; the last row is for requests without a route.
    requests: [[Number; STATUSES.len()]; MAX_ROUTES + 1],
    latencies: Histogram,
    refusals: [Number; Reason::COUNT],
    cache_hits: Number,
    cache_misses: Number,
}

static ALL: [Shard; SHARDS] = [const { Shard::new() }; SHARDS];

/// The routes that have been seen, in the order of their first requests.
static ROUTES: [OnceLock<&'static str>; MAX_ROUTES] = [const { OnceLock::new() }; MAX_ROUTES];

impl Shard {
    const fn new() -> Shard {
        Shard {
            requests: [const { [const { Number::new() }; STATUSES.len()] }; MAX_ROUTES + 1],
            latencies: Histogram::new(),
            refusals: [const { Number::new() }; Reason::COUNT],
            cache_hits: Number::new(),
            cache_misses: Number::new(),
        }
    }

    /// That of the current thread.
    fn mine() -> &'static Shard {
        thread_local! {
            static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let at = match MINE.get() {
            usize::MAX => {
                let at = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
                MINE.set(at);
                at
            }
            at => at,
        };
        &ALL[at]
    }
}

/// Counts the answer to a request. `route` is the path of its route, if it had one.
pub fn request(route: Option<&'static str>, status: u16, refused: Option<Reason>) {
    let shard = Shard::mine();
    let row = route.map_or(MAX_ROUTES, |route| number(route, &ROUTES));
    shard.requests[row][column(status)].add();
    if let Some(reason) = refused {
        shard.refusals[reason as usize].add();
    }
}

/// Counts how long an answer took.
pub fn latency(time: Duration) {
    Shard::mine().latencies.observe(time);
}

/// Counts a token that had been verified before.
pub fn cache_hit() {
    Shard::mine().cache_hits.add();
}

/// Counts a token that had to be verified.
pub fn cache_miss() {
    Shard::mine().cache_misses.add();
}

/// The number of a route: that of the first slot which has it, or is free. [`MAX_ROUTES`] if there
/// is none.
fn number(route: &'static str, routes: &[OnceLock<&'static str>; MAX_ROUTES]) -> usize {
    let is_it = |slot: &OnceLock<_>| *slot.get_or_init(|| route) == route;
    routes.iter().position(is_it).unwrap_or(MAX_ROUTES)
}

fn column(status: u16) -> usize {
    let known = STATUSES.iter().position(|known| *known == status);
    known.unwrap_or(STATUSES.len() - 1)
}

/// How many requests of a route were answered with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCount {
    /// The path of the route, or `other`.
    pub route: &'static str,
    /// The status; `None` for those that are not told apart.
    pub status: Option<u16>,
    /// How many.
    pub count: u64,
}

/// The requests so far. Combinations that have not occurred are left out, but for that of an
/// unknown path and 404.
pub fn requests() -> Vec<RequestCount> {
    let mut counts = Vec::new();
    for row in 0..=MAX_ROUTES {
        let route = match ROUTES.get(row).map(OnceLock::get) {
            Some(None) => continue,
            Some(Some(route)) => route,
            None => OTHER,
        };
        for (column, status) in STATUSES.into_iter().enumerate() {
            let count = sum(|shard| &shard.requests[row][column]);
            if count > 0 || (route == OTHER && status == 404) {
                let status = (status > 0).then_some(status);
                counts.push(RequestCount {
                    route,
                    status,
                    count,
                });
            }
        }
    }
    counts
}

/// The requests that were refused for a reason.
pub fn refusals(reason: Reason) -> u64 {
    sum(|shard| &shard.refusals[reason as usize])
}

/// How long answers took.
pub fn latencies() -> Observed {
    let mut observed = Observed::default();
    ALL.iter().for_each(|shard| observed.add(&shard.latencies));
    observed
}

/// How many tokens had been verified before, and how many had not.
pub fn cache_lookups() -> (u64, u64) {
    let hits = sum(|shard| &shard.cache_hits);
    (hits, sum(|shard| &shard.cache_misses))
}

fn sum(of: impl Fn(&Shard) -> &Number) -> u64 {
    ALL.iter().map(|shard| of(shard).get()).sum()
}

#[cfg(test)]
mod tests;
