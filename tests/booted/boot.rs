//! postern under a real systemd, installed as docs/operating.md says, or as a package. `tests/booted/run`
//! calls this in namespaces of its own, with the root folder of a Debian that nothing else uses.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod host;
mod machine;
mod packages;
mod tls;
mod watch;

use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use self::host::{ADDRESS, Host};
use self::machine::{Desk, Machine, wait_for};
use crate::support::client::{self, Client};
use crate::support::contract::{ADMIN, PROTECTED, PUBLIC, PUBLIC_BODY};
use crate::support::tenant::Tenant;
use crate::support::token::{AUDIENCE, Token};

const SETTINGS: &str = "postern/postern.env";

fn main() -> ExitCode {
    let (Some(folder), Some(binary)) = (env::args_os().nth(1), env::args_os().nth(2)) else {
        eprintln!("usage: boot FOLDER BINARY [packages]; tests/booted/run sets it up");
        return ExitCode::from(64);
    };
    let scenarios: &[Scenario] = match env::args_os().nth(3) {
        Some(_) => &packages::SCENARIOS,
        None => &SCENARIOS,
    };
    let folder = PathBuf::from(folder);
    let root = folder.join("root");
    fs::create_dir(folder.join("desk")).expect("an empty folder");
    let tenant = Tenant::start();
    let mut host = Host {
        desk: Desk::new(&folder.join("desk"), Path::new(&binary), &root),
        machine: Some(Machine::boot(&root)),
        root,
        user: Token::user(&tenant).sign(),
        sent: Mutex::default(),
        tenant,
        address: ADDRESS,
        tls: None,
    };
    for (what, scenario) in scenarios {
        let started = Instant::now();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| scenario(&mut host)));
        let seconds = started.elapsed().as_secs_f64();
        if ended.is_err() {
            if let Some(machine) = &host.machine {
                eprintln!("{}", machine.last_words());
            }
            eprintln!("FAILED after {seconds:.1} s: {what}");
            return ExitCode::FAILURE;
        }
        println!("ok {seconds:5.1} s  {what}");
    }
    if let Some(machine) = host.machine.take() {
        machine.power_off();
    }
    ExitCode::SUCCESS
}

type Scenario = (&'static str, fn(&mut Host));

/// In this order, each on what the one before has left.
const SCENARIOS: [Scenario; 26] = [
    (
        "installed as docs/operating.md says, it is ready and answers",
        install,
    ),
    (
        "the units have no mistakes, and an exposure of 1.2 at most",
        units,
    ),
    (
        "the status tells of the keys, the journal has priorities and no token",
        journal,
    ),
    (
        "check and explain run as the service's user, beside it",
        commands::as_the_services_user,
    ),
    ("a reload fetches the keys", reload),
    (
        "a stopped process is found by the watchdog and started again",
        stopped,
    ),
    ("a killed process is started again", killed),
    (
        "300 strangers who only connect, for a minute, cause no restart",
        strangers,
    ),
    (
        "a wrong setting is one line in the journal and no restart loop",
        wrong_setting,
    ),
    ("a full state folder does not stop it", full_state),
    ("a read-only state folder does not stop it", read_only_state),
    ("after a reboot without its tenant it lets users in", reboot),
    ("it is upgraded as docs/operating.md says", upgrade),
    (
        "the unit gives the admin address a folder for its socket",
        watch::socket,
    ),
    (
        "for the delay it is not ready but serves, and the unit allows it the time",
        watch::delay,
    ),
    (
        "ten restarts with the socket unit fail no request",
        restarts_under_load,
    ),
    (
        "a wrong setting ends the socket unit, too, and mending it is enough",
        wrong_setting_with_socket,
    ),
    (
        "the socket unit serves port 80 and a Unix socket, whoever may use that",
        other_sockets,
    ),
    (
        "with TLS as docs/operating.md says, it answers at port 443",
        tls::install,
    ),
    ("the watchdog asks over TLS", tls::watchdog),
    (
        "ten renewals by the deploy hook fail no request, and open connections live on",
        tls::renewals_under_load,
    ),
    (
        "the status warns of a certificate that ends in 5 days",
        tls::expiring,
    ),
    (
        "a broken pair leaves the certificate in force, and the journal says why",
        tls::broken_pairs,
    ),
    (
        "with the files as credentials, ten restarts renew them and fail no request",
        tls::credentials,
    ),
    (
        "a missing credential or group is no restart loop",
        tls::unprepared,
    ),
    (
        "nothing is left when it is removed as docs/operating.md says",
        remove,
    ),
];

fn install(host: &mut Host) {
    host.desk.follow_manual("Write the settings");
    host.desk.edit(
        SETTINGS,
        "AUTH0_DOMAIN=",
        &format!("AUTH0_DOMAIN={}", host.tenant.domain()),
    );
    host.desk.edit(
        SETTINGS,
        "AUTH0_AUDIENCE=",
        &format!("AUTH0_AUDIENCE={AUDIENCE}"),
    );
    // The stand-in has a certificate that no public authority would sign.
    host.desk.edit(
        SETTINGS,
        "SSL_CERT_FILE=",
        "SSL_CERT_FILE=/etc/postern/ca.pem",
    );
    host.desk.add_setting_file(host.tenant.ca_file(), "ca.pem");
    host.desk
        .follow_manual("Copy settings, units and binary, and start");
    // `enable --now` has returned: from then on it answers.
    assert_eq!(host.machine().show("ActiveState"), "active");
    assert_eq!(client::get(ADDRESS, PUBLIC, &[]).text(), PUBLIC_BODY);
    host.wait_until_served();
    let admin = Token::user(&host.tenant).admin().sign();
    assert_eq!(host.status(ADMIN, &admin), 200);
    assert_eq!(host.status(ADMIN, &host.user), 403);
    host.desk.follow_manual("See how it does");
}

fn units(host: &mut Host) {
    let machine = host.machine();
    let verify = "systemd-analyze verify /etc/systemd/system/postern.service \
                  /etc/systemd/system/postern.socket";
    let verified = machine.output(verify);
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{verified:?}"
    );
    let table = machine.run(
        "systemd-analyze security --offline=yes --no-pager /etc/systemd/system/postern.service",
    );
    assert_exposure(&table);
}

/// Looks at the end of what `systemd-analyze security` has printed.
fn assert_exposure(table: &str) {
    let exposure = table
        .rsplit_once("Overall exposure level for postern.service: ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
    assert!(exposure.is_some_and(|exposure| exposure <= 1.2), "{table}");
}

fn journal(host: &mut Host) {
    let expired = Token::user(&host.tenant).expired().sign();
    assert_eq!(host.status(PROTECTED, &expired), 401);
    let status = host.machine().show("StatusText");
    assert!(status.starts_with("2 keys ("), "{status}");
    assert!(status.ends_with(" from the tenant"), "{status}");
    wait_for("the request is in the journal", || {
        host.machine().journal().contains(" 401 ")
    });
    let lines = host.lines_of_last_start();
    let (priority, line) = lines
        .iter()
        .find(|(_, line)| line.contains("GET /api/messages/protected 401"))
        .expect("it was just there");
    // No timestamp, and the prefix was read and taken off.
    assert_eq!(
        (*priority, line.split_whitespace().next()),
        (6, Some("INFO")),
        "{line}"
    );
}

fn reload(host: &mut Host) {
    let fetches = host.tenant.fetches();
    host.machine().run("systemctl reload postern");
    host.tenant.wait_for_fetches(fetches + 1);
}

fn stopped(host: &mut Host) {
    let restarts = host.restarts();
    host.machine().run("systemctl kill --signal=STOP postern");
    host.wait_for_restart(restarts);
    let journal = host.machine().journal();
    assert!(
        journal.contains("Watchdog timeout (limit 30s)!"),
        "{journal}"
    );
}

fn killed(host: &mut Host) {
    let restarts = host.restarts();
    host.machine().run("systemctl kill --signal=KILL postern");
    host.wait_for_restart(restarts);
}

fn strangers(host: &mut Host) {
    let before = (host.main_pid(), host.restarts());
    let end = Instant::now() + Duration::from_secs(60);
    let mut strangers: Vec<Client> = Vec::new();
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        strangers.retain(is_open);
        while strangers.len() < 300 {
            strangers.push(Client::connect(ADDRESS));
        }
        let asked = Instant::now();
        assert_eq!(host.status(PROTECTED, &host.user), 200);
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(200));
    }
    println!(
        "            slowest answer meanwhile: {} ms",
        slowest.as_millis()
    );
    assert_eq!((host.main_pid(), host.restarts()), before);
}

/// Whether the server has not closed this connection, on which it was told nothing.
fn is_open(client: &Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).expect("a socket of ours");
    matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn wrong_setting(host: &mut Host) {
    host.desk.edit(SETTINGS, "PORT=", "PORT=sixty");
    host.desk.follow_manual_to_failure("**Change settings**");
    // What would be a loop: it is started again two seconds after it ended.
    thread::sleep(Duration::from_secs(5));
    let machine = host.machine();
    assert_eq!(machine.show("ActiveState"), "failed");
    assert_eq!(machine.show("ExecMainStatus"), "78");
    assert_eq!(host.restarts(), 0);
    let lines = host.lines_of_last_start();
    let [(3, line)] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(line.contains("PORT is \"sixty\""), "{line}");
    host.desk.edit(SETTINGS, "PORT=", "#PORT=6060");
    host.desk.follow_manual("**Change settings**");
    host.wait_until_served();
}

/// Where systemd keeps the state of a service whose user is made for it.
const STATE: &str = "/var/lib/private/postern";

fn full_state(host: &mut Host) {
    let mount = format!(
        "mount -t tmpfs -o size=4k,mode=0700 full {STATE} && \
         ! head -c 9999 /dev/zero > {STATE}/filler"
    );
    with_mounted_state(host, &mount);
}

fn read_only_state(host: &mut Host) {
    let mount = format!("mount --bind {STATE} {STATE} && mount -o remount,bind,ro {STATE}");
    with_mounted_state(host, &mount);
}

/// What the service does with a state folder that takes nothing, which this command mounts.
fn with_mounted_state(host: &mut Host, mount: &str) {
    let restart_around = |host: &Host, command: &str| {
        host.machine().run(&format!(
            "systemctl stop postern && {command} && systemctl start postern"
        ));
    };
    restart_around(host, mount);
    serves_new_keys(host);
    restart_around(host, &format!("umount {STATE}"));
    host.wait_until_served();
}

/// With a state folder that takes nothing: the fetched keys count all the same, and the journal
/// says what could not be kept.
fn serves_new_keys(host: &mut Host) {
    host.wait_until_served();
    host.tenant.rotate();
    host.user = Token::user(&host.tenant).sign();
    host.machine().run("systemctl reload postern");
    host.wait_until_served();
    wait_for("a warning in the journal", || {
        let lines = host.lines_of_last_start();
        lines
            .iter()
            .any(|(priority, line)| *priority == 4 && line.contains("/var/lib/postern"))
    });
}

fn reboot(host: &mut Host) {
    host.tenant.stop();
    host.machine.take().expect("it is on").power_off();
    host.machine = Some(Machine::boot(&host.root));
    // At once, without waiting: systemd says it is up.
    assert_eq!(host.status(PROTECTED, &host.user), 200);
    wait_for("the status tells why the keys are old", || {
        host.machine()
            .show("StatusText")
            .contains("connecting failed")
    });
    host.tenant.resume();
}

fn upgrade(host: &mut Host) {
    let pid = host.main_pid();
    host.desk.follow_manual("**Upgrade**");
    host.wait_until_served();
    assert_ne!(host.main_pid(), pid);
}

fn restarts_under_load(host: &mut Host) {
    host.desk
        .follow_manual("**Lose no connection in a restart**");
    host.wait_until_served();
    host.ten_times_under_load(|| host.restart());
}

fn wrong_setting_with_socket(host: &mut Host) {
    host.desk
        .edit(SETTINGS, "AUTH0_DOMAIN=", "AUTH0_DOMAIN=https://wrong/");
    host.desk.follow_manual_to_failure("**Change settings**");
    // Each connection is a reason to start it, until there are too many.
    wait_for("the socket is closed", || {
        Client::try_connect(ADDRESS).is_err()
    });
    let machine = host.machine();
    assert_eq!(
        machine
            .run("systemctl show -P Result postern.socket")
            .trim(),
        "trigger-limit-hit"
    );
    let domain = format!("AUTH0_DOMAIN={}", host.tenant.domain());
    host.desk.edit(SETTINGS, "AUTH0_DOMAIN=", &domain);
    host.desk.follow_manual("**Change settings**");
    host.machine().run("systemctl stop postern");
    host.machine().run("systemctl start postern.socket postern");
    host.wait_until_served();
}

fn other_sockets(host: &mut Host) {
    host.desk
        .edit("systemd/postern.socket", "ListenStream=", "ListenStream=80");
    host.desk.follow_manual("To change where it listens");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    assert_eq!(client::get(any, PUBLIC, &[]).text(), PUBLIC_BODY);

    host.desk.edit(
        "systemd/postern.socket",
        "ListenStream=",
        "ListenStream=/run/postern.sock\nSocketMode=0600",
    );
    host.desk.follow_manual("To change where it listens");
    // Only root may connect, not postern itself: no reason to take it for deaf.
    let pid = host.main_pid();
    let journal = host.machine().journal();
    assert!(journal.contains("/run/postern.sock"), "{journal}");
    thread::sleep(Duration::from_secs(35));
    assert_eq!(host.main_pid(), pid);
    let mut stream =
        UnixStream::connect(host.machine().path("/run/postern.sock")).expect("we are root");
    write!(
        stream,
        "GET {PUBLIC} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with(PUBLIC_BODY), "{answer}");
}

fn remove(host: &mut Host) {
    // All that was ever said, over both boots.
    let journal = host.machine().run("journalctl --no-pager --output=cat");
    let sent = host.sent.lock().expect("no test panics with it");
    for token in sent.iter().chain([&host.user]) {
        for part in token.split('.').skip(1) {
            assert!(!journal.contains(part), "a token in the journal");
        }
    }
    host.desk.follow_manual("**Remove**");
    host.desk.follow_manual("What is there for TLS");
    let left = host
        .machine()
        .run("find / -xdev -name '*postern*' -not -path '/proc/*' -not -path '/run/*'");
    assert_eq!(left, "");
    assert!(
        !host
            .machine()
            .output("getent group postern-tls")
            .status
            .success()
    );
}
