//! Ten thousand clients that have had an answer and say nothing more.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::house::{House, is_static, loopback, workers};
use crate::support::besieged::MIB;
use crate::support::client::Client;
use crate::support::contract::{PUBLIC, PUBLIC_BODY};
use crate::support::usage::processor_time;
use crate::table::Table;

/// As many as there are places.
const CROWD: usize = 10_000;
const NEWCOMERS: usize = 200;

/// A house of as many places, whose clients may be idle for as long as this takes.
fn house() -> House {
    let places = CROWD.to_string();
    House::open(&[
        ("MAX_CONNECTIONS", &places),
        ("IDLE_TIMEOUT_SECONDS", "300"),
    ])
}

pub fn one_address(table: &mut Table) {
    let house = house();
    let before = house.settled_usage();
    let mut crowd = gather(&house, &[1]);
    table.all("connections answered", crowd.len(), CROWD);

    let during = house.usage();
    let most_threads = (workers() + 4) as f64;
    table.at_most("threads", during.threads as f64, most_threads, "");
    let grown = during.resident.saturating_sub(before.resident) as f64 / MIB as f64;
    if is_static() {
        table.at_most("VmRSS above idle", grown, 10.0, "MiB");
    } else {
        table.tell("VmRSS above idle (not static)", &format!("{grown:.2} MiB"));
    }
    let used = processor_time(house.postern.pid());
    thread::sleep(Duration::from_secs(5));
    let used = processor_time(house.postern.pid()).saturating_sub(used);
    table.within(
        "processor time in 5 s",
        Some(used),
        Duration::from_millis(50),
    );

    let tenth: Vec<&mut Client> = crowd.iter_mut().step_by(10).collect();
    let all = tenth.len();
    let again = tenth.into_iter().filter_map(|client| ask(client).ok());
    table.all("every tenth answered again", again.count(), all);

    let newcomers = Newcomers::come(&house, 1, |_| ());
    newcomers.tell(table, "newcomers", Duration::from_millis(20));
}

pub fn four_addresses(table: &mut Table) {
    let house = house();
    let crowd = gather(&house, &[2, 3, 4, 5]);
    table.all("connections of 4 addresses answered", crowd.len(), CROWD);
    // So that all have been waiting for their peer for more than a second.
    thread::sleep(Duration::from_millis(1100));
    let mut kept = Vec::new();
    let newcomers = Newcomers::come(&house, 6, |client| kept.push(client));
    newcomers.tell(table, "newcomers of a fifth", Duration::from_millis(100));
    let closed = crowd.iter().filter(|client| client.is_closed()).count();
    table.at_most(
        "connections closed for them",
        closed as f64,
        NEWCOMERS as f64,
        "",
    );
}

/// Connects from these addresses in turn, and asks once on each connection. Those that were
/// answered.
fn gather(house: &House, from: &[u8]) -> Vec<Client> {
    let addresses = from.iter().cycle().take(CROWD);
    let mut failures = 0;
    let mut crowd = Vec::with_capacity(CROWD);
    for &last in addresses {
        let client = Client::try_connect_from(loopback(last), house.addr());
        match client.and_then(|mut client| ask(&mut client).map(|()| client)) {
            Ok(client) => crowd.push(client),
            Err(error) => {
                failures += 1;
                // Each may take as long as a client's patience.
                assert!(failures < 10, "many are not answered: {error}");
            }
        }
    }
    crowd
}

fn ask(client: &mut Client) -> io::Result<()> {
    let response = client.try_request("GET", PUBLIC, &[])?;
    match response.status == 200 && response.text() == PUBLIC_BODY {
        true => Ok(()),
        false => Err(io::Error::other(response.status.to_string())),
    }
}

/// Clients that come one after the other.
struct Newcomers {
    /// How long each took from connecting to its answer, the fastest first.
    times: Vec<Duration>,
}

impl Newcomers {
    fn come(house: &House, from: u8, mut keep: impl FnMut(Client)) -> Newcomers {
        let mut times = Vec::new();
        for _ in 0..NEWCOMERS {
            let started = Instant::now();
            let client = Client::try_connect_from(loopback(from), house.addr());
            let answered = client.and_then(|mut client| ask(&mut client).map(|()| client));
            match answered {
                Ok(client) => {
                    times.push(started.elapsed());
                    keep(client);
                }
                Err(error) => eprintln!("a newcomer: {error}"),
            }
        }
        times.sort();
        Newcomers { times }
    }

    fn tell(&self, table: &mut Table, who: &str, bound: Duration) {
        let answered = self.times.len();
        table.all(&format!("{who} answered"), answered, NEWCOMERS);
        let p99 = self.times.get(answered * 99 / 100).copied();
        table.within(&format!("{who}, p99"), p99, bound);
    }
}
