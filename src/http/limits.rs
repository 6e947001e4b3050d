//! How many connections the limits of this process allow.

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not connections: standard streams, listener, wake-up and signal pipes, the
/// fetch of the keys with its name resolution, one connection more than there are slots.
const RESERVED_DESCRIPTORS: u64 = 16;

/// How many of `wanted` connections the descriptor limit allows. The soft limit is raised first.
pub fn fit_descriptors(wanted: usize) -> usize {
    let needed = wanted as u64 + RESERVED_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limit.current) {
        return wanted;
    }
    let raised = Rlimit {
        current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
        maximum: limit.maximum,
    };
    // Where it cannot be raised, what there is must do.
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    if enough(current) {
        return wanted;
    }
    let current = current.unwrap_or(needed);
    let fitting = usize::try_from(current.saturating_sub(RESERVED_DESCRIPTORS))
        .unwrap_or(wanted)
        .max(1);
    warn!(
        "MAX_CONNECTIONS is {wanted}, but this process may have {current} descriptors only, and keeps \
         {RESERVED_DESCRIPTORS} for other uses: serving {fitting} connections at once"
    );
    fitting
}
