use std::fs::File;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A path in a new folder, which is removed on drop.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (id, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("postern-socket-{id}-{count}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Place(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn it_is_for_owner_and_group_and_goes_with_its_value() {
    let place = Place::new();
    let (_listener, file) = bind(&place.path(), 8).unwrap();
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    UnixStream::connect(place.path()).unwrap();
    drop(file);
    assert!(!place.path().exists());
}

#[test]
fn an_abandoned_socket_is_replaced() {
    let place = Place::new();
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists());
    let (listener, _file) = bind(&place.path(), 8).unwrap();
    UnixStream::connect(place.path()).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_socket_in_use_stays_even_with_a_full_backlog() {
    let place = Place::new();
    let (other, _file) = bind(&place.path(), 0).unwrap();
    let _waiting = UnixStream::connect(place.path()).unwrap();
    for _ in 0..2 {
        let error = bind(&place.path(), 8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }
    other.accept().unwrap();
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let place = Place::new();
    File::create(place.path()).unwrap();
    let error = bind(&place.path(), 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(place.path().is_file());
}
