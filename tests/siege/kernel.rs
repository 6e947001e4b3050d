//! What the kernel holds for the server's connections, and how many connections it drops.
//!
//! Memory is what ss tells of each socket: what has been received (`r`), what is to be sent (`w`)
//! and what is allocated ahead (`f`). The `mem` of `/proc/net/sockstat` would not do: it is the
//! whole machine's in every network namespace, in pages, and has the attackers' sockets in it.

use std::fs;
use std::process::Command;

use crate::support::sockets::{Socket, sockets};

/// The server's sockets at one moment, or the most of each number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Connections that the server has accepted and not closed.
    pub accepted: u64,
    /// Closed by the server, with bytes that the peer has not taken.
    pub orphans: u64,
    /// Bytes for both.
    pub memory: u64,
    /// Bytes for those that wait to be accepted.
    pub queued: u64,
    /// Bytes for the one that takes most, whichever it is.
    pub largest: u64,
}

impl Held {
    /// What the kernel holds now for the server with this port.
    pub fn now(port: u16) -> Held {
        let mut held = Held::default();
        for socket in sockets(port) {
            held.add(&socket);
        }
        held
    }

    fn add(&mut self, socket: &Socket) {
        self.largest = self.largest.max(socket.memory);
        match socket.state.as_str() {
            _ if socket.is_owned => self.accepted += 1,
            "FIN-WAIT-1" | "CLOSING" | "LAST-ACK" => self.orphans += 1,
            "ESTAB" | "CLOSE-WAIT" | "SYN-RECV" => {
                self.queued += socket.memory;
                return;
            }
            // Only a note that the connection was there.
            _ => return,
        }
        self.memory += socket.memory;
    }

    /// The greater of each number.
    pub fn max(self, other: Held) -> Held {
        Held {
            accepted: self.accepted.max(other.accepted),
            orphans: self.orphans.max(other.orphans),
            memory: self.memory.max(other.memory),
            queued: self.queued.max(other.queued),
            largest: self.largest.max(other.largest),
        }
    }
}

/// Connections that the kernel dropped, in this network namespace, since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Drops {
    /// Dropped because the accept queue was full.
    pub queue_full: u64,
    /// SYNs that were sent again.
    pub syns_again: u64,
}

impl Drops {
    pub fn now() -> Drops {
        Drops {
            queue_full: counter("ListenOverflows"),
            syns_again: counter("TCPSynRetrans"),
        }
    }

    pub fn since(self, before: Drops) -> Drops {
        Drops {
            queue_full: self.queue_full - before.queue_full,
            syns_again: self.syns_again - before.syns_again,
        }
    }
}

/// A counter of `TcpExt`: one line has the names, the next one the numbers.
fn counter(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").expect("Linux has it");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = (lines.next(), lines.next());
    let at = names.and_then(|names| names.split(' ').position(|other| other == name));
    let number = at.and_then(|at| numbers?.split(' ').nth(at)?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in /proc/net/netstat"))
}

/// The length of the accept queue: what the server asked for, and what the system allows.
pub fn queue_lengths(port: u16) -> (u64, u64) {
    let filter = format!("sport = :{port}");
    let output = Command::new("ss").args(["-tlnH", &filter]).output();
    let output = output.expect("ss is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let asked = text.split_whitespace().nth(2).and_then(|n| n.parse().ok());
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn");
    let allowed = allowed.ok().and_then(|n| n.trim().parse().ok());
    let lengths = asked.zip(allowed);
    lengths.unwrap_or_else(|| panic!("ss printed {text:?}"))
}
