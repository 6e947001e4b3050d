//! What proxies say of the requests that they pass on: for the log only, no decision depends on it.
//!
//! Anyone can send these headers, so they count only from a trusted peer.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::request::Request;
use super::socket::Peer;
use crate::escape::Escaped;
use crate::network::Trusted;

/// The longest part of a forwarded request that is logged, in bytes.
const MAX_LOGGED: usize = 256;

/// Whose word counts, and for which requests.
#[derive(Debug, Clone, Default)]
pub struct Forwarded {
    /// The peers that may name their clients.
    pub trusted: Trusted,
    /// The path at which proxies ask about requests of others.
    pub gate: Option<String>,
}

impl Forwarded {
    /// Who sent the request, as the log names it.
    pub fn client<'a>(&'a self, peer: Peer, request: &'a Request<'a>) -> Client<'a> {
        Client {
            forwarded: self,
            peer,
            request,
        }
    }

    /// Which request a proxy asks about at the gate, as the log names it.
    pub fn question<'a>(&'a self, peer: Peer, request: &'a Request<'a>) -> Question<'a> {
        Question {
            forwarded: self,
            peer,
            request,
        }
    }

    fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.trusted.contains(address.ip()),
            Peer::Unix => self.trusted.unix,
        }
    }

    /// The last address in `X-Forwarded-For` that is not a trusted one: each proxy adds its peer at
    /// the end, so all before that address may be invented. If there is none, the first address of
    /// the trusted chain.
    fn named_client(&self, request: &Request<'_>) -> Option<IpAddr> {
        let mut client = None;
        let lines = request.headers("X-Forwarded-For").rev();
        for entry in lines.flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            let Some(address) = address(entry) else {
                break;
            };
            client = Some(address);
            if !self.trusted.contains(address) {
                break;
            }
        }
        client
    }
}

/// Displays `203.0.113.9 via 127.0.0.1:4444`, or just the peer.
#[derive(Debug)]
pub struct Client<'a> {
    forwarded: &'a Forwarded,
    peer: Peer,
    request: &'a Request<'a>,
}

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forwarded.trusts(self.peer)
            && let Some(client) = self.forwarded.named_client(self.request)
        {
            write!(f, "{client} via ")?;
        }
        self.peer.fmt(f)
    }
}

/// Displays ` for POST example.com/files/x`, or nothing.
#[derive(Debug)]
pub struct Question<'a> {
    forwarded: &'a Forwarded,
    peer: Peer,
    request: &'a Request<'a>,
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Forwarded { gate, .. } = self.forwarded;
        if gate.as_deref() != Some(self.request.path()) || !self.forwarded.trusts(self.peer) {
            return Ok(());
        }
        let method = self.request.header("X-Forwarded-Method");
        let host = self.request.header("X-Forwarded-Host");
        let uri = self.request.header("X-Forwarded-Uri");
        // A query may hold a secret.
        let path = uri.and_then(|uri| uri.split(|byte| b"?#".contains(byte)).next());
        if let (None, None, None) = (method, host, path) {
            return Ok(());
        }
        f.write_str(" for")?;
        if let Some(method) = method {
            write!(f, " {}", Text(method))?;
        }
        if host.is_some() || path.is_some() {
            let [host, path] = [host, path].map(|part| Text(part.unwrap_or_default()));
            write!(f, " {host}{path}")?;
        }
        Ok(())
    }
}

/// A header value, escaped and cut.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped::new(&String::from_utf8_lossy(self.0), MAX_LOGGED).fmt(f)
    }
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry.trim_ascii()).ok()?;
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::from)
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|both| both.ip());
    let address = text.parse().ok().or_else(with_port).or_else(bracketed);
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
