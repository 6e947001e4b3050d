//! A host that lacks resources or is broken: requests are answered, or refused with a reason, the
//! log says what is wrong, and the server recovers without a restart once it is fixed.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::support::admin::metrics;
use crate::support::client::Client;
use crate::support::contract::PUBLIC;
use crate::support::crowd::A;
use crate::support::postern::{Builder, Postern, copy_binary, free_addr};
use crate::support::tenant::Tenant;
use crate::support::token::Token;
use crate::support::usage::{raise_descriptor_limit, usage};
use crate::support::verdict::assert_unavailable;
use crate::support::{PATIENCE, TempDir, wait_until};

/// Words that run the server in a shell which first does this. `$0` is the server.
fn after(preparation: &str) -> [String; 3] {
    let script = format!("{preparation}; exec \"$0\"");
    ["sh".to_owned(), "-c".to_owned(), script]
}

fn prefixed(builder: Builder, words: &[String]) -> Builder {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    builder.prefix(&words)
}

/// Runs the server in a mount namespace of its own, for which it takes root.
fn in_own_mounts(builder: Builder, preparation: &str) -> Builder {
    let unshare = ["unshare", "--mount"].map(str::to_owned);
    let words = [&unshare[..], &after(&format!("set -e; {preparation}"))].concat();
    prefixed(builder, &words)
}

/// The server as another user, so that limits and permissions apply. For root only.
struct OtherUser {
    id: u32,
    /// The binary and the certificate may be where only their maker can go.
    dir: TempDir,
}

impl OtherUser {
    fn new(id: u32, tenant: &Tenant) -> OtherUser {
        let dir = TempDir::new();
        copy_binary(dir.path());
        fs::copy(tenant.ca_file(), dir.path().join("ca.pem")).unwrap();
        OtherUser { id, dir }
    }

    fn builder(&self, tenant: &Tenant, through: &[&str]) -> Builder {
        let (user, group) = (
            format!("--reuid={}", self.id),
            format!("--regid={}", self.id),
        );
        let script = format!("exec {}", self.dir.path().join("postern").display());
        let user = ["setpriv", &user, &group, "--clear-groups"];
        let words = [&user, through, &["sh", "-c", &script]].concat();
        let ca = self.dir.path().join("ca.pem").display().to_string();
        Postern::builder(tenant)
            .prefix(&words)
            .env("SSL_CERT_FILE", ca)
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn wait_until_let_in(postern: &Postern, token: &str) {
    wait_until("a token is accepted", || {
        postern.get_protected(token).status == 200
    });
}

/// The tenant has another set from now on, which the server is told to fetch.
fn fetch_another_set(postern: &Postern, tenant: &Tenant) -> String {
    tenant.rotate();
    let fetches = tenant.fetches();
    postern.signal("HUP");
    tenant.wait_for_fetches(fetches + 1);
    let token = Token::user(tenant).sign();
    wait_until_let_in(postern, &token);
    token
}

/// What it must be able to do in any distress.
fn assert_stops(mut postern: Postern) -> Vec<String> {
    postern.signal("TERM");
    let status = postern.wait_exit();
    let logs = postern.logs();
    assert_eq!(status.code(), Some(0), "{logs:#?}");
    let panics = logs.iter().filter(|line| line.contains("panic"));
    assert_eq!(panics.count(), 0, "{logs:#?}");
    logs
}

/// Opens more connections than the server has places, with incomplete heads of the largest size.
/// It must still serve a client at another address.
fn crowd(postern: &Postern, connections: usize) {
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(12_000));
    let crowd: Vec<_> = (0..connections)
        .map(|_| {
            let mut client = Client::connect_from(A, postern.addr());
            let _ = client.try_send(&head);
            client
        })
        .collect();
    assert_served(postern);
    drop(crowd);
    assert_served(postern);
}

/// One that is evicted before its request has been read asks again, as would anyone.
fn assert_served(postern: &Postern) {
    wait_until("a request is answered", || {
        crate::support::client::try_request(postern.addr(), "GET", PUBLIC, &[])
            .is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn any_descriptor_limit_from_16_on_is_enough_to_serve() {
    raise_descriptor_limit();
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    for limit in 16..=64 {
        let words = after(&format!("ulimit -n {limit}"));
        let postern = prefixed(Postern::builder(&tenant), &words).start();
        crowd(&postern, 70);
        wait_until_let_in(&postern, &token);
        let used = usage(postern.pid()).descriptors;
        assert!(used <= limit, "{used} of {limit}");
        let logs = assert_stops(postern);
        let told = logs.iter().filter(|line| {
            line.contains(&format!("this process may have {limit} descriptors only"))
        });
        assert_eq!(told.count(), 1, "{logs:#?}");
    }
}

#[test]
fn with_too_few_threads_it_does_not_start_and_says_so() {
    if !is_root() {
        // Other processes of this user would count, too.
        return;
    }
    let tenant = Tenant::start();
    let user = OtherUser::new(54322, &tenant);
    let mut refused = 0;
    for limit in 1..=6 {
        let limit = format!("--nproc={limit}");
        let builder = user.builder(&tenant, &["prlimit", &limit]);
        let mut postern = builder.launch();
        if postern.serves() {
            assert_eq!(postern.get(PUBLIC, &[]).status, 200);
            postern.signal("TERM");
            assert_eq!(postern.wait_exit().code(), Some(0));
            continue;
        }
        refused += 1;
        assert_eq!(postern.wait_exit().code(), Some(1), "{:?}", postern.logs());
        postern.wait_for_log("postern: cannot start a thread: ");
    }
    assert!(refused > 0, "it always started");
}

/// Starts a server with this limit of its address space, in MiB.
fn with_address_space(tenant: &Tenant, mib: u64) -> Postern {
    let words = after(&format!("ulimit -v {}", mib * 1024));
    prefixed(Postern::builder(tenant), &words).launch()
}

#[test]
fn any_address_space_is_enough_or_refused() {
    raise_descriptor_limit();
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    // So little that it must be refused, so much that it can be told.
    let mut refused = with_address_space(&tenant, 15);
    assert!(!refused.serves());
    assert_eq!(refused.wait_exit().code(), Some(78), "{:?}", refused.logs());
    let line = refused.wait_for_log("15 MiB of address space only");
    let (_, least) = line.rsplit_once("give it ").expect("it says how much");
    let least: u64 = least.split(' ').next().unwrap().parse().unwrap();
    for mib in [least, 32, 48, 64, 96, 160, 320] {
        let mut postern = with_address_space(&tenant, mib);
        assert!(postern.serves(), "{mib} MiB: {:?}", postern.logs());
        for _ in 0..3 {
            crowd(&postern, 300);
        }
        wait_until_let_in(&postern, &token);
        // Certificates are parsed while all connections are there.
        let connect = |_| Client::connect_from(A, postern.addr());
        let held: Vec<_> = (0..300).map(connect).collect();
        postern.signal("HUP");
        postern.wait_for_log("keys unchanged");
        drop(held);
        assert_stops(postern);
    }
}

#[test]
fn a_full_disk_behind_state_and_log_stops_nothing() {
    if !is_root() {
        return;
    }
    let tenant = Tenant::start();
    let folder = TempDir::new();
    let disk = folder.path().display();
    let admin = free_addr();
    let builder = Postern::builder(&tenant)
        .env("STATE_DIRECTORY", disk.to_string())
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .env("ADMIN_LISTEN", admin.to_string())
        // Not seen: the log goes to the disk.
        .stderr(std::process::Stdio::null());
    let fill = format!(
        "mount -t tmpfs -o size=1m full '{disk}'; \
         head -c 9999999 /dev/zero >'{disk}/filler' || true; \
         exec 2>>'{disk}/log'"
    );
    let postern = in_own_mounts(builder, &fill).start();
    let seen = Path::new("/proc")
        .join(postern.pid().to_string())
        .join("root")
        .join(folder.path().strip_prefix("/").unwrap());
    wait_until_let_in(&postern, &Token::user(&tenant).sign());
    fetch_another_set(&postern, &tenant);
    wait_until("half a file is removed", || {
        !seen.join("jwks.json.tmp").exists()
    });
    assert!(!seen.join("jwks.json").exists());
    // The thread that logs may get a processor last of all.
    let lost = || metrics(admin).get("postern_log_lines_dropped_total");
    wait_until("a line is lost", || lost() > 0.0);
    fs::remove_file(seen.join("filler")).unwrap();
    fetch_another_set(&postern, &tenant);
    wait_until("the keys are kept", || seen.join("jwks.json").exists());
    // The log goes on, and says how much of it is missing. Both may take more lines: the room may not
    // have been free at once.
    let deadline = Instant::now() + PATIENCE;
    loop {
        fetch_another_set(&postern, &tenant);
        let log = fs::read_to_string(seen.join("log")).unwrap();
        if log.contains("fetched ") && log.contains(" log lines were lost") {
            break;
        }
        let lost = lost();
        assert!(Instant::now() < deadline, "{lost} lines are lost:\n{log}");
    }
    assert_stops(postern);
}

#[test]
fn a_state_folder_that_goes_away_is_a_warning_and_no_more() {
    let tenant = Tenant::start();
    let parent = TempDir::new();
    let folder = parent.path().join("state");
    let moved = parent.path().join("moved");
    let start = || {
        let builder = Postern::builder(&tenant).env("JWKS_COOLDOWN_SECONDS", "1");
        let folder = folder.display().to_string();
        builder.env("STATE_DIRECTORY", folder).start()
    };
    let removed = || fs::remove_dir_all(&folder).unwrap();
    let replaced = || {
        fs::rename(&folder, &moved).unwrap();
        fs::write(&folder, "a file").unwrap();
    };
    let blocked = || {
        fs::remove_file(folder.join("jwks.json")).unwrap();
        fs::create_dir(folder.join("jwks.json")).unwrap();
        fs::write(folder.join("jwks.json/in the way"), "").unwrap();
    };
    let faults: [(&str, &dyn Fn()); 3] = [
        ("removed", &removed),
        ("replaced by a file", &replaced),
        ("blocked", &blocked),
    ];
    for (what, fault) in faults {
        fs::create_dir(&folder).unwrap();
        let postern = start();
        let token = Token::user(&tenant).sign();
        wait_until_let_in(&postern, &token);
        wait_until("the keys are kept", || folder.join("jwks.json").exists());
        fault();
        assert_eq!(postern.get_protected(&token).status, 200, "{what}");
        fetch_another_set(&postern, &tenant);
        postern.wait_for_log("cannot keep the keys in ");
        // A start in this state.
        let another = start();
        wait_until_let_in(&another, &Token::user(&tenant).sign());
        another.wait_for_log("cannot keep the keys in ");
        assert_stops(another);
        // Fixed.
        let _ = fs::remove_file(&folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let token = fetch_another_set(&postern, &tenant);
        postern.wait_for_log("keeping the keys in ");
        assert!(folder.join("jwks.json").is_file(), "{what}");
        let logs = assert_stops(postern);
        let told = logs.iter().filter(|line| line.contains("cannot keep"));
        assert_eq!(told.count(), 1, "{what}: {logs:#?}");
        let restarted = start();
        restarted.wait_for_log("from disk");
        assert_eq!(restarted.get_protected(&token).status, 200, "{what}");
        assert_stops(restarted);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_state_folder_that_may_not_be_used_any_more_is_a_warning_and_no_more() {
    if !is_root() {
        // Needs another user: permissions do not apply to root.
        return;
    }
    let tenant = Tenant::start();
    let user = OtherUser::new(54323, &tenant);
    let folder = user.dir.path().join("state");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(user.id), Some(user.id)).unwrap();
    let postern = user
        .builder(&tenant, &[])
        .env("STATE_DIRECTORY", folder.display().to_string())
        .env("JWKS_COOLDOWN_SECONDS", "1")
        .start();
    wait_until_let_in(&postern, &Token::user(&tenant).sign());
    wait_until("the keys are kept", || folder.join("jwks.json").exists());
    let permit = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    permit(0o000);
    fetch_another_set(&postern, &tenant);
    postern.wait_for_log("cannot keep the keys in ");
    permit(0o700);
    fetch_another_set(&postern, &tenant);
    postern.wait_for_log("keeping the keys in ");
    assert_stops(postern);
}

/// A server whose host finds the tenant's name in this file only, and the file.
struct Lost {
    postern: Postern,
    tenant: Tenant,
    folder: TempDir,
}

impl Lost {
    fn start(hosts: &str) -> Lost {
        let tenant = Tenant::start();
        let folder = TempDir::new();
        let files = [
            ("hosts", hosts),
            // An address that does not answer.
            (
                "resolv.conf",
                "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            ),
            ("nsswitch.conf", "hosts: files dns\n"),
        ];
        let mut mounts = String::from(":");
        for (name, content) in files {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            let file = file.display();
            mounts += &format!("; [ ! -e /etc/{name} ] || mount --bind '{file}' /etc/{name}");
        }
        let builder = Postern::builder(&tenant).env("JWKS_COOLDOWN_SECONDS", "1");
        let postern = in_own_mounts(builder, &mounts).start();
        Lost {
            postern,
            tenant,
            folder,
        }
    }

    /// The file is the same one: it is mounted.
    fn find(&self, hosts: &str) {
        fs::write(self.folder.path().join("hosts"), hosts).unwrap();
    }

    fn assert_unavailable(&self) {
        let response = self
            .postern
            .get_protected(&Token::user(&self.tenant).sign());
        assert_unavailable(&response, "signing_key_unavailable");
        assert_eq!(self.postern.get(PUBLIC, &[]).status, 200);
    }

    fn wait_until_let_in(&self) {
        wait_until_let_in(&self.postern, &Token::user(&self.tenant).sign());
    }
}

#[test]
fn a_tenant_whose_name_is_not_found_is_found_later() {
    if !is_root() {
        return;
    }
    let lost = Lost::start("127.0.0.1 somebody.else\n");
    lost.postern.wait_for_log("name resolution failed");
    lost.assert_unavailable();
    lost.find("127.0.0.1 localhost\n");
    lost.wait_until_let_in();
    lost.postern.wait_for_log("recovered after ");
    assert_stops(lost.postern);
}

#[test]
fn a_tenant_with_an_ipv6_address_only_is_reached() {
    if !is_root() || TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let lost = Lost::start("::1 localhost\n");
    lost.postern.wait_for_log("connecting failed");
    lost.assert_unavailable();
    let (v4, port) = (lost.tenant.addr(), lost.tenant.addr().port());
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
    // It ends with the test.
    thread::spawn(move || {
        while let Ok((inner, _)) = listener.accept() {
            let _ = forward(&inner, v4);
        }
    });
    lost.wait_until_let_in();
    assert_stops(lost.postern);
}

/// Carries one connection on to `to`, until both ends have closed.
fn forward(inner: &TcpStream, to: SocketAddr) -> io::Result<()> {
    let outer = TcpStream::connect(to)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*inner, &mut &outer);
            outer.shutdown(std::net::Shutdown::Write)
        });
        let _ = io::copy(&mut &outer, &mut &*inner);
        inner.shutdown(std::net::Shutdown::Write)
    })
}

/// `count` lines of `/etc/hosts` for addresses from 127.9.`net`.1 on.
fn addresses(net: u8, count: u8) -> String {
    (1..=count)
        .map(|host| format!("127.9.{net}.{host} localhost\n"))
        .collect()
}

#[test]
fn a_tenant_with_dead_addresses_before_the_good_one_is_reached() {
    if !is_root() {
        return;
    }
    let lost = Lost::start(&addresses(1, 12));
    lost.postern.wait_for_log("connecting failed");
    lost.assert_unavailable();
    lost.find(&(addresses(1, 12) + "127.0.0.1 localhost\n"));
    lost.wait_until_let_in();
    assert_stops(lost.postern);
}

/// A listener whose backlog is full: a SYN to it is dropped, as by a firewall.
fn black_hole(addr: SocketAddr) -> Vec<Socket> {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&addr.into()).unwrap();
    listener.listen(0).unwrap();
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler = socket();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&addr.into());
        sockets.push(filler);
    }
    sockets
}

#[test]
fn a_tenant_with_addresses_that_swallow_everything_is_reached_over_the_good_one() {
    if !is_root() {
        return;
    }
    let lost = Lost::start("127.0.0.1 somebody.else\n");
    let port = lost.tenant.addr().port();
    let holes: Vec<_> = (1..=2)
        .map(|host| black_hole(SocketAddr::from(([127, 9, 2, host], port))))
        .collect();
    lost.postern.wait_for_log("name resolution failed");
    lost.find(&addresses(2, 2));
    lost.postern.wait_for_log("no complete answer within 5 s");
    lost.assert_unavailable();
    lost.find(&(addresses(2, 2) + "127.0.0.1 localhost\n"));
    lost.wait_until_let_in();
    lost.find(&addresses(2, 2));
    // In the middle of a fetch.
    lost.postern.signal("HUP");
    lost.postern.wait_for_log("SIGHUP received");
    assert_stops(lost.postern);
    drop(holes);
}
