//! The invariants of [`Queue`], which the property test of the rules checks.

use super::*;

impl Queue {
    /// Panics unless these are the newcomers, and the sets agree with them and with `places`, the
    /// places of each source.
    pub fn assert_consistent(&self, newcomers: &[(u32, Source)], places: impl Fn(Source) -> usize) {
        assert_eq!(self.len, newcomers.len());
        for (source, group) in &self.groups {
            let mut its: Vec<_> = group
                .newcomers
                .iter()
                .map(|n| (n.number, n.source))
                .collect();
            assert!(!its.is_empty(), "a source without newcomers is kept");
            its.sort();
            let mut expected = newcomers.to_vec();
            expected.retain(|(_, other)| other == source);
            assert_eq!(its, expected);
            assert!(group.newcomers.iter().is_sorted_by_key(|n| n.order));
            assert_eq!(group.places, places(*source) as u64);
            let [age, places, claim] = group.keys(*source).unwrap();
            assert!(self.by_age.contains(&age));
            assert!(self.by_places.contains(&places));
            assert!(self.by_claim.contains(&claim));
        }
        for set in [&self.by_age, &self.by_places, &self.by_claim] {
            assert_eq!(set.len(), self.groups.len());
        }
        for (at, count) in self.counts.iter().enumerate() {
            let theirs = newcomers.iter().filter(|(_, source)| places(*source) == at);
            assert_eq!(theirs.count(), *count);
        }
    }
}
