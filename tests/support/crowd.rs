//! More connections than a server has places for, from addresses that count apart.

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

/// Other hosts, as far as a listener on loopback can tell.
pub const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
pub const C: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
pub const D: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

/// A request that is answered at once.
pub const REQUEST: &str = "GET /api/messages/public HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection over which a request has been answered: it has a place, and waits for longer than
/// any that comes after.
pub fn answered(source: IpAddr, postern: &Postern) -> Client {
    let mut client = Client::connect_from(source, postern.addr());
    assert_served(&mut client);
    wait_until_asleep(postern.pid());
    client
}

/// Has a connection made, and waits until the server has accepted it and done what there is to do.
pub fn taken(postern: &Postern, connect: impl FnOnce() -> Client) -> Client {
    let before = usage(postern.pid()).descriptors;
    let client = connect();
    // One that is answered at once may be at the expense of another.
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

/// Panics unless this is the answer to a connection that there is no place for.
#[track_caller]
pub fn assert_refused(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.text(), r#"{"message":"Service Unavailable"}"#);
    assert_eq!(response.header("Retry-After"), Some("1"));
    assert!(closes(response));
}

/// The reason why a scenario failed that depends on the speed of this machine.
pub const TOO_SLOW: &str = "this machine is too slow";

/// Runs `scenario`. It returns an error if it proves nothing, as may happen on a slow machine.
/// Panics if that happens twenty times in a row.
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

/// The settings of a server with four places, at which no deadline but those of a full one ends
/// a connection.
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

/// A [small server](small_server) whose tenant keeps it waiting for its first keys. A request with
/// a token is under way for as long, but for no more than two seconds.
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

    /// Connections from this address whose requests are under way.
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

    /// The tenant answers, and so does the server.
    pub fn release(&self) {
        self.tenant.answer(Behaviour::Keys);
    }

    /// The same, and asserts that these are answered. For each of them, whether it closes then.
    ///
    /// # Errors
    /// One was answered before, because it had waited for too long.
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

/// Sees to it that none of their requests has been answered yet.
///
/// # Errors
/// One has.
pub fn are_under_way(clients: &[Client]) -> Result<(), &'static str> {
    let all = clients.iter().all(Client::is_silent);
    all.then_some(())
        .ok_or("a request is not under way any more")
}

/// Sees to it that less time has passed.
///
/// # Errors
/// It has not.
pub fn is_before(since: Instant, end: Duration) -> Result<(), &'static str> {
    (since.elapsed() < end).then_some(()).ok_or(TOO_SLOW)
}
