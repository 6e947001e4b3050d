//! Readiness of sockets: one epoll set, on which all workers wait.
//!
//! Sockets are registered one-shot: the worker that gets an event owns its connection until it
//! registers it again. An event carries a number and a generation, not a descriptor, so that a late
//! event of a connection that has ended is recognised.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// What is registered, and what an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// A connection, by its number and generation.
    Connection(u32, u32),
    /// A listening socket, by its number.
    Listener(u32),
    /// The timer: a deadline may have passed.
    Timer,
    /// A drain was requested.
    Drain,
    /// All workers end.
    Exit,
}

/// The least upper half of a value that is not a connection. Generations are smaller.
const SPECIAL: u32 = 1 << 31;

impl Watched {
    fn data(self) -> EventData {
        let (high, low) = match self {
            Watched::Connection(number, generation) => (generation & !SPECIAL, number),
            Watched::Listener(number) => (SPECIAL, number),
            Watched::Timer => (SPECIAL + 1, 0),
            Watched::Drain => (SPECIAL + 2, 0),
            Watched::Exit => (SPECIAL + 3, 0),
        };
        EventData::new_u64(u64::from(high) << 32 | u64::from(low))
    }

    fn read(data: EventData) -> Watched {
        let (high, low) = ((data.u64() >> 32) as u32, data.u64() as u32);
        match high.checked_sub(SPECIAL) {
            None => Watched::Connection(low, high),
            Some(0) => Watched::Listener(low),
            Some(1) => Watched::Timer,
            Some(2) => Watched::Drain,
            Some(_) => Watched::Exit,
        }
    }
}

/// The state of a socket to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It has something to read, or its peer has closed.
    Readable,
    /// It has room to write.
    Writable,
    /// Either of these.
    Any,
    /// Its peer has closed.
    Closed,
}

impl Readiness {
    fn flags(self) -> EventFlags {
        let flags = match self {
            Readiness::Readable => EventFlags::IN,
            Readiness::Writable => EventFlags::OUT,
            Readiness::Any => EventFlags::IN | EventFlags::OUT,
            Readiness::Closed => EventFlags::RDHUP,
        };
        flags | EventFlags::ONESHOT
    }
}

/// The epoll set, with a timer and the events that wake workers.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    drain: OwnedFd,
    exit: OwnedFd,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// What the system says. Usually no descriptors are left.
    pub fn new() -> io::Result<Poller> {
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let timer = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let poller = Poller {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            timer: timerfd_create(TimerfdClockId::Monotonic, timer)?,
            drain: event()?,
            exit: event()?,
        };
        poller.add(&poller.timer, Watched::Timer, Readiness::Readable)?;
        poller.add(&poller.drain, Watched::Drain, Readiness::Readable)?;
        // It wakes every worker, so it is not one-shot.
        epoll::add(
            &poller.epoll,
            &poller.exit,
            Watched::Exit.data(),
            EventFlags::IN,
        )?;
        Ok(poller)
    }

    /// Waits for one event. If it took several at once, a slow handler would delay the others.
    pub fn wait(&self) -> Watched {
        let mut buffer = [MaybeUninit::uninit(); 1];
        loop {
            // Only a signal ends the wait without an event.
            if let Ok((events, _)) = epoll::wait(&self.epoll, &mut buffer[..], None)
                && let Some(event) = events.first()
            {
                return Watched::read(event.data);
            }
        }
    }

    /// An event that has come already.
    pub fn poll(&self) -> Option<Watched> {
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut buffer = [MaybeUninit::uninit(); 1];
        let (events, _) = epoll::wait(&self.epoll, &mut buffer[..], Some(&none)).ok()?;
        events.first().map(|event| Watched::read(event.data))
    }

    /// Registers a socket for one event.
    ///
    /// # Errors
    /// What the system says. Memory or the user's limit of watches may be used up.
    pub fn add(
        &self,
        socket: &impl AsFd,
        watched: Watched,
        readiness: Readiness,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            watched.data(),
            readiness.flags(),
        )?)
    }

    /// Registers a socket of the set for one more event.
    ///
    /// # Errors
    /// What the system says.
    pub fn rearm(
        &self,
        socket: &impl AsFd,
        watched: Watched,
        readiness: Readiness,
    ) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            socket,
            watched.data(),
            readiness.flags(),
        )?)
    }

    /// Removes a socket. Its close would remove it, too, unless another process has a descriptor of
    /// it; but the kernel may leave the last part of the close to a worker that is looking for events
    /// at that moment, and that worker does it when its wait ends, which may be much later.
    pub fn remove(&self, socket: &impl AsFd) {
        // It fails only if the socket is not in the set.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Sets the timer. Its event comes after `time`, if the timer is [armed](Poller::arm_timer).
    pub fn set_timer(&self, time: Option<Duration>) {
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Zero would turn the timer off.
        let time = time.map(|time| time.max(Duration::from_nanos(1)));
        let value = Itimerspec {
            it_interval: none,
            it_value: time.map_or(none, |time| time.try_into().unwrap_or(none)),
        };
        // It cannot fail with a valid time.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value);
    }

    /// Registers the timer for one more event.
    pub fn arm_timer(&self) {
        let _ = self.rearm(&self.timer, Watched::Timer, Readiness::Readable);
    }

    /// Wakes a worker for the drain.
    pub fn wake_for_drain(&self) {
        signal(&self.drain);
    }

    /// Wakes all workers, now and at each later wait.
    pub fn wake_for_exit(&self) {
        signal(&self.exit);
    }
}

fn signal(event: &OwnedFd) {
    // It fails only if earlier signals have filled the counter.
    let _: Result<usize, Errno> = rustix::io::write(event, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_kernel() {
        for watched in [
            Watched::Connection(0, 0),
            Watched::Connection(u32::MAX, SPECIAL - 1),
            Watched::Listener(3),
            Watched::Timer,
            Watched::Drain,
            Watched::Exit,
        ] {
            assert_eq!(Watched::read(watched.data()), watched);
        }
    }
}
