//! The address for those who watch the server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::values::tidy;

/// The longest path of a Unix socket, in bytes (`unix(7)`).
const MAX_PATH: usize = 107;

/// Where those who watch the server are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address and a port; 0 is any free one.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Tcp(address) => address.fmt(f),
            AdminAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

/// An IP address with a port, or the absolute path of a Unix socket.
pub(super) fn admin_address(value: &str) -> Result<Option<AdminAddress>, String> {
    tidy(value)?;
    if value.starts_with('/') {
        return unix(value).map(Some);
    }
    if let Ok(address) = value.parse() {
        return Ok(Some(AdminAddress::Tcp(address)));
    }
    let both = "write an IP address and a port, such as 127.0.0.1:9465, or the absolute path of a \
                Unix socket";
    let bare = value.trim_start_matches('[').trim_end_matches(']');
    let port = value.trim_start_matches(['*', ':']);
    Err(if let Ok(address) = bare.parse::<IpAddr>() {
        let address = SocketAddr::new(address, 9465);
        format!("it needs a port, too: write {address} or another one")
    } else if let Some(port) = value.strip_prefix("localhost:") {
        format!("it must be an IP address: write 127.0.0.1:{port}")
    } else if let Ok(port) = port.parse::<u16>() {
        format!("it needs an IP address, too: write 127.0.0.1:{port}")
    } else {
        both.to_owned()
    })
}

fn unix(path: &str) -> Result<AdminAddress, String> {
    if path.len() > MAX_PATH {
        return Err(format!("write a path of at most {MAX_PATH} bytes"));
    }
    if path.ends_with('/') {
        return Err("write the path of a file, not of a folder".to_owned());
    }
    Ok(AdminAddress::Unix(PathBuf::from(path)))
}

#[cfg(test)]
mod tests;
