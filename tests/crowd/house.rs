//! A server, its tenant and a user's token: what each scenario begins with.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;

use crate::support::contract::PUBLIC;
use crate::support::postern::{Builder, Postern, binary};
use crate::support::record::ask_anew;
use crate::support::tenant::Tenant;
use crate::support::token::Token;
use crate::support::usage::{Usage, settled_usage, usage};
use crate::support::{TempDir, wait_until};

/// A server that has its keys, and has accepted the token once.
pub struct House {
    /// The server.
    pub postern: Postern,
    /// Its tenant.
    pub tenant: Tenant,
    /// A user's token.
    pub token: String,
    /// A file with the token.
    pub token_file: PathBuf,
    _folder: TempDir,
}

impl House {
    /// With these settings, and a log that has no line per request.
    pub fn open(settings: &[(&str, &str)]) -> House {
        House::open_with(|mut builder| {
            for (name, value) in settings {
                builder = builder.env(name, *value);
            }
            builder
        })
    }

    /// With other settings as well.
    pub fn open_with(change: impl FnOnce(Builder) -> Builder) -> House {
        let tenant = Tenant::start();
        let token = Token::user(&tenant).sign();
        let folder = TempDir::new();
        let token_file = folder.path().join("token");
        fs::write(&token_file, &token).expect("the temporary folder takes a file");
        let builder = Postern::builder(&tenant).env("RUST_LOG", "warn");
        let postern = change(builder).start();
        let house = House {
            postern,
            tenant,
            token,
            token_file,
            _folder: folder,
        };
        wait_until("the token is accepted", || {
            ask_anew(loopback(1), house.addr(), &house.token).is_ok()
        });
        assert_eq!(house.postern.get(PUBLIC, &[]).status, 200);
        house
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.postern.addr()
    }

    /// What it uses now.
    pub fn usage(&self) -> Usage {
        usage(self.postern.pid())
    }

    /// What it uses when the start is over.
    pub fn settled_usage(&self) -> Usage {
        settled_usage(self.postern.pid())
    }
}

/// 127.0.0.`last`: all of them are this machine's.
pub fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// How many workers serve: one for each processor, at least two.
pub fn workers() -> u64 {
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    processors.max(2)
}

/// Whether the binary needs no loader (ELF: no program header of the type `PT_INTERP`, 3). Bounds
/// of memory and size are for such a one.
pub fn is_static() -> bool {
    let elf = fs::read(binary()).expect("the binary can be read");
    assert!(
        elf.starts_with(b"\x7fELF"),
        "{} is no ELF",
        binary().display()
    );
    let number = |at: usize, size: usize| {
        let bytes = elf[at..at + size].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    // Offset, size of one, and count of the program headers, in a file of 64 bits or of 32.
    let (first, size, count) = match elf[4] {
        2 => (number(32, 8), number(54, 2), number(56, 2)),
        _ => (number(28, 4), number(42, 2), number(44, 2)),
    };
    (0..count).all(|header| number(first + header * size, 4) != 3)
}
