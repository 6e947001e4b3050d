use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;

/// Long enough on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_waiting_thread_is_replaced_and_then_one_is_surplus() {
    let crew = Crew::new();
    let size = crew.size;
    let (started, starts) = mpsc::channel();
    let (orders, inbox) = mpsc::channel::<bool>();
    let inbox = Mutex::new(inbox);
    let member = Arc::clone(&crew);
    crew.start(move || {
        started.send(()).unwrap();
        while !member.dismisses_me() {
            let Ok(waits) = inbox.lock().unwrap().recv() else {
                return;
            };
            if waits {
                drop(blocking::begin_wait().unwrap());
            }
        }
    })
    .unwrap();
    (0..size).for_each(|_| starts.recv_timeout(PATIENCE).unwrap());
    orders.send(true).unwrap();
    starts.recv_timeout(PATIENCE).expect("a replacement starts");
    // The first thread that returns is surplus and ends.
    let is_settled = || {
        let count = crew.lock();
        count.waiting == 0 && count.serving == size
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_settled() {
        assert!(Instant::now() < deadline, "one too many stays");
        let _ = orders.send(false);
        thread::yield_now();
    }
}

#[test]
fn the_number_of_waiting_threads_is_bounded() {
    let crew = Crew::new();
    crew.lock().serving = MAX_WAITING + crew.size;
    for _ in 0..MAX_WAITING {
        crew.begin_wait().unwrap();
    }
    assert_eq!(crew.begin_wait(), Err(TooManyWait));
    crew.end_wait();
    crew.lock().serving = 2 * crew.size;
    crew.begin_wait().unwrap();
}
