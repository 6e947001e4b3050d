//! What the kernel holds for the server's sockets, as `ss` of iproute2 tells.

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
    /// Bytes that have come in and that the server has not read.
    pub unread: u64,
    /// Whether a process has it: neither one that still has to be accepted nor one that was closed.
    pub is_owned: bool,
    /// Kernel memory in bytes: received, to be sent, and allocated ahead.
    pub memory: u64,
    /// What it is the sum of, among others: `r`, `w` and `f`.
    pub parts: String,
}

/// All sockets with this port on the server's side but those that listen; those, too, that were
/// closed and that the kernel keeps because not everything has been sent.
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

/// What [`sockets`] of this port take together, in bytes.
pub fn kernel_memory(port: u16) -> u64 {
    sockets(port).iter().map(|socket| socket.memory).sum()
}

/// Waits until the server has accepted these connections and read all that came over them.
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

/// Waits until the server has accepted these connections, over which it has been sent something.
/// `false` when it has read any of that: then they are no newcomers.
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
    // One in `TIME-WAIT` has no buffers any more.
    let (_, memory) = line.split_once("skmem:(").unwrap_or(("", "r0,w0,f0)"));
    let (memory, _) = memory.split_once(')')?;
    let part = |name: &str| -> Option<u64> {
        // `rb` and `r` begin alike: only one has a number behind its name.
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
