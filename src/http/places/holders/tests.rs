//! The invariants of [`Holders`], which the property test of the rules checks.

use super::*;

impl Holders {
    /// Panics unless these are the connections with places, and the sets agree with them.
    pub fn assert_consistent(&self, placed: &[(u32, Source)]) {
        assert_eq!(self.len, placed.len());
        for (number, source) in placed {
            let key = (self.recorded[*number as usize], (*number).into(), *source);
            assert!(self.sources[source].waiting.contains(&key));
        }
        for (source, holder) in &self.sources {
            let its = placed.iter().filter(|(_, other)| other == source).count();
            assert!(its > 0, "a source without places is kept");
            assert_eq!(holder.waiting.len(), its);
            let key = (its as u64, 0, *source);
            assert!(self.by_places.contains(&key));
            match holder.settles {
                Some(time) => assert!(self.settling.contains(&(time, 0, *source))),
                None => assert!(self.settled.contains(&key)),
            }
        }
        assert_eq!(self.by_places.len(), self.sources.len());
        assert_eq!(self.settled.len() + self.settling.len(), self.sources.len());
    }
}
