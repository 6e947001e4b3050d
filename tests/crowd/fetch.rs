//! Requests that wait for a fetch of the keys, and others that need not.

use std::thread;
use std::time::{Duration, Instant};

use crate::house::{House, loopback};
use crate::support::client::{Client, bearer};
use crate::support::contract::PROTECTED;
use crate::support::record::{Record, ask_again, ask_anew};
use crate::support::tenant::Behaviour;
use crate::support::token::Token;
use crate::table::Table;

/// The most requests that may wait at one time.
const WAITING: usize = 64;
/// A request waits for a second. What is measured meanwhile takes less.
const MEASURED: Duration = Duration::from_millis(400);
const AT_ONCE: Duration = Duration::from_millis(100);
const COOLDOWN: Duration = Duration::from_secs(1);

pub fn run(table: &mut Table) {
    let house = House::open(&[("JWKS_COOLDOWN_SECONDS", "1")]);
    // The key after the current one is in the set as well.
    house.tenant.rotate();
    house.tenant.rotate();
    let unknown = Token::user(&house.tenant).sign();
    let mut waiting: Vec<Client> = (0..WAITING).map(|_| client(&house)).collect();
    let mut one_more = client(&house);
    thread::sleep(COOLDOWN);

    house.tenant.answer(Behaviour::Stall);
    let fetches = house.tenant.fetches();
    for client in &mut waiting {
        client.send(request(&unknown));
    }
    house.tenant.wait_for_fetches(fetches + 1);
    // So that all of them wait.
    thread::sleep(Duration::from_millis(150));
    let started = Instant::now();
    one_more.send(request(&unknown));
    let refused = one_more.try_response(false);
    let refused_after = started.elapsed();
    let (kept, fresh) = known(&house);

    let still = waiting.iter().filter(|client| client.is_silent()).count();
    table.all("requests still waiting after that", still, WAITING);
    let answer = refused.map_or("nothing".to_owned(), |refused| {
        format!("{} {}", refused.status, refused.json()["error"])
    });
    let asked = "503 \"signing_key_unavailable\"";
    table.is("one more is answered", &answer, asked);
    table.within("one more, answered after", Some(refused_after), AT_ONCE);
    for (who, record) in [("a known key", &kept), ("one on new connections", &fresh)] {
        let asked = record.answered() + record.failed();
        table.all(&format!("{who}: answered"), record.answered(), asked);
        let p99 = record.percentile(99);
        table.within(&format!("{who}: p99"), p99, Duration::from_millis(10));
    }

    house.tenant.answer(Behaviour::Keys);
    let answered = waiting
        .iter_mut()
        .filter_map(|client| client.try_response(false).ok());
    let accepted = answered.filter(|response| response.status == 200).count();
    table.all(
        "requests answered 200 once the keys are there",
        accepted,
        WAITING,
    );
}

/// Two clients whose token's key is known, at the same time.
fn known(house: &House) -> (Record, Record) {
    let mut kept = Record::new("a known key");
    let mut fresh = Record::new("a known key, new connections");
    let end = Instant::now() + MEASURED;
    let pause = Duration::from_millis(2);
    let (addr, token) = (house.addr(), house.token.as_str());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = None;
            kept.each(pause, end, |reconnected| {
                ask_again(&mut connection, loopback(1), addr, token, reconnected)
            });
        });
        fresh.each(pause, end, |_| ask_anew(loopback(1), addr, token));
    });
    (kept, fresh)
}

/// A connection that the server has accepted.
fn client(house: &House) -> Client {
    let mut client = Client::connect(house.addr());
    client.request(
        "GET",
        PROTECTED,
        &[("Authorization", &bearer(&house.token))],
    );
    client
}

fn request(token: &str) -> String {
    let authorization = bearer(token);
    format!("GET {PROTECTED} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n")
}
