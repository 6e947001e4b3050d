//! The two clocks of a host, and the floor below which the wall clock is not believed.

use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// How far the wall clock may be behind the floor and still be believed.
pub const TOLERANCE: Duration = Duration::from_secs(24 * 3600);

/// The date of this program's source, set by the build script. A clock before it is wrong.
pub fn program_date() -> SystemTime {
    let seconds = env!("POSTERN_SOURCE_DATE").parse().unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Time since boot, including suspend (`CLOCK_BOOTTIME`). Intervals are measured with it: the wall
/// clock jumps when it is set, and `std::time::Instant` stops during suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// Now.
    pub fn now() -> BootTime {
        let time = clock_gettime(ClockId::Boottime);
        // The clock starts at zero, so neither is negative.
        let (seconds, nanoseconds) = (time.tv_sec as u64, time.tv_nsec as u32);
        BootTime(Duration::new(seconds, nanoseconds))
    }

    /// The time since `earlier`; zero if this is before it.
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

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Time since boot.
    pub boot: BootTime,
    /// The wall clock of this host.
    pub wall: SystemTime,
}

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        Moment {
            boot: BootTime::now(),
            wall: SystemTime::now(),
        }
    }
}

/// The earliest time that a right wall clock can show. It is the latest of
///
/// - the date of this program,
/// - the `Date` that came with the current keys, in this run or, from disk, in an earlier one,
/// - the `Date` of the tenant's latest answer of any kind,
///
/// each plus the time since it became known. So the floor rises while the program runs.
///
/// A new `Date` replaces the previous one of its kind even if it is earlier: if the tenant's clock
/// was ahead once, the next right `Date` corrects that. Neither the tenant nor a copy on disk can
/// lower the floor below the date of the program.
#[derive(Debug)]
pub(super) struct ClockFloor {
    program: Known,
    keys: Option<Known>,
    answer: Option<Known>,
}

/// A date, and when it became known.
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

    /// Keys came with this `Date`, from the tenant or from disk.
    pub(super) fn set_keys_date(&mut self, date: SystemTime, now: BootTime) {
        self.keys = Some(Known { date, at: now });
    }

    /// The tenant has answered with this `Date`.
    pub(super) fn set_answer_date(&mut self, date: SystemTime, now: BootTime) {
        self.answer = Some(Known { date, at: now });
    }

    /// The floor at this time.
    pub(super) fn at(&self, now: BootTime) -> SystemTime {
        let known = [Some(self.program), self.keys, self.answer];
        let dates = known.into_iter().flatten().map(|known| {
            let passed = now.since(known.at);
            // A file can contain a date so late that nothing can be added.
            known.date.checked_add(passed).unwrap_or(known.date)
        });
        dates.max().unwrap_or(self.program.date)
    }

    /// How far the wall clock is ahead of the tenant's, in seconds, by the `Date` of the latest
    /// answer. It has whole seconds, and an answer takes its time; so half a second ahead is usual.
    pub(super) fn offset(&self, now: Moment) -> Option<f64> {
        let answer = self.answer?;
        let tenant = answer.date.checked_add(now.boot.since(answer.at))?;
        Some(match now.wall.duration_since(tenant) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(behind) => -behind.duration().as_secs_f64(),
        })
    }

    /// How far the wall clock is behind the floor, if too far to be believed.
    pub(super) fn too_far_behind(&self, now: Moment) -> Option<Duration> {
        let behind = self.at(now.boot).duration_since(now.wall).ok()?;
        (behind > TOLERANCE).then_some(behind)
    }
}

#[cfg(test)]
mod tests;
