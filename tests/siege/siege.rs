//! postern under siege: strangers try everything at once while two clients go on with their work.
//! `tests/siege/run` calls this, in namespaces of its own, and tells what the settings are.

#[path = "../support/mod.rs"]
mod support;

mod attack;

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use attack::{Field, Source};
use support::TempDir;
use support::postern::Postern;
use support::record::{Record, ask_again, ask_anew};
use support::tenant::Tenant;
use support::token::Token;
use support::usage::{Usage, raise_descriptor_limit, usage};
use support::wait_until;

/// The most memory the server may have at any time, its program included.
const MAX_RESIDENT: u64 = 16 * 1024 * 1024;

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
    let before = siege.usage();
    let (clients, peak) = siege.endure(&settings);
    let (idle_after, after) = siege.recover(before, settings.calm);
    let log = read_log(&siege.log).expect("the log is a file of ours");

    println!("\n| client | answered | reconnected | p50 | p99 | slowest |");
    println!("|---|---|---|---|---|---|");
    clients.iter().for_each(Record::print);
    println!("\n| server | memory | threads | descriptors |\n|---|---|---|---|");
    let moments = [("before", before), ("most", peak), ("after", after)];
    for (moment, usage) in moments {
        let mib = usage.resident as f64 / (1024.0 * 1024.0);
        let (threads, descriptors) = (usage.threads, usage.descriptors);
        println!("| {moment} | {mib:.1} MiB | {threads} | {descriptors} |");
    }
    let idle_after = idle_after.map(|time| format!("{:.0} s", time.as_secs_f64()));
    let idle = idle_after.as_deref().unwrap_or("never");
    println!("\nidle again after: {idle}; logged: {log:?}");

    let complaints = [
        (
            clients.iter().any(|client| client.failed() > 0),
            "a client was not answered",
        ),
        (
            clients.iter().any(|client| {
                client
                    .percentile(99)
                    .is_none_or(|p99| p99 > settings.max_p99)
            }),
            "a client waited too long",
        ),
        (
            peak.resident > MAX_RESIDENT,
            "the server used too much memory",
        ),
        (
            idle_after.is_none(),
            "the server did not let go of everything",
        ),
        (log.panics > 0, "the server panicked"),
    ];
    let mut is_good = true;
    for (_, complaint) in complaints.iter().filter(|(holds, _)| *holds) {
        eprintln!("FAILED: {complaint}");
        is_good = false;
    }
    ExitCode::from(u8::from(!is_good))
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
        let siege = Siege {
            postern,
            tenant,
            token,
            log,
            _folder: folder,
        };
        let lone = |usage: Usage| usage.threads <= 4;
        wait_until("the threads of the start have ended", || {
            lone(siege.usage())
        });
        siege
    }

    fn usage(&self) -> Usage {
        usage(self.postern.pid())
    }

    /// The siege itself: how the clients fared, and the most that the server used.
    fn endure(&self, settings: &Settings) -> ([Record; 2], Usage) {
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

    /// The most that the server uses until then.
    fn watch(&self, is_over: &AtomicBool) -> Usage {
        let mut peak = self.usage();
        while !is_over.load(Ordering::Relaxed) {
            let now = self.usage();
            peak = Usage {
                memory: peak.memory.max(now.memory),
                resident: peak.resident.max(now.resident),
                threads: peak.threads.max(now.threads),
                descriptors: peak.descriptors.max(now.descriptors),
            };
            thread::sleep(Duration::from_millis(50));
        }
        peak
    }

    /// When the server had let go of everything, if it has, and what it uses when `calm` is over.
    fn recover(&self, before: Usage, calm: Duration) -> (Option<Duration>, Usage) {
        let began = Instant::now();
        let mut idle_after = None;
        while began.elapsed() < calm {
            let now = self.usage();
            let is_idle = now.threads <= before.threads && now.descriptors <= before.descriptors;
            match is_idle {
                true => idle_after = idle_after.or(Some(began.elapsed())),
                false => idle_after = None,
            }
            thread::sleep(Duration::from_millis(100));
        }
        (idle_after, self.usage())
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
