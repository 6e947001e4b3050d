//! The connections with places, by their sources, and since when they have waited for their peers.
//!
//! That time changes with each request, and recording the change must cost nothing. So the recorded
//! time is the earliest possible one, and is corrected when it matters.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::source::{Key, Source};

/// After this time a connection is settled: how long it must have waited before rule 1 can take its
/// place, and how long it must have had its place before it takes a ticket for a source with as
/// many places.
pub const SETTLED: Duration = Duration::from_secs(1);

/// Tells since when a connection has waited for its peer; `None` if it has work to do.
pub type WaitsSince<'a> = &'a mut dyn FnMut(u32) -> Option<Instant>;

/// A source with places.
#[derive(Debug, Default)]
struct Holder {
    /// Its connections, by the earliest time at which each can have begun to wait.
    waiting: BTreeSet<Key>,
    /// The earliest time at which one of them can be settled. `None` if one was at the last check.
    settles: Option<u64>,
}

/// All connections with places. Times are nanoseconds since `epoch`: 64 bits last for 584 years.
#[derive(Debug)]
pub struct Holders {
    epoch: Instant,
    len: usize,
    /// By the number of a connection: its time in [`Holder::waiting`].
    recorded: Vec<u64>,
    sources: HashMap<Source, Holder>,
    /// All sources, by their places.
    by_places: BTreeSet<Key>,
    /// The sources with a settled connection at the last check, by their places.
    settled: BTreeSet<Key>,
    /// The other sources, by [`Holder::settles`].
    settling: BTreeSet<Key>,
}

impl Holders {
    /// Without a connection.
    pub fn new() -> Holders {
        Holders {
            epoch: Instant::now(),
            len: 0,
            recorded: Vec::new(),
            sources: HashMap::new(),
            by_places: BTreeSet::new(),
            settled: BTreeSet::new(),
            settling: BTreeSet::new(),
        }
    }

    /// How many connections have places.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many places a source has.
    pub fn places(&self, source: Source) -> u64 {
        self.sources.get(&source).map_or(0, Holder::places)
    }

    /// A source with most places, and their number.
    pub fn largest(&self) -> Option<(u64, Source)> {
        self.by_places
            .last()
            .map(|&(places, _, source)| (places, source))
    }

    /// Adds a connection, and returns how many places its source has now.
    pub fn add(&mut self, number: u32, source: Source, now: Instant) -> u64 {
        let [now, settles] = [now, now + SETTLED].map(|time| self.nanoseconds(time));
        let at = number as usize;
        self.recorded.resize(self.recorded.len().max(at + 1), 0);
        self.recorded[at] = now;
        self.len += 1;
        self.change(source, &mut |holder| {
            if holder.waiting.is_empty() {
                holder.settles = Some(settles);
            }
            holder.waiting.insert((now, number.into(), source));
        })
    }

    /// Removes a connection, and returns how many places its source has now.
    pub fn remove(&mut self, number: u32, source: Source) -> u64 {
        let recorded = self.recorded[number as usize];
        self.len -= 1;
        self.change(source, &mut |holder| {
            holder.waiting.remove(&(recorded, number.into(), source));
        })
    }

    /// The connection whose place a newcomer of `source` gets by rule 1.
    pub fn settled_for(
        &mut self,
        source: Source,
        now: Instant,
        waits_since: WaitsSince<'_>,
    ) -> Option<u32> {
        while let Some(&(time, _, other)) = self.settling.first()
            && self.time(time) <= now
        {
            self.check(other, now, waits_since);
        }
        loop {
            let &(most, _, last) = self.settled.last()?;
            if most < self.places(source) {
                return None;
            }
            let is_own = self.settled.contains(&(most, 0, source));
            let chosen = if is_own { source } else { last };
            if let Some(number) = self.check(chosen, now, waits_since) {
                return Some(number);
            }
        }
    }

    /// When [`settled_for`](Holders::settled_for) can have another result, if nothing else happens
    /// first.
    pub fn next_check(&self) -> Option<Instant> {
        self.settling.first().map(|(time, ..)| self.time(*time))
    }

    /// Checks whether a source has a settled connection. Returns the one that has waited longest.
    fn check(&mut self, source: Source, now: Instant, waits_since: WaitsSince<'_>) -> Option<u32> {
        let longest = self.longest_waiting(source, now, waits_since);
        let settles = longest.map_or(now, |(since, _)| since) + SETTLED;
        let is_settled = settles <= now;
        let settles = self.nanoseconds(settles);
        self.change(source, &mut |holder| {
            holder.settles = (!is_settled).then_some(settles)
        });
        longest.filter(|_| is_settled).map(|(_, number)| number)
    }

    /// The connection of a source that has waited longest, and since when.
    pub fn longest_waiting(
        &mut self,
        source: Source,
        now: Instant,
        waits_since: WaitsSince<'_>,
    ) -> Option<(Instant, u32)> {
        loop {
            let &key = self.sources.get(&source)?.waiting.first()?;
            let number = key.1 as u32;
            let recorded = self.time(key.0);
            let since = match waits_since(number) {
                Some(since) if since <= recorded => return Some((recorded, number)),
                // All others began to wait no earlier.
                None if recorded >= now => return None,
                since => self.nanoseconds(since.unwrap_or(now)),
            };
            self.recorded[number as usize] = since;
            let holder = self.sources.get_mut(&source)?;
            holder.waiting.remove(&key);
            holder.waiting.insert((since, key.1, source));
        }
    }

    /// Changes a source and the keys that contain it. Returns how many places it has then.
    fn change(&mut self, source: Source, change: &mut dyn FnMut(&mut Holder)) -> u64 {
        let mut holder = self.sources.remove(&source).unwrap_or_default();
        let places = holder.places();
        if places > 0 {
            self.by_places.remove(&(places, 0, source));
            match holder.settles {
                Some(time) => self.settling.remove(&(time, 0, source)),
                None => self.settled.remove(&(places, 0, source)),
            };
        }
        change(&mut holder);
        let places = holder.places();
        if places > 0 {
            self.by_places.insert((places, 0, source));
            match holder.settles {
                Some(time) => self.settling.insert((time, 0, source)),
                None => self.settled.insert((places, 0, source)),
            };
            self.sources.insert(source, holder);
        }
        places
    }

    fn time(&self, nanoseconds: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanoseconds)
    }

    fn nanoseconds(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

impl Holder {
    fn places(&self) -> u64 {
        self.waiting.len() as u64
    }
}

#[cfg(test)]
mod tests;
