//! The newcomers: connections that wait for a place, in the orders that the rules need.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::iter;
use std::time::Instant;

use super::source::{Key, Source};

/// A connection that waits for a place.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// Its number.
    pub number: u32,
    /// By what it is counted.
    pub source: Source,
    /// Its rank by arrival.
    pub order: u64,
    /// Since when it waits.
    pub since: Instant,
}

/// The newcomers of one source.
#[derive(Debug, Default)]
struct Group {
    /// How many places the source has.
    places: u64,
    /// Oldest first.
    newcomers: VecDeque<Newcomer>,
}

/// All newcomers, by their sources.
#[derive(Debug, Default)]
pub struct Queue {
    len: usize,
    groups: HashMap<Source, Group>,
    /// The sources, by the oldest newcomer.
    by_age: BTreeSet<Key>,
    /// The sources, by their places, then by the oldest newcomer.
    by_places: BTreeSet<Key>,
    /// The sources, by their places and newcomers together, then by their places.
    by_claim: BTreeSet<Key>,
    /// How many newcomers have a source with this number of places.
    counts: Vec<usize>,
}

impl Queue {
    /// How many newcomers wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a newcomer, whose source has this number of places.
    pub fn push(&mut self, newcomer: Newcomer, places: u64) {
        self.change(newcomer.source, &mut |group| {
            group.places = places;
            group.newcomers.push_back(newcomer);
        });
    }

    /// Removes a newcomer.
    pub fn remove(&mut self, source: Source, order: u64) {
        self.change(source, &mut |Group { newcomers, .. }| {
            if let Ok(at) = newcomers.binary_search_by_key(&order, |newcomer| newcomer.order) {
                newcomers.remove(at);
            }
        });
    }

    /// Call this whenever the number of places of a source has changed.
    pub fn set_places(&mut self, source: Source, places: u64) {
        if self.groups.contains_key(&source) {
            self.change(source, &mut |group| group.places = places);
        }
    }

    /// The first to get a place: of the sources with fewest places, the oldest newcomer.
    pub fn first(&self) -> Option<Newcomer> {
        self.oldest_of(self.by_places.first()?)
    }

    /// The oldest newcomer.
    pub fn oldest(&self) -> Option<Newcomer> {
        self.oldest_of(self.by_age.first()?)
    }

    /// The first to be refused: of the source with most places and newcomers, the newest.
    pub fn least_entitled(&self) -> Option<Newcomer> {
        let (_, _, source) = self.by_claim.last()?;
        self.groups.get(source)?.newcomers.back().copied()
    }

    /// For each number of places below `most`, the oldest newcomer whose source has so many. There
    /// are few such numbers, but may be many sources.
    pub fn oldest_below(&self, most: u64) -> impl Iterator<Item = Newcomer> {
        let mut places = 0;
        iter::from_fn(move || {
            let range = (places, 0, Source::MIN)..(most, 0, Source::MIN);
            let key = self.by_places.range(range).next()?;
            places = key.0 + 1;
            self.oldest_of(key)
        })
    }

    /// How many newcomers have a source with this number of places.
    pub fn count_with(&self, places: u64) -> usize {
        self.counts.get(places as usize).copied().unwrap_or(0)
    }

    fn oldest_of(&self, (_, _, source): &Key) -> Option<Newcomer> {
        self.groups.get(source)?.newcomers.front().copied()
    }

    /// Changes the newcomers of a source, and the keys that contain it.
    fn change(&mut self, source: Source, change: &mut dyn FnMut(&mut Group)) {
        let mut group = self.groups.remove(&source).unwrap_or_default();
        if let Some([age, places, claim]) = group.keys(source) {
            self.by_age.remove(&age);
            self.by_places.remove(&places);
            self.by_claim.remove(&claim);
            self.counts[group.places as usize] -= group.newcomers.len();
            self.len -= group.newcomers.len();
        }
        change(&mut group);
        if let Some([age, places, claim]) = group.keys(source) {
            self.by_age.insert(age);
            self.by_places.insert(places);
            self.by_claim.insert(claim);
            let at = group.places as usize;
            self.counts.resize(self.counts.len().max(at + 1), 0);
            self.counts[at] += group.newcomers.len();
            self.len += group.newcomers.len();
            self.groups.insert(source, group);
        }
    }
}

impl Group {
    /// The keys of the source by age, by places, and by claim. `None` without a newcomer.
    fn keys(&self, source: Source) -> Option<[Key; 3]> {
        let oldest = self.newcomers.front()?.order;
        let claim = self.places + self.newcomers.len() as u64;
        Some([
            (oldest, 0, source),
            (self.places, oldest, source),
            (claim, self.places, source),
        ])
    }
}

#[cfg(test)]
mod tests;
