//! The host on which postern is installed, and what a user sees of it there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::machine::{Desk, Machine, wait_for};
use crate::support::certificates::ServerFiles;
use crate::support::client::{Client, Response, bearer};
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::https::client_config;
use crate::support::tenant::Tenant;

/// Where the settings and postern.socket have it listen.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6060);

/// The host, its tenant and its user.
pub struct Host {
    /// Where its administrator works.
    pub desk: Desk,
    /// None while it is off.
    pub machine: Option<Machine>,
    /// The folder that holds its files.
    pub root: PathBuf,
    /// Who issues the tokens.
    pub tenant: Tenant,
    /// A token that stays valid.
    pub user: String,
    /// All tokens that have been sent.
    pub sent: Mutex<Vec<String>>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Set if it speaks TLS there.
    pub tls: Option<Tls>,
}

/// The certificate of the service, and its clients' trust in that.
pub struct Tls {
    /// The files on the desk.
    pub files: ServerFiles,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// A certificate of a private CA.
    pub fn new(desk: &Desk) -> Tls {
        let files = ServerFiles::new(desk.folder());
        let mut config = client_config(files.root.pem(), rustls::ALL_VERSIONS);
        // Each connection looks at the certificate.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        Tls { files, config }
    }
}

impl Host {
    /// The machine, which is on.
    pub fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("it is switched on")
    }

    /// The status of an answer on a connection of its own.
    pub fn status(&self, path: &str, token: &str) -> u16 {
        self.sent
            .lock()
            .expect("no test panics with it")
            .push(token.to_owned());
        self.get(path, token).expect("an answer").status
    }

    /// A connection, its TLS handshake done if it needs one.
    pub fn connect(&self) -> io::Result<Client> {
        let client = Client::try_connect(self.address)?;
        match &self.tls {
            Some(tls) => client.try_secure(&tls.config),
            None => Ok(client),
        }
    }

    /// An answer on a connection of its own.
    fn get(&self, path: &str, token: &str) -> io::Result<Response> {
        let authorization = bearer(token);
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Connection", "close"),
        ];
        self.connect()?.try_request("GET", path, &headers)
    }

    /// Waits until protected requests are answered.
    pub fn wait_until_served(&self) {
        wait_for("a protected request is answered", || {
            self.get(PROTECTED, &self.user)
                .is_ok_and(|response| response.status == 200)
        });
    }

    /// The service's process.
    pub fn main_pid(&self) -> String {
        self.machine().show("MainPID")
    }

    /// How often systemd has started it again by itself.
    pub fn restarts(&self) -> u32 {
        let count = self.machine().show("NRestarts");
        count.parse().expect("systemd tells a number")
    }

    /// Waits until the service has been started again by itself, and serves.
    pub fn wait_for_restart(&self, restarts: u32) {
        wait_for("it is started again", || {
            self.restarts() > restarts && self.machine().show("ActiveState") == "active"
        });
        self.wait_until_served();
    }

    /// Runs commands while `clients` threads ask again and again, each request on a connection of
    /// its own. All of them must be answered, whose number is returned.
    fn under_load(&self, clients: usize, commands: impl FnOnce(&AtomicUsize)) -> usize {
        let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for number in 0..clients {
                let path = [PUBLIC, PROTECTED][number % 2];
                let (is_over, answered) = (&is_over, &answered);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let response = self.get(path, &self.user).expect("an answer");
                        assert_eq!(response.status, 200, "{path}: {}", response.text());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let ended = panic::catch_unwind(AssertUnwindSafe(|| commands(&answered)));
            is_over.store(true, Ordering::Relaxed);
            if let Err(reason) = ended {
                panic::resume_unwind(reason);
            }
        });
        answered.into_inner()
    }

    /// Does this ten times, each time after requests have been answered, while clients ask again
    /// and again. All of them must be answered.
    pub fn ten_times_under_load(&self, mut act: impl FnMut()) {
        let answered = self.under_load(4, |answered| {
            for _ in 0..10 {
                let before = answered.load(Ordering::Relaxed);
                wait_for("requests are answered", || {
                    answered.load(Ordering::Relaxed) >= before + 50
                });
                act();
            }
        });
        println!("            {answered} requests, all answered");
    }

    /// Restarts the service by hand.
    pub fn restart(&self) {
        let pid = self.main_pid();
        self.machine().run("systemctl restart postern");
        assert_ne!(self.main_pid(), pid);
    }

    /// The lines of the service's latest start, priority and text, without what systemd says of it.
    pub fn lines_of_last_start(&self) -> Vec<(u64, String)> {
        let id = self.machine().show("InvocationID");
        let command = format!("journalctl --no-pager --output=json _SYSTEMD_INVOCATION_ID={id}");
        let lines = self.machine().run(&command);
        lines
            .lines()
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
                (text("PRIORITY").parse().expect("a number"), text("MESSAGE"))
            })
            .collect()
    }
}
