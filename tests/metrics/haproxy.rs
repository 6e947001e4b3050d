//! Those who go by readiness: HAProxy, and a service that waits with curl.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::page::block;
use crate::support::admin::{ANY, admin_addr, readiness};
use crate::support::client::{self, Client};
use crate::support::contract::PUBLIC;
use crate::support::postern::{Postern, free_addr};
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::{Ending, TempDir, wait_until};
use crate::tools::Running;

/// The servers of docs/monitoring.md, and those in their place.
const SERVERS: [(&str, &str); 2] = [("192.0.2.10", "127.0.0.2"), ("192.0.2.11", "127.0.0.3")];
const PORT: &str = "6060";
const ADMIN_PORT: &str = "9465";

/// The command of the drop-in in docs/monitoring.md.
pub fn waiting_service() {
    let drop_in = block("ini", "ExecStartPre=");
    let line = drop_in
        .lines()
        .find_map(|line| line.strip_prefix("ExecStartPre=/usr/bin/"));
    let command = line.expect("a command of /usr/bin");
    let tenant = Tenant::start();
    tenant.answer(Behaviour::Status(500));
    let postern = Postern::builder(&tenant).env(ANY.0, ANY.1).start();
    let addr = admin_addr(&postern);
    assert_eq!(readiness(addr).0, 503);
    let shown = format!("127.0.0.1:{ADMIN_PORT}");
    assert!(command.contains(&shown), "{command}");
    let command = command.replace(&shown, &addr.to_string());
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("every Unix has `sh`");
    thread::sleep(Duration::from_secs(3));
    let early = child.try_wait().expect("the child is ours");
    tenant.answer(Behaviour::Keys);
    postern.signal("HUP");
    let status = child.wait().expect("the child is ours");
    assert_eq!(early, None, "it has not waited");
    assert!(status.success(), "{status}");
}

fn start(tenant: &Tenant, host: &str) -> Postern {
    let postern = Postern::builder(tenant)
        .env("HOST", host)
        .env("PORT", PORT)
        .env("ADMIN_LISTEN", format!("{host}:{ADMIN_PORT}"))
        .env("DRAIN_DELAY_SECONDS", "4")
        .start();
    postern.wait_for_keys();
    postern
}

/// Writes the configuration: the backend of docs/monitoring.md, and a listener in front of it. By default,
/// HAProxy tries another server when one cannot be connected to, and so hides what this is about.
fn configure(path: &Path, addr: SocketAddr) {
    let mut backend = block("haproxy", "backend api").to_owned();
    for (old, new) in SERVERS {
        assert!(backend.contains(old), "docs/monitoring.md has {old}");
        backend = backend.replace(old, new);
    }
    let front = format!(
        "defaults\n    mode http\n    retries 0\n    timeout connect 5s\n    timeout client 30s\n    \
         timeout server 30s\nfrontend front\n    bind {addr}\n    default_backend api\n"
    );
    fs::write(path, front + &backend).expect("the folder takes a file");
}

/// Each server restarts twice under load.
pub fn restarts() {
    let tenant = Tenant::start();
    let mut servers = SERVERS.map(|(_, host)| start(&tenant, host));
    let (folder, addr) = (TempDir::new(), free_addr());
    let (file, log) = (folder.path().join("cfg"), folder.path().join("log"));
    configure(&file, addr);
    let mut haproxy = Running::start(
        Command::new("haproxy").arg("-db").arg("-f").arg(&file),
        &log,
    );
    wait_until("HAProxy answers", || {
        haproxy.assert_runs(&log);
        client::try_request(addr, "GET", PUBLIC, &[]).is_ok_and(|answer| answer.status == 200)
    });
    let (is_over, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _ending = Ending(&is_over);
        let clients = [true, false, true, false].map(|keeps| {
            let (is_over, answers) = (&is_over, &answers);
            scope.spawn(move || ask(addr, keeps, is_over, answers))
        });
        for _ in 0..2 {
            for (server, (_, host)) in servers.iter_mut().zip(SERVERS) {
                server.signal("TERM");
                assert_eq!(server.wait_exit().code(), Some(0));
                *server = start(&tenant, host);
                let before = answers.load(Ordering::Relaxed);
                // HAProxy notices within two checks that it is back.
                thread::sleep(Duration::from_millis(2_500));
                assert!(answers.load(Ordering::Relaxed) > before);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no request fails");
        }
    });
    haproxy.assert_runs(&log);
    let all = answers.load(Ordering::Relaxed);
    println!("{all} requests through HAProxy during four restarts, none failed");
    assert!(all > 1_000);
}

/// Asks until it is over, on one connection or on one for each request. Panics if one fails.
fn ask(addr: SocketAddr, keeps: bool, is_over: &AtomicBool, answers: &AtomicU64) {
    let mut client = Client::connect(addr);
    while !is_over.load(Ordering::Relaxed) {
        if !keeps {
            client = Client::connect(addr);
        }
        let response = client.request("GET", PUBLIC, &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        answers.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(2));
    }
}
