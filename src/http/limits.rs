//! How many connections the limits of this process allow.

use std::fs;
use std::io::{self, ErrorKind};
use std::thread;

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::pool::STACK_SIZE;
use super::slots;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Descriptors that are not connections: standard streams, listener, wake-up and signal pipes, the
/// fetch of the keys with its name resolution, the connection accepted last.
const RESERVED_DESCRIPTORS: usize = 16;

/// Address space for what is not a connection: the stacks of the other threads, and the fetch of the
/// keys with its certificates.
const RESERVED_SPACE: u64 = 16 * MIB;
/// Address space for a connection: its thread's stack, a large head, and what is made of it.
const CONNECTION_SPACE: u64 = STACK_SIZE as u64 + 128 * KIB;
/// Address space that glibc's allocator sets aside at a time, for up to eight threads per
/// processor, when it can have that much.
const ARENA: u64 = 64 * MIB;

/// How many of `wanted` connections the limits of this process allow.
///
/// # Errors
/// `OutOfMemory` when there is too little address space for any.
pub fn fit(wanted: usize) -> io::Result<usize> {
    fit_address_space(fit_descriptors(wanted))
}

/// How many of `wanted` connections the limit of the address space allows, if there is one.
///
/// A thread that cannot be started is dealt with, but an allocation that fails ends the process.
/// So connections must never take what the others need.
fn fit_address_space(wanted: usize) -> io::Result<usize> {
    let limit = getrlimit(Resource::As);
    let (Some(current), Some(used)) = (limit.current, address_space()) else {
        return Ok(wanted);
    };
    let free = current.saturating_sub(used);
    let needed = RESERVED_SPACE + wanted as u64 * CONNECTION_SPACE;
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let is_glibc = cfg!(target_env = "gnu");
    if free >= needed + if is_glibc { 8 * processors * ARENA } else { 0 } {
        return Ok(wanted);
    }
    let mut free = free;
    if is_glibc && free >= ARENA {
        // It would leave as little as nothing to the threads. With less than it asks for, it makes
        // do with what is needed.
        let lowered = Rlimit {
            current: Some(used + ARENA - MIB),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::As, lowered).is_ok() {
            free = ARENA - MIB;
        }
    }
    let fitting = free.saturating_sub(RESERVED_SPACE) / CONNECTION_SPACE;
    let fitting = usize::try_from(fitting).unwrap_or(wanted);
    if fitting >= wanted {
        return Ok(wanted);
    }
    let (limit, reserved) = (current / MIB, RESERVED_SPACE / MIB);
    if fitting == 0 {
        let least = (used + RESERVED_SPACE + CONNECTION_SPACE).div_ceil(MIB);
        let why = format!(
            "this process may have {limit} MiB of address space only (ulimit -v, LimitAS=): give it \
             {least} MiB or more"
        );
        return Err(io::Error::new(ErrorKind::OutOfMemory, why));
    }
    warn!(
        "MAX_CONNECTIONS is {wanted}, but this process may have {limit} MiB of address space only, and \
         keeps {reserved} MiB for other uses: serving {fitting} connections at once"
    );
    Ok(fitting)
}

/// What this process has of it now, in bytes, where that can be told.
fn address_space() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))?;
    let kib: u64 = size.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

/// How many of `wanted` connections the descriptor limit allows. The soft limit is raised first.
fn fit_descriptors(wanted: usize) -> usize {
    // The evicted, and the queue.
    let reserved = |connections| RESERVED_DESCRIPTORS + 2 * slots::spare(connections);
    let needed = |connections| (connections + reserved(connections)) as u64;
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed(wanted));
    if enough(limit.current) {
        return wanted;
    }
    let most = needed(wanted);
    let raised = Rlimit {
        current: Some(limit.maximum.map_or(most, |maximum| maximum.min(most))),
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
    let current = current.unwrap_or(most);
    let fitting = (1..wanted).rev().find(|count| needed(*count) <= current);
    let fitting = fitting.unwrap_or(1);
    let reserved = reserved(fitting);
    warn!(
        "MAX_CONNECTIONS is {wanted}, but this process may have {current} descriptors only, and keeps \
         {reserved} for other uses: serving {fitting} connections at once"
    );
    fitting
}
