//! The collector of a body: what it takes, gives and refuses as by an independent reader, however
//! the bytes arrive, and the memory that it takes.
//!
//! Input: four bytes for the framing, the limit, the cuts and the memory, then what stands behind
//! the head.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use postern::http::body::{Bodies, BodyError, Collector, MAX_BODY};
use postern::http::request::BodyFraming;
use postern_fuzz::body::{self, End, MAX_BODIES, MAX_REST, Reading};
use postern_fuzz::crowd::{LEFT, crowded};
use postern_fuzz::http::Framing;
use postern_fuzz::memory::{self, Counting, counted};
use postern_fuzz::random::Random;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMITS: [usize; 8] = [0, 1, 10, 300, 5_000, 70_000, 300_000, MAX_BODY];
fuzz_target!(|data: &[u8]| {
    let Some(([kind, limit, cut, crowd], input)) = data.split_first_chunk::<4>() else {
        return;
    };
    let stream = body::stretched(input);
    let framing = match kind {
        // Some bytes remain, and are not the body's.
        0..64 => Framing::Length(stream.len().saturating_sub(usize::from(*kind)) as u64),
        64..96 => Framing::Length(stream.len() as u64 + 1),
        96..100 => Framing::Length(u64::MAX >> (kind - 96)),
        _ => Framing::Chunked,
    };
    let limit = LIMITS[usize::from(*limit) % LIMITS.len()];
    let crowd = usize::from(*crowd) % 8;
    let (bodies, left) = match LEFT.get(crowd) {
        Some(left) => (crowded(crowd), *left),
        None => (Arc::default(), MAX_BODIES),
    };
    let reading = body::read(&stream, framing, limit);
    let run = Run {
        stream: &stream,
        framing,
        limit,
        reading: &reading,
        bodies: &bodies,
        left,
    };
    run.at_once();
    run.in_pieces(Random::new(u64::from(*cut)));
});

struct Run<'a> {
    stream: &'a [u8],
    framing: Framing,
    limit: usize,
    reading: &'a Reading,
    bodies: &'a Arc<Bodies>,
    /// How much of the memory of all bodies is not taken.
    left: usize,
}

impl Run<'_> {
    fn collector(&self) -> Result<Collector, BodyError> {
        let framing = match self.framing {
            Framing::Length(length) => BodyFraming::Length(length),
            Framing::Chunked => BodyFraming::Chunked,
        };
        Collector::new(framing, self.limit, self.bodies)
    }

    fn at_once(&self) {
        let used = self.bodies.used();
        let taken = match self.collector() {
            Ok(mut collector) => collector.take(self.stream).map(|taken| {
                self.check_taken(&collector, taken, self.stream.len());
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            self.check_refusal(error, self.stream.len());
        }
        assert_eq!(self.bodies.used(), used, "memory is not given back");
    }

    /// As a connection does it, which keeps what was not taken in front of what comes next.
    fn in_pieces(&self, mut random: Random) {
        let used = self.bodies.used();
        memory::reset();
        let Ok(mut collector) = self.collector() else {
            return;
        };
        let (mut taken, mut end) = (0, 0);
        while end < self.stream.len() && !collector.is_complete() {
            let longest = random.pick(&[1, 2, 20, 300, 16 * 1024, self.stream.len()]);
            end = (end + 1 + random.below(longest)).min(self.stream.len());
            match counted(|| collector.take(&self.stream[taken..end])) {
                Ok(count) => taken += count,
                Err(error) => {
                    self.check_refusal(error, end);
                    break;
                }
            }
            self.check_taken(&collector, taken, end);
            self.check_memory(&collector, self.bodies.used() - used);
        }
        counted(|| drop(collector));
        assert_eq!(self.bodies.used(), used, "memory is not given back");
        assert_eq!(memory::live(), 0);
    }

    /// After `taken` of the first `end` bytes.
    fn check_taken(&self, collector: &Collector, taken: usize, end: usize) {
        let read = self.reading.end(end);
        assert_eq!(collector.is_complete(), read == End::Complete, "{read:?}");
        let decoded = self.reading.decoded(end);
        assert_eq!(collector.body().len(), decoded);
        match read {
            End::Complete => {
                assert_eq!(taken, self.reading.length());
                assert_eq!(collector.body(), self.reading.body(self.stream));
            }
            End::Refused(status) => panic!("taken, but to be refused with {status}"),
            End::Incomplete if self.reading.is_in_run(end) => assert_eq!(taken, end),
            End::Incomplete => assert!(end - taken <= MAX_REST, "{} bytes are kept", end - taken),
        }
    }

    fn check_memory(&self, collector: &Collector, granted: usize) {
        let decoded = collector.body().len();
        assert!(granted <= body::most_granted(self.framing, self.limit, decoded));
        assert!(granted >= decoded && granted <= self.left);
        assert_eq!(memory::live(), granted as isize);
        let peak = memory::peak();
        assert!(peak <= 2 * granted as isize, "{peak} bytes for {granted}");
    }

    /// After the first `end` bytes.
    fn check_refusal(&self, error: BodyError, end: usize) {
        let status = match error {
            BodyError::Bad => 400,
            BodyError::TooLarge => 413,
            BodyError::Late => 408,
            BodyError::NoRoom => {
                let decoded = self.reading.decoded(end);
                let granted = body::most_granted(self.framing, self.limit, decoded);
                assert!(granted > self.left, "there is room for {granted} bytes");
                return;
            }
        };
        assert_eq!(self.reading.end(end), End::Refused(status));
    }
}
