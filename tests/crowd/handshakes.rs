//! A flood of TLS handshakes beside a client on an open connection, and what TLS costs when idle.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::house::{is_static, loopback};
use crate::support::Ending;
use crate::support::besieged::MIB;
use crate::support::client::{Client, bearer};
use crate::support::contract::{PROTECTED, PROTECTED_BODY, PUBLIC};
use crate::support::https::Https;
use crate::support::postern::Builder;
use crate::support::record::Record;
use crate::support::token::Token;
use crate::support::unchecked;
use crate::support::usage::{settled_usage, usage};
use crate::table::Table;

/// Clients of a flood, each with one connection at a time.
const FLOOD: u8 = 64;
/// The requests of the client beside it: 200 per second for 5 s.
const REQUESTS: u32 = 1000;
const INTERVAL: Duration = Duration::from_millis(5);
const MOST: Duration = Duration::from_millis(20);
/// Fewer handshakes than this in the same time are no flood.
const LEAST_FLOOD: f64 = 500.0;
const IDLE: usize = 1000;
const KIB: f64 = 1024.0;

pub fn completed(table: &mut Table) {
    let mut config = unchecked::client_config(rustls::ALL_VERSIONS);
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    flood(table, "handshakes", |from, addr| {
        let client = Client::try_connect_from(from, addr)?;
        client.try_secure(&config).map(drop)
    });
}

/// What a stranger can ask for at the least cost: a handshake that begins with bytes recorded once.
pub fn abandoned(table: &mut Table) {
    let hello = hello();
    flood(table, "handshakes abandoned half-way", |from, addr| {
        let mut client = Client::try_connect_from(from, addr)?;
        client.try_send(&hello)?;
        // The header of the first record that the server sends.
        client.stream().read_exact(&mut [0; 5])?;
        client.reset();
        Ok(())
    });
}

/// The first message of a client, which may be sent again and again.
fn hello() -> Vec<u8> {
    let config = Arc::new(unchecked::client_config(rustls::ALL_VERSIONS));
    let name = ServerName::try_from("localhost").expect("it is a valid name");
    let mut session = ClientConnection::new(config, name).expect("the configuration is valid");
    let mut hello = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut hello).expect("a vector grows");
    }
    hello
}

/// Lets clients at other addresses repeat `handshake`, and asks on an open connection meanwhile.
fn flood(
    table: &mut Table,
    name: &'static str,
    handshake: impl Fn(IpAddr, SocketAddr) -> io::Result<()> + Sync,
) {
    let https = server(&[]);
    let addr = https.postern.addr();
    let mut client = Asking::connect(&https);
    client.ask().expect("the server answers before the flood");

    let (made, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let mut record = Record::new("beside a flood");
    let mut during = (0, Duration::ZERO);
    thread::scope(|scope| {
        // Also when the client panics.
        let _ending = Ending(&is_over);
        for number in 0..FLOOD {
            // An address has too few ports for all of them.
            let from = loopback(10 + number);
            let (made, failed, is_over) = (&made, &failed, &is_over);
            let handshake = &handshake;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let counter = match handshake(from, addr) {
                        Ok(()) => made,
                        Err(_) => failed,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // So that all of them have begun.
        thread::sleep(Duration::from_millis(500));
        let (before, started) = (made.load(Ordering::Relaxed), Instant::now());
        record.on_time(INTERVAL, REQUESTS, || client.ask());
        during = (made.load(Ordering::Relaxed) - before, started.elapsed());
    });

    let (made, time) = during;
    let about = |what: &str| format!("{name}: {what}");
    table.at_least(&about("made meanwhile"), made as f64, LEAST_FLOOD, "");
    let per_second = made as f64 / time.as_secs_f64();
    table.tell(&about("per second"), &format!("{per_second:.0}"));
    table.none(&about("failed"), failed.load(Ordering::Relaxed) as u64);
    let all = REQUESTS as usize;
    table.all(
        &about("answers on an open connection"),
        record.answered(),
        all,
    );
    table.within(&about("their p99"), record.percentile(99), MOST);
}

/// What a server with TLS takes, alone and with connections that have had an answer.
pub fn memory(table: &mut Table) {
    let places = (IDLE + 100).to_string();
    let settings = [
        ("MAX_CONNECTIONS", &*places),
        ("IDLE_TIMEOUT_SECONDS", "300"),
    ];
    let https = server(&settings);
    let pid = https.postern.pid();
    let config = Arc::new(unchecked::client_config(rustls::ALL_VERSIONS));
    let ask = |mut client: Client| -> io::Result<Client> {
        match client.try_request("GET", PUBLIC, &[])?.status {
            200 => Ok(client),
            status => Err(io::Error::other(status.to_string())),
        }
    };
    drop(ask(https.client()).expect("the server answers"));
    let before = settled_usage(pid);
    let idle = before.resident as f64 / MIB as f64;
    match is_static() {
        true => table.at_most("VmRSS with TLS, idle", idle, 3.0, "MiB"),
        false => table.tell(
            "VmRSS with TLS, idle (not static)",
            &format!("{idle:.2} MiB"),
        ),
    }

    let connect = |_| {
        let client = Client::try_connect(https.postern.addr())?;
        ask(client.try_secure(&config)?)
    };
    let crowd: Vec<Client> = (0..IDLE).map_while(|number| connect(number).ok()).collect();
    table.all("connections answered over TLS", crowd.len(), IDLE);
    let during = usage(pid);
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / IDLE as f64 / KIB;
    let resident = each(during.resident, before.resident);
    let memory = each(during.memory, before.memory);
    table.at_most("VmRSS per idle TLS connection", resident, 16.0, "KiB");
    table.at_most("RssAnon per idle TLS connection", memory, 16.0, "KiB");
}

/// A server over TLS that logs no line per request.
fn server(settings: &[(&str, &str)]) -> Https {
    Https::start_with(|builder| {
        let builder = builder.env("RUST_LOG", "warn");
        let add = |builder: Builder, (name, value): &(&str, &str)| builder.env(name, *value);
        settings.iter().fold(builder, add)
    })
}

/// A client with a token on an open connection.
struct Asking {
    client: Client,
    authorization: String,
}

impl Asking {
    fn connect(https: &Https) -> Asking {
        Asking {
            client: https.client(),
            authorization: bearer(&Token::user(&https.tenant).sign()),
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        let headers = [("Authorization", &*self.authorization)];
        let response = self.client.try_request("GET", PROTECTED, &headers)?;
        match response.status == 200 && response.text() == PROTECTED_BODY {
            true => Ok(()),
            false => Err(io::Error::other(response.status.to_string())),
        }
    }
}
