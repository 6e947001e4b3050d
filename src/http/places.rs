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
//! Nothing here walks all connections: [`holders`] keeps those with places, and [`queue`] the
//! newcomers, in the orders that the rules need.
//!
//! This is a value without sockets and clocks. The engine keeps it behind a mutex, and carries out
//! its decisions through [`Members`].

mod holders;
mod queue;
mod source;

use std::collections::BTreeSet;
use std::iter;
use std::mem;
use std::time::{Duration, Instant};

pub use self::holders::SETTLED;
use self::holders::{Holders, WaitsSince};
use self::queue::{Newcomer, Queue};
use self::source::Key;
pub use self::source::Source;

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

/// What a connection is.
#[derive(Debug, Clone, Copy)]
enum Class {
    /// None: its number is not in use.
    Free,
    /// A newcomer, with its rank.
    Newcomer(u64),
    Placed {
        since: Instant,
        has_ticket: bool,
    },
    /// A leaving connection, with its rank.
    Leaving(u64),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    source: Source,
    class: Class,
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

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Places.
    pub capacity: usize,
    /// Connections with places.
    pub placed: usize,
    /// Newcomers, which wait for places.
    pub waiting: usize,
    /// Connections whose last answer is written.
    pub leaving: usize,
}

/// The connections with places, and the newcomers that wait for one.
#[derive(Debug)]
pub struct Places {
    capacity: usize,
    /// By the number of a connection.
    entries: Vec<Entry>,
    free: Vec<u32>,
    holders: Holders,
    newcomers: Queue,
    /// Leaving connections, longest first.
    leaving: BTreeSet<Key>,
    tickets: Option<Tickets>,
    /// How many connections have taken a ticket and still have their places.
    passing: usize,
    /// The rank of the latest newcomer or leaving connection.
    order: u64,
    /// The time until which newcomers may wait, in a drain.
    newcomers_until: Option<Instant>,
}

impl Places {
    /// Places for `capacity` connections.
    pub fn new(capacity: usize) -> Places {
        Places {
            capacity,
            entries: Vec::new(),
            free: Vec::new(),
            holders: Holders::new(),
            newcomers: Queue::default(),
            leaving: BTreeSet::new(),
            tickets: None,
            passing: 0,
            order: 0,
            newcomers_until: None,
        }
    }

    /// How many places are taken.
    pub fn used(&self) -> usize {
        self.holders.len()
    }

    /// How many connections there are.
    pub fn counts(&self) -> Counts {
        Counts {
            capacity: self.capacity,
            placed: self.used(),
            waiting: self.newcomers.len(),
            leaving: self.leaving.len(),
        }
    }

    /// Whether a newcomer would have to wait.
    pub fn is_full(&self) -> bool {
        self.used() >= self.capacity || self.newcomers.len() > 0
    }

    /// The number of connections, including newcomers and leaving ones.
    pub fn connections(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Returns a number for a new connection, and whether it has a place at once. If not, call
    /// [`settle`](Places::settle).
    pub fn arrive(&mut self, source: Source, now: Instant) -> (u32, bool) {
        let has_place = !self.is_full();
        let class = Class::Free;
        let number = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { source, class });
            (self.entries.len() - 1) as u32
        });
        self.entries[number as usize].source = source;
        if has_place {
            self.place(number, now);
        } else {
            let order = self.next_order();
            let newcomer = Newcomer {
                number,
                source,
                order,
                since: now,
            };
            self.entries[number as usize].class = Class::Newcomer(order);
            self.newcomers.push(newcomer, self.holders.places(source));
        }
        (number, has_place)
    }

    /// Frees the place of a connection whose last answer is written. Then see
    /// [`needs_settling`](Places::needs_settling).
    pub fn leave(&mut self, number: u32, members: &mut impl Members) {
        self.withdraw(number);
        let order = self.next_order();
        let entry = &mut self.entries[number as usize];
        entry.class = Class::Leaving(order);
        self.leaving.insert((order, number.into(), entry.source));
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

    /// Removes a connection that has ended. Then see [`needs_settling`](Places::needs_settling).
    pub fn release(&mut self, number: u32) {
        self.withdraw(number);
        self.free.push(number);
    }

    /// Whether [`settle`](Places::settle) would change anything after a connection has gone:
    /// newcomers wait, or there are tickets for newcomers that no longer wait.
    pub fn needs_settling(&self) -> bool {
        self.newcomers.len() > 0 || self.tickets.is_some()
    }

    /// The number of tickets: for any connection of their holder, and for settled ones.
    pub fn tickets(&self) -> (usize, usize) {
        self.tickets.map_or((0, 0), |t| (t.now, t.settled))
    }

    /// Whether this connection must close after its next answer. Takes a ticket if there is one.
    pub fn take_ticket(&mut self, number: u32, now: Instant) -> bool {
        let Entry { source, class } = &mut self.entries[number as usize];
        let Class::Placed { since, has_ticket } = class else {
            return false;
        };
        let tickets = self.tickets.as_mut().filter(|t| t.holder == *source);
        let Some(tickets) = tickets.filter(|_| !*has_ticket) else {
            return *has_ticket;
        };
        let kind = if tickets.now > 0 {
            &mut tickets.now
        } else if tickets.settled > 0 && *since + SETTLED <= now {
            &mut tickets.settled
        } else {
            return false;
        };
        *kind -= 1;
        *has_ticket = true;
        self.passing += 1;
        true
    }

    /// Refuses all newcomers at this time at the latest.
    pub fn limit_newcomers(&mut self, until: Instant) {
        self.newcomers_until = Some(until);
    }

    /// Applies the rules to the waiting newcomers.
    pub fn settle(&mut self, now: Instant, members: &mut impl Members) {
        while let Some(first) = self.newcomers.first() {
            let waits_since = &mut |number| members.waits_since(number);
            if self.used() < self.capacity {
                self.admit(first, now, members);
            } else if let Some(victim) = self.holders.settled_for(first.source, now, waits_since) {
                self.evict(victim, members);
            } else if let Some((victim, newcomer)) = self.short_wait_is_over(now, waits_since) {
                // The place is for this newcomer, even if others come before it.
                if self.evict(victim, members) {
                    self.admit(newcomer, now, members);
                }
            } else {
                break;
            }
        }
        while self.newcomers.len() > max_newcomers(self.capacity)
            && let Some(newcomer) = self.newcomers.least_entitled()
        {
            self.refuse(newcomer, members);
        }
        while let Some(newcomer) = self.newcomers.oldest()
            && self.time_limit(newcomer) <= now
        {
            self.refuse(newcomer, members);
        }
        self.issue_tickets();
    }

    /// When [`settle`](Places::settle) is due, if nothing else happens first.
    pub fn alarm(&self, now: Instant) -> Option<Instant> {
        let limit = self.time_limit(self.newcomers.oldest()?);
        let due = iter::once(limit)
            .chain(self.holders.next_check())
            .chain(self.short_waits().map(|(time, _)| time))
            .min()?;
        Some(due.max(now + SLACK))
    }

    /// Rule 3: when the waits of newcomers end whose sources have fewer places than another. Not
    /// all of them: those that end first for each number of places.
    fn short_waits(&self) -> impl Iterator<Item = (Instant, Newcomer)> {
        let most = self.holders.largest().map_or(0, |(most, _)| most);
        let newcomers = self.newcomers.oldest_below(most);
        newcomers.map(|newcomer| (newcomer.since + SHORT_WAIT, newcomer))
    }

    fn time_limit(&self, newcomer: Newcomer) -> Instant {
        let limit = newcomer.since + LONG_WAIT;
        self.newcomers_until.map_or(limit, |until| limit.min(until))
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Gives a connection a place.
    fn place(&mut self, number: u32, now: Instant) {
        let entry = &mut self.entries[number as usize];
        entry.class = Class::Placed {
            since: now,
            has_ticket: false,
        };
        let places = self.holders.add(number, entry.source, now);
        self.newcomers.set_places(entry.source, places);
    }

    /// Takes a connection out of its class.
    fn withdraw(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        let source = entry.source;
        match mem::replace(&mut entry.class, Class::Free) {
            Class::Free => {}
            Class::Newcomer(order) => self.newcomers.remove(source, order),
            Class::Placed { has_ticket, .. } => {
                self.passing -= usize::from(has_ticket);
                let places = self.holders.remove(number, source);
                self.newcomers.set_places(source, places);
            }
            Class::Leaving(order) => {
                self.leaving.remove(&(order, number.into(), source));
            }
        }
    }

    /// The connection that loses its place by rule 3, and the newcomer that gets it.
    fn short_wait_is_over(
        &mut self,
        now: Instant,
        waits_since: WaitsSince<'_>,
    ) -> Option<(u32, Newcomer)> {
        let (_, newcomer) = self.short_waits().find(|(time, _)| *time <= now)?;
        let (_, largest) = self.holders.largest()?;
        let (_, victim) = self.holders.longest_waiting(largest, now, waits_since)?;
        Some((victim, newcomer))
    }

    fn evict(&mut self, number: u32, members: &mut impl Members) -> bool {
        let is_evicted = members.evict(number);
        if is_evicted {
            self.release(number);
        }
        is_evicted
    }

    fn admit(&mut self, newcomer: Newcomer, now: Instant, members: &mut impl Members) {
        self.withdraw(newcomer.number);
        self.place(newcomer.number, now);
        members.admit(newcomer.number);
    }

    fn refuse(&mut self, newcomer: Newcomer, members: &mut impl Members) {
        self.leave(newcomer.number, members);
        members.refuse(newcomer.number);
    }

    /// Rule 2: as many tickets as newcomers wait.
    fn issue_tickets(&mut self) {
        let waiting = self.newcomers.len();
        let needed = waiting.saturating_sub(self.passing);
        let largest = self.holders.largest().filter(|_| needed > 0);
        self.tickets = largest.map(|(most, holder)| {
            let now = needed.min(waiting - self.newcomers.count_with(most));
            Tickets {
                holder,
                now,
                settled: needed - now,
            }
        });
    }
}

#[cfg(test)]
mod tests;
