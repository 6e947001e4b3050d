//! The number of threads does not depend on the number of connections. Only a request that waits
//! for keys has a thread of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::besieged::Besieged;
use crate::support::client::{Client, bearer};
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::crowd::{assert_served, in_time, is_before};
use crate::support::postern::{Postern, copy_binary};
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::token::Token;
use crate::support::usage::{Usage, raise_descriptor_limit, usage, wait_for_usage};
use crate::support::verdict::assert_unavailable;
use crate::support::{TempDir, wait_until};

#[test]
fn waiting_connections_take_no_thread_and_one_kib_each() {
    const COUNT: u64 = 2000;
    let server = Besieged::start(&[("MAX_CONNECTIONS", "2500"), ("RUST_LOG", "warn")]);
    let connect = |_| Client::connect(server.addr());
    let mut clients: Vec<_> = (0..COUNT).map(connect).collect();
    clients.iter_mut().for_each(assert_served);
    let now = usage(server.postern.pid());
    assert!(now.descriptors > COUNT, "{now:?}");
    assert!(now.threads <= server.most_threads(), "{now:?}");
    // The allocator's own overhead gets half a MiB.
    let most = server.before.memory + 1024 * COUNT + 512 * 1024;
    assert!(now.memory <= most, "{now:?}, at first {:?}", server.before);
    clients.iter_mut().step_by(10).for_each(assert_served);
    drop(clients);
    server.assert_unharmed();
}

/// A server that has keys and fetches others, which the tenant does not send.
struct Waiting {
    tenant: Tenant,
    postern: Postern,
    /// A token signed with a key that the server has.
    known: String,
    /// A request with a token whose key the server does not have.
    request: String,
    before: Usage,
}

impl Waiting {
    fn start(prefix: &[&str], settings: &[(&str, &str)]) -> Waiting {
        raise_descriptor_limit();
        let tenant = Tenant::start();
        let mut builder = Postern::builder(&tenant).prefix(prefix);
        for (name, value) in settings {
            builder = builder.env(name, *value);
        }
        let postern = builder.start();
        postern.wait_for_keys();
        let known = Token::user(&tenant).sign();
        assert_eq!(postern.get_protected(&known).status, 200);
        let before = usage(postern.pid());
        // The server does not have the next key yet.
        tenant.rotate();
        tenant.answer(Behaviour::Stall);
        postern.signal("HUP");
        tenant.wait_for_fetches(2);
        let key = tenant.next_key();
        let token = Token::user(&tenant).header("kid", json!(key.kid()));
        let authorization = bearer(&token.sign_with(&key));
        let head = "HTTP/1.1\r\nHost: localhost";
        Waiting {
            tenant,
            postern,
            known,
            request: format!("GET {PROTECTED} {head}\r\nAuthorization: {authorization}\r\n\r\n"),
            before,
        }
    }

    fn ask(&self) -> Client {
        let mut client = Client::connect(self.postern.addr());
        client.send(&self.request);
        client
    }

    /// Panics unless requests that need no other keys are answered, on new connections and on this
    /// one.
    #[track_caller]
    fn assert_others_are_served(&self, connected: &mut Client) {
        let authorization = bearer(&self.known);
        let headers = [("Authorization", authorization.as_str())];
        for _ in 0..3 {
            assert_eq!(self.postern.get_protected(&self.known).status, 200);
            assert_eq!(self.postern.get(PUBLIC, &[]).status, 200);
            let response = connected.request("GET", PROTECTED, &headers);
            assert_eq!(response.status, 200);
            assert_served(connected);
        }
    }
}

/// How long a request waits for keys at most.
const WAIT: Duration = Duration::from_secs(1);

#[test]
fn sixty_four_requests_wait_for_keys_and_delay_no_others() {
    const WAITING: usize = 64;
    const MORE: usize = 16;
    in_time(|| {
        let waiting = Waiting::start(&[], &[("MAX_CONNECTIONS", "1000")]);
        let mut connected = Client::connect(waiting.postern.addr());
        assert_served(&mut connected);
        let begun = Instant::now();
        let mut clients: Vec<_> = (0..WAITING + MORE).map(|_| waiting.ask()).collect();
        wait_until("the requests above 64 are answered", || {
            clients.iter().filter(|client| !client.is_silent()).count() >= MORE
        });
        waiting.assert_others_are_served(&mut connected);
        let during = usage(waiting.postern.pid());
        let answered: Vec<_> = clients
            .extract_if(.., |client| !client.is_silent())
            .collect();
        is_before(begun, WAIT).map_err(|_| "the requests above 64 had to wait")?;
        assert_eq!(answered.len(), MORE);
        for mut client in answered {
            assert_unavailable(&client.response(), "signing_key_unavailable");
            assert_served(&mut client);
        }
        let most = waiting.before.threads + WAITING as u64;
        assert!(during.threads <= most, "{during:?}");
        waiting.tenant.answer(Behaviour::Keys);
        for mut client in clients {
            assert_eq!(client.response().status, 200);
            assert_served(&mut client);
        }
        wait_for_usage(waiting.postern.pid(), |now| {
            now.threads <= waiting.before.threads
        });
        Ok(())
    });
}

/// The words that run a command as a user without other processes, if this process is root: root's
/// threads are not limited.
fn as_limited_user() -> &'static [&'static str] {
    if rustix::process::getuid().is_root() {
        &[
            "setpriv",
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
        ]
    } else {
        &["env"]
    }
}

/// Sets the soft limit of the threads of a process and its user.
fn limit_threads(pid: u32, limit: &str) {
    let (command, words) = as_limited_user().split_first().unwrap();
    let mut prlimit = Command::new(command);
    prlimit
        .args(words)
        .args(["prlimit", "--pid", &pid.to_string()]);
    let status = prlimit.arg(format!("--nproc={limit}:")).status().unwrap();
    assert!(status.success(), "prlimit: {status}");
}

/// The words that run a copy of the server in this folder, as a user whose threads can be limited.
/// That user may not be able to read the original.
fn limited(dir: &TempDir) -> Vec<String> {
    let run = format!("exec {}", copy_binary(dir.path()).display());
    let words = [as_limited_user(), &["sh", "-c", &run]].concat();
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn at_the_thread_limit_all_connections_are_served() {
    let dir = TempDir::new();
    let prefix = limited(&dir);
    let prefix: Vec<_> = prefix.iter().map(String::as_str).collect();
    let server = Besieged::start_with(&[], &prefix);
    let pid = server.postern.pid();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    limit_threads(pid, "1");
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(server.addr())).collect();
    for _ in 0..2 {
        clients.iter_mut().for_each(assert_served);
    }
    let threads = usage(pid).threads;
    assert!(threads <= server.most_threads(), "{threads}");
    let limit = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    limit_threads(pid, &limit);
    clients.iter_mut().for_each(assert_served);
    drop(clients);
    server.assert_unharmed();
}

#[test]
fn at_the_thread_limit_no_request_waits_for_keys() {
    in_time(|| {
        let dir = TempDir::new();
        let prefix = limited(&dir);
        let prefix: Vec<_> = prefix.iter().map(String::as_str).collect();
        let waiting = Waiting::start(&prefix, &[]);
        let mut connected = Client::connect(waiting.postern.addr());
        assert_served(&mut connected);
        limit_threads(waiting.postern.pid(), "1");
        // No worker waits either, even with many requests at once.
        let begun = Instant::now();
        let clients: Vec<_> = (0..16).map(|_| waiting.ask()).collect();
        for mut client in clients {
            assert_unavailable(&client.response(), "signing_key_unavailable");
        }
        waiting.assert_others_are_served(&mut connected);
        is_before(begun, WAIT)
    });
}
