//! The unit by which connections are counted, and the keys of the sets that order them.

use std::net::IpAddr;

use crate::http::socket::Peer;

/// The unit by which connections are counted: an IPv4 address, an IPv6 /64, or all Unix peers.
///
/// An IPv6 host usually has a whole /64, so a count per address would limit nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u128);

/// Two ranks, then a source or the source of a connection. All ordered sets have this type of key,
/// so that the binary contains the code of only one.
pub type Key = (u64, u64, Source);

impl Source {
    /// The first in any order. No TCP peer has the address zero.
    pub const MIN: Source = Source(0);

    /// The source of a peer.
    pub fn of(peer: Peer) -> Source {
        match peer {
            Peer::Tcp(address) => Source::of_address(address.ip()),
            Peer::Unix => Source::MIN,
        }
    }

    fn of_address(address: IpAddr) -> Source {
        let host_part = u128::from(u64::MAX);
        match address.to_canonical() {
            IpAddr::V4(v4) => Source(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Source(v6.to_bits() & !host_part),
        }
    }
}
