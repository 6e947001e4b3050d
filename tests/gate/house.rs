//! A proxy between clients and a service, and postern beside it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::backend::Backend;
use crate::proxies::{Addresses, Kind, Proxy};
use crate::support::client::{Client, Response, bearer};
use crate::support::postern::{Postern, free_addr};
use crate::support::tenant::Tenant;
use crate::support::token::Token;

/// Where clients come from: another address than the proxy's.
const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// All that a scenario needs.
pub struct House {
    /// The proxy.
    pub proxy: Proxy,
    /// The service behind it.
    pub backend: Backend,
    /// The tenant.
    pub tenant: Tenant,
    /// A user's `Authorization`, without permissions.
    pub user: String,
    /// The one of a user with the permission `read:admin-messages`.
    pub admin: String,
    postern: Option<Postern>,
    /// Where the proxy looks for postern.
    addr: SocketAddr,
}

impl House {
    /// With this kind of proxy.
    pub fn open(kind: &Kind) -> House {
        let tenant = Tenant::start();
        let backend = Backend::start();
        let addr = free_addr();
        let addresses = Addresses {
            postern: addr,
            service: backend.addr,
        };
        let mut house = House {
            proxy: Proxy::start(kind, &addresses),
            backend,
            user: bearer(&Token::user(&tenant).sign()),
            admin: bearer(&Token::user(&tenant).admin().sign()),
            tenant,
            postern: None,
            addr,
        };
        house.start_postern();
        house.postern().wait_for_keys();
        house
    }

    /// Starts postern where the proxy looks for it. It has no keys yet.
    pub fn start_postern(&mut self) {
        let builder = Postern::builder(&self.tenant)
            .env("PORT", self.addr.port().to_string())
            .env("FORWARD_AUTH_PATH", "/auth")
            .env("TRUSTED_PROXIES", "127.0.0.1");
        self.postern = Some(builder.start());
    }

    /// Ends postern.
    pub fn stop_postern(&mut self) {
        self.postern = None;
    }

    /// The running postern.
    pub fn postern(&self) -> &Postern {
        self.postern.as_ref().expect("it was started")
    }

    /// A client's connection to the proxy.
    pub fn connect(&self) -> Client {
        Client::connect_from(CLIENTS, self.proxy.addr)
    }

    /// A client's request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let response = self.connect().try_request(method, path, headers);
        response.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same with a user's token.
    pub fn ask_with(&self, authorization: &str, method: &str, path: &str) -> Response {
        self.ask(method, path, &[("Authorization", authorization)])
    }

    /// The addresses of the proxy at which postern has answered requests of its gate.
    pub fn peers(&self) -> HashSet<String> {
        let lines = self.postern().logs();
        let peers = lines.iter().filter_map(|line| {
            let (_, rest) = line.split_once("127.0.0.2 via ")?;
            let (peer, _) = rest.split_once(" GET /auth ")?;
            Some(peer.to_owned())
        });
        peers.collect()
    }

    /// Runs a request that must not pass, and returns its answer.
    #[track_caller]
    pub fn refused(&self, ask: impl FnOnce() -> Response) -> Response {
        let before = self.backend.requests();
        let response = ask();
        assert_eq!(self.backend.requests(), before, "it has passed");
        assert_ne!(response.status, 200, "{response:?}");
        let body = String::from_utf8_lossy(&response.body);
        assert!(!body.contains(crate::proxies::FILE.trim()), "{body}");
        response
    }
}
