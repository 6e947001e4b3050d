use std::io::{PipeReader, Read};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const TURN_TIME: Duration = Duration::from_millis(20);

fn notice(lost: u64, line: &mut String) {
    line.push_str(&format!("{lost} lost\n"));
}

/// A queue whose thread writes to `out` until the tests end.
fn started(out: impl Write + Send + 'static) -> &'static Queue {
    let queue = Box::leak(Box::new(Queue::new(TURN_TIME)));
    queue.start(out, false, notice).unwrap();
    queue
}

fn piped() -> (&'static Queue, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (started(writer), reader)
}

/// Reads until `end` has come, and returns all lines.
fn read_until(reader: &mut PipeReader, end: &str) -> Vec<String> {
    let mut text = Vec::new();
    let mut some = [0; 8192];
    while !text.ends_with(end.as_bytes()) {
        let length = reader.read(&mut some).unwrap();
        assert!(length > 0);
        text.extend_from_slice(&some[..length]);
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_of_many_threads_come_out_whole_and_each_in_its_order() {
    let (queue, mut reader) = piped();
    let read = thread::spawn(move || read_until(&mut reader, "the end\n"));
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for count in 0..500 {
                    queue.push(&format!("{thread} {count} {}\n", "x".repeat(count % 100)));
                }
            });
        }
    });
    queue.push("the end\n");
    let lines = read.join().unwrap();
    assert_eq!((lines.len(), queue.dropped()), (2001, 0));
    for thread in 0..4 {
        let begin = format!("{thread} ");
        let own = lines.iter().filter(|line| line.starts_with(&begin));
        for (count, line) in own.enumerate() {
            let expected = format!("{thread} {count} {}", "x".repeat(count % 100));
            assert_eq!(*line, expected);
        }
    }
}

#[test]
fn what_a_stalled_reader_does_not_take_is_dropped_counted_and_told_where_it_is_missing() {
    let (queue, mut reader) = piped();
    let line = |number: usize| format!("{number:0>99}\n");
    // More than the pipe, what is being written, and what can wait.
    let all = 10_000;
    for number in 0..all {
        queue.push(&line(number));
    }
    let dropped = queue.dropped() as usize;
    assert!(dropped > 0, "nothing was dropped");
    assert!(!queue.flush(Duration::from_millis(20)), "nobody has read");

    let read = thread::spawn(move || read_until(&mut reader, "the end\n"));
    // What came too fast for a reader that was there would have left a gap, too.
    assert!(queue.flush(PATIENCE));
    queue.push("the end\n");
    let mut next = 0;
    for read in read.join().unwrap() {
        match read.strip_suffix(" lost") {
            Some(lost) => next += lost.parse::<usize>().unwrap(),
            None if read == "the end" => assert_eq!(next, all),
            None => {
                assert_eq!(read + "\n", line(next));
                next += 1;
            }
        }
    }
    assert_eq!(queue.dropped() as usize, dropped);
    // The buffers have not grown.
    assert_eq!(queue.lock().lines.capacity(), CAPACITY);
}

#[test]
fn a_file_that_takes_long_is_waited_for_once() {
    let (reader, writer) = std::io::pipe().unwrap();
    let queue = Box::leak(Box::new(Queue::new(TURN_TIME)));
    queue.start(writer, true, notice).unwrap();
    let started = Instant::now();
    for _ in 0..10_000 {
        queue.push(&("x".repeat(99) + "\n"));
    }
    let dropped = queue.dropped() as u32;
    assert!(dropped > 1000, "only {dropped} were dropped");
    assert!(started.elapsed() < dropped * TURN_TIME / 4);
    drop(reader);
}

#[test]
fn a_file_that_takes_a_moment_loses_no_line() {
    struct Slow;
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Less than the lines come in.
            thread::sleep(Duration::from_micros(100));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let queue = Box::leak(Box::new(Queue::new(PATIENCE)));
    queue.start(Slow, true, notice).unwrap();
    for _ in 0..10_000 {
        queue.push(&("x".repeat(99) + "\n"));
    }
    assert_eq!(queue.dropped(), 0);
}

/// What each write is told to do, and what was written.
struct Scripted {
    results: Receiver<io::Result<usize>>,
    writes: Sender<String>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.results.recv().unwrap_or(Ok(usize::MAX));
        let length = result?.min(bytes.len());
        let written = String::from_utf8(bytes[..length].to_vec()).unwrap();
        let _ = self.writes.send(written);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_written_is_counted_and_told_once_something_can() {
    let (results, script) = mpsc::channel();
    let (writes, written) = mpsc::channel();
    let queue = started(Scripted {
        results: script,
        writes,
    });
    let fail = || {
        results
            .send(Err(io::ErrorKind::StorageFull.into()))
            .unwrap()
    };
    let pass = |length| results.send(Ok(length)).unwrap();
    let next = || written.recv_timeout(PATIENCE).unwrap();

    fail();
    queue.push("one\n");
    wait_until(|| queue.dropped() == 1);
    // The disk is full in the middle of a line, then for its line break, and for all of the next.
    pass(3);
    fail();
    queue.push("two\n");
    wait_until(|| queue.dropped() == 2);
    fail();
    fail();
    queue.push("three\n");
    wait_until(|| queue.dropped() == 3);
    results
        .send(Err(io::ErrorKind::Interrupted.into()))
        .unwrap();
    drop(results);
    queue.push("four\n");
    let all: Vec<String> = (0..4).map(|_| next()).collect();
    assert_eq!(all, ["two", "\n", "four\n", "3 lost\n"]);
    queue.push("five\n");
    assert_eq!(next(), "five\n");
    assert!(queue.flush(PATIENCE));
}

#[test]
fn a_queue_without_a_thread_keeps_lines_and_holds_nobody_up() {
    let queue = Box::leak(Box::new(Queue::new(TURN_TIME)));
    queue.push("early\n");
    let started = Instant::now();
    queue.flush(PATIENCE);
    assert!(started.elapsed() < PATIENCE);
    let (mut reader, writer) = std::io::pipe().unwrap();
    queue.start(writer, false, notice).unwrap();
    assert_eq!(read_until(&mut reader, "\n"), ["early"]);
    // A second thread would write nothing, but to its own output.
    let (mut other, writer) = std::io::pipe().unwrap();
    queue.start(writer, false, notice).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
}

#[test]
fn pieces_are_whole_lines_that_a_pipe_takes_at_once() {
    let all = |text: &str| -> Vec<String> {
        pieces(text.as_bytes())
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect()
    };
    assert!(all("").is_empty());
    assert_eq!(all("a\n\nb\n"), ["a\n\nb\n"]);
    let line = "x".repeat(999) + "\n";
    assert_eq!(
        all(&line.repeat(9)),
        [line.repeat(4), line.repeat(4), line.clone()]
    );
    let full = "x".repeat(MAX_WRITE - 1) + "\n";
    assert_eq!(all(&full.repeat(2)), [full.clone(), full.clone()]);
    let longer = "x".repeat(2 * MAX_WRITE) + "\n";
    assert_eq!(all(&(longer.clone() + "a\n")), [longer.as_str(), "a\n"]);
    assert_eq!(all("no end"), ["no end"]);
}
