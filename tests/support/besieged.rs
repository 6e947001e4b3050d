//! A server under attack, and what must hold afterwards.

use std::net::SocketAddr;

use super::contract::PUBLIC;
use super::postern::Postern;
use super::tenant::Tenant;
use super::usage::{Usage, raise_descriptor_limit, usage, wait_for_usage};

/// A mebibyte, in bytes.
pub const MIB: u64 = 1024 * 1024;

/// A server that a test attacks. At the end it must serve, with bounded memory and no more
/// descriptors than at first.
pub struct Besieged {
    /// The server.
    pub postern: Postern,
    /// What it used after its first answer.
    pub before: Usage,
}

impl Besieged {
    /// Starts a server with these settings, and a tenant that the test does not need.
    pub fn start(settings: &[(&str, &str)]) -> Besieged {
        Besieged::start_with(settings, &[])
    }

    /// The same, run through another program; see [`Builder::prefix`].
    ///
    /// [`Builder::prefix`]: super::postern::Builder::prefix
    pub fn start_with(settings: &[(&str, &str)], prefix: &[&str]) -> Besieged {
        raise_descriptor_limit();
        let tenant = Tenant::start();
        let mut builder = Postern::builder(&tenant).prefix(prefix);
        for (name, value) in settings {
            builder = builder.env(name, *value);
        }
        let postern = builder.start();
        assert_eq!(postern.get(PUBLIC, &[]).status, 200);
        let before = usage(postern.pid());
        Besieged { postern, before }
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.postern.addr()
    }

    /// The most threads it may have with any number of connections: one more than at first, because
    /// a fetch of the keys has a thread for the lookup of the tenant's name.
    pub fn most_threads(&self) -> u64 {
        self.before.threads + 1
    }

    /// Panics unless the server has less memory than this now.
    pub fn assert_memory_below(&self, bytes: u64) {
        let memory = usage(self.postern.pid()).memory;
        assert!(
            memory < bytes,
            "{memory} bytes, at first {}",
            self.before.memory
        );
    }

    /// Panics unless the server still serves, has closed every connection, and has not panicked.
    pub fn assert_unharmed(&self) {
        assert_eq!(self.postern.get(PUBLIC, &[]).status, 200);
        let before = self.before;
        wait_for_usage(self.postern.pid(), |now| {
            now.descriptors <= before.descriptors && now.memory < 16 * MIB
        });
        let panics: Vec<_> = self
            .postern
            .logs()
            .into_iter()
            .filter(|line| line.contains("panic"))
            .collect();
        assert!(panics.is_empty(), "{panics:?}");
    }
}
