//! More connections than a server has places for, from addresses that are counted separately.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::besieged::Besieged;
use super::client::{Client, Response, bearer};
use super::contract::{PROTECTED, PUBLIC};
use super::postern::Postern;
use super::sockets::{wait_until_accepted_unread, wait_until_read};
use super::tenant::{Behaviour, Tenant};
use super::token::Token;
use super::usage::{usage, wait_until_asleep};
use super::wait_until;

/// Loopback addresses, each of which is another host to the server.
pub const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
pub const C: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
pub const D: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

/// A request that is answered at once.
pub const REQUEST: &str = "GET /api/messages/public HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection over which a request has been answered. It has a place, and has waited for longer
/// than any later connection.
pub fn answered(source: IpAddr, postern: &Postern) -> Client {
    let mut client = Client::connect_from(source, postern.addr());
    assert_served(&mut client);
    wait_until_asleep(postern.pid());
    client
}

/// Makes a connection, and waits until the server has accepted it and is idle.
pub fn taken(postern: &Postern, connect: impl FnOnce() -> Client) -> Client {
    let before = usage(postern.pid()).descriptors;
    let client = connect();
    // An answer also shows it: the server may have evicted another connection at the same time.
    wait_until("the connection is accepted", || {
        usage(postern.pid()).descriptors > before || !client.is_silent()
    });
    wait_until_asleep(postern.pid());
    client
}

/// A connection over which a request has been sent.
pub fn asking(source: IpAddr, addr: SocketAddr) -> Client {
    let mut client = Client::connect_from(source, addr);
    client.send(REQUEST);
    client
}

/// Connections from these addresses over which a request has been sent, accepted in this order.
///
/// # Errors
/// The server has read from one, or closed it: it is no newcomer.
pub fn newcomers<const N: usize>(
    sources: [IpAddr; N],
    postern: &Postern,
) -> Result<[Client; N], &'static str> {
    let ask = |source| taken(postern, || asking(source, postern.addr()));
    let clients = sources.map(ask);
    match wait_until_accepted_unread(postern.addr(), &clients) {
        true => Ok(clients),
        false => Err("a newcomer did not have to wait"),
    }
}

/// Whether the server closes after this answer, and says so.
pub fn closes(response: &Response) -> bool {
    response.header("Connection") == Some("close")
}

/// Panics unless another request over this connection is answered.
#[track_caller]
pub fn assert_served(client: &mut Client) {
    let response = client.request("GET", PUBLIC, &[]);
    assert_eq!(response.status, 200);
}

/// Panics unless this is the answer to a connection that got no place.
#[track_caller]
pub fn assert_refused(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.text(), r#"{"message":"Service Unavailable"}"#);
    assert_eq!(response.header("Retry-After"), Some("1"));
    assert!(closes(response));
}

/// The error of a scenario for which this machine was too slow.
pub const TOO_SLOW: &str = "this machine is too slow";

/// Runs `scenario` until it returns `Ok`. An error means that the run proves nothing, as can happen
/// on a slow machine. Panics after twenty errors.
#[track_caller]
pub fn in_time(mut scenario: impl FnMut() -> Result<(), &'static str>) {
    let mut why = "";
    for _ in 0..20 {
        match scenario() {
            Ok(()) => return,
            Err(error) => why = error,
        }
    }
    panic!("twenty times in a row: {why}");
}

/// The settings of a server with four places, which ends connections only because it is full.
const SMALL: [(&str, &str); 4] = [
    ("MAX_CONNECTIONS", "4"),
    ("HEAD_TIMEOUT_SECONDS", "3600"),
    ("IDLE_TIMEOUT_SECONDS", "3600"),
    ("WRITE_TIMEOUT_SECONDS", "3600"),
];

/// A server with four places, unless told otherwise, and no deadlines.
pub fn small_server(settings: &[(&str, &str)]) -> Besieged {
    Besieged::start(&[&SMALL[..], settings].concat())
}

/// A [small server](small_server) whose tenant does not send the first keys yet. Until it does, but
/// for two seconds at most, a request with a token is in progress.
pub struct Stalled {
    /// The tenant.
    pub tenant: Tenant,
    /// The server.
    pub postern: Postern,
    request: String,
}

impl Stalled {
    /// Starts a server with these settings.
    pub fn start(settings: &[(&str, &str)]) -> Stalled {
        let tenant = Tenant::start();
        tenant.answer(Behaviour::Stall);
        let mut builder = Postern::builder(&tenant);
        for (name, value) in SMALL.iter().chain(settings) {
            builder = builder.env(name, *value);
        }
        let postern = builder.start();
        tenant.wait_for_fetches(1);
        let authorization = bearer(&Token::user(&tenant).sign());
        let head = "HTTP/1.1\r\nHost: localhost";
        Stalled {
            tenant,
            postern,
            request: format!("GET {PROTECTED} {head}\r\nAuthorization: {authorization}\r\n\r\n"),
        }
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.postern.addr()
    }

    /// A request with a valid token.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Connections from this address whose requests are in progress.
    pub fn hold(&self, source: IpAddr, count: usize) -> Vec<Client> {
        let hold = |_| {
            let mut client = Client::connect_from(source, self.addr());
            client.send(&self.request);
            client
        };
        let clients: Vec<_> = (0..count).map(hold).collect();
        wait_until_read(self.addr(), &clients);
        clients
    }

    /// Lets the tenant send its keys, so that the server answers.
    pub fn release(&self) {
        self.tenant.answer(Behaviour::Keys);
    }

    /// The same, and asserts that the holders are answered. Returns for each whether it closes.
    ///
    /// # Errors
    /// One was answered earlier, because it had waited for too long.
    pub fn release_all(&self, holders: &mut [Client]) -> Result<Vec<bool>, &'static str> {
        self.release();
        let closes = |holder: &mut Client| {
            let response = holder.response();
            if response.message() == "Unable to verify credentials" {
                return Err(TOO_SLOW);
            }
            assert_eq!(response.status, 200, "{}", response.text());
            Ok(closes(&response))
        };
        holders.iter_mut().map(closes).collect()
    }
}

/// Checks that all their requests are still in progress.
///
/// # Errors
/// One has been answered, or closed.
pub fn are_under_way(clients: &[Client]) -> Result<(), &'static str> {
    let all = clients.iter().all(Client::is_silent);
    all.then_some(())
        .ok_or("a request is no longer in progress")
}

/// Checks that less than `end` has passed since then.
///
/// # Errors
/// More time has passed.
pub fn is_before(since: Instant, end: Duration) -> Result<(), &'static str> {
    (since.elapsed() < end).then_some(()).ok_or(TOO_SLOW)
}
