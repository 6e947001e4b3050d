//! The rules of sharing, one by one.

mod property;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use super::*;
use crate::http::socket::Peer;

/// Stands in for the engine's connections: each has waited since some time, or has work to do.
#[derive(Default)]
struct Crowd {
    waits: HashMap<u32, Option<Instant>>,
    /// Leaving connections that are in use.
    in_use: Vec<u32>,
    events: Vec<Happened>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Evicted(u32),
    Admitted(u32),
    Refused(u32),
    Closed(u32),
}

use Happened::{Admitted, Closed, Evicted, Refused};

impl Members for Crowd {
    fn waits_since(&mut self, number: u32) -> Option<Instant> {
        self.waits.get(&number).copied().flatten()
    }

    fn evict(&mut self, number: u32) -> bool {
        let waits = self.waits_since(number).is_some();
        if waits {
            self.waits.remove(&number);
            self.events.push(Evicted(number));
        }
        waits
    }

    fn admit(&mut self, number: u32) {
        self.events.push(Admitted(number));
    }

    fn refuse(&mut self, number: u32) {
        self.events.push(Refused(number));
    }

    fn close_leaving(&mut self, number: u32) -> bool {
        let is_closed = !self.in_use.contains(&number);
        self.events.extend(is_closed.then_some(Closed(number)));
        is_closed
    }
}

/// A source for each number.
fn source(number: u32) -> Source {
    Source::of(Peer::Tcp((Ipv4Addr::from(number), 1).into()))
}

/// Places with a crowd and a clock.
struct World {
    places: Places,
    crowd: Crowd,
    now: Instant,
}

impl World {
    fn new(capacity: usize) -> World {
        World {
            places: Places::new(capacity),
            crowd: Crowd::default(),
            now: Instant::now(),
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    /// A connection from this source. It waits for its peer as soon as it has a place.
    fn arrive(&mut self, from: u32) -> u32 {
        let (number, has_place) = self.places.arrive(source(from), self.now);
        if has_place {
            self.crowd.waits.insert(number, Some(self.now));
        } else {
            self.settle();
        }
        number
    }

    fn arrive_many(&mut self, from: u32, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.arrive(from)).collect()
    }

    fn settle(&mut self) {
        self.places.settle(self.now, &mut self.crowd);
        for event in &self.crowd.events {
            if let Admitted(number) = event {
                self.crowd.waits.entry(*number).or_insert(Some(self.now));
            }
        }
    }

    fn leave(&mut self, number: u32) {
        self.crowd.waits.remove(&number);
        self.places.leave(number, &mut self.crowd);
        self.settle();
    }

    /// From now on the connection has work to do.
    fn begin_answer(&mut self, number: u32) {
        self.crowd.waits.insert(number, None);
    }

    fn answer(&mut self, number: u32) {
        self.crowd.waits.insert(number, Some(self.now));
    }

    fn events(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.crowd.events)
    }

    /// The events, without closes of leaving connections.
    fn decisions(&mut self) -> Vec<Happened> {
        let mut events = self.events();
        events.retain(|event| !matches!(event, Closed(_)));
        events
    }
}

#[test]
fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
    let source = |text: &str| Source::of(Peer::Tcp(text.parse::<SocketAddr>().unwrap()));
    assert_eq!(source("192.0.2.1:1"), source("192.0.2.1:2"));
    assert_ne!(source("192.0.2.1:1"), source("192.0.2.2:1"));
    assert_eq!(source("192.0.2.1:1"), source("[::ffff:192.0.2.1]:1"));
    assert_eq!(
        source("[2001:db8::1]:1"),
        source("[2001:db8::ffff:0:0:2]:1")
    );
    assert_ne!(source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"));
    assert_ne!(source("0.0.0.1:1"), Source::of(Peer::Unix));
}

#[test]
fn a_newcomer_gets_the_place_of_the_longest_waiting_of_the_largest_source() {
    let mut world = World::new(4);
    let first = world.arrive(1);
    let small = world.arrive(2);
    world.pass(1);
    let [second, third] = world.arrive_many(1, 2)[..] else {
        panic!()
    };
    world.pass(1_001);
    world.answer(first);
    world.pass(1_000);
    let newcomer = world.arrive(3);
    assert_eq!(world.events(), [Evicted(second), Admitted(newcomer)]);
    world.pass(1);
    let next = world.arrive(3);
    assert_eq!(world.events(), [Evicted(third), Admitted(next)]);
    // Sources 1 and 2 have one place each, source 3 has two: only its own can be evicted.
    let own = world.arrive(3);
    assert_eq!(world.events(), [], "its own have waited less than 1 s");
    world.pass(999);
    world.settle();
    assert_eq!(world.events(), [Evicted(newcomer), Admitted(own)]);
    assert!(world.crowd.waits.contains_key(&small));
}

#[test]
fn of_sources_with_equal_places_the_newcomers_own_loses_one() {
    for own in [1, 2] {
        let mut world = World::new(4);
        let connections = [world.arrive_many(1, 2), world.arrive_many(2, 2)];
        world.pass(1_000);
        let newcomer = world.arrive(own);
        let expected = connections[own as usize - 1][0];
        assert_eq!(world.events(), [Evicted(expected), Admitted(newcomer)]);
    }
}

#[test]
fn rule_1_spares_busy_and_recently_answered_connections() {
    let mut world = World::new(2);
    let [first, second] = world.arrive_many(1, 2)[..] else {
        panic!()
    };
    world.pass(5_000);
    world.begin_answer(first);
    world.begin_answer(second);
    let newcomer = world.arrive(1);
    assert_eq!(world.events(), []);
    world.answer(first);
    world.pass(999);
    world.settle();
    assert_eq!(world.events(), []);
    world.pass(1);
    world.settle();
    assert_eq!(world.events(), [Evicted(first), Admitted(newcomer)]);
}

#[test]
fn a_source_with_fewer_places_waits_50_ms_at_most() {
    let mut world = World::new(3);
    let crowd = world.arrive_many(1, 3);
    world.pass(10);
    world.answer(crowd[0]);
    let newcomer = world.arrive(2);
    let alarm = world.places.alarm(world.now).unwrap();
    assert!(alarm <= world.now + Duration::from_millis(40));
    world.pass(39);
    world.settle();
    assert_eq!(world.events(), []);
    world.pass(1);
    world.settle();
    assert_eq!(world.events(), [Evicted(crowd[1]), Admitted(newcomer)]);
}

#[test]
fn rule_3_spares_connections_that_are_answering() {
    let mut world = World::new(2);
    let crowd = world.arrive_many(1, 2);
    crowd.iter().for_each(|number| world.begin_answer(*number));
    let newcomer = world.arrive(2);
    world.pass(4_000);
    world.settle();
    assert_eq!(world.events(), []);
    world.answer(crowd[1]);
    let alarm = world.places.alarm(world.now).unwrap();
    assert!(alarm <= world.now + Duration::from_millis(10));
    world.pass(5);
    world.settle();
    assert_eq!(world.events(), [Evicted(crowd[1]), Admitted(newcomer)]);
}

#[test]
fn connections_of_the_largest_source_close_after_their_answers() {
    let mut world = World::new(4);
    let crowd = world.arrive_many(1, 3);
    let other = world.arrive(2);
    world.arrive_many(3, 2);
    assert_eq!(world.places.tickets(), (2, 0));
    assert!(!world.places.take_ticket(other, world.now));
    assert!(world.places.take_ticket(crowd[0], world.now));
    assert!(
        world.places.take_ticket(crowd[0], world.now),
        "its ticket is kept"
    );
    assert_eq!(world.places.tickets(), (1, 0));
    assert!(world.places.take_ticket(crowd[1], world.now));
    assert!(!world.places.take_ticket(crowd[2], world.now));
    world.leave(crowd[0]);
    assert!(matches!(world.decisions()[..], [Admitted(_)]));
    assert_eq!(
        world.places.tickets(),
        (0, 0),
        "another ticket is still out"
    );
    world.leave(crowd[1]);
    assert!(matches!(world.decisions()[..], [Admitted(_)]));
}

#[test]
fn a_ticket_for_the_own_source_needs_a_settled_connection() {
    let mut world = World::new(2);
    let crowd = world.arrive_many(1, 2);
    crowd.iter().for_each(|number| world.begin_answer(*number));
    world.arrive(1);
    assert_eq!(world.places.tickets(), (0, 1));
    world.pass(999);
    assert!(!world.places.take_ticket(crowd[0], world.now));
    world.pass(1);
    assert!(world.places.take_ticket(crowd[0], world.now));
    assert!(!world.places.take_ticket(crowd[1], world.now));
}

#[test]
fn newcomers_with_fewest_places_come_first_then_the_oldest() {
    let mut world = World::new(4);
    let crowd = world.arrive_many(1, 3);
    let other = world.arrive(2);
    for number in crowd.iter().chain([&other]) {
        world.begin_answer(*number);
    }
    let large = world.arrive(1);
    let middle = world.arrive(2);
    let small = world.arrive(3);
    let small_too = world.arrive(4);
    let mut order = Vec::new();
    for number in [crowd[0], crowd[1], other, crowd[2]] {
        world.leave(number);
        order.extend(world.decisions());
    }
    assert_eq!(order, [small, small_too, middle, large].map(Admitted));
}

#[test]
fn too_many_newcomers_and_late_ones_are_refused() {
    let mut world = World::new(4);
    for number in world.arrive_many(1, 4) {
        world.begin_answer(number);
    }
    let other = world.arrive(2);
    let waiting = world.arrive_many(1, 3);
    assert_eq!(world.decisions(), []);
    let newest = world.arrive(1);
    assert_eq!(world.decisions(), [Refused(newest)]);
    world.arrive(3);
    assert_eq!(world.decisions(), [Refused(waiting[2])]);
    world.pass(4_999);
    world.settle();
    assert_eq!(world.decisions(), []);
    world.pass(1);
    world.settle();
    let events = world.decisions();
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, Refused(_)))
            .count(),
        4
    );
    assert!(events.contains(&Refused(other)));
    assert!(!world.places.needs_settling());
}

#[test]
fn places_and_newcomers_count_together_for_a_refusal() {
    let mut world = World::new(5);
    for number in [world.arrive_many(1, 3), world.arrive_many(2, 2)].concat() {
        world.begin_answer(number);
    }
    world.arrive(1);
    let waiting = world.arrive_many(2, 4);
    assert_eq!(world.decisions(), []);
    world.arrive(3);
    assert_eq!(world.decisions(), [Refused(waiting[3])]);
}

#[test]
fn a_newcomer_that_has_gone_gets_no_place() {
    let mut world = World::new(2);
    let [first, other] = world.arrive_many(1, 2)[..] else {
        panic!()
    };
    world.begin_answer(first);
    world.begin_answer(other);
    let (gone, second) = (world.arrive(2), world.arrive(2));
    world.places.release(gone);
    world.leave(first);
    assert_eq!(world.decisions(), [Admitted(second)]);
}

#[test]
fn tickets_for_a_newcomer_that_has_gone_are_withdrawn() {
    let mut world = World::new(1);
    let first = world.arrive(1);
    world.begin_answer(first);
    let gone = world.arrive(2);
    assert_eq!(world.places.tickets(), (1, 0));
    world.places.release(gone);
    assert!(world.places.needs_settling());
    world.settle();
    assert!(!world.places.take_ticket(first, world.now));
    assert!(!world.places.needs_settling());
}

#[test]
fn too_many_leaving_connections_are_closed() {
    let mut world = World::new(8);
    let crowd = world.arrive_many(1, 8);
    world.leave(crowd[0]);
    world.leave(crowd[1]);
    assert_eq!(world.events(), []);
    world.leave(crowd[2]);
    assert_eq!(world.events(), [Closed(crowd[0])]);
    assert_eq!(world.places.used(), 5);
    assert_eq!(world.places.connections(), 7);
}

#[test]
fn a_leaving_connection_in_use_is_closed_later() {
    let mut world = World::new(4);
    let crowd = world.arrive_many(1, 4);
    world.crowd.in_use.extend([crowd[0], crowd[1]]);
    (0..2).for_each(|at| world.leave(crowd[at]));
    assert_eq!(world.events(), []);
    world.crowd.in_use.clear();
    world.leave(crowd[2]);
    assert_eq!(world.events(), [Closed(crowd[0]), Closed(crowd[1])]);
}

#[test]
fn a_refused_newcomer_does_not_close_itself() {
    let mut world = World::new(4);
    let first = world.arrive(1);
    world.leave(first);
    world.crowd.in_use.push(first);
    for number in world.arrive_many(1, 4) {
        world.begin_answer(number);
    }
    world.arrive_many(1, 4);
    let refused = world.arrive(1);
    assert_eq!(world.events(), [Refused(refused)]);
}

#[test]
fn a_drain_limits_the_wait_of_newcomers() {
    let mut world = World::new(1);
    let first = world.arrive(1);
    world.begin_answer(first);
    let newcomer = world.arrive(1);
    let until = world.now + Duration::from_secs(2);
    world.places.limit_newcomers(until);
    assert!(world.places.alarm(world.now).unwrap() <= until);
    world.pass(2_000);
    world.settle();
    assert_eq!(world.events(), [Refused(newcomer)]);
}

/// The shortest time in which 50 newcomers come and go, while one newcomer of each source in
/// `waiting` waits and `holders` sources share all places.
fn cost_of_newcomers(holders: u32, waiting: Range<u32>) -> Duration {
    let mut world = World::new(1024);
    for place in 0..1024 {
        let number = world.arrive(place % holders);
        world.begin_answer(number);
    }
    for source in waiting {
        world.arrive(source);
    }
    let measure = |_| {
        let start = Instant::now();
        for _ in 0..50 {
            let number = world.arrive(5_000);
            world.places.alarm(world.now);
            world.places.release(number);
            world.settle();
            world.places.alarm(world.now);
        }
        start.elapsed()
    };
    (0..10).map(measure).min().unwrap()
}

#[test]
fn many_waiting_sources_cost_no_more_than_a_few() {
    for (few, many) in [
        (
            cost_of_newcomers(1, 100..116),
            cost_of_newcomers(1, 100..1_123),
        ),
        (
            cost_of_newcomers(16, 0..16),
            cost_of_newcomers(1_023, 0..1_023),
        ),
    ] {
        assert!(many < 8 * few, "{many:?} instead of {few:?}");
    }
}
