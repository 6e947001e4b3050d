//! More clients than places, all from one address, and a client at another address.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::house::{House, loopback};
use crate::support::client::{Client, Response};
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::record::{Record, ask_anew};
use crate::support::wrk::{Load, Summary};
use crate::table::Table;

/// How long each load goes on, in seconds.
const SECONDS: u64 = 5;
const PLACES: &str = "256";
/// All of these get a place, and so does the client at the other address.
const FITTING: usize = 248;
/// More than get one, and the required part of the answers per second.
const CROWDS: [(usize, f64); 3] = [(320, 0.8), (480, 0.7), (1024, 0.3)];
/// This many have a place or wait for one: 503 is only for more than that.
const WITHOUT_REFUSAL: usize = 512;

pub fn public(table: &mut Table) {
    overload(table, "public", PUBLIC, false);
}

/// With a token that has been verified before.
pub fn warm(table: &mut Table) {
    overload(table, "warm", PROTECTED, true);
}

fn overload(table: &mut Table, name: &str, path: &'static str, has_token: bool) {
    let crowd = |connections| Crowd::come(path, has_token, connections);
    // Once more at the end: the machine may be slower then.
    let first = crowd(FITTING);
    let crowds = CROWDS.map(|(connections, part)| (crowd(connections), part));
    let last = crowd(FITTING);
    let fitting = (first.wrk.good_per_second() + last.wrk.good_per_second()) / 2.0;
    let what = format!("{name}, {FITTING}: answers 200 per second");
    table.tell(&what, &format!("{fitting:.0}"));
    for found in [&first, &last] {
        found.tell(table, name);
    }
    for (found, part) in crowds {
        let ratio = found.wrk.good_per_second() / fitting;
        let what = format!("{name}, {}: answers 200, over {FITTING}", found.connections);
        table.at_least(&what, ratio, part, "");
        found.tell(table, name);
    }
}

/// How a crowd was served, and the client at another address meanwhile.
struct Crowd {
    connections: usize,
    wrk: Summary,
    other: Record,
    /// How often each status was seen from the address of the crowd.
    statuses: BTreeMap<String, usize>,
}

impl Crowd {
    fn come(path: &'static str, has_token: bool, connections: usize) -> Crowd {
        let house = House::open(&[("MAX_CONNECTIONS", PLACES)]);
        let token_file: PathBuf = house.token_file.clone();
        let load = Load {
            addr: house.addr(),
            path,
            connections,
            seconds: SECONDS,
            timeout: 2,
            close: false,
            tls: false,
            tokens: has_token.then_some(token_file),
        };
        let wrk = load.start().expect("wrk is installed");
        // Until shortly before the crowd leaves.
        let end = Instant::now() + Duration::from_secs(SECONDS) - Duration::from_millis(200);
        let mut other = Record::new("another address");
        let mut one_of_them = Record::new("one of the crowd");
        let statuses = Mutex::new(BTreeMap::<String, usize>::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                other.every(Duration::from_millis(50), end, || {
                    ask_anew(loopback(9), house.addr(), &house.token)
                });
            });
            if connections > WITHOUT_REFUSAL {
                one_of_them.every(Duration::from_millis(100), end, || {
                    let status = look(loopback(1), house.addr())?;
                    let mut statuses = statuses.lock().expect("no thread panics with it");
                    *statuses.entry(status).or_default() += 1;
                    Ok(())
                });
            }
        });
        Crowd {
            connections,
            wrk: wrk.finish().unwrap_or_else(|error| panic!("{error}")),
            other,
            statuses: statuses.into_inner().expect("no thread panics with it"),
        }
    }

    fn tell(&self, table: &mut Table, name: &str) {
        let about = |what: &str| format!("{name}, {}: {what}", self.connections);
        let errors = self.wrk.errors;
        table.none(&about("closed without an answer"), errors.read);
        let not_asked = errors.connect + errors.write;
        let what = about("closed before a request, or not connected");
        if self.connections <= WITHOUT_REFUSAL {
            table.none(&what, not_asked);
            table.none(&about("answers other than 200"), errors.status);
        } else {
            // A refused client may get its 503 before it has sent a request.
            table.tell(&what, &not_asked.to_string());
            table.tell(&about("answers other than 200"), &errors.status.to_string());
            let ok = ["200", "503 with Retry-After: 1"];
            let others = self
                .statuses
                .iter()
                .filter(|(status, _)| !ok.contains(&status.as_str()));
            let others = others.map(|(_, count)| *count as u64).sum();
            table.none(&about("answers other than these two"), others);
            table.tell(
                &about("some of the answers"),
                &format!("{:?}", self.statuses),
            );
        }
        if errors.timeout > 0 {
            table.tell(
                &about("answers that took over 2 s"),
                &errors.timeout.to_string(),
            );
        }
        let asked = self.other.answered() + self.other.failed();
        table.all(
            &about("another address answered"),
            self.other.answered(),
            asked,
        );
        let p99 = self.other.percentile(99);
        table.within(
            &about("another address, p99"),
            p99,
            Duration::from_millis(150),
        );
    }
}

/// Asks on a connection of its own. The status, and what must come with it.
fn look(from: IpAddr, addr: SocketAddr) -> io::Result<String> {
    let mut client = Client::try_connect_from(from, addr)?;
    let response: Response = client.try_request("GET", PUBLIC, &[])?;
    Ok(match response.header("Retry-After") {
        Some(after) => format!("{} with Retry-After: {after}", response.status),
        None => response.status.to_string(),
    })
}
