//! The lines on their way to standard error, and the one thread that writes them.
//!
//! The reader of standard error may stop reading, and a write then waits without end. So only one
//! thread writes. All others put their lines into a buffer of fixed size and go on. The descriptor
//! is not made non-blocking, because that would affect every process that shares it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use memchr::{memchr, memchr_iter, memrchr};

/// How many bytes of lines can wait. A second buffer of this size holds the lines being written.
const CAPACITY: usize = 128 * 1024;

/// The most bytes in one write. A pipe takes that many as a whole or not at all (`PIPE_BUF`), so
/// that lines do not mix with those of other processes.
pub const MAX_WRITE: usize = 4096;

/// How long the thread lets lines gather after a write. The first line after a pause is written at
/// once; under load, waking the thread for each line would cost more than the write.
const GATHER_TIME: Duration = Duration::from_millis(5);

/// With so many bytes waiting, the thread is woken before that time is over.
const ENOUGH: usize = CAPACITY / 4;

/// Address space for the thread's stack.
const STACK_SIZE: usize = 64 * 1024;

/// Lines that wait to be written.
#[derive(Debug)]
pub struct Queue {
    turn_time: Duration,
    state: Mutex<State>,
    /// Wakes the thread that writes.
    filled: Condvar,
    /// Wakes those who wait for room.
    taken: Condvar,
    /// Wakes those who wait until all is written.
    emptied: Condvar,
    /// Writes that succeeded.
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct State {
    lines: Vec<u8>,
    /// Lines dropped since the thread last took lines. After the first of them all are dropped, so
    /// that lines are missing in one place only.
    gap: u64,
    thread: Thread,
    /// How many wait for `emptied`.
    flushing: usize,
    /// Whether the lines go to a regular file, which has no reader to wait for.
    is_file: bool,
}

/// What the thread that writes is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    NotStarted,
    Asleep,
    Gathering,
    /// Woken, and waiting for a processor.
    Woken,
    Writing,
}

impl Queue {
    /// An empty queue. Nothing is written before [`start`](Queue::start). Without room, a push
    /// waits up to `turn_time` for the thread to get a processor, or for a file to be written.
    pub const fn new(turn_time: Duration) -> Queue {
        Queue {
            turn_time,
            state: Mutex::new(State {
                lines: Vec::new(),
                gap: 0,
                thread: Thread::NotStarted,
                flushing: 0,
                is_file: false,
            }),
            filled: Condvar::new(),
            taken: Condvar::new(),
            emptied: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Starts the thread that writes to `out`, a regular file or not, unless it is running. Where
    /// lines are missing, it writes the line that `notice` makes of their number.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        &'static self,
        out: impl Write + Send + 'static,
        is_file: bool,
        notice: impl Fn(u64, &mut String) + Send + 'static,
    ) -> io::Result<()> {
        let mut state = self.lock();
        if state.thread != Thread::NotStarted {
            return Ok(());
        }
        let missing = CAPACITY.saturating_sub(state.lines.len());
        state.lines.reserve_exact(missing);
        state.is_file = is_file;
        let mut writer = Writer {
            out,
            notice,
            notice_line: String::with_capacity(256),
            untold: 0,
            is_torn: false,
        };
        let mut batch = Vec::with_capacity(CAPACITY);
        let write = move || {
            loop {
                writer.untold += self.take(&mut batch);
                writer.write_lines(&batch, self);
            }
        };
        thread::Builder::new()
            .name("log".into())
            .stack_size(STACK_SIZE)
            .spawn(write)?;
        state.thread = Thread::Woken;
        Ok(())
    }

    /// Adds a line, including its line break, or drops it if there is no room. Never waits for a
    /// reader: see [`new`](Queue::new).
    pub fn push(&self, line: &str) {
        let mut state = self.lock();
        let is_full = |state: &mut State| state.lines.len() + line.len() > CAPACITY;
        if is_full(&mut state) {
            // Once for each gap: with one, the wait was in vain.
            let is_worth_it = |state: &mut State| {
                let is_writing = state.is_file && state.thread == Thread::Writing;
                is_full(state) && state.gap == 0 && (is_writing || state.thread == Thread::Woken)
            };
            let waited = self
                .taken
                .wait_timeout_while(state, self.turn_time, is_worth_it);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.gap > 0 || is_full(&mut state) {
            state.gap += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(line.as_bytes());
        let wake = match state.thread {
            Thread::Asleep => true,
            Thread::Gathering => state.lines.len() >= ENOUGH,
            Thread::Woken | Thread::Writing | Thread::NotStarted => false,
        };
        if wake {
            state.thread = Thread::Woken;
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits until everything is written, and returns whether it is. Gives up if nothing is written
    /// for `patience`, and in any case after ten times that.
    pub fn flush(&self, patience: Duration) -> bool {
        let is_busy = |state: &mut State| {
            let is_written = state.lines.is_empty() && state.thread != Thread::Writing;
            !(is_written || state.thread == Thread::NotStarted)
        };
        let mut state = self.lock();
        state.flushing += 1;
        for _ in 0..10 {
            let before = self.written.load(Ordering::Relaxed);
            let waited = self.emptied.wait_timeout_while(state, patience, is_busy);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let is_stalled = before == self.written.load(Ordering::Relaxed);
            // A thread that waits for a processor or a disk is not stalled by a reader.
            let by_reader = state.thread == Thread::Writing && !state.is_file;
            if !is_busy(&mut state) || (is_stalled && by_reader) {
                break;
            }
        }
        state.flushing -= 1;
        !is_busy(&mut state)
    }

    /// How many lines were dropped so far, for lack of room or because they could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits for lines and moves them into `batch`. Returns how many are missing after them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut state = self.lock();
        if state.lines.is_empty() && state.flushing > 0 {
            self.emptied.notify_all();
        }
        state.thread = Thread::Gathering;
        let gathered = self.filled.wait_timeout_while(state, GATHER_TIME, |state| {
            state.thread == Thread::Gathering && state.lines.len() < ENOUGH
        });
        (state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        if state.lines.is_empty() {
            state.thread = Thread::Asleep;
            let woken = self
                .filled
                .wait_while(state, |state| state.lines.is_empty());
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.thread = Thread::Writing;
        std::mem::swap(&mut state.lines, batch);
        if batch.len() + MAX_WRITE > CAPACITY {
            self.taken.notify_all();
        }
        std::mem::take(&mut state.gap)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the thread that writes.
struct Writer<O, N> {
    out: O,
    notice: N,
    notice_line: String,
    /// Lost lines that no notice has counted yet.
    untold: u64,
    /// Whether the last write ended inside a line.
    is_torn: bool,
}

impl<O: Write, N: Fn(u64, &mut String)> Writer<O, N> {
    /// Writes `lines`, and then the notice if lines are missing.
    fn write_lines(&mut self, lines: &[u8], queue: &Queue) {
        let mut is_written = true;
        for piece in pieces(lines) {
            let lost = self.write(piece);
            is_written = lost == 0;
            self.untold += lost;
            queue.dropped.fetch_add(lost, Ordering::Relaxed);
            queue
                .written
                .fetch_add(u64::from(is_written), Ordering::Relaxed);
        }
        if self.untold > 0 && is_written {
            let mut line = std::mem::take(&mut self.notice_line);
            line.clear();
            (self.notice)(self.untold, &mut line);
            if self.write(line.as_bytes()) == 0 {
                self.untold = 0;
            }
            self.notice_line = line;
        }
    }

    /// Writes whole lines; returns how many could not be written.
    fn write(&mut self, lines: &[u8]) -> u64 {
        // A full disk may have taken a part of a line: the next line must not continue it.
        if self.is_torn && write_all(&mut self.out, &mut &b"\n"[..]).is_ok() {
            self.is_torn = false;
        }
        let mut rest = lines;
        if write_all(&mut self.out, &mut rest).is_ok() {
            return 0;
        }
        if let Some(&last) = lines[..lines.len() - rest.len()].last() {
            self.is_torn = last != b'\n';
        }
        memchr_iter(b'\n', rest).count() as u64
    }
}

/// As [`Write::write_all`]; on failure, `rest` is what was not written.
fn write_all(out: &mut impl Write, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => *rest = &rest[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Splits `lines` into pieces of whole lines, each of at most [`MAX_WRITE`] bytes unless a line is
/// longer.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if lines.is_empty() {
            return None;
        }
        let most = &lines[..lines.len().min(MAX_WRITE)];
        let end = memrchr(b'\n', most).or_else(|| memchr(b'\n', lines));
        let (piece, rest) = lines.split_at(end.map_or(lines.len(), |end| end + 1));
        lines = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests;
