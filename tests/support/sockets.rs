//! What the kernel holds for the server's sockets, according to `ss` of iproute2.

use std::net::SocketAddr;
use std::process::Command;

use super::client::Client;
use super::wait_until;

/// One TCP socket with the server's port, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// `ESTAB`, `FIN-WAIT-1`, ...
    pub state: String,
    /// The other end.
    pub peer: SocketAddr,
    /// Bytes received that the server has not read.
    pub unread: u64,
    /// Whether a process has it. Not so before it is accepted, and after it is closed.
    pub is_owned: bool,
    /// Kernel memory in bytes: for received bytes, for bytes to send, and allocated in advance.
    pub memory: u64,
    /// The fields of `skmem`: `memory` is the sum of `r`, `w` and `f`.
    pub parts: String,
}

/// All sockets with this port on the server's side, except listening ones, including closed ones
/// that the kernel keeps until everything is sent.
pub fn sockets(port: u16) -> Vec<Socket> {
    let filter = format!("sport = :{port}");
    let output = Command::new("ss")
        .args(["-tmoaenHO", &filter])
        .output()
        .unwrap_or_else(|error| panic!("cannot run ss ({error}): install iproute2"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "ss: {output:?}");
    let rows = text.lines().filter(|line| !line.starts_with("LISTEN"));
    rows.map(|line| parse(line).unwrap_or_else(|| panic!("ss printed {line:?}")))
        .collect()
}

/// The memory of all [`sockets`] of this port together, in bytes.
pub fn kernel_memory(port: u16) -> u64 {
    sockets(port).iter().map(|socket| socket.memory).sum()
}

/// Waits until the server has accepted these connections and read all bytes received over them.
#[track_caller]
pub fn wait_until_read<'a>(addr: SocketAddr, clients: impl IntoIterator<Item = &'a Client>) {
    let peers: Vec<_> = clients.into_iter().map(Client::local_addr).collect();
    wait_until("all connections are read", || {
        let sockets = sockets(addr.port());
        let is_read = |peer: &SocketAddr| {
            let mut theirs = sockets.iter().filter(|socket| socket.peer == *peer);
            theirs.any(|socket| socket.is_owned && socket.unread == 0)
        };
        peers.iter().all(is_read)
    });
}

/// Waits until the server has accepted these connections, each of which has sent something. `false`
/// if the server has read any of that: then not all are newcomers.
#[track_caller]
pub fn wait_until_accepted_unread<'a>(
    addr: SocketAddr,
    clients: impl IntoIterator<Item = &'a Client>,
) -> bool {
    let peers: Vec<_> = clients.into_iter().map(Client::local_addr).collect();
    let mut are_unread = false;
    wait_until("all connections are accepted", || {
        let sockets = sockets(addr.port());
        let is_theirs = |socket: &&Socket| socket.is_owned && peers.contains(&socket.peer);
        let theirs: Vec<_> = sockets.iter().filter(is_theirs).collect();
        are_unread = theirs.iter().all(|socket| socket.unread > 0);
        theirs.len() == peers.len() || !are_unread
    });
    are_unread
}

fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace();
    let state = words.next()?.to_owned();
    let unread = words.next()?.parse().ok()?;
    let peer: SocketAddr = words.nth(2)?.parse().ok()?;
    // An IPv4 peer of an IPv6 socket is an IPv4 peer.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let is_owned = words
        .find_map(|word| word.strip_prefix("ino:"))
        .is_some_and(|inode| inode != "0");
    // A socket in `TIME-WAIT` has no buffers.
    let (_, memory) = line.split_once("skmem:(").unwrap_or(("", "r0,w0,f0)"));
    let (memory, _) = memory.split_once(')')?;
    let part = |name: &str| -> Option<u64> {
        // `rb` also begins with `r`, but only `r` is followed by a number.
        let mut parts = memory.split(',');
        parts.find_map(|part| part.strip_prefix(name)?.parse().ok())
    };
    Some(Socket {
        state,
        peer,
        unread,
        is_owned,
        memory: part("r")? + part("w")? + part("f")?,
        parts: memory.to_owned(),
    })
}
