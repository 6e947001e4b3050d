//! The spawned binary.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::bearer;
use super::contract::PROTECTED;
use super::tenant::Tenant;
use super::token::AUDIENCE;
use super::{PATIENCE, TempDir, Watched, client, wait_until};

/// The text before the address in the log.
const LISTENING: &str = "listening on ";

/// The text of the log line about new keys.
const FETCHED: &str = "fetched ";

/// A running server. It is killed on drop.
#[derive(Debug)]
pub struct Postern {
    child: Child,
    addr: SocketAddr,
    log: Arc<Watched<Log>>,
    /// Its working directory, which is removed with it.
    _dir: TempDir,
}

#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
    /// Whether the server has closed its standard output, and so has ended.
    ended: bool,
    /// Whether standard error is closed: no more lines follow.
    complete: bool,
}

/// The settings of a server to start.
#[derive(Debug)]
pub struct Builder {
    program: Option<PathBuf>,
    env: Vec<(String, String)>,
    prefix: Vec<String>,
    dir: TempDir,
    stderr: Option<Stdio>,
    stdin: Option<Stdio>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed to standard output.
    pub stdout: String,
    /// What it printed to standard error.
    pub stderr: String,
}

impl Ended {
    /// The exit code and what it printed: lines without control characters, each of a bounded
    /// length, and nothing to standard error. Panics otherwise.
    #[track_caller]
    pub fn printed(self) -> (i32, String) {
        let stdout = self.stdout;
        assert_eq!(self.stderr, "", "{stdout}");
        for line in stdout.lines() {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.len() < 1100, "{line}");
        }
        (self.code.expect("no signal"), stdout)
    }
}

impl Postern {
    /// Starts a server for this tenant and waits until it has the keys.
    pub fn start(tenant: &Tenant) -> Postern {
        let postern = Postern::builder(tenant).start();
        postern.wait_for_keys();
        postern
    }

    /// A server for this tenant, on any free port, whose settings can still be changed.
    pub fn builder(tenant: &Tenant) -> Builder {
        let builder = Builder {
            program: None,
            env: Vec::new(),
            prefix: Vec::new(),
            dir: TempDir::new(),
            stderr: None,
            stdin: None,
        };
        builder
            .env("AUTH0_DOMAIN", tenant.domain())
            .env("AUTH0_AUDIENCE", AUDIENCE)
            .env("SSL_CERT_FILE", tenant.ca_file().display().to_string())
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a server until it has written its keys to `state`.
    pub fn fill_state(tenant: &Tenant, state: &Path) {
        let mut postern = Postern::builder(tenant).state(state).start();
        postern.wait_for_keys();
        wait_until("a copy appears", || state.join("jwks.json").exists());
        postern.signal("TERM");
        assert_eq!(postern.wait_exit().code(), Some(0));
    }

    /// `GET` of the protected message with this token, on a connection of its own.
    pub fn get_protected(&self, token: &str) -> client::Response {
        self.get(PROTECTED, &[("Authorization", &bearer(token))])
    }

    /// `GET path` on a connection of its own; panics without a response.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> client::Response {
        client::get(self.addr, path, headers)
    }

    /// `GET path` until the answer is [settled](Postern::settled).
    pub fn get_settled(&self, path: &str, headers: &[(&str, &str)]) -> client::Response {
        self.settled(|| self.get(path, headers))
    }

    /// Repeats the request while the answer is that the keys are still being fetched. A token with
    /// a new key waits for them for a second at most, and a busy machine may take longer. A 503
    /// before that second is over is returned.
    pub fn settled(&self, ask: impl Fn() -> client::Response) -> client::Response {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let started = Instant::now();
            let response = ask();
            let has_waited = started.elapsed() >= Duration::from_secs(1);
            if response.status != 503 || !has_waited || Instant::now() > deadline {
                return response;
            }
        }
    }

    /// All lines logged so far.
    pub fn logs(&self) -> Vec<String> {
        self.log.lock().lines.clone()
    }

    /// Waits until a line with this text has been logged and returns the first one. Panics if that
    /// takes longer than [`PATIENCE`], or the server ends without it.
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for_line(&self.log, text)
    }

    /// For a [launched](Builder::launch) server: waits until it listens, or returns `false` if it
    /// has ended. Panics if that takes longer than [`PATIENCE`].
    pub fn serves(&mut self) -> bool {
        let line = |log: &Log| log.lines.iter().find_map(|line| address(line));
        let ready = |log: &Log| line(log).is_some() || (log.ended && log.complete);
        let (log, is_ready) = self.log.wait_bounded(ready);
        assert!(is_ready, "it neither listens nor ends: {:?}", log.lines);
        let found = line(&log);
        drop(log);
        self.addr = found.unwrap_or(self.addr);
        found.is_some()
    }

    /// Waits until it logs that it has fetched keys. Before, tokens are answered with 503.
    pub fn wait_for_keys(&self) {
        self.wait_for_log(FETCHED);
    }

    /// Ends the server and returns all it has logged.
    pub fn into_logs(mut self) -> Vec<String> {
        self.signal("TERM");
        self.wait_exit();
        self.logs()
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .expect("every Unix has `kill`");
        assert!(status.success(), "cannot send SIG{name}");
    }

    /// Waits until the server has ended by itself, and returns its exit status; then
    /// [`Postern::logs`] is complete. Panics if that takes longer than [`PATIENCE`].
    pub fn wait_exit(&mut self) -> ExitStatus {
        let (log, ended) = self.log.wait_bounded(|log| log.ended && log.complete);
        let lines = log.lines.join("\n");
        drop(log);
        assert!(
            ended,
            "the server has not ended in {PATIENCE:?}; it logged:\n{lines}"
        );
        self.child.wait().expect("the child is ours to wait for")
    }
}

impl Drop for Postern {
    fn drop(&mut self) {
        // Both fail only if it has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Builder {
    /// With this environment variable, added or replaced.
    pub fn env(self, name: &str, value: impl Into<String>) -> Builder {
        let mut builder = self.without_env(name);
        builder.env.push((name.to_owned(), value.into()));
        builder
    }

    /// Another program that serves with the library.
    pub fn program(mut self, program: PathBuf) -> Builder {
        self.program = Some(program);
        self
    }

    /// With this folder for the keys.
    pub fn state(self, state: &Path) -> Builder {
        self.env("STATE_DIRECTORY", state.display().to_string())
    }

    /// Without this environment variable.
    pub fn without_env(mut self, name: &str) -> Builder {
        self.env.retain(|(other, _)| other != name);
        self
    }

    /// With this file, such as `.env`, in the working directory, which is otherwise empty.
    pub fn file(self, name: &str, content: &str) -> Builder {
        fs::write(self.dir.path().join(name), content).expect("the temporary folder takes a file");
        self
    }

    /// Run through another program, which must `exec` it: `["sh", "-c", "ulimit -n 32; exec
    /// \"$0\""]`.
    pub fn prefix(mut self, command: &[&str]) -> Builder {
        self.prefix = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With this socket passed to it as systemd does, instead of an address to listen on.
    pub fn socket(mut self, listening: impl Into<OwnedFd>) -> Builder {
        // A child inherits only its standard streams, so the shell moves the descriptor.
        self.stdin = Some(listening.into().into());
        let pass = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"";
        self.prefix(&["sh", "-c", pass])
    }

    /// With this as its standard error. Then [`Postern::logs`] is empty.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Builder {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts the server and waits until it listens, which may be before it has keys. Panics with
    /// its log if it does not listen.
    pub fn start(mut self) -> Postern {
        let is_quiet = |(name, level): &(String, String)| {
            name == "RUST_LOG" && matches!(level.as_str(), "error" | "warn")
        };
        if self.stderr.is_none() && !self.env.iter().any(is_quiet) {
            let mut postern = self.spawn();
            // A panic here drops the server, which kills it.
            let line = postern.wait_for_log(LISTENING);
            // A Unix socket has no address, and the test knows its path.
            if !line.contains("listening on unix:") {
                postern.addr = address(&line).unwrap_or_else(|| panic!("no address in {line:?}"));
            }
            return postern;
        }
        // It does not log its port, so it gets one.
        let addr = free_addr();
        self = self.env("PORT", addr.port().to_string());
        let mut postern = self.spawn();
        postern.addr = addr;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            let ended = postern
                .child
                .try_wait()
                .expect("the child is ours to wait for");
            assert!(
                ended.is_none(),
                "the server ended: {ended:?} {:?}",
                postern.logs()
            );
            assert!(
                Instant::now() < deadline,
                "the server does not listen on {addr}"
            );
            thread::sleep(Duration::from_millis(5));
        }
        postern
    }

    /// Starts the server and returns at once. [`Postern::serves`] tells whether it listens.
    pub fn launch(self) -> Postern {
        self.spawn()
    }

    /// Runs a command with these arguments and this on its standard input, and waits for its end.
    /// Panics if that takes longer than [`PATIENCE`].
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut words: Vec<OsString> = self.prefix.iter().map(OsString::from).collect();
        words.push(binary().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(arguments);
        command.current_dir(self.dir.path());
        clean_env(&mut command);
        // Files, because a pipe can fill up.
        let folder = TempDir::new();
        let path = |name| folder.path().join(name);
        fs::write(path("in"), input).expect("the temporary folder takes a file");
        let create = |name| File::create(path(name)).expect("the temporary folder takes a file");
        let stdin = File::open(path("in")).expect("it was just written");
        let mut child = command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(create("out"))
            .stderr(create("err"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {words:?}: {error}"));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().expect("the child is ours to wait for") {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("{arguments:?} has not ended in {PATIENCE:?}");
                }
            }
        };
        let read = |name| fs::read(path(name)).expect("it was just created");
        let read = |name| String::from_utf8_lossy(&read(name)).into_owned();
        Ended {
            code: status.code(),
            stdout: read("out"),
            stderr: read("err"),
        }
    }

    fn spawn(self) -> Postern {
        let mut words: Vec<OsString> = self.prefix.iter().map(OsString::from).collect();
        words.push(self.program.unwrap_or_else(binary).into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.dir.path());
        clean_env(&mut command);
        let mut child = command
            .envs(self.env)
            .stdin(self.stdin.unwrap_or_else(Stdio::null))
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {words:?}: {error}"));
        let log = Arc::new(Watched::new(Log::default()));
        read_stderr(&mut child, &log);
        read_stdout(&mut child, &log);
        Postern {
            child,
            addr: SocketAddr::from(([0; 4], 0)),
            log,
            _dir: self.dir,
        }
    }
}

/// The binary under test: `POSTERN_BIN`, or the one that Cargo built for the test.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("POSTERN_BIN") {
        // Relative to where the test runs, not to the server's working directory.
        return fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("POSTERN_BIN is {}: {error}", path.display()));
    }
    // Not `env!`: the demo compiles this file too, and Cargo sets the variable only for tests.
    let Some(path) = option_env!("CARGO_BIN_EXE_postern") else {
        panic!("only integration tests spawn the binary");
    };
    path.into()
}

/// A copy of the binary in this folder, for users that may not read the original.
pub fn copy_binary(folder: &Path) -> PathBuf {
    let copy = folder.join("postern");
    // Not written by this process: a child that another thread starts meanwhile would inherit the
    // open file, and a file that is open for writing cannot be run.
    let status = Command::new("cp").arg(binary()).arg(&copy).status();
    assert!(status.expect("every Unix has `cp`").success());
    copy
}

/// Removes the environment of this process, except what a binary may need to run: `PATH`, and the
/// settings of dynamic loaders, emulators and coverage.
fn clean_env(command: &mut Command) {
    command.env_clear();
    for (name, value) in env::vars_os() {
        let text = name.to_string_lossy();
        let kept = ["LD_", "DYLD_", "QEMU_", "LLVM_PROFILE_FILE"];
        if text == "PATH" || kept.iter().any(|prefix| text.starts_with(prefix)) {
            command.env(name, value);
        }
    }
}

fn read_stderr(child: &mut Child, log: &Arc<Watched<Log>>) {
    let log = log.clone();
    let Some(stderr) = child.stderr.take() else {
        log.change(|log| log.complete = true);
        return;
    };
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        // An error is like the end of the stream: nothing more can be read.
        while stderr.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            log.change(|log| log.lines.push(text));
        }
        log.change(|log| log.complete = true);
    });
}

/// The server prints nothing to standard output. The pipe closes when the process has ended.
fn read_stdout(child: &mut Child, log: &Arc<Watched<Log>>) {
    let mut stdout = child.stdout.take().expect("standard output is piped");
    let log = log.clone();
    thread::spawn(move || {
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        log.change(|log| log.ended = true);
    });
}

fn wait_for_line(log: &Watched<Log>, text: &str) -> String {
    let found = |log: &Log| log.lines.iter().position(|line| line.contains(text));
    let (log, _) = log.wait_bounded(|log| found(log).is_some() || log.complete);
    let line = found(&log).map(|at| log.lines[at].clone());
    let lines = log.lines.join("\n");
    drop(log);
    line.unwrap_or_else(|| panic!("{text:?} was not logged, but:\n{lines}"))
}

/// A free port outside the range of ephemeral ports, so that no other socket gets it meanwhile.
pub fn free_addr() -> SocketAddr {
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

fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http")?;
    let rest = rest.trim_start_matches('s').strip_prefix("://")?;
    rest.split_whitespace().next()?.parse().ok()
}
