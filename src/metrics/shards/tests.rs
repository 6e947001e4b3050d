use std::thread;

use super::*;

/// The counts are those of the process, and tests run at the same time: each uses routes of its
/// own.
fn count(route: &str, status: Option<u16>) -> u64 {
    let counts = requests();
    let mut matching = counts
        .iter()
        .filter(|count| count.route == route && count.status == status);
    let found = matching.next().map_or(0, |count| count.count);
    assert_eq!(matching.next(), None, "{route} {status:?} is there twice");
    found
}

#[test]
fn threads_add_up() {
    let work = || (0..1_000).for_each(|_| request(Some("/threads"), 200, None));
    // More than there are shards.
    let threads: Vec<_> = (0..2 * SHARDS).map(|_| thread::spawn(work)).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(count("/threads", Some(200)), 2_000 * SHARDS as u64);
}

#[test]
fn every_status_counts_once() {
    for status in 200..600 {
        request(Some("/statuses"), status, None);
    }
    let known = STATUSES.iter().filter(|status| **status > 0);
    for status in known.clone() {
        assert_eq!(count("/statuses", Some(*status)), 1, "{status}");
    }
    assert_eq!(count("/statuses", None), 400 - known.count() as u64);
}

#[test]
fn refusals_count_by_reason() {
    let before = refusals(Reason::Critical);
    request(Some("/refused"), 401, Some(Reason::Critical));
    request(Some("/refused"), 200, None);
    assert_eq!(refusals(Reason::Critical), before + 1);
    assert_eq!(count("/refused", Some(401)), 1);
}

#[test]
fn equal_paths_are_one_route() {
    let copy: &'static str = Box::leak("/equal".to_owned().into());
    request(Some("/equal"), 200, None);
    request(Some(copy), 200, None);
    assert_eq!(count("/equal", Some(200)), 2);
}

#[test]
fn an_unknown_path_is_listed_before_it_is_asked_for() {
    let listed = requests()
        .into_iter()
        .any(|count| count.route == OTHER && count.status == Some(404));
    assert!(listed);
}

#[test]
fn more_routes_than_there_is_room_for_are_not_told_apart() {
    let routes = [const { OnceLock::new() }; MAX_ROUTES];
    let paths: Vec<&'static str> = (0..MAX_ROUTES + 2)
        .map(|at| &*Box::leak(format!("/{at}").into_boxed_str()))
        .collect();
    for _ in 0..2 {
        for (at, path) in paths.iter().enumerate() {
            assert_eq!(number(path, &routes), at.min(MAX_ROUTES), "{path}");
        }
    }
}
