//! Who goes when there is no slot left.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use super::*;

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
        let group = Group::of_address(address.parse().unwrap());
        let place = self.slots.take(Arc::new(Socket::Tcp(accepted)), group)?;
        Some(Peer { place, stream })
    }
}

#[test]
fn a_group_is_an_ipv4_address_or_an_ipv6_64() {
    let group = |text: &str| Group::of_address(text.parse().unwrap());
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
    assert!(!host.slots.wait_for_room(Duration::from_millis(1)));
    drop(first);
    assert!(host.slots.wait_for_room(Duration::ZERO));
    assert!(host.connect("192.0.2.2").is_some());
    drop(second);
    assert_eq!(host.slots.used(), 0);
}

#[test]
fn the_longest_waiting_of_the_largest_group_goes() {
    let host = Host::new(10);
    let mut alone = host.connect("192.0.2.1").unwrap();
    let mut busy = host.connect("192.0.2.2").unwrap();
    let mut first = host.connect("192.0.2.2").unwrap();
    let mut second = host.connect("192.0.2.2").unwrap();
    assert!(busy.place.serving());
    assert!(host.slots.evict(None));
    assert!(first.is_closed());
    assert!(
        ![&mut alone, &mut busy, &mut second]
            .into_iter()
            .any(Peer::is_closed)
    );
    // One each now: the one that waits longest.
    assert!(host.slots.evict(None));
    assert!(alone.is_closed() && !second.is_closed());
    assert!(host.slots.evict(None));
    assert!(second.is_closed());
    assert!(!host.slots.evict(None), "the one that is left is serving");
    busy.place.waiting(Waiting::Leaving);
    assert!(host.slots.evict(None));
    assert!(busy.is_closed());
}

#[test]
fn a_wait_begins_with_the_connection_or_the_last_answer() {
    let host = Host::new(10);
    let mut first = host.connect("192.0.2.1").unwrap();
    let mut second = host.connect("192.0.2.1").unwrap();
    assert!(first.place.serving());
    std::thread::sleep(Duration::from_millis(1));
    first.place.waiting(Waiting::Idle);
    // Half a head does not make a wait any shorter.
    second.place.waiting(Waiting::Head);
    assert!(host.slots.evict(None));
    assert!(second.is_closed() && !first.is_closed());
}

#[test]
fn an_evicted_connection_answers_nothing_more() {
    let host = Host::new(10);
    let peer = host.connect("192.0.2.1").unwrap();
    assert!(host.slots.evict(None));
    peer.place.waiting(Waiting::Head);
    assert!(!peer.place.serving());
    assert!(!peer.place.serving(), "it stays evicted");
    assert!(!host.slots.evict(None), "nobody is evicted twice");
}

#[test]
fn the_spared_one_stays() {
    let host = Host::new(10);
    let mut peer = host.connect("192.0.2.1").unwrap();
    assert!(!host.slots.evict(Some(&peer.place)));
    assert!(!peer.is_closed());
}

#[test]
fn a_drain_shuts_down_those_it_means() {
    let host = Host::new(10);
    let mut fresh = host.connect("192.0.2.1").unwrap();
    let mut idle = host.connect("192.0.2.1").unwrap();
    let mut serving = host.connect("192.0.2.1").unwrap();
    assert!(idle.place.serving() && serving.place.serving());
    idle.place.waiting(Waiting::Idle);
    host.slots.shut_down(Some(&[Waiting::Idle]), Shutdown::Both);
    assert!(idle.is_closed() && !fresh.is_closed() && !serving.is_closed());
    host.slots.shut_down(None, Shutdown::Both);
    assert!(fresh.is_closed() && serving.is_closed());
}
