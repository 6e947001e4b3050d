//! More clients than places, behind a proxy: all have its address.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::house::House;
use crate::support::contract::PUBLIC;
use crate::support::postern::free_addr;
use crate::support::wrk::Load;
use crate::support::{TempDir, wait_until};
use crate::table::Table;

const CLIENTS: usize = 480;
/// At least so many answers are looked at.
const ANSWERS: f64 = 20_000.0;
const SECONDS: u64 = 5;
/// The user `nobody`, who runs the proxies when this runs as root.
const NOBODY: &str = "65534";

pub fn nginx(table: &mut Table) {
    let command = ["nginx", "-e", "stderr", "-p", "@DIR@", "-c"];
    behind(table, "nginx", &command, NGINX);
}

pub fn haproxy(table: &mut Table) {
    behind(table, "haproxy", &["haproxy", "-db", "-f"], HAPROXY);
}

fn behind(table: &mut Table, name: &str, command: &[&str], configuration: &str) {
    let house = House::open(&[("MAX_CONNECTIONS", "256")]);
    let proxy = Proxy::start(command, configuration, house.addr());
    let load = Load {
        addr: proxy.addr,
        path: PUBLIC,
        connections: CLIENTS,
        seconds: SECONDS,
        timeout: 10,
        close: false,
        tls: false,
        tokens: None,
    };
    let found = load.start().expect("wrk is installed").finish();
    let found = found.unwrap_or_else(|error| panic!("{error}"));
    let about = |what: &str| format!("{CLIENTS} clients of {name}: {what}");
    table.at_least(&about("answers"), found.answers as f64, ANSWERS, "");
    // Nothing else of 400 or more is said to this request.
    table.none(&about("answers 5xx"), found.errors.status);
    let errors = found.errors;
    let cut = errors.connect + errors.read + errors.write + errors.timeout;
    table.none(&about("connections cut, or answers not in 10 s"), cut);
}

/// A proxy in front of the server. It is killed on drop.
struct Proxy {
    child: Child,
    addr: SocketAddr,
    _folder: TempDir,
}

impl Proxy {
    fn start(command: &[&str], configuration: &str, server: SocketAddr) -> Proxy {
        let folder = TempDir::new();
        let path = folder.path().display().to_string();
        let addr = free_addr();
        let file = folder.path().join("configuration");
        let configuration = configuration
            .replace("@DIR@", &path)
            .replace("@ADDR@", &addr.to_string())
            .replace("@SERVER@", &server.to_string());
        fs::write(&file, configuration).expect("the temporary folder takes a file");
        let log = File::create(folder.path().join("log")).expect("the folder takes a file");
        let mut words: Vec<&str> = Vec::new();
        if rustix::process::geteuid().is_root() {
            give_away(folder.path());
            words.extend(["setpriv", "--reuid", NOBODY, "--regid", NOBODY]);
            words.extend(["--clear-groups", "--"]);
        }
        let command: Vec<String> = command
            .iter()
            .map(|word| word.replace("@DIR@", &path))
            .collect();
        words.extend(command.iter().map(String::as_str));
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let mut proxy = Proxy {
            child,
            addr,
            _folder: folder,
        };
        wait_until("the proxy listens", || {
            let ended = proxy.child.try_wait().expect("a child of ours");
            let log = fs::read_to_string(proxy._folder.path().join("log"));
            assert!(ended.is_none(), "{words:?}: {ended:?} {log:?}");
            TcpStream::connect(addr).is_ok()
        });
        proxy
    }
}

/// The proxy's user writes into its folder, and passes those above it.
fn give_away(folder: &Path) {
    let nobody = NOBODY.parse().expect("it is a number");
    std::os::unix::fs::chown(folder, Some(nobody), Some(nobody)).expect("root may");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("it is ours");
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx stops its workers only when it is asked.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

const NGINX: &str = r"
daemon off;
worker_processes auto;
pid @DIR@/pid;
error_log stderr warn;

events {
    worker_connections 2048;
}

http {
    access_log off;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;

    upstream postern {
        server @SERVER@;
        keepalive 64;
    }

    server {
        listen @ADDR@;
        location / {
            proxy_pass http://postern;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
        }
    }
}
";

const HAPROXY: &str = r"
global
    maxconn 2048

defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s

frontend clients
    bind @ADDR@
    default_backend postern

backend postern
    http-reuse always
    server postern @SERVER@
";
