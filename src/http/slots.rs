//! Connection slots: how many connections there may be, and which one goes when there are more.
//!
//! A slot is *waiting* until its connection has a complete request, and *serving* until that is
//! answered, or until its peer has been found not to read the answer. A waiting one can be evicted:
//! it is closed at once, and no longer counts. A serving one can be *dismissed*: it gets its answer,
//! and ends with it.
//!
//! Whose connection makes way:
//!
//! 1. The longest-waiting one of the group that has most of them waiting. But one that waits for less
//!    than a second does not make way for a group that has as many slots as its own, or more.
//! 2. Else one that is serving, of the group that has most slots.
//!
//! So who takes many slots, in whatever way, displaces himself.
//! What a request pays for this are two atomic loads and two exchanges.

use std::cmp::Reverse;
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
/// Serving its last request. Not a wait: there is no such [`Waiting`].
const DISMISSED: Phase = Phase::MAX - 1;
const EVICTED: Phase = Phase::MAX;

/// Who waits for less has hardly had the time to send a request.
const RECENT: Duration = Duration::from_secs(1);

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
    /// How many evicted connections may still be there besides, until their threads have noticed.
    spare: usize,
    table: Mutex<Table>,
    /// Signalled when a slot is freed.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
    /// How many of them have been evicted: as many as are spare, at most.
    evicted: usize,
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

/// How many connections a table of `capacity` may have besides: as many evicted ones, whose threads
/// have not noticed yet, and as many newcomers, which have no slot yet.
pub fn spare(capacity: usize) -> usize {
    (capacity / 16).clamp(1, 16)
}

/// How a connection makes way for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is closed: there is room now.
    Evicted,
    /// It ends with its next answer: there will be room.
    Dismissed,
}

impl Slots {
    /// A table of at most `capacity` slots, not counting [`spare`] evicted ones.
    pub fn new(capacity: usize) -> Arc<Slots> {
        Arc::new(Slots {
            made: Instant::now(),
            capacity,
            spare: spare(capacity),
            table: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// A slot for `socket`, waiting for its first request; `None` when all are taken.
    pub fn take(self: &Arc<Self>, socket: &Arc<Socket>, group: Group) -> Option<Place> {
        let phase = waiting_since(self.now(), Waiting::Fresh);
        let mut table = self.lock();
        if table.used() - table.evicted >= self.capacity {
            return None;
        }
        let slot = Arc::new(Slot {
            socket: Arc::clone(socket),
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

    /// Has a connection make way for one of `group`; one that is serving only if it `may_dismiss`
    /// one. Never `spared`. `None` when there is none, or when enough of them are about to.
    pub fn make_way(&self, group: Group, may_dismiss: bool, spared: Option<&Place>) -> Option<Way> {
        let mut table = self.lock();
        if table.evicted >= self.spare {
            return None;
        }
        loop {
            let (slot, phase) = choose(&table, self.now(), group, may_dismiss, spared)?;
            let (after, way) = match phase {
                SERVING => (DISMISSED, Way::Dismissed),
                _ => (EVICTED, Way::Evicted),
            };
            let exchanged =
                slot.phase
                    .compare_exchange(phase, after, Ordering::AcqRel, Ordering::Relaxed);
            if exchanged.is_err() {
                // It may have got its request complete, or been answered, just now.
                continue;
            }
            if way == Way::Evicted {
                // A peer that is gone already has ended the wait by itself.
                let _ = slot.socket.shutdown(Shutdown::Both);
                table.evicted += 1;
            }
            return Some(way);
        }
    }

    /// How many slots connections of `group` have.
    pub fn used_by(&self, group: Group) -> usize {
        let table = self.lock();
        table.iter().filter(|slot| slot.group == group).count()
    }

    /// Waits until fewer than `count` slots are taken; `false` when they still are after `time`.
    pub fn wait_for_fewer_than(&self, count: usize, time: Duration) -> bool {
        let still = |table: &mut Table| table.used() >= count;
        let waited = self.freed.wait_timeout_while(self.lock(), time, still);
        waited.unwrap_or_else(PoisonError::into_inner).0.used() < count
    }

    /// Waits until fewer evicted connections are still there than may be, for `time` at most.
    pub fn wait_for_evicted(&self, time: Duration) {
        let still = |table: &mut Table| table.evicted >= self.spare;
        // If they still are, nobody else can make way.
        let _ = self.freed.wait_timeout_while(self.lock(), time, still);
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

    /// Microseconds since the table was made, plus one.
    fn now(&self) -> u64 {
        self.made.elapsed().as_micros() as u64 + 1
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing under the lock panics half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waiting_since(time: u64, kind: Waiting) -> Phase {
    // 61 bits of microseconds last for 73,000 years.
    (time << KIND_BITS) | kind as u64
}

fn is_waiting(phase: Phase, kind: Waiting) -> bool {
    // The kind of the others is none.
    phase != SERVING && phase & KIND_MASK == kind as u64
}

/// What one group has in the table.
#[derive(Default)]
struct Tally<'a> {
    /// Those that are about to make way count for as long as they need their slots.
    slots: usize,
    waiting: usize,
    /// The longest-waiting one, and its phase.
    oldest: Option<(Phase, &'a Arc<Slot>)>,
    serving: Option<&'a Arc<Slot>>,
}

/// Who makes way, as the head of this module has it, and in which phase that one was seen.
fn choose<'a>(
    table: &'a Table,
    now: u64,
    newcomer: Group,
    may_dismiss: bool,
    spared: Option<&Place>,
) -> Option<(&'a Arc<Slot>, Phase)> {
    let is_spared = |slot: &Arc<Slot>| spared.is_some_and(|place| Arc::ptr_eq(&place.slot, slot));
    let mut groups: HashMap<Group, Tally<'a>> = HashMap::new();
    for slot in table.iter().filter(|slot| !is_spared(slot)) {
        let phase = slot.phase.load(Ordering::Acquire);
        if phase == EVICTED {
            continue;
        }
        let tally = groups.entry(slot.group).or_default();
        tally.slots += 1;
        match phase {
            DISMISSED => {}
            SERVING => tally.serving = Some(slot),
            waiting => {
                tally.waiting += 1;
                // Earlier is less, whatever the kind.
                if tally.oldest.is_none_or(|(oldest, _)| waiting < oldest) {
                    tally.oldest = Some((waiting, slot));
                }
            }
        }
    }
    let own = groups.get(&newcomer).map_or(0, |tally| tally.slots);
    let longest_waiting = groups.iter().filter_map(|(group, tally)| {
        let (phase, slot) = tally.oldest?;
        let waits = Duration::from_micros(now.saturating_sub(phase >> KIND_BITS));
        let yields = *group == newcomer || tally.slots > own || waits >= RECENT;
        yields.then_some((tally.waiting, Reverse(phase), slot))
    });
    let chosen = longest_waiting.max_by_key(|(waiting, phase, _)| (*waiting, *phase));
    if let Some((_, Reverse(phase), slot)) = chosen {
        return Some((slot, phase));
    }
    let by_size = |(group, tally): &(&Group, &Tally<'_>)| (tally.slots, **group == newcomer);
    let (_, largest) = groups.iter().filter(|_| may_dismiss).max_by_key(by_size)?;
    Some((largest.serving?, SERVING))
}

impl Place {
    /// The connection has a complete request. `false` when it has made way meanwhile: then it must
    /// close without an answer.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.change(|_| SERVING)
    }

    /// The connection waits. A wait goes on from when it began, whatever it turns into. `false` when
    /// it has made way: then it must close.
    #[must_use]
    pub fn waiting(&self, kind: Waiting) -> bool {
        self.change(|before| match before {
            SERVING => waiting_since(self.slots.now(), kind),
            waiting => (waiting & !KIND_MASK) | kind as u64,
        })
    }

    /// `false`, and no change, when the connection has made way.
    fn change(&self, after: impl FnOnce(Phase) -> Phase) -> bool {
        let phase = &self.slot.phase;
        let before = phase.load(Ordering::Acquire);
        if before == EVICTED || before == DISMISSED {
            return false;
        }
        // Nobody else changes it except to have it make way.
        phase
            .compare_exchange(before, after(before), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether the connection ends with the answer that it gets now.
    pub fn is_dismissed(&self) -> bool {
        self.slot.phase.load(Ordering::Relaxed) == DISMISSED
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        table.slots[self.index] = None;
        table.free.push(self.index);
        if self.slot.phase.load(Ordering::Acquire) == EVICTED {
            table.evicted -= 1;
        }
        self.slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests;
