//! IP networks, and the peers that are trusted to name their clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of IP addresses in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3). A single address is
/// one with the longest prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The first address, in its canonical form: never an IPv4-mapped IPv6 address.
    first: IpAddr,
    /// How many leading bits are those of `first`.
    prefix: u8,
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkError {
    /// It does not begin with an IP address.
    Address,
    /// What follows the slash is not the length of a prefix, at most this one.
    Prefix(u8),
    /// Bits behind the prefix are set. This is the network that the address is in.
    Host(IpAddr, u8),
}

impl Network {
    /// Parses `192.0.2.1`, `192.0.2.0/24`, `2001:db8::1` or `2001:db8::/32`. IPv4-mapped IPv6
    /// networks become the IPv4 networks that they map.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn parse(text: &str) -> Result<Network, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let most = bits(address);
        let prefix = match prefix {
            Some(prefix) => parse_prefix(prefix, most).ok_or(NetworkError::Prefix(most))?,
            None => most,
        };
        let first = masked(address, prefix);
        if first != address {
            return Err(NetworkError::Host(first, prefix));
        }
        Ok(match first.to_canonical() {
            // The first 96 bits of a mapped address are the same for all of them.
            v4 @ IpAddr::V4(_) if most == 128 && prefix >= 96 => Network {
                first: v4,
                prefix: prefix - 96,
            },
            _ => Network { first, prefix },
        })
    }

    /// Whether `address` is in this network. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        bits(address) == bits(self.first) && masked(address, self.prefix) == self.first
    }
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn parse_prefix(text: &str, most: u8) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = text.parse().ok().filter(|prefix| *prefix <= most);
    prefix.filter(|_| is_plain)
}

/// `address` with all bits behind the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// The peers whose word about their clients counts. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// The networks that they are in.
    pub networks: Vec<Network>,
    /// Whether peers on Unix sockets are among them.
    pub unix: bool,
}

impl Trusted {
    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether this address is one of theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let in_network = |network: &Network| network.contains(address);
        self.networks.iter().any(in_network)
    }
}

#[cfg(test)]
mod tests;
