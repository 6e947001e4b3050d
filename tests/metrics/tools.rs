//! Programs that are run, and a server for them to watch.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output};

use crate::support::admin::{ANY, admin_addr};
use crate::support::client::bearer;
use crate::support::contract::{PROTECTED, PUBLIC};
use crate::support::https::Https;
use crate::support::token::Token;

/// A server over TLS that has answered some requests, so that it has a sample of each family.
pub struct Watched {
    /// The server, its tenant and its files.
    pub https: Https,
    /// Its admin address.
    pub admin: SocketAddr,
}

impl Watched {
    /// Starts it.
    pub fn start() -> Watched {
        let https = Https::start_with(|builder| builder.env(ANY.0, ANY.1));
        https.postern.wait_for_keys();
        let admin = admin_addr(&https.postern);
        let token = bearer(&Token::user(&https.tenant).sign());
        let expired = bearer(&Token::user(&https.tenant).expired().sign());
        let mut client = https.client();
        assert_eq!(client.request("GET", PUBLIC, &[]).status, 200);
        for (token, status) in [(&token, 200), (&token, 200), (&expired, 401)] {
            let headers = [("Authorization", token.as_str())];
            let response = client.request("GET", PROTECTED, &headers);
            assert_eq!(response.status, status);
        }
        Watched { https, admin }
    }
}

/// Runs a program to its end; panics with what it printed unless it succeeds.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (&output.stdout, &output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    );
    output
}

/// A program that runs until it is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a program that writes its log into this file.
    pub fn start(command: &mut Command, log: &Path) -> Running {
        let file = File::create(log).expect("the folder takes a file");
        let both = file.try_clone().expect("a file can be shared");
        let child = command.stdout(file).stderr(both).spawn();
        Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Panics with the log if it has ended.
    pub fn assert_runs(&mut self, log: &Path) {
        let ended = self.0.try_wait().expect("the child is ours");
        if let Some(status) = ended {
            let text = fs::read_to_string(log).unwrap_or_default();
            panic!("it has ended, {status}:\n{text}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has been reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
