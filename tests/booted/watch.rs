//! Those who watch the service, and its end while they do.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::SETTINGS;
use crate::host::{ADDRESS, Host};
use crate::machine::wait_for;
use crate::support::admin::{metrics, readiness};
use crate::support::client;
use crate::support::contract::PUBLIC;

const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9465);
/// Longer than a drain takes.
const DELAY: Duration = Duration::from_secs(20);

/// With the Unix socket that docs/monitoring.md names.
pub fn socket(host: &mut Host) {
    let path = "/run/postern/admin.sock";
    let setting = format!("ADMIN_LISTEN={path}");
    host.desk.edit(SETTINGS, "ADMIN_LISTEN=", &setting);
    host.desk.follow_manual("**Change settings**");
    host.wait_until_served();
    let socket = host.machine().path(path);
    let mode = socket.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut stream = UnixStream::connect(&socket).expect("we are root");
    let head = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The one that a killed process leaves is replaced.
    let restarts = host.restarts();
    host.machine().run("systemctl kill --signal=KILL postern");
    host.wait_for_restart(restarts);
    UnixStream::connect(&socket).expect("we are root");
}

/// With an address, and a delay.
pub fn delay(host: &mut Host) {
    let address = format!("ADMIN_LISTEN={ADMIN}");
    host.desk.edit(SETTINGS, "ADMIN_LISTEN=", &address);
    let delay = format!("DRAIN_DELAY_SECONDS={}", DELAY.as_secs());
    host.desk.edit(SETTINGS, "DRAIN_DELAY_SECONDS=", &delay);
    host.desk.follow_manual("**Change settings**");
    host.wait_until_served();
    assert_eq!(readiness(ADMIN), (200, "ready".to_owned()));
    assert!(metrics(ADMIN).get("process_open_fds") > 3.0);
    let began = Instant::now();
    thread::scope(|scope| {
        let stop = scope.spawn(|| host.machine().run("systemctl stop postern"));
        wait_for("it drains", || readiness(ADMIN).0 == 503);
        while began.elapsed() < DELAY - Duration::from_secs(5) {
            assert_eq!(readiness(ADMIN), (503, "draining".to_owned()));
            assert_eq!(client::get(ADDRESS, PUBLIC, &[]).status, 200);
            thread::sleep(Duration::from_millis(100));
        }
        stop.join().expect("it is stopped");
    });
    let took = began.elapsed();
    assert!(took >= DELAY, "{took:?}");
    assert_eq!(host.machine().show("Result"), "success");
    host.desk.edit(SETTINGS, "ADMIN_LISTEN=", "#ADMIN_LISTEN=");
    let none = "#DRAIN_DELAY_SECONDS=0";
    host.desk.edit(SETTINGS, "DRAIN_DELAY_SECONDS=", none);
    host.desk.follow_manual("**Change settings**");
    host.wait_until_served();
}
