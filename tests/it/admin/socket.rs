//! The admin address as a Unix socket, and addresses that cannot be used.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::TempDir;
use crate::support::postern::Postern;
use crate::support::tenant::Tenant;

/// The answer to `GET path` over a Unix socket.
fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn start(tenant: &Tenant, socket: &Path) -> Postern {
    let address = socket.display().to_string();
    let postern = Postern::builder(tenant)
        .env("ADMIN_LISTEN", &*address)
        .start();
    postern.wait_for_log(&format!("health and metrics at unix:{address}"));
    postern
}

#[test]
fn it_is_for_owner_and_group_and_removed_at_the_end() {
    let (tenant, dir) = (Tenant::start(), TempDir::new());
    let socket = dir.path().join("admin.sock");
    let mut postern = start(&tenant, &socket);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let alive = get(&socket, "/livez");
    assert!(alive.starts_with("HTTP/1.1 200 ") && alive.ends_with("\r\n\r\nok\n"));
    assert!(get(&socket, "/metrics").contains("\npostern_build_info{"));
    postern.signal("TERM");
    assert_eq!(postern.wait_exit().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn one_that_a_killed_server_left_is_replaced() {
    let (tenant, dir) = (Tenant::start(), TempDir::new());
    let socket = dir.path().join("admin.sock");
    let mut postern = start(&tenant, &socket);
    postern.signal("KILL");
    postern.wait_exit();
    assert!(socket.exists());
    let _postern = start(&tenant, &socket);
    assert!(get(&socket, "/livez").starts_with("HTTP/1.1 200 "));
}

/// Starts a server that must end at once. Returns its exit code and what it logged.
fn refused(tenant: &Tenant, address: &str) -> (Option<i32>, String) {
    let mut postern = Postern::builder(tenant)
        .env("ADMIN_LISTEN", address)
        .launch();
    let code = postern.wait_exit().code();
    (code, postern.logs().join("\n"))
}

#[test]
fn an_address_that_cannot_be_used_ends_the_start() {
    let (tenant, dir) = (Tenant::start(), TempDir::new());
    let socket = dir.path().join("admin.sock");
    let _postern = start(&tenant, &socket);
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let missing = dir.path().join("no/admin.sock");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let in_use = "which is in use";
    for (address, code, says) in [
        (socket.display().to_string(), 78, in_use),
        (file.display().to_string(), 78, in_use),
        (taken, 78, in_use),
        (
            missing.display().to_string(),
            78,
            "whose folder does not exist",
        ),
        (
            "192.0.2.1:9465".to_owned(),
            1,
            "which is not an address of this host",
        ),
    ] {
        let (found, logs) = refused(&tenant, &address);
        assert_eq!(found, Some(code), "{logs}");
        let expected = format!("ADMIN_LISTEN is {address}, {says}");
        assert!(logs.contains(&expected), "{logs}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert!(get(&socket, "/livez").starts_with("HTTP/1.1 200 "));
}
