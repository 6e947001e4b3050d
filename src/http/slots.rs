//! Connection slots: how many connections there may be, and which one goes when there are more.
//!
//! A slot is *waiting* until its connection has a complete request, and *serving* until that is
//! answered, or until its peer has been found not to read the answer. Only waiting ones can be
//! evicted. What a request pays for this is one atomic swap and one atomic store.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Waiting;
use super::socket::{Peer, Socket};

/// The phase of a slot in one word: 0 while serving; else the microseconds since the table was
/// made at which the wait began, plus one, shifted left, and [`Waiting`] below that.
type Phase = u64;
/// The bits of a [`Waiting`].
const KIND_BITS: u32 = 3;
const KIND_MASK: Phase = (1 << KIND_BITS) - 1;
const SERVING: Phase = 0;
const EVICTED: Phase = Phase::MAX;

/// Whom connections are counted for: an IPv4 address, an IPv6 /64, or all of this host's own.
///
/// An IPv6 host has a whole /64 to itself, so that counting its addresses would count nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group(u128);

impl Group {
    /// The group of a peer.
    pub fn of(peer: Peer) -> Group {
        match peer {
            Peer::Tcp(address) => Group::of_address(address.ip()),
            // No address is all zeros.
            Peer::Unix => Group(0),
        }
    }

    fn of_address(address: IpAddr) -> Group {
        let host_part = u128::from(u64::MAX);
        match address.to_canonical() {
            IpAddr::V4(v4) => Group(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Group(v6.to_bits() & !host_part),
        }
    }
}

#[derive(Debug)]
struct Slot {
    socket: Arc<Socket>,
    group: Group,
    phase: AtomicU64,
}

/// The table of slots.
#[derive(Debug)]
pub struct Slots {
    made: Instant,
    capacity: usize,
    table: Mutex<Table>,
    /// Signalled when a slot is freed.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

impl Table {
    fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().flatten()
    }
}

/// A taken slot; freed when dropped.
#[derive(Debug)]
pub struct Place {
    slots: Arc<Slots>,
    slot: Arc<Slot>,
    index: usize,
}

impl Slots {
    /// A table of at most `capacity` slots.
    pub fn new(capacity: usize) -> Arc<Slots> {
        Arc::new(Slots {
            made: Instant::now(),
            capacity,
            table: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// A slot for `socket`, waiting for its first request; `None` when all are taken.
    pub fn take(self: &Arc<Self>, socket: Arc<Socket>, group: Group) -> Option<Place> {
        let phase = self.waiting_now(Waiting::Fresh);
        let mut table = self.lock();
        if table.used() >= self.capacity {
            return None;
        }
        let slot = Arc::new(Slot {
            socket,
            group,
            phase: AtomicU64::new(phase),
        });
        let index = table.free.pop().unwrap_or_else(|| {
            table.slots.push(None);
            table.slots.len() - 1
        });
        table.slots[index] = Some(Arc::clone(&slot));
        Some(Place {
            slots: Arc::clone(self),
            slot,
            index,
        })
    }

    /// Closes one waiting connection: the longest-waiting one of the group that has most of them.
    /// Its slot is freed once its thread has noticed. Never `spared`. `false` when there is none.
    pub fn evict(&self, spared: Option<&Place>) -> bool {
        let table = self.lock();
        loop {
            let Some((slot, phase)) = victim(&table, spared) else {
                return false;
            };
            // It may have got its request complete just now: then another one goes.
            let evicted =
                slot.phase
                    .compare_exchange(phase, EVICTED, Ordering::AcqRel, Ordering::Relaxed);
            if evicted.is_ok() {
                // A peer that is gone already has ended the wait by itself.
                let _ = slot.socket.shutdown(Shutdown::Both);
                return true;
            }
        }
    }

    /// Waits until fewer than `count` slots are taken; `false` when they still are after `time`.
    pub fn wait_for_fewer_than(&self, count: usize, time: Duration) -> bool {
        let still = |table: &mut Table| table.used() >= count;
        let waited = self.freed.wait_timeout_while(self.lock(), time, still);
        waited.unwrap_or_else(PoisonError::into_inner).0.used() < count
    }

    /// Waits until a slot is free, for `time` at most.
    pub fn wait_for_room(&self, time: Duration) -> bool {
        self.wait_for_fewer_than(self.capacity, time)
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many slots are taken.
    pub fn used(&self) -> usize {
        self.lock().used()
    }

    /// Shuts down the sockets of all slots that are `waiting` in one of these ways, or of all.
    pub fn shut_down(&self, waiting: Option<&[Waiting]>, how: Shutdown) {
        for slot in self.lock().iter() {
            let phase = slot.phase.load(Ordering::Acquire);
            let is_meant =
                waiting.is_none_or(|kinds| kinds.iter().any(|kind| is_waiting(phase, *kind)));
            if is_meant {
                let _ = slot.socket.shutdown(how);
            }
        }
    }

    fn waiting_now(&self, kind: Waiting) -> Phase {
        // 61 bits of microseconds last for 73,000 years.
        let since = self.made.elapsed().as_micros() as u64 + 1;
        (since << KIND_BITS) | kind as u64
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing under the lock panics half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_waiting(phase: Phase, kind: Waiting) -> bool {
    phase != SERVING && phase != EVICTED && phase & KIND_MASK == kind as u64
}

/// The longest-waiting slot of the group with most waiting slots.
fn victim<'a>(table: &'a Table, spared: Option<&Place>) -> Option<(&'a Arc<Slot>, Phase)> {
    struct Candidate<'a> {
        waiting: usize,
        slot: &'a Arc<Slot>,
        phase: Phase,
    }
    let is_spared = |slot: &Arc<Slot>| spared.is_some_and(|place| Arc::ptr_eq(&place.slot, slot));
    let mut groups: HashMap<Group, Candidate<'a>> = HashMap::new();
    for slot in table.iter().filter(|slot| !is_spared(slot)) {
        let phase = slot.phase.load(Ordering::Acquire);
        if phase == SERVING || phase == EVICTED {
            continue;
        }
        let candidate = groups.entry(slot.group).or_insert(Candidate {
            waiting: 0,
            slot,
            phase,
        });
        candidate.waiting += 1;
        // Earlier is less, whatever the kind.
        if phase < candidate.phase {
            (candidate.slot, candidate.phase) = (slot, phase);
        }
    }
    let largest = groups
        .into_values()
        .max_by_key(|group| (group.waiting, std::cmp::Reverse(group.phase)))?;
    Some((largest.slot, largest.phase))
}

impl Place {
    /// The connection has a complete request. `false` when it has been evicted meanwhile: then it
    /// must close without an answer.
    #[must_use]
    pub fn serving(&self) -> bool {
        if self.slot.phase.swap(SERVING, Ordering::AcqRel) == EVICTED {
            self.slot.phase.store(EVICTED, Ordering::Release);
            return false;
        }
        true
    }

    /// The connection waits. A wait goes on from when it began, whatever it turns into.
    pub fn waiting(&self, kind: Waiting) {
        let phase = &self.slot.phase;
        match phase.load(Ordering::Acquire) {
            // Nobody else changes the phase of a slot that is serving.
            SERVING => phase.store(self.slots.waiting_now(kind), Ordering::Release),
            EVICTED => {}
            before => {
                let after = (before & !KIND_MASK) | kind as u64;
                // An eviction in between stays.
                let _ = phase.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        table.slots[self.index] = None;
        table.free.push(self.index);
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests;
