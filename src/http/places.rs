//! Places: the limit of connections, and how they are shared when more arrive.
//!
//! Connections are counted by their [`Source`]. A connection is a *newcomer* until it has a place,
//! has the place until its last answer is written, and then is *leaving*. When all places are
//! taken:
//!
//! 1. A newcomer gets the place of a connection that has waited for its peer for 1 s or more, and
//!    whose source has at least as many places as the newcomer's: of the source with most (of equal
//!    ones the newcomer's own), the longest-waiting.
//! 2. If there is none, the newcomer waits, 5 s at most. Newcomers whose source has fewest places
//!    come first, then the oldest. Meanwhile the source with most places holds *tickets*, as many
//!    as newcomers wait: a connection that takes one closes after its answer. Tickets for newcomers
//!    whose source has as many places are only for connections that have had theirs for 1 s.
//! 3. A newcomer whose source has fewer places than the one with most waits 50 ms at most: then
//!    the longest-waiting connection of the latter is closed.
//! 4. Too many newcomers, and those that have waited for 5 s, are refused: of the source that has
//!    most places and newcomers, the newest.
//!
//! Nothing here walks all connections. The time since when a connection waits changes with each
//! request, and recording that must cost nothing. So the recorded time is the earliest possible
//! one, and is corrected when it matters.
//!
//! This is a value without sockets and clocks. The engine keeps it behind a mutex, and carries out
//! its decisions through [`Members`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::iter;
use std::time::{Duration, Instant};

mod source;

pub use self::source::Source;

/// How long a connection must have waited before rule 1 can take its place, and how long it must
/// have had its place before it takes a ticket for a source with as many places.
pub const SETTLED: Duration = Duration::from_secs(1);
/// How long a newcomer waits at least whose source has fewer places than another. With a late alarm
/// that is 50 ms at most.
const SHORT_WAIT: Duration = Duration::from_millis(40);
/// The longest wait of any newcomer.
const LONG_WAIT: Duration = Duration::from_secs(5);
/// How late an alarm may be, so that one alarm serves several newcomers.
const SLACK: Duration = Duration::from_millis(5);
/// The most newcomers, however many places there are.
const MAX_NEWCOMERS: usize = 1024;

/// The most newcomers in addition to `capacity` places.
pub fn max_newcomers(capacity: usize) -> usize {
    capacity.min(MAX_NEWCOMERS)
}

/// The most leaving connections in addition to `capacity` places.
pub fn max_leaving(capacity: usize) -> usize {
    (capacity / 4).max(1)
}

/// What [`Places`] does to connections. They are named by their numbers.
pub trait Members {
    /// Since when a connection has waited for its peer; `None` if it has work to do.
    fn waits_since(&mut self, number: u32) -> Option<Instant>;
    /// Closes a connection, unless it has work to do by now. Returns whether it did.
    fn evict(&mut self, number: u32) -> bool;
    /// Gives a newcomer its place.
    fn admit(&mut self, number: u32);
    /// Refuses a newcomer, which is leaving from here on.
    fn refuse(&mut self, number: u32);
    /// Closes a leaving connection, unless it is in use. Returns whether it did.
    fn close_leaving(&mut self, number: u32) -> bool;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Free,
    Newcomer,
    Placed,
    Leaving,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    class: Class,
    source: Source,
    /// When it entered its class.
    since: Instant,
    /// With a place: the earliest time at which it can have begun to wait, as in
    /// [`Counts::waiting`].
    recorded: Instant,
    /// With a place: whether it has taken a ticket.
    has_ticket: bool,
    /// Its rank among newcomers, or among leaving connections.
    order: u64,
}

/// A key of an ordered set: two ranks, then what it names. All sets here have this type of key, so
/// that the binary contains the code of only one.
type Key = (u64, u64, u128);

/// The key of a connection.
fn numbered(order: u64, number: u32) -> Key {
    (order, u64::from(number), 0)
}

/// The key of a source: its places, then the order of its oldest newcomer, if that counts.
fn counted(places: u32, order: u64, source: Source) -> Key {
    (u64::from(places), order, source.0)
}

/// The connections of one source.
#[derive(Debug, Default)]
struct Counts {
    places: u32,
    /// Its connections with places, by the earliest time at which each can have begun to wait.
    waiting: BTreeSet<Key>,
    /// Whether it had a settled connection at the last check, and so is in [`Places::settled`].
    is_settled: bool,
    /// Else the earliest time at which it can have one, as in [`Places::settling`].
    settles: Option<Instant>,
    /// Oldest first.
    newcomers: VecDeque<u32>,
}

/// How many connections of a source must close after their next answers.
#[derive(Debug, Clone, Copy)]
struct Tickets {
    holder: Source,
    /// For any of the holder's connections.
    now: usize,
    /// Only for connections that have had their places for [`SETTLED`].
    settled: usize,
}

/// How a source with newcomers is ordered and counted.
struct Listed {
    queue: Key,
    claim: Key,
    newcomers: usize,
}

/// The connections with places, and the newcomers that wait for one.
#[derive(Debug)]
pub struct Places {
    /// Time zero of the keys.
    epoch: Instant,
    capacity: usize,
    entries: Vec<Entry>,
    free: Vec<u32>,
    used: usize,
    sources: HashMap<Source, Counts>,
    /// All sources with places.
    by_places: BTreeSet<Key>,
    /// Sources that had a settled connection at the last check.
    settled: BTreeSet<Key>,
    /// The other sources with places, by the earliest time at which they can have one.
    settling: BTreeSet<Key>,
    /// Sources with newcomers: by their places, then by the oldest newcomer.
    queue: BTreeSet<Key>,
    /// The same sources: by their places and newcomers together, then by their places.
    claims: BTreeSet<Key>,
    /// How many newcomers there are of sources with so many places.
    waiting: HashMap<u64, usize>,
    /// All newcomers, oldest first.
    newcomers: BTreeSet<Key>,
    /// Leaving connections, longest first.
    leaving: BTreeSet<Key>,
    tickets: Option<Tickets>,
    /// How many connections have taken a ticket and still have their places.
    passing: usize,
    order: u64,
    /// The time until which newcomers may wait, in a drain.
    newcomers_until: Option<Instant>,
}

impl Places {
    /// Places for `capacity` connections.
    pub fn new(capacity: usize) -> Places {
        Places {
            epoch: Instant::now(),
            capacity,
            entries: Vec::new(),
            free: Vec::new(),
            used: 0,
            sources: HashMap::new(),
            by_places: BTreeSet::new(),
            settled: BTreeSet::new(),
            settling: BTreeSet::new(),
            queue: BTreeSet::new(),
            claims: BTreeSet::new(),
            waiting: HashMap::new(),
            newcomers: BTreeSet::new(),
            leaving: BTreeSet::new(),
            tickets: None,
            passing: 0,
            order: 0,
            newcomers_until: None,
        }
    }

    /// How many places are taken.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Whether a newcomer would have to wait.
    pub fn is_full(&self) -> bool {
        self.used >= self.capacity || !self.newcomers.is_empty()
    }

    /// The number of connections, including newcomers and leaving ones.
    pub fn connections(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Returns a number for a new connection, and whether it has a place at once. If not, call
    /// [`settle`](Places::settle).
    pub fn arrive(&mut self, source: Source, now: Instant) -> (u32, bool) {
        let has_place = !self.is_full();
        let entry = Entry {
            class: Class::Free,
            source,
            since: now,
            recorded: now,
            has_ticket: false,
            order: self.next_order(),
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        });
        self.entries[number as usize] = entry;
        if has_place {
            self.place(number, now);
        } else {
            self.enqueue(number);
        }
        (number, has_place)
    }

    /// Frees the place of a connection whose last answer is written. Then see
    /// [`needs_settling`](Places::needs_settling).
    pub fn leave(&mut self, number: u32, members: &mut impl Members) {
        self.withdraw(number);
        self.begin_leaving(number, members);
    }

    /// Removes a connection that has ended. Then see [`needs_settling`](Places::needs_settling).
    pub fn release(&mut self, number: u32) {
        self.withdraw(number);
        self.entries[number as usize].class = Class::Free;
        self.free.push(number);
    }

    /// Whether [`settle`](Places::settle) would change anything after a connection has gone:
    /// newcomers wait, or there are tickets for newcomers that no longer wait.
    pub fn needs_settling(&self) -> bool {
        !self.newcomers.is_empty() || self.tickets.is_some()
    }

    /// The number of tickets: for any connection of their holder, and for settled ones.
    pub fn tickets(&self) -> (usize, usize) {
        self.tickets.map_or((0, 0), |t| (t.now, t.settled))
    }

    /// Whether this connection must close after its next answer. Takes a ticket if there is one.
    pub fn take_ticket(&mut self, number: u32, now: Instant) -> bool {
        let entry = &mut self.entries[number as usize];
        let Some(tickets) = &mut self.tickets else {
            return entry.has_ticket;
        };
        if entry.class != Class::Placed || entry.source != tickets.holder || entry.has_ticket {
            return entry.has_ticket;
        }
        let kind = if tickets.now > 0 {
            &mut tickets.now
        } else if tickets.settled > 0 && entry.since + SETTLED <= now {
            &mut tickets.settled
        } else {
            return false;
        };
        *kind -= 1;
        entry.has_ticket = true;
        self.passing += 1;
        true
    }

    /// Refuses all newcomers at this time at the latest.
    pub fn limit_newcomers(&mut self, until: Instant) {
        self.newcomers_until = Some(until);
    }

    /// Applies the rules to the waiting newcomers.
    pub fn settle(&mut self, now: Instant, members: &mut impl Members) {
        while let Some(&(_, _, first)) = self.queue.first() {
            let first = Source(first);
            if self.used < self.capacity {
                self.admit_oldest(first, now, members);
            } else if let Some(victim) = self.settled_victim(first, now, members) {
                self.evict(victim, members);
            } else if let Some((victim, newcomers)) = self.short_wait_is_over(now, members) {
                // The place is for this source, even if other newcomers wait.
                if self.evict(victim, members) {
                    self.admit_oldest(newcomers, now, members);
                }
            } else {
                break;
            }
        }
        while self.newcomers.len() > max_newcomers(self.capacity) {
            let Some(number) = self.least_entitled() else {
                break;
            };
            self.refuse(number, now, members);
        }
        while let Some(number) = self.oldest_newcomer() {
            if now < self.time_limit(number) {
                break;
            }
            self.refuse(number, now, members);
        }
        self.issue_tickets();
    }

    /// When [`settle`](Places::settle) is due, if nothing else happens first.
    pub fn alarm(&self, now: Instant) -> Option<Instant> {
        let mut alarm = self.time_limit(self.oldest_newcomer()?);
        let settling = self.settling.first();
        if let Some(time) = settling.and_then(|key| self.sources[&Source(key.2)].settles) {
            alarm = alarm.min(time);
        }
        for (time, _) in self.short_waits(self.most_places()) {
            alarm = alarm.min(time);
        }
        Some(alarm.max(now + SLACK))
    }

    /// When the waits of newcomers end whose sources have fewer than `most` places, and the
    /// sources: for each number of places the first. There are few such numbers, but may be many
    /// sources.
    fn short_waits(&self, most: u64) -> impl Iterator<Item = (Instant, Source)> {
        let mut places = 0;
        iter::from_fn(move || {
            let &(found, _, source) = self.queue.range((places, 0, 0)..(most, 0, 0)).next()?;
            places = found + 1;
            let oldest = self.sources[&Source(source)].newcomers.front()?;
            let time = self.entries[*oldest as usize].since + SHORT_WAIT;
            Some((time, Source(source)))
        })
    }

    fn oldest_newcomer(&self) -> Option<u32> {
        self.newcomers.first().map(|(_, number, _)| *number as u32)
    }

    fn most_places(&self) -> u64 {
        self.by_places.last().map_or(0, |(places, ..)| *places)
    }

    /// The key of a time, and of what it is for.
    fn timed(&self, time: Instant, number: u32, source: Source) -> Key {
        // 64 bits of nanoseconds last for 584 years.
        let nanoseconds = time.saturating_duration_since(self.epoch).as_nanos() as u64;
        (nanoseconds, u64::from(number), source.0)
    }

    fn time_limit(&self, newcomer: u32) -> Instant {
        let limit = self.entries[newcomer as usize].since + LONG_WAIT;
        self.newcomers_until.map_or(limit, |until| limit.min(until))
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Removes a connection from the sets of its class.
    fn withdraw(&mut self, number: u32) {
        let entry = self.entries[number as usize];
        match entry.class {
            Class::Free => {}
            Class::Newcomer => self.dequeue(number),
            Class::Placed => self.displace(number),
            Class::Leaving => {
                self.leaving.remove(&numbered(entry.order, number));
            }
        }
    }

    fn begin_leaving(&mut self, number: u32, members: &mut impl Members) {
        let order = self.next_order();
        let entry = &mut self.entries[number as usize];
        (entry.class, entry.order) = (Class::Leaving, order);
        self.leaving.insert(numbered(order, number));
        while self.leaving.len() > max_leaving(self.capacity) {
            // A leaving connection that is in use ends soon without this.
            let longest = self.leaving.iter().map(|(_, number, _)| *number as u32);
            let closed = longest
                .filter(|other| *other != number)
                .take(16)
                .find(|number| members.close_leaving(*number));
            let Some(closed) = closed else { break };
            self.release(closed);
        }
    }

    /// Gives a connection a place.
    fn place(&mut self, number: u32, now: Instant) {
        let entry = &mut self.entries[number as usize];
        (entry.class, entry.since, entry.recorded) = (Class::Placed, now, now);
        let source = entry.source;
        self.used += 1;
        self.change_places(source, |places| places + 1);
        self.record(number, now);
        let counts = self.sources.get(&source);
        if counts.is_some_and(|counts| !counts.is_settled && counts.settles.is_none()) {
            self.look_at(source, now + SETTLED);
        }
    }

    /// Takes the place of a connection away.
    fn displace(&mut self, number: u32) {
        let entry = self.entries[number as usize];
        self.used -= 1;
        self.passing -= usize::from(entry.has_ticket);
        self.entries[number as usize].has_ticket = false;
        let recorded = self.timed(entry.recorded, number, entry.source);
        if let Some(counts) = self.sources.get_mut(&entry.source) {
            counts.waiting.remove(&recorded);
        }
        self.change_places(entry.source, |places| places - 1);
    }

    fn enqueue(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        entry.class = Class::Newcomer;
        let (source, order) = (entry.source, entry.order);
        self.newcomers.insert(numbered(order, number));
        self.unlist(source);
        let counts = self.sources.entry(source).or_default();
        counts.newcomers.push_back(number);
        self.list(source);
    }

    fn dequeue(&mut self, number: u32) {
        let Entry { source, order, .. } = self.entries[number as usize];
        self.newcomers.remove(&numbered(order, number));
        self.unlist(source);
        if let Some(counts) = self.sources.get_mut(&source) {
            counts.newcomers.retain(|other| *other != number);
        }
        self.list(source);
        self.forget_if_unused(source);
    }

    /// Takes a source with newcomers out of what it is ordered and counted in, before that changes.
    fn unlist(&mut self, source: Source) {
        if let Some(listed) = self.listed(source) {
            self.queue.remove(&listed.queue);
            self.claims.remove(&listed.claim);
            if let Some(waiting) = self.waiting.get_mut(&listed.queue.0) {
                *waiting -= listed.newcomers;
                if *waiting == 0 {
                    self.waiting.remove(&listed.queue.0);
                }
            }
        }
    }

    fn list(&mut self, source: Source) {
        if let Some(listed) = self.listed(source) {
            self.queue.insert(listed.queue);
            self.claims.insert(listed.claim);
            *self.waiting.entry(listed.queue.0).or_default() += listed.newcomers;
        }
    }

    /// How a source with newcomers is ordered.
    fn listed(&self, source: Source) -> Option<Listed> {
        let counts = self.sources.get(&source)?;
        let oldest = *counts.newcomers.front()?;
        let newcomers = counts.newcomers.len();
        let all = counts.places + newcomers as u32;
        Some(Listed {
            queue: counted(counts.places, self.entries[oldest as usize].order, source),
            claim: counted(all, counts.places.into(), source),
            newcomers,
        })
    }

    /// Changes the number of places of a source, and the keys that contain it.
    fn change_places(&mut self, source: Source, change: impl FnOnce(u32) -> u32) {
        self.unlist(source);
        let counts = self.sources.entry(source).or_default();
        let (before, after) = (counts.places, change(counts.places));
        counts.places = after;
        let (was_settled, settles) = (counts.is_settled, counts.settles);
        counts.is_settled &= after > 0;
        counts.settles = settles.filter(|_| after > 0);
        replace_key(&mut self.by_places, before, after, source);
        if was_settled {
            replace_key(&mut self.settled, before, after, source);
        }
        if let (0, Some(time)) = (after, settles) {
            let key = self.timed(time, 0, source);
            self.settling.remove(&key);
        }
        self.list(source);
        self.forget_if_unused(source);
    }

    fn forget_if_unused(&mut self, source: Source) {
        let counts = self.sources.get(&source);
        if counts.is_some_and(|counts| counts.places == 0 && counts.newcomers.is_empty()) {
            self.sources.remove(&source);
        }
    }

    /// Records the earliest time at which a connection can have begun to wait.
    fn record(&mut self, number: u32, time: Instant) {
        let entry = self.entries[number as usize];
        let before = self.timed(entry.recorded, number, entry.source);
        let after = self.timed(time, number, entry.source);
        if let Some(counts) = self.sources.get_mut(&entry.source) {
            counts.waiting.remove(&before);
            counts.waiting.insert(after);
        }
        self.entries[number as usize].recorded = time;
    }

    /// Schedules the next check of a source, which has no settled connection before `time`.
    fn look_at(&mut self, source: Source, time: Instant) {
        let key = self.timed(time, 0, source);
        if let Some(counts) = self.sources.get_mut(&source) {
            counts.settles = Some(time);
            self.settling.insert(key);
        }
    }

    /// The connection of `source` that has waited longest, and since when.
    fn longest_waiting(
        &mut self,
        source: Source,
        now: Instant,
        members: &mut impl Members,
    ) -> Option<(Instant, u32)> {
        loop {
            let (_, number, _) = self.sources.get(&source)?.waiting.first()?;
            let number = *number as u32;
            let recorded = self.entries[number as usize].recorded;
            match members.waits_since(number) {
                Some(since) if since <= recorded => return Some((recorded, number)),
                Some(since) => self.record(number, since),
                // All others began to wait no earlier.
                None if recorded >= now => return None,
                None => self.record(number, now),
            }
        }
    }

    /// The connection that loses its place to a newcomer of `source` by rule 1.
    fn settled_victim(
        &mut self,
        source: Source,
        now: Instant,
        members: &mut impl Members,
    ) -> Option<u32> {
        let due = self.timed(now, u32::MAX, Source(u128::MAX));
        while let Some(&key) = self.settling.first()
            && key <= due
        {
            self.settling.remove(&key);
            let other = Source(key.2);
            if let Some(counts) = self.sources.get_mut(&other) {
                counts.settles = None;
            }
            self.look_again(other, now, members);
        }
        let own = self.sources.get(&source).map_or(0, |counts| counts.places);
        loop {
            let &(most, _, last) = self.settled.last()?;
            if most < u64::from(own) {
                return None;
            }
            let is_own = self.settled.contains(&(most, 0, source.0));
            let chosen = if is_own { source } else { Source(last) };
            self.settled.remove(&(most, 0, chosen.0));
            if let Some(counts) = self.sources.get_mut(&chosen) {
                counts.is_settled = false;
            }
            if let Some(victim) = self.look_again(chosen, now, members) {
                return Some(victim);
            }
        }
    }

    /// Returns the settled connection of a source that has waited longest, if there is one.
    fn look_again(
        &mut self,
        source: Source,
        now: Instant,
        members: &mut impl Members,
    ) -> Option<u32> {
        match self.longest_waiting(source, now, members) {
            Some((since, number)) if since + SETTLED <= now => {
                let counts = self.sources.get_mut(&source)?;
                counts.is_settled = true;
                self.settled.insert(counted(counts.places, 0, source));
                Some(number)
            }
            other => {
                self.look_at(source, other.map_or(now, |(since, _)| since) + SETTLED);
                None
            }
        }
    }

    /// The connection that loses its place by rule 3, and the source that gets it.
    fn short_wait_is_over(
        &mut self,
        now: Instant,
        members: &mut impl Members,
    ) -> Option<(u32, Source)> {
        let &(most, _, largest) = self.by_places.last()?;
        let mut waits = self.short_waits(most);
        let (_, newcomers) = waits.find(|(time, _)| *time <= now)?;
        drop(waits);
        let (_, victim) = self.longest_waiting(Source(largest), now, members)?;
        Some((victim, newcomers))
    }

    fn evict(&mut self, number: u32, members: &mut impl Members) -> bool {
        let is_evicted = members.evict(number);
        if is_evicted {
            self.release(number);
        }
        is_evicted
    }

    fn admit_oldest(&mut self, source: Source, now: Instant, members: &mut impl Members) {
        let counts = self.sources.get(&source);
        let Some(number) = counts.and_then(|counts| counts.newcomers.front().copied()) else {
            return;
        };
        self.dequeue(number);
        self.place(number, now);
        members.admit(number);
    }

    fn refuse(&mut self, number: u32, now: Instant, members: &mut impl Members) {
        self.dequeue(number);
        self.entries[number as usize].since = now;
        self.begin_leaving(number, members);
        members.refuse(number);
    }

    /// The newest newcomer of the source that has most places and newcomers.
    fn least_entitled(&self) -> Option<u32> {
        let (_, _, source) = self.claims.last()?;
        self.sources
            .get(&Source(*source))?
            .newcomers
            .back()
            .copied()
    }

    /// Rule 2: as many tickets as newcomers wait.
    fn issue_tickets(&mut self) {
        self.tickets = None;
        let Some(&(most, _, holder)) = self.by_places.last() else {
            return;
        };
        let needed = self.newcomers.len().saturating_sub(self.passing);
        if needed == 0 {
            return;
        }
        let as_many = self.waiting.get(&most).copied().unwrap_or(0);
        let now = needed.min(self.newcomers.len() - as_many);
        self.tickets = Some(Tickets {
            holder: Source(holder),
            now,
            settled: needed - now,
        });
    }
}

/// Replaces the key of a source whose number of places has changed.
fn replace_key(set: &mut BTreeSet<Key>, before: u32, after: u32, source: Source) {
    if before > 0 {
        set.remove(&counted(before, 0, source));
    }
    if after > 0 {
        set.insert(counted(after, 0, source));
    }
}

#[cfg(test)]
mod tests;
