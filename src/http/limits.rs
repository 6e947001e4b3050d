//! How many connections the limits of this process allow.

use std::error::Error;
use std::fmt;
use std::fs;
use std::thread;

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::crew::{MAX_WAITING, STACK_SIZE};
use super::places::{max_leaving, max_newcomers};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Descriptors that are not connections: standard streams, listener, poller with its timer and
/// wake-up events, signal pipe, the fetch of the keys with its name resolution, and a connection
/// just accepted.
const RESERVED_DESCRIPTORS: usize = 16;

/// Address space for everything but connections: the workers' stacks and buffers, and the fetch of
/// the keys with its certificates.
const RESERVED_SPACE: u64 = 16 * MIB;
/// Address space for a connection: its state, a large head, and an unsent rest of an answer.
const CONNECTION_SPACE: u64 = 64 * KIB;
/// The same over TLS, with records that are not complete or not read: at most 96 KiB were measured.
const TLS_CONNECTION_SPACE: u64 = 128 * KIB;
/// Address space for a thread that waits on behalf of a connection.
const WAITING_SPACE: u64 = STACK_SIZE as u64 + 64 * KIB;
/// Address space that glibc's allocator reserves for each of up to eight threads per processor, if
/// that much is available.
const ARENA: u64 = 64 * MIB;

/// Places on the admin address.
pub const ADMIN_PLACES: usize = 16;
/// Descriptors for the admin address besides its connections: listener, poller with its timer and
/// wake-up events, a folder that is read, and a connection just accepted.
const ADMIN_DESCRIPTORS: usize = 8;
/// Address space for the admin address: its thread, and its connections.
const ADMIN_SPACE: u64 = 4 * MIB;

/// What a process is to serve.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections at once.
    pub connections: usize,
    /// Whether over TLS, which takes more memory.
    pub over_tls: bool,
    /// Whether there is an admin address besides.
    pub with_admin: bool,
}

impl Load {
    fn reserved_descriptors(self) -> usize {
        let of_admin = ADMIN_DESCRIPTORS
            + ADMIN_PLACES
            + max_newcomers(ADMIN_PLACES)
            + max_leaving(ADMIN_PLACES);
        RESERVED_DESCRIPTORS + if self.with_admin { of_admin } else { 0 }
    }

    fn reserved_space(self) -> u64 {
        RESERVED_SPACE + if self.with_admin { ADMIN_SPACE } else { 0 }
    }

    /// The address space that the process needs with so many connections.
    fn space_for(self, connections: usize) -> u64 {
        let each = match self.over_tls {
            true => TLS_CONNECTION_SPACE,
            false => CONNECTION_SPACE,
        };
        let waiting = connections.min(MAX_WAITING) as u64;
        self.reserved_space() + connections as u64 * each + waiting * WAITING_SPACE
    }
}

/// There is too little address space for a single connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLittleSpace {
    /// The limit, in MiB.
    limit: u64,
    /// What is needed, in MiB.
    least: u64,
}

impl fmt::Display for TooLittleSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLittleSpace { limit, least } = self;
        write!(
            f,
            "this process may have {limit} MiB of address space only (ulimit -v, LimitAS=): give \
             it {least} MiB or more"
        )
    }
}

impl Error for TooLittleSpace {}

/// How many of the wanted connections the limits of this process allow. Raises the limit of
/// descriptors as far as needed and allowed.
///
/// # Errors
/// [`TooLittleSpace`].
pub fn raise_and_fit(load: Load) -> Result<usize, TooLittleSpace> {
    let connections = fit_descriptors(load);
    fit_address_space(Load {
        connections,
        ..load
    })
}

/// How many of the wanted connections the limit of the address space allows, if there is a limit.
///
/// The server survives a thread that cannot be started, but a failed allocation ends the process.
/// So connections must leave enough for everything else.
fn fit_address_space(load: Load) -> Result<usize, TooLittleSpace> {
    let wanted = load.connections;
    let limit = getrlimit(Resource::As);
    let (Some(current), Some(used)) = (limit.current, address_space()) else {
        return Ok(wanted);
    };
    let free = current.saturating_sub(used);
    let needed = load.space_for(wanted);
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let is_glibc = cfg!(target_env = "gnu");
    if free >= needed + if is_glibc { 8 * processors * ARENA } else { 0 } {
        return Ok(wanted);
    }
    let mut free = free;
    if is_glibc && free >= ARENA {
        // Arenas would leave almost nothing for threads. If a whole arena is not available, glibc
        // takes only what it needs.
        let lowered = Rlimit {
            current: Some(used + ARENA - MIB),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::As, lowered).is_ok() {
            free = ARENA - MIB;
        }
    }
    if free >= needed {
        return Ok(wanted);
    }
    let fitting = (1..wanted)
        .rev()
        .find(|count| load.space_for(*count) <= free);
    let (limit, reserved) = (current / MIB, load.reserved_space() / MIB);
    let Some(fitting) = fitting else {
        let least = (used + load.space_for(1)).div_ceil(MIB);
        return Err(TooLittleSpace { limit, least });
    };
    warn!(
        "MAX_CONNECTIONS is {wanted}, but this process may have {limit} MiB of address space \
         only, and keeps {reserved} MiB for other uses: serving {fitting} connections at once"
    );
    Ok(fitting)
}

/// The address space that this process uses now, in bytes, if it can be read.
fn address_space() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))?;
    let kib: u64 = size.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

/// How many of the wanted connections the descriptor limit allows. The soft limit is raised first.
fn fit_descriptors(load: Load) -> usize {
    let wanted = load.connections;
    let other = load.reserved_descriptors();
    // Newcomers and leaving connections have descriptors but no places.
    let reserved = |places| other + max_newcomers(places) + max_leaving(places);
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
    // If it cannot be raised, the current limit counts.
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
        "MAX_CONNECTIONS is {wanted}, but this process may have {current} descriptors only, and \
         keeps {reserved} for other uses: serving {fitting} connections at once"
    );
    fitting
}
