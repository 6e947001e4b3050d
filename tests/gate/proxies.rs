//! The real proxies, with the configurations of this folder.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::postern::free_addr;
use crate::support::{TempDir, wait_until};

/// What a user sees of a protected file.
pub const FILE: &str = "for holders of a token\n";

/// One kind of proxy.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its files here: the configuration first.
    files: &'static [(&'static str, &'static str)],
    /// The command, in which `@DIR@` is the folder of the files.
    command: &'static [&'static str],
}

pub const KINDS: [Kind; 3] = [
    Kind {
        name: "nginx",
        files: &[("nginx.conf", include_str!("nginx.conf"))],
        command: &[
            "nginx",
            "-e",
            "stderr",
            "-p",
            "@DIR@",
            "-c",
            "@DIR@/nginx.conf",
            "-g",
            "daemon off; pid @DIR@/pid;",
        ],
    },
    Kind {
        name: "Caddy",
        files: &[("Caddyfile", include_str!("Caddyfile"))],
        command: &["caddy", "run", "--config", "@DIR@/Caddyfile"],
    },
    Kind {
        name: "HAProxy",
        files: &[
            ("haproxy.cfg", include_str!("haproxy.cfg")),
            ("haproxy.lua", include_str!("haproxy.lua")),
        ],
        command: &["haproxy", "-db", "-f", "@DIR@/haproxy.cfg"],
    },
];

/// Where a proxy finds the others.
pub struct Addresses {
    pub postern: SocketAddr,
    pub service: SocketAddr,
}

/// A running proxy. It is ended on drop.
pub struct Proxy {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    folder: TempDir,
}

impl Proxy {
    /// Starts one, and waits until it listens.
    pub fn start(kind: &Kind, addresses: &Addresses) -> Proxy {
        let folder = TempDir::new();
        let files = folder.path().join("protected/files");
        fs::create_dir_all(&files).expect("the temporary folder takes folders");
        fs::write(files.join("report.txt"), FILE).expect("the folder takes a file");
        let (addr, inner) = (free_addr(), free_addr());
        for (name, text) in kind.files {
            let text = adapted(text, folder.path(), addresses, addr, inner);
            fs::write(folder.path().join(name), text).expect("the folder takes a file");
        }
        let path = folder.path().display().to_string();
        let words = kind.command.iter().map(|word| word.replace("@DIR@", &path));
        let words: Vec<String> = words.collect();
        let log = File::create(folder.path().join("log")).expect("the folder takes a file");
        let child = Command::new(&words[0])
            .args(&words[1..])
            // Caddy writes there.
            .env("HOME", &path)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor is left"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let mut proxy = Proxy {
            child,
            addr,
            folder,
        };
        wait_until("the proxy listens", || {
            let ended = proxy.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{words:?}: {ended:?} {}", proxy.log());
            TcpStream::connect(addr).is_ok()
        });
        proxy
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        let log: PathBuf = self.folder.path().join("log");
        fs::read_to_string(log).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx stops its workers only when it is asked. Both fail only if it has been reaped
        // already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A configuration with the addresses and folders of this run. Not every proxy needs all of them.
fn adapted(
    text: &str,
    folder: &Path,
    addresses: &Addresses,
    addr: SocketAddr,
    inner: SocketAddr,
) -> String {
    let folder = folder.display().to_string();
    let port = format!("\n:{} {{", addr.port());
    let temporary = [
        "client_body_temp_path",
        "proxy_temp_path",
        "fastcgi_temp_path",
        "uwsgi_temp_path",
        "scgi_temp_path",
    ];
    let mut http = String::from("\nhttp {\n    access_log off;\n    error_log stderr;\n");
    for name in temporary {
        http.push_str(&format!("    {name} {folder}/{name};\n"));
    }
    let texts = [
        ("127.0.0.1:6060", addresses.postern.to_string()),
        ("127.0.0.1:8000", addresses.service.to_string()),
        ("127.0.0.1:8080", addr.to_string()),
        ("127.0.0.1:8081", inner.to_string()),
        ("\n:8080 {", port),
        ("/srv/protected", format!("{folder}/protected")),
        ("/etc/haproxy", folder.clone()),
        // Debian's own folders for these belong to a package that may not be installed.
        ("\nhttp {\n", http),
    ];
    let replace = |text: String, (from, to): &(&str, String)| text.replace(from, to);
    texts.iter().fold(text.to_owned(), replace)
}
