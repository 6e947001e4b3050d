//! The servers: how each is started, checked and stopped.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::json;

use crate::Result;
use crate::choice::Other;
use crate::options::Options;
use crate::plan::{Condition, Load, Logs, Server};
use crate::processes;
use crate::support::client::{Client, Response, bearer};
use crate::support::contract::{ADMIN, ADMIN_BODY, PROTECTED, PROTECTED_BODY, PUBLIC, PUBLIC_BODY};
use crate::support::tenant::Tenant;
use crate::support::token::AUDIENCE;
use crate::support::unchecked;
use crate::tokens::Tokens;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/servers");

/// Files that the servers over TLS read.
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// What all servers are started with.
pub struct Context {
    pub options: Options,
    pub tenant: Tenant,
    pub tokens: Tokens,
    /// `target/compare`, where the builds are and files may be made.
    pub base: PathBuf,
    /// A file with the tenant's key set.
    jwks: PathBuf,
}

impl Context {
    pub fn new(options: Options, base: PathBuf) -> Result<Context> {
        let tenant = Tenant::start();
        let files = base.join("files");
        fs::create_dir_all(&files).map_err(|error| format!("{}: {error}", files.display()))?;
        let tokens = Tokens::make(&tenant, &files)?;
        make_certificate(&files)?;
        let jwks = files.join("jwks.json");
        let keys = json!({"keys": [tenant.key().jwk(), tenant.next_key().jwk()]});
        write(&jwks, &keys.to_string())?;
        Ok(Context {
            options,
            tenant,
            tokens,
            base,
            jwks,
        })
    }

    /// The program, or folder, that makes up a server.
    pub fn installed(&self, server: Server) -> PathBuf {
        match server {
            Server::Postern { build, .. } => self.options.builds[build].path.clone(),
            Server::Other(Other::Axum) => self.base.join("release/axum-server"),
            Server::Other(Other::TinyHttp) => self.base.join("release/tiny-http-server"),
            Server::Other(Other::Nginx) => self.base.join("nginx"),
            Server::Other(Other::Flask) => self.base.join("venv"),
        }
    }

    /// The program to run.
    pub fn program(&self, server: Server) -> PathBuf {
        let installed = self.installed(server);
        match server {
            Server::Other(Other::Nginx) => installed.join("usr/sbin/nginx"),
            Server::Other(Other::Flask) => installed.join("bin/gunicorn"),
            _ => installed,
        }
    }

    fn command(&self, server: Server, condition: Condition, port: u16) -> Result<Command> {
        let files = self.base.join("files");
        let mut command = Command::new(self.program(server));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("RUST_LOG", condition.logs.level())
            .env("PORT", port.to_string())
            .current_dir(&files);
        match server {
            Server::Postern { large_cache, .. } => {
                command
                    .env("AUTH0_DOMAIN", self.tenant.domain())
                    .env("AUTH0_AUDIENCE", AUDIENCE)
                    .env("SSL_CERT_FILE", self.tenant.ca_file())
                    // The others have no limit; by default the 256 connections of a load would
                    // leave no slot free.
                    .env("MAX_CONNECTIONS", "512");
                if large_cache {
                    command.env("TOKEN_CACHE_SIZE", "100000");
                }
                if condition.tls {
                    command
                        .env("TLS_CERTIFICATE_FILE", files.join(CERTIFICATE))
                        .env("TLS_KEY_FILE", files.join(KEY));
                }
            }
            Server::Other(Other::Nginx) => self.nginx(&mut command, condition, port)?,
            Server::Other(other) => {
                command
                    .env("JWKS_FILE", &self.jwks)
                    .env("ISSUER", self.tenant.issuer())
                    .env("AUDIENCE", AUDIENCE);
                if other == Other::Flask {
                    gunicorn(&mut command, condition, port);
                }
            }
        }
        Ok(command)
    }

    fn nginx(&self, command: &mut Command, condition: Condition, port: u16) -> Result<()> {
        let folder = self.base.join("files");
        let log = match condition.logs {
            Logs::Warnings => "off",
            Logs::Requests => "/dev/stderr",
            Logs::Handshakes => "/dev/stderr handshakes",
        };
        let (ssl, tls) = match condition.tls {
            true => (" ssl", include_str!("../servers/nginx-tls.conf")),
            false => ("", ""),
        };
        let configuration = include_str!("../servers/nginx.conf")
            .replace("@TLS@", tls)
            .replace("@SSL@", ssl)
            .replace("@DIR@", &folder.display().to_string())
            .replace("@ACCESS_LOG@", log)
            .replace("@PORT@", &port.to_string());
        let file = folder.join("nginx.conf");
        write(&file, &configuration)?;
        command.arg("-p").arg(&folder).arg("-c").arg(&file);
        command.args(["-e", "stderr"]);
        Ok(())
    }
}

/// Worker threads are what keeps connections. A worker per core: the (2 x cores) + 1 that
/// gunicorn's documentation starts from took more CPU per request, and more memory, for as many
/// requests.
fn gunicorn(command: &mut Command, condition: Condition, port: u16) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    command
        .arg(format!("--bind=127.0.0.1:{port}"))
        .arg(format!("--workers={cores}"))
        .args(["--worker-class=gthread", "--threads=4", "--keep-alive=75"])
        .args(["--chdir", SERVERS, "flask_app:app"])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if condition.logs == Logs::Requests {
        command.args(["--log-level=info", "--access-logfile=-"]);
    } else {
        command.arg("--log-level=warning");
    }
}

/// A server that runs. It is stopped on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    addr: SocketAddr,
    tls: bool,
    log: PathBuf,
}

impl Running {
    /// Starts a server and waits until it answers.
    pub fn start(context: &Context, server: Server, condition: Condition) -> Result<Running> {
        let addr = free_addr();
        let mut command = context.command(server, condition, addr.port())?;
        let log = context.base.join("files/server.log");
        // Opened for appending, because nginx opens the file again.
        let _ = fs::remove_file(&log);
        let open = || File::options().create(true).append(true).open(&log);
        let output = open().and_then(|out| Ok((out, open()?)));
        let (out, err) = output.map_err(|error| format!("{}: {error}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let tls = condition.tls;
        let mut running = Running {
            child,
            addr,
            tls,
            log,
        };
        running
            .wait_until_ready(&context.tokens)
            .map_err(|error| running.with_log(error))?;
        Ok(running)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that the server has logged so far.
    pub fn logged(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// This error with what the server logged last.
    pub fn with_log(&self, error: String) -> String {
        let log = self.logged();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(5)..];
        if last.is_empty() {
            return format!("{error}\nit logged nothing");
        }
        format!("{error}\nits log ends with:\n{}", last.join("\n"))
    }

    fn wait_until_ready(&mut self, tokens: &Tokens) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let authorization = bearer(&tokens.good);
        let headers = [("Authorization", authorization.as_str())];
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the server has ended: {status}"));
            }
            let state = match self.request(PROTECTED, &headers) {
                Ok(response) if response.status == 200 => return Ok(()),
                Ok(response) => format!("{} {}", response.status, response.message()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                return Err(format!("the server is not ready in {PATIENCE:?}: {state}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Compares its answers with those that all servers must give. `reference` are the headers
    /// that the answers of the first one had.
    pub fn check(
        &self,
        server: Server,
        tokens: &Tokens,
        reference: &mut Option<Vec<(String, String)>>,
    ) -> Result<()> {
        let good = Some(&*tokens.good);
        let headers = self.expect(PUBLIC, None, 200, PUBLIC_BODY)?;
        self.expect(PROTECTED, good, 200, PROTECTED_BODY)?;
        let headers = comparable(&headers);
        let reference = reference.get_or_insert_with(|| headers.clone());
        if *reference != headers {
            return Err(format!("the headers are {headers:?}, not {reference:?}"));
        }
        if !server.verifies() {
            return Ok(());
        }
        self.expect(ADMIN, good, 200, ADMIN_BODY)?;
        self.expect(ADMIN, Some(&tokens.unprivileged), 403, "Permission denied")?;
        self.expect(PROTECTED, None, 401, "Requires authentication")?;
        self.expect(PROTECTED, Some(&tokens.expired), 401, "Bad credentials")?;
        self.expect(PROTECTED, Some(&tokens.forged), 401, "Bad credentials")?;
        Ok(())
    }

    fn connect(&self) -> io::Result<Client> {
        static CONFIG: LazyLock<Arc<ClientConfig>> =
            LazyLock::new(|| Arc::new(unchecked::client_config(rustls::ALL_VERSIONS)));
        let client = Client::try_connect(self.addr)?;
        match self.tls {
            true => client.try_secure(&CONFIG),
            false => Ok(client),
        }
    }

    fn request(&self, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        let headers = [headers, &[("Connection", "close")]].concat();
        self.connect()?.try_request("GET", path, &headers)
    }

    /// Makes a request; its answer must have this status and this text in its body.
    fn expect(&self, path: &str, token: Option<&str>, status: u16, body: &str) -> Result<Response> {
        let authorization = token.map(bearer);
        let headers = authorization
            .as_deref()
            .map(|value| ("Authorization", value));
        let response = self
            .request(path, headers.as_slice())
            .map_err(|error| format!("no answer to {path}: {error}"))?;
        let is_same = match status {
            200 => response.body == body.as_bytes(),
            _ => response.message() == body,
        };
        if response.status != status || !is_same {
            let found = String::from_utf8_lossy(&response.body);
            return Err(format!(
                "{path} answered {} {found}, not {status} {body}",
                response.status
            ));
        }
        Ok(response)
    }

    /// The length of one answer under this load, head included.
    pub fn answer_bytes(&self, load: Load, close: bool, tokens: &Tokens) -> Result<u64> {
        let authorization = match load {
            Load::Public => String::new(),
            _ => format!("Authorization: Bearer {}\r\n", tokens.good),
        };
        let connection = if close { "Connection: close\r\n" } else { "" };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{connection}{authorization}\r\n",
            path(load),
            self.addr
        );
        let answer = self.connect().and_then(|mut client| {
            client.try_send(request)?;
            client.try_response(false)
        });
        let answer = answer.map_err(|error| format!("no answer to {}: {error}", path(load)))?;
        let headers = answer.headers.iter();
        // "200" and two spaces, ": ", line ends, and the blank line.
        let head = answer.version.len() + 5 + answer.reason.len() + 2;
        let head = head + headers.map(|(n, v)| n.len() + v.len() + 4).sum::<usize>() + 2;
        Ok((head + answer.body.len()) as u64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        processes::stop(&mut self.child);
        // A log of millions of lines is not worth keeping.
        if !thread::panicking() {
            let _ = fs::remove_file(&self.log);
        }
    }
}

/// What a load asks for.
pub fn path(load: Load) -> &'static str {
    match load {
        Load::Public => PUBLIC,
        _ => PROTECTED,
    }
}

/// The headers that must be the same for all: neither `Date`, nor the name of the server, nor
/// `Connection`, which some send although it says nothing new.
fn comparable(response: &Response) -> Vec<(String, String)> {
    let mut headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !["date", "server", "connection"].contains(&name.as_str()))
        .collect();
    headers.sort();
    headers
}

/// A free port below the range from which the system gives ports to connections.
fn free_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 10_000) as u16;
    loop {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + offset));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// A certificate that signs itself, with a P-256 key, for all servers.
fn make_certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(|error| format!("no certificate: {error}"))?;
    let key = folder.join(KEY);
    write(&folder.join(CERTIFICATE), &made.cert.pem())?;
    write(&key, &made.signing_key.serialize_pem())?;
    // postern warns of a key that others can read.
    fs::set_permissions(&key, Permissions::from_mode(0o600))
        .map_err(|error| format!("{}: {error}", key.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
