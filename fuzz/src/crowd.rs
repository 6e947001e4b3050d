//! Bodies that take most of the memory that all bodies together may take.

use std::sync::{Arc, LazyLock};

use postern::http::body::{Bodies, Collector};
use postern::http::request::BodyFraming;

use crate::body::{MAX_BODIES, MAX_BODY};

/// How much they leave.
pub const LEFT: [usize; 4] = [0, 1, 5_000, 100_000];

struct Crowd {
    bodies: Arc<Bodies>,
    _others: Vec<Collector>,
}

static CROWDS: LazyLock<[Crowd; LEFT.len()]> = LazyLock::new(|| LEFT.map(Crowd::new));

/// The memory of which [`LEFT`]`[index]` is left.
pub fn crowded(index: usize) -> Arc<Bodies> {
    Arc::clone(&CROWDS[index].bodies)
}

impl Crowd {
    fn new(left: usize) -> Crowd {
        let bodies = Arc::default();
        let mut used = MAX_BODIES - left;
        let mut others = Vec::new();
        while used > 0 {
            let body = vec![0; used.min(MAX_BODY)];
            let framing = BodyFraming::Length(body.len() as u64);
            let mut other = Collector::new(framing, MAX_BODY, &bodies).expect("within its limit");
            assert_eq!(other.take(&body), Ok(body.len()));
            used -= body.len();
            others.push(other);
        }
        assert_eq!(bodies.used(), MAX_BODIES - left);
        Crowd {
            bodies,
            _others: others,
        }
    }
}
