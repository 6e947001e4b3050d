//! Who goes when there is no slot left.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use super::*;

/// An address that has no slot.
const NEWCOMER: &str = "192.0.2.99";

fn group(address: &str) -> Group {
    Group::of_address(address.parse().unwrap())
}

/// A connection in the table, and its other end.
struct Peer {
    place: Place,
    stream: TcpStream,
}

impl Peer {
    fn is_closed(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

struct Host {
    listener: TcpListener,
    slots: Arc<Slots>,
}

impl Host {
    fn new(capacity: usize) -> Host {
        Host {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            slots: Slots::new(capacity),
        }
    }

    /// A connection said to come from `address`, later than all before it.
    fn connect(&self, address: &str) -> Option<Peer> {
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = self.listener.accept().unwrap();
        let socket = Arc::new(Socket::Tcp(accepted));
        let place = self.slots.take(&socket, group(address))?;
        Some(Peer { place, stream })
    }

    /// Makes way for a connection from `address`.
    fn make_way(&self, address: &str) -> Option<Way> {
        self.slots.make_way(group(address), true, None)
    }
}

#[test]
fn a_group_is_an_ipv4_address_or_an_ipv6_64() {
    assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
    assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
    assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:1:2:3"));
    assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
}

#[test]
fn slots_are_counted_and_freed() {
    let host = Host::new(2);
    let first = host.connect("192.0.2.1").unwrap();
    let second = host.connect("192.0.2.1").unwrap();
    assert!(host.connect("192.0.2.2").is_none());
    assert!(!host.slots.wait_for_fewer_than(2, Duration::from_millis(1)));
    drop(first);
    assert!(host.slots.wait_for_fewer_than(2, Duration::ZERO));
    assert!(host.connect("192.0.2.2").is_some());
    drop(second);
    assert_eq!(host.slots.used(), 0);
}

#[test]
fn an_evicted_slot_counts_no_longer() {
    let host = Host::new(2);
    let first = host.connect("192.0.2.1").unwrap();
    let second = host.connect("192.0.2.1").unwrap();
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    let third = host.connect(NEWCOMER).unwrap();
    // Only so many may be evicted and still there.
    assert_eq!(host.make_way(NEWCOMER), None);
    assert!(host.connect(NEWCOMER).is_none());
    drop(first);
    assert!(host.connect(NEWCOMER).is_none());
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    drop((second, third));
    assert_eq!(host.slots.used(), 0);
    let _all = [(); 2].map(|()| host.connect("192.0.2.1").unwrap());
    assert!(host.connect("192.0.2.1").is_none());
}

#[test]
fn the_longest_waiting_of_the_largest_group_goes() {
    let host = Host::new(100);
    let mut alone = host.connect("192.0.2.1").unwrap();
    let mut busy = host.connect("192.0.2.2").unwrap();
    let mut first = host.connect("192.0.2.2").unwrap();
    let mut second = host.connect("192.0.2.2").unwrap();
    assert!(busy.place.serving());
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(first.is_closed());
    assert!(
        ![&mut alone, &mut busy, &mut second]
            .into_iter()
            .any(Peer::is_closed)
    );
    // One each now: the one that waits longest.
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(alone.is_closed() && !second.is_closed());
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(second.is_closed());
    // The one that is left is serving.
    assert_eq!(host.slots.make_way(group(NEWCOMER), false, None), None);
    assert!(busy.place.waiting(Waiting::Leaving));
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(busy.is_closed());
}

#[test]
fn a_wait_begins_with_the_connection_or_the_last_answer() {
    let host = Host::new(10);
    let mut first = host.connect("192.0.2.1").unwrap();
    let mut second = host.connect("192.0.2.1").unwrap();
    assert!(first.place.serving());
    std::thread::sleep(Duration::from_millis(1));
    assert!(first.place.waiting(Waiting::Idle));
    // Half a head does not make a wait any shorter.
    assert!(second.place.waiting(Waiting::Head));
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(second.is_closed() && !first.is_closed());
}

#[test]
fn who_just_came_does_not_make_way_for_a_group_as_large() {
    let host = Host::new(100);
    let mut user = host.connect("192.0.2.1").unwrap();
    let strangers = [(); 3].map(|()| host.connect("192.0.2.2").unwrap());
    assert!(strangers.iter().all(|stranger| stranger.place.serving()));
    // One of the strangers' own goes, once it has its answer.
    assert_eq!(host.make_way("192.0.2.2"), Some(Way::Dismissed));
    assert!(!user.is_closed());
    assert!(user.place.serving() && user.place.waiting(Waiting::Idle));
    let dismissed = strangers.iter().filter(|one| one.place.is_dismissed());
    assert_eq!(dismissed.count(), 1);
    // Who has none makes anybody go, and so does everybody where others wait for long.
    let now = host.slots.now() + RECENT.as_micros() as u64;
    let group = strangers[0].place.slot.group;
    let later = choose(&host.slots.lock(), now, group, true, None).map(|(slot, _)| slot.group);
    assert_eq!(later, Some(user.place.slot.group));
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(user.is_closed());
}

#[test]
fn a_dismissed_connection_ends_with_its_answer() {
    let host = Host::new(100);
    let one = host.connect("192.0.2.1").unwrap();
    let mut two = [(); 2].map(|()| host.connect("192.0.2.2").unwrap());
    assert!(one.place.serving() && two.iter().all(|peer| peer.place.serving()));
    assert_eq!(host.slots.make_way(group(NEWCOMER), false, None), None);
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Dismissed));
    // Of the larger group; and nothing of it is closed by now.
    assert!(!one.place.is_dismissed() && !two.iter_mut().any(Peer::is_closed));
    let is_dismissed = |peer: &&Peer| peer.place.is_dismissed();
    let peer = two.iter().find(is_dismissed).unwrap();
    assert!(!peer.place.waiting(Waiting::Writing));
    assert!(!peer.place.serving(), "nor is there another answer");
    // It counts until it is gone.
    assert_eq!(host.make_way("192.0.2.1"), Some(Way::Dismissed));
    assert!(!one.place.is_dismissed());
    assert_eq!(host.make_way("192.0.2.1"), None);
    drop(two);
    // Nobody else is left to make way.
    assert_eq!(host.make_way("192.0.2.1"), Some(Way::Dismissed));
    assert!(one.place.is_dismissed());
}

#[test]
fn an_evicted_connection_answers_nothing_more() {
    let host = Host::new(100);
    let peer = host.connect("192.0.2.1").unwrap();
    assert_eq!(host.make_way(NEWCOMER), Some(Way::Evicted));
    assert!(!peer.place.waiting(Waiting::Head));
    assert!(!peer.place.serving());
    assert!(!peer.place.serving(), "it stays evicted");
    assert_eq!(host.make_way(NEWCOMER), None, "nobody is evicted twice");
}

#[test]
fn the_spared_one_stays() {
    let host = Host::new(10);
    let mut peer = host.connect("192.0.2.1").unwrap();
    let group = peer.place.slot.group;
    assert_eq!(host.slots.make_way(group, true, Some(&peer.place)), None);
    assert!(!peer.is_closed());
}

#[test]
fn a_drain_shuts_down_those_it_means() {
    let host = Host::new(10);
    let mut fresh = host.connect("192.0.2.1").unwrap();
    let mut idle = host.connect("192.0.2.1").unwrap();
    let mut serving = host.connect("192.0.2.1").unwrap();
    assert!(idle.place.serving() && serving.place.serving());
    assert!(idle.place.waiting(Waiting::Idle));
    host.slots.shut_down(Some(&[Waiting::Idle]), Shutdown::Both);
    assert!(idle.is_closed() && !fresh.is_closed() && !serving.is_closed());
    host.slots.shut_down(None, Shutdown::Both);
    assert!(fresh.is_closed() && serving.is_closed());
}
