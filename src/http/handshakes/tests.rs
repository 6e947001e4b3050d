use super::*;

#[test]
fn half_of_the_workers_make_handshakes() {
    for (workers, most) in [(1, 1), (2, 1), (3, 1), (4, 2), (64, 32)] {
        let handshakes = Handshakes::new(workers);
        let begun = (0..workers).filter(|_| handshakes.begin()).count();
        assert_eq!(begun, most, "of {workers}");
        handshakes.end();
        assert!(handshakes.begin());
    }
}

#[test]
fn what_is_put_off_comes_in_order_when_one_ends() {
    let handshakes = Handshakes::new(2);
    assert!(handshakes.begin());
    assert!(handshakes.put_off((1, 0)));
    assert!(handshakes.put_off((2, 5)));
    assert_eq!(handshakes.next(), None);
    handshakes.end();
    assert_eq!(handshakes.next(), Some((1, 0)));
    assert_eq!(handshakes.next(), None);
    handshakes.end();
    assert_eq!(handshakes.next(), Some((2, 5)));
    handshakes.end();
    assert_eq!(handshakes.next(), None);
}

#[test]
fn nothing_is_put_off_that_may_begin() {
    let handshakes = Handshakes::new(2);
    assert!(!handshakes.put_off((1, 0)));
    assert!(handshakes.put_off((2, 0)));
    // Counted, too: while it runs, the other one has to wait.
    handshakes.begin_one_more();
    handshakes.end();
    assert_eq!(handshakes.next(), None);
    handshakes.end();
    assert_eq!(handshakes.next(), Some((2, 0)));
}
