//! The clocks of a host, and the least that the one which can be set must say to be believed.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// How far behind the floor a wall clock may be and still be believed.
const TOLERANCE: Duration = Duration::from_secs(24 * 3600);

/// Time since the host booted, suspend included. Intervals are measured with it: the wall clock
/// jumps when it is set, and `std::time::Instant` stands still while the host is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// This moment.
    pub fn now() -> BootTime {
        let time = clock_gettime(ClockId::Boottime);
        // Neither is ever negative: the clock begins at zero.
        let (seconds, nanoseconds) = (time.tv_sec as u64, time.tv_nsec as u32);
        BootTime(Duration::new(seconds, nanoseconds))
    }

    /// How long after `earlier` this is; zero when it is before it.
    pub fn since(self, earlier: BootTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = BootTime;

    fn add(self, time: Duration) -> BootTime {
        BootTime(self.0.saturating_add(time))
    }
}

/// Now, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The clock that nobody sets.
    pub boot: BootTime,
    /// What this host's wall clock says.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        Moment {
            boot: BootTime::now(),
            wall: SystemTime::now(),
        }
    }
}

/// The least that a wall clock which is right can say: the latest of
///
/// - the date of this program,
/// - the `Date` of the answer that the keys in hand came with, in this run or an earlier one,
/// - the `Date` of the tenant's latest answer, whatever that answer was,
///
/// each with the time that has passed since it became known. So it rises while the program runs.
///
/// A later `Date` replaces an earlier one of its kind even if it is the lower one: after one answer
/// of a tenant whose clock was ahead, the next right one lets users in again. Nothing lowers the
/// program's date: a copy on disk cannot, nor can the tenant.
#[derive(Debug)]
pub(super) struct ClockFloor {
    program: Known,
    keys: Option<Known>,
    answer: Option<Known>,
}

/// A date that had come when this host's clock since boot said that.
#[derive(Debug, Clone, Copy)]
struct Known {
    date: SystemTime,
    at: BootTime,
}

impl ClockFloor {
    pub(super) fn new(program: SystemTime, now: BootTime) -> ClockFloor {
        ClockFloor {
            program: Known {
                date: program,
                at: now,
            },
            keys: None,
            answer: None,
        }
    }

    /// Keys were got with this `Date`: from the tenant now, or from it in an earlier run.
    pub(super) fn set_keys_date(&mut self, date: SystemTime, now: BootTime) {
        self.keys = Some(Known { date, at: now });
    }

    /// The tenant has answered with this `Date`.
    pub(super) fn set_answer_date(&mut self, date: SystemTime, now: BootTime) {
        self.answer = Some(Known { date, at: now });
    }

    pub(super) fn at(&self, now: BootTime) -> SystemTime {
        let known = [Some(self.program), self.keys, self.answer];
        let dates = known.into_iter().flatten().map(|known| {
            let passed = now.since(known.at);
            // A date at the end of all time, as a file may say, does not rise.
            known.date.checked_add(passed).unwrap_or(known.date)
        });
        dates.max().unwrap_or(self.program.date)
    }

    /// By how much the wall clock is behind, if that is too much to believe it.
    pub(super) fn too_far_behind(&self, now: Moment) -> Option<Duration> {
        let behind = self.at(now.boot).duration_since(now.wall).ok()?;
        (behind > TOLERANCE).then_some(behind)
    }
}

#[cfg(test)]
mod tests;
