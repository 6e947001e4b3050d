//! postern under siege: strangers try everything at once while two clients go on with their work.
//! `tests/siege/run` calls this, in namespaces of its own, and tells what the settings are.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

mod attack;
mod kernel;

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::attack::{Field, Source};
use self::kernel::{Drops, Held, queue_lengths};
use crate::support::TempDir;
use crate::support::besieged::MIB;
use crate::support::postern::Postern;
use crate::support::record::{Record, ask_again, ask_anew};
use crate::support::tenant::Tenant;
use crate::support::token::Token;
use crate::support::usage::{Usage, raise_descriptor_limit, settled_usage, usage};
use crate::support::wait_until;

/// The most memory the server may have at any time, its program included.
const MAX_RESIDENT: u64 = 16 * MIB;
/// The most memory the kernel may hold for one of the server's connections.
const MAX_SOCKET: u64 = 64 * 1024;
/// The most connections that the server has by default: places, newcomers, and those that leave.
const MAX_ACCEPTED: u64 = 256 + 256 + 64;
/// The most that the kernel may hold for all connections some time after the siege, and that time.
const MAX_LEFT: (u64, Duration) = (2 * MIB, Duration::from_secs(25));
/// The p99 on a kept connection. The promise is about new ones; this bound only finds a stall.
const MAX_P99_KEPT: Duration = Duration::from_secs(5);

/// How often each client asks.
const SECOND: Duration = Duration::from_secs(1);

/// The address of the clients that are to be served.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));
/// Where slowhttptest comes from, which cannot choose.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() -> ExitCode {
    let settings = Settings::from_environment();
    raise_descriptor_limit();
    let siege = Siege::begin(settings.processor.as_deref());
    let before = siege.look();
    let drops = Drops::now();
    let (clients, peak) = siege.endure(&settings);
    let drops = Drops::now().since(drops);
    let calm = siege.recover(before.usage, settings.calm);
    let outcome = Outcome {
        before,
        clients,
        peak,
        calm,
        drops,
        queue: queue_lengths(siege.postern.addr().port()),
        log: read_log(&siege.log).expect("the log is a file of ours"),
    };
    outcome.print();
    let complaints = outcome.complaints(settings.max_p99);
    for complaint in &complaints {
        eprintln!("FAILED: {complaint}");
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}

/// What the server uses, and the kernel for it.
#[derive(Clone, Copy)]
struct Look {
    usage: Usage,
    held: Held,
}

/// What there is to tell.
struct Outcome {
    before: Look,
    /// With a connection each, and on one that is kept.
    clients: [Record; 2],
    peak: Look,
    calm: Calm,
    drops: Drops,
    /// The length of the accept queue, and the most that the system allows.
    queue: (u64, u64),
    log: Log,
}

/// What followed the siege.
struct Calm {
    /// When the server had let go of everything, if it has.
    idle_after: Option<Duration>,
    /// As soon as the kernel must have let go.
    soon: Look,
    after: Look,
}

impl Outcome {
    fn print(&self) {
        println!("\n| client | answered | reconnected | p50 | p99 | slowest |");
        println!("|---|---|---|---|---|---|");
        self.clients.iter().for_each(Record::print);
        println!(
            "\n| server | memory | threads | descriptors | connections | orphans | socket memory \
             | not accepted | largest |\n|---|---|---|---|---|---|---|---|---|"
        );
        let soon = format!("after {} s", MAX_LEFT.1.as_secs());
        let moments = [
            ("before", self.before),
            ("most", self.peak),
            (soon.as_str(), self.calm.soon),
            ("after", self.calm.after),
        ];
        for (moment, Look { usage, held }) in moments {
            let [resident, memory, queued] = [usage.resident, held.memory, held.queued]
                .map(|bytes| format!("{:.1} MiB", bytes as f64 / MIB as f64));
            println!(
                "| {moment} | {resident} | {} | {} | {} | {} | {memory} | {queued} | {} KiB |",
                usage.threads,
                usage.descriptors,
                held.accepted,
                held.orphans,
                held.largest.div_ceil(1024),
            );
        }
        let idle_after = self.calm.idle_after;
        let idle_after = idle_after.map(|time| format!("{:.0} s", time.as_secs_f64()));
        let idle = idle_after.as_deref().unwrap_or("never");
        let Drops {
            queue_full,
            syns_again,
        } = self.drops;
        let (asked, allowed) = self.queue;
        println!("\nidle again after: {idle}; logged: {:?}", self.log);
        println!(
            "accept queue: {asked}, the system allows {allowed}; full: {queue_full} times; \
             SYNs sent again: {syns_again}"
        );
    }

    fn complaints(&self, max_p99: Duration) -> Vec<&'static str> {
        let is_slow = |client: &Record, bound| client.percentile(99).is_none_or(|p99| p99 > bound);
        let [fresh, kept] = &self.clients;
        let (peak, calm) = (self.peak, &self.calm);
        let (asked, allowed) = self.queue;
        let complaints = [
            (
                self.clients.iter().any(|client| client.failed() > 0),
                "a client was not answered",
            ),
            (
                is_slow(fresh, max_p99) || is_slow(kept, MAX_P99_KEPT),
                "a client waited too long",
            ),
            (
                peak.usage.resident > MAX_RESIDENT,
                "the server used too much memory",
            ),
            (
                peak.held.largest > MAX_SOCKET,
                "the kernel held too much for a connection",
            ),
            (
                peak.held.memory > MAX_ACCEPTED * MAX_SOCKET,
                "the kernel held too much for all connections",
            ),
            (
                calm.soon.held.memory > MAX_LEFT.0,
                "the kernel held on to too much after the siege",
            ),
            (
                self.drops.queue_full > 0 && asked < allowed,
                "a longer accept queue would have kept connections",
            ),
            (
                calm.idle_after.is_none(),
                "the server did not let go of everything",
            ),
            (self.log.panics > 0, "the server panicked"),
        ];
        let complaints = complaints.into_iter().filter(|(holds, _)| *holds);
        complaints.map(|(_, complaint)| complaint).collect()
    }
}

/// How long, how hard, from where: `tests/siege/run` says what each is.
struct Settings {
    time: Duration,
    calm: Duration,
    connections: usize,
    threads: usize,
    max_p99: Duration,
    same_address: bool,
    /// The processor of server and clients, when that is not the strangers' as well.
    processor: Option<String>,
    attacks: Option<String>,
}

impl Settings {
    fn from_environment() -> Settings {
        let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str| -> u64 {
            let text = env::var(name).unwrap_or_default();
            let number = text.parse();
            number.unwrap_or_else(|_| panic!("{name} is {text:?}, not a number"))
        };
        Settings {
            time: Duration::from_secs(number("SIEGE_SECONDS")),
            calm: Duration::from_secs(number("SIEGE_CALM_SECONDS")),
            connections: number("SIEGE_CONNECTIONS") as usize,
            threads: number("SIEGE_THREADS") as usize,
            max_p99: Duration::from_millis(number("SIEGE_MAX_P99_MS")),
            same_address: number("SIEGE_SAME_ADDRESS") != 0,
            processor: text("SIEGE_PROCESSOR"),
            attacks: text("SIEGE_ATTACKS"),
        }
    }
}

/// The server, its tenant, and a user's token.
struct Siege {
    postern: Postern,
    tenant: Tenant,
    token: String,
    log: PathBuf,
    /// Connections that attackers keep open when the siege is over.
    held: Mutex<Vec<TcpStream>>,
    _folder: TempDir,
}

impl Siege {
    /// A server with default settings, as a service manager would start it, that has its keys.
    fn begin(processor: Option<&str>) -> Siege {
        let tenant = Tenant::start();
        let token = Token::user(&tenant).sign();
        let folder = TempDir::new();
        let log = folder.path().join("log");
        let bound = processor.map_or(String::new(), |number| format!("taskset -c {number}"));
        // The usual limit of descriptors, not the one the attackers need.
        let start = format!("ulimit -Sn 1024; exec {bound} \"$0\"");
        let postern = Postern::builder(&tenant)
            .env("STATE_DIRECTORY", folder.path().display().to_string())
            .stderr(File::create(&log).expect("the folder takes a file"))
            .prefix(&["sh", "-c", &start])
            .start();
        wait_until("a token is accepted", || {
            ask_anew(CLIENT, postern.addr(), &token).is_ok()
        });
        // The threads of the start have ended.
        settled_usage(postern.pid());
        Siege {
            postern,
            tenant,
            token,
            log,
            held: Mutex::default(),
            _folder: folder,
        }
    }

    fn usage(&self) -> Usage {
        usage(self.postern.pid())
    }

    fn look(&self) -> Look {
        Look {
            usage: self.usage(),
            held: Held::now(self.postern.addr().port()),
        }
    }

    /// The siege itself: the results of the good clients, and the most that the server used.
    fn endure(&self, settings: &Settings) -> ([Record; 2], Look) {
        let (addr, token) = (self.postern.addr(), self.token.as_str());
        let processor = settings.processor.as_deref();
        let (client, source) = match settings.same_address {
            true => (STRANGER, Source::One(STRANGER)),
            false => (CLIENT, Source::Many),
        };
        let field = Field {
            addr,
            source,
            tenant: &self.tenant,
            connections: settings.connections,
            end: Instant::now() + settings.time,
            held: &self.held,
        };
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let attacks =
                attack::start(scope, &field, settings.threads, settings.attacks.as_deref());
            let watch = scope.spawn(|| self.watch(&is_over));
            let fresh = scope.spawn(|| {
                bind_thread(processor);
                let mut record = Record::new("a connection each");
                record.each(SECOND, field.end, |_| ask_anew(client, addr, token));
                record
            });
            let kept = scope.spawn(|| {
                bind_thread(processor);
                let mut record = Record::new("one connection, kept");
                let mut connection = None;
                record.each(SECOND, field.end, |reconnected| {
                    ask_again(&mut connection, client, addr, token, reconnected)
                });
                record
            });
            let clients = [fresh, kept].map(|client| client.join().expect("it does not panic"));
            is_over.store(true, Ordering::Relaxed);
            let peak = watch.join().expect("the server is there");
            attack::report(attacks, settings.time);
            (clients, peak)
        })
    }

    /// The most that the server uses until then, and the kernel for it.
    fn watch(&self, is_over: &AtomicBool) -> Look {
        let mut peak = self.look();
        while !is_over.load(Ordering::Relaxed) {
            let now = self.look();
            peak.held = peak.held.max(now.held);
            peak.usage = Usage {
                memory: peak.usage.memory.max(now.usage.memory),
                resident: peak.usage.resident.max(now.usage.resident),
                threads: peak.usage.threads.max(now.usage.threads),
                descriptors: peak.usage.descriptors.max(now.usage.descriptors),
            };
            thread::sleep(Duration::from_millis(50));
        }
        peak
    }

    /// What happens for as long as `time`, once the siege is over.
    fn recover(&self, before: Usage, time: Duration) -> Calm {
        let began = Instant::now();
        let (mut idle_after, mut soon) = (None, None);
        while began.elapsed() < time {
            let now = self.usage();
            let is_idle = now.threads <= before.threads && now.descriptors <= before.descriptors;
            match is_idle {
                true => idle_after = idle_after.or(Some(began.elapsed())),
                false => idle_after = None,
            }
            if soon.is_none() && began.elapsed() >= MAX_LEFT.1 {
                soon = Some(self.look());
            }
            thread::sleep(Duration::from_millis(100));
        }
        let after = self.look();
        Calm {
            idle_after,
            soon: soon.unwrap_or(after),
            after,
        }
    }
}

/// Has this thread run on that processor only.
fn bind_thread(processor: Option<&str>) {
    let Some(processor) = processor else { return };
    let thread = fs::read_link("/proc/thread-self").expect("Linux has it");
    let id = thread.file_name().expect("it is PID/task/TID");
    let mut taskset = Command::new("taskset");
    taskset
        .args(["-pc", processor])
        .arg(id)
        .stdout(Stdio::null());
    let status = taskset.status().expect("taskset is installed");
    assert!(status.success(), "{taskset:?}: {status}");
}

/// What the log tells of the siege.
#[derive(Debug, Default)]
struct Log {
    lines: usize,
    /// Connections for which there was no slot or no thread.
    refused: usize,
    panics: usize,
}

fn read_log(path: &Path) -> io::Result<Log> {
    let mut log = Log::default();
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        log.lines += 1;
        log.refused += usize::from(line.contains(" 503: "));
        log.panics += usize::from(line.contains("panic"));
    }
    Ok(log)
}
