//! Black box: what the binary says to settings and arguments, and what it ends with.
//!
//! `POSTERN_BIN` names another binary to test.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// A tenant that does not answer: nothing leaves this machine.
const TENANT: [(&str, &str); 3] = [
    ("AUTH0_DOMAIN", "127.0.0.1:1"),
    ("AUTH0_AUDIENCE", "https://api.example.com"),
    ("PORT", "0"),
];

/// An empty folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("postern-config-{process}-{number}"));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn postern(folder: &Path) -> Command {
    let path = std::env::var_os("POSTERN_BIN")
        .unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_postern")));
    let mut command = Command::new(fs::canonicalize(path).unwrap());
    command.env_clear().current_dir(folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A running postern, killed when the test is done with it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    /// The exit code, if it ends within `time`.
    fn exit_code(&mut self, time: Duration) -> Option<i32> {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status.code().expect("ended by a signal"));
            }
            if Instant::now() > end {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs a command that ends by itself; files, because a pipe can fill up.
fn run(command: &mut Command) -> Ended {
    let folder = Folder::new();
    let (out, err) = (folder.0.join("out"), folder.0.join("err"));
    command.stdout(File::create(&out).unwrap());
    command.stderr(File::create(&err).unwrap());
    let code = Running::start(command).exit_code(PATIENCE);
    let stderr = fs::read_to_string(err).unwrap();
    Ended {
        code: code.unwrap_or_else(|| panic!("still running: {stderr}")),
        stdout: fs::read_to_string(out).unwrap(),
        stderr,
    }
}

/// Runs until `text` is on standard error, and gives all of it.
fn run_until(command: &mut Command, text: &str) -> String {
    let folder = Folder::new();
    let err = folder.0.join("err");
    let mut running = Running::start(command.stderr(File::create(&err).unwrap()));
    for _ in 0..500 {
        let stderr = fs::read_to_string(&err).unwrap();
        if stderr.contains(text) && stderr.ends_with('\n') {
            return stderr;
        }
        if let Some(code) = running.exit_code(Duration::from_millis(20)) {
            panic!("ended with {code} before {text:?}: {stderr}");
        }
    }
    panic!("no {text:?} in time");
}

/// The lines of standard error for a tenant and these settings, which must be refused.
fn refused(vars: &[(&str, &str)]) -> Vec<String> {
    let folder = Folder::new();
    let ended = run(postern(&folder.0).envs(TENANT).envs(vars.iter().copied()));
    assert_eq!(ended.code, 78, "{vars:?}: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    ended.stderr.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_refused(cases: &[(&str, &str, &str)]) {
    for (name, value, advice) in cases {
        let lines = refused(&[(name, value)]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let start = format!("postern: {name} is \"");
        assert!(lines[0].starts_with(&start), "{lines:?}");
        assert!(lines[0].contains(advice), "{value:?} gives {lines:?}");
    }
}

#[test]
fn wrong_values_end_with_78_and_a_line_that_says_what_to_write() {
    assert_refused(&[
        (
            "AUTH0_DOMAIN",
            "https://t.auth0.com/",
            "scheme; write t.auth0.com",
        ),
        (
            "AUTH0_DOMAIN",
            "http://t.auth0.com",
            "scheme; write t.auth0.com",
        ),
        ("AUTH0_DOMAIN", "t.auth0.com/", "path; write t.auth0.com"),
        ("AUTH0_DOMAIN", "t.auth0.com/v2", "path; write t.auth0.com"),
        (
            "AUTH0_DOMAIN",
            "\"t.auth0.com\"",
            "without quotes around it: t.auth0.com",
        ),
        (
            "AUTH0_DOMAIN",
            " t.auth0.com",
            "without spaces around it: t.auth0.com",
        ),
        (
            "AUTH0_DOMAIN",
            "u@t.auth0.com",
            "user name; write t.auth0.com",
        ),
        (
            "AUTH0_DOMAIN",
            "t.auth0.com:70000",
            "its port is not a number from 1 to 65535",
        ),
        (
            "AUTH0_DOMAIN",
            "t.auth0.com.",
            "end in a dot; write t.auth0.com",
        ),
        ("AUTH0_DOMAIN", "t..auth0.com", "two dots"),
        ("AUTH0_DOMAIN", "bücher.example", "ASCII"),
        (
            "AUTH0_DOMAIN",
            "a\u{1b}[31mb",
            "is \"a\\x1b[31mb\": write it without control",
        ),
        (
            "AUTH0_AUDIENCE",
            "'https://x'",
            "without quotes around it: https://x",
        ),
        (
            "AUTH0_AUDIENCE",
            "https://x\n",
            "without spaces around it: https://x",
        ),
        (
            "AUTH0_AUDIENCE",
            "a\tb",
            "is \"a\\tb\": write it without control characters",
        ),
        (
            "CLIENT_ORIGIN_URL",
            "http://localhost:4040/",
            "write http://localhost:4040",
        ),
        (
            "CLIENT_ORIGIN_URL",
            "localhost:4040",
            "write http://localhost:4040 or",
        ),
        ("CLIENT_ORIGIN_URL", "*", "one by one"),
        ("CLIENT_ORIGIN_URL", "http://a,null", "one by one"),
        (
            "CLIENT_ORIGIN_URL",
            "http://a http://b",
            "separate origins with commas",
        ),
        (
            "PORT",
            "65536",
            "write a whole number from 1 to 65535, or 0",
        ),
        ("PORT", "http", "write a whole number from 1 to 65535, or 0"),
        ("HOST", "localhost", "write 127.0.0.1"),
        ("HOST", "[::1]", "write it without brackets: ::1"),
        (
            "HEAD_TIMEOUT_SECONDS",
            "0",
            "write a whole number from 1 to 3600",
        ),
        (
            "IDLE_TIMEOUT_SECONDS",
            "3601",
            "write a whole number from 1 to 3600",
        ),
        (
            "WRITE_TIMEOUT_SECONDS",
            "+5",
            "write a whole number from 1 to 3600",
        ),
        (
            "JWKS_COOLDOWN_SECONDS",
            "5s",
            "write a whole number from 1 to 3600",
        ),
        (
            "TOKEN_CACHE_SIZE",
            "1000001",
            "write a whole number from 0 to 1000000",
        ),
        (
            "CLOCK_LEEWAY_SECONDS",
            "301",
            "write a whole number from 0 to 300",
        ),
        (
            "RUST_LOG",
            "verbose",
            "write one of error, warn, info, debug, trace",
        ),
        ("RUST_LOG", "postern=debug", "write debug"),
    ]);
}

#[test]
fn wrong_certificate_files() {
    let folder = Folder::new();
    let good = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = good.cert.pem();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let garbled = "-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----\n";
    let no_root = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let subfolder = folder.0.join("folder");
    fs::create_dir(&subfolder).unwrap();
    let cases = [
        (
            "/nonexistent/ca.pem".to_owned(),
            "cannot be read (No such file",
        ),
        (
            subfolder.into_os_string().into_string().unwrap(),
            "it is a folder",
        ),
        (folder.write("empty", ""), "it is empty"),
        (
            folder.write("large", vec![b'\n'; 1024 * 1024 + 1]),
            "is larger than 1 MiB",
        ),
        (
            folder.write("base64", base64),
            "it has no certificate between",
        ),
        (
            folder.write("key", good.signing_key.serialize_pem()),
            "it has no certificate",
        ),
        (
            folder.write("garbled", pem.clone() + garbled),
            "its certificate 2 is broken",
        ),
        (
            folder.write("cut", &pem[..pem.len() - 10]),
            "its certificate 1 is broken (it has no -----END line)",
        ),
        (
            folder.write("endless", format!("-----BEGIN {}", "x".repeat(9000))),
            &format!(
                "its certificate 1 is broken (it begins with \"-----BEGIN {}…\")",
                "x".repeat(89)
            ),
        ),
        (
            folder.write("no-root", pem.clone() + no_root),
            "its certificate 2 cannot be a root",
        ),
    ];
    for (path, advice) in &cases {
        assert_refused(&[("SSL_CERT_FILE", path, advice)]);
    }

    let bom_and_crlf = format!("\u{feff}{}", pem.replace('\n', "\r\n"));
    let files = [
        folder.write("good", format!("# two\n{pem}\n{pem}")),
        folder.write("windows", bom_and_crlf),
    ];
    for path in files {
        let empty = Folder::new();
        run_until(
            postern(&empty.0).envs(TENANT).env("SSL_CERT_FILE", path),
            "https://127.0.0.1:1/",
        );
    }
}

#[test]
fn a_token_cache_too_large_for_the_memory_ends_with_78() {
    let folder = Folder::new();
    let postern = postern(&folder.0);
    // Less address space than a million entries take.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 80000; exec \"$0\""]);
    limited.arg(postern.get_program()).current_dir(&folder.0);
    limited.env_clear().envs(TENANT);
    limited.env("TOKEN_CACHE_SIZE", "1000000");
    let ended = run(&mut limited);
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains("TOKEN_CACHE_SIZE is 1000000"), "{last}");
    assert!(last.contains("write a smaller one"), "{last}");
}

#[test]
fn an_unset_tenant_names_the_demo() {
    let folder = Folder::new();
    let demo = "postern: cargo run --example demo shows postern without an Auth0 account";
    for empty in [false, true] {
        let mut command = postern(&folder.0);
        if empty {
            command.env("AUTH0_DOMAIN", "").env("AUTH0_AUDIENCE", "");
        }
        let ended = run(&mut command);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(ended.code, 78);
        assert!(
            lines[0].starts_with("postern: AUTH0_DOMAIN is not set: write"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("postern: AUTH0_AUDIENCE is not set: write"),
            "{lines:?}"
        );
        assert_eq!(lines[2..], [demo]);
    }
    assert_eq!(refused(&[("AUTH0_AUDIENCE", "")]).last().unwrap(), demo);
    assert!(!refused(&[("PORT", "x")]).iter().any(|line| line == demo));
}

#[test]
fn all_problems_are_reported_at_once() {
    let lines = refused(&[
        ("RUST_LOG", "x"),
        ("PORT", "x"),
        ("AUTH0_DOMAIN", "x/"),
        ("HOST", "x"),
        ("CLIENT_ORIGIN_URL", "x"),
        ("SSL_CERT_FILE", "/nonexistent"),
        ("CLOCK_LEEWAY_SECONDS", "x"),
    ]);
    let names: Vec<&str> = lines.iter().map(|l| l.split(' ').nth(1).unwrap()).collect();
    let expected = "AUTH0_DOMAIN CLIENT_ORIGIN_URL PORT HOST SSL_CERT_FILE CLOCK_LEEWAY_SECONDS \
                    RUST_LOG";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn a_dotenv_fills_in_what_the_environment_leaves_unset() {
    let folder = Folder::new();
    folder.write(
        ".env",
        "# of the sample\nPORT=0\nAUTH0_DOMAIN=127.0.0.1:1\nAUTH0_AUDIENCE=https://file\n\
         CLIENT_ORIGIN_URL=http://localhost:4040\n",
    );
    let stderr = run_until(&mut postern(&folder.0), "https://file");
    assert!(
        stderr.contains(concat!("postern ", env!("CARGO_PKG_VERSION"))),
        "{stderr}"
    );
    assert!(stderr.contains("https://127.0.0.1:1/"), "{stderr}");

    let mut command = postern(&folder.0);
    run_until(
        command.env("AUTH0_AUDIENCE", "https://environment"),
        "https://environment",
    );
    let mut command = postern(&folder.0);
    run_until(command.env("AUTH0_AUDIENCE", ""), "https://file");
    // A wrong value in the file that the environment overrides is no problem.
    folder.write(".env", "PORT=wrong\nAUTH0_AUDIENCE=\"file \"\n");
    run_until(postern(&folder.0).envs(TENANT), "https://api.example.com");

    folder.write(".env", "AUTH0_AUDIENCE=\nPORT=\n");
    let ended = run(postern(&folder.0).env("AUTH0_DOMAIN", "127.0.0.1:1"));
    assert_eq!(ended.code, 78);
    assert!(
        ended
            .stderr
            .starts_with("postern: AUTH0_AUDIENCE is not set"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_dotenv_of_a_parent_folder_is_not_read() {
    let folder = Folder::new();
    folder.write(
        ".env",
        "AUTH0_DOMAIN=127.0.0.1:1\nAUTH0_AUDIENCE=https://file\nPORT=0\n",
    );
    let child = folder.0.join("child");
    fs::create_dir(&child).unwrap();
    let ended = run(&mut postern(&child));
    assert_eq!(ended.code, 78);
    assert!(
        ended.stderr.contains("AUTH0_DOMAIN is not set"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_dotenv_that_cannot_be_read_is_reported_with_its_line() {
    let cases: [(&[u8], &str); 4] = [
        (
            b"X=1\nAUTH0_AUDIENCE=a secret\n",
            ".env line 2 (AUTH0_AUDIENCE) is malformed: write",
        ),
        (
            b"X=1\n\nsecret\n",
            ".env line 3 is malformed: write NAME=value",
        ),
        (
            b"X=1\nPORT=\"secret\nY=1\n\n",
            ".env line 2 (PORT) is malformed",
        ),
        (b"# gr\xfcn\nX=secret\n", ".env is not UTF-8 in line 1"),
    ];
    for (content, expected) in cases {
        let folder = Folder::new();
        folder.write(".env", content);
        let ended = run(postern(&folder.0).envs(TENANT));
        assert_eq!(ended.code, 78);
        assert!(
            ended.stderr.starts_with(&format!("postern: {expected}")),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }

    // What is in the unreadable part is not reported as missing, too; what is not, is.
    let folder = Folder::new();
    folder.write(".env", "AUTH0_AUDIENCE=https://x y\n");
    let ended = run(&mut postern(&folder.0));
    assert!(
        ended.stderr.contains("AUTH0_DOMAIN is not set"),
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains("AUTH0_AUDIENCE is not set"),
        "{}",
        ended.stderr
    );

    let folder = Folder::new();
    fs::create_dir(folder.0.join(".env")).unwrap();
    let ended = run(&mut postern(&folder.0));
    assert_eq!(ended.code, 78);
    assert!(
        ended.stderr.starts_with("postern: .env is a folder"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);

    let folder = Folder::new();
    folder.write(".env", "");
    run_until(postern(&folder.0).envs(TENANT), "https://api.example.com");
}

#[cfg(unix)]
#[test]
fn only_our_variables_have_to_be_utf8() {
    let folder = Folder::new();
    let latin1 = OsStr::from_bytes(b"gr\xfcn");
    let mut command = postern(&folder.0);
    command.envs(TENANT).env("FOREIGN", latin1).env(latin1, "1");
    command.env("port", "wrong").env("Auth0_Domain", "wrong/");
    run_until(&mut command, "https://api.example.com");

    let ended = run(postern(&folder.0)
        .envs(TENANT)
        .env("AUTH0_AUDIENCE", latin1));
    assert_eq!(ended.code, 78);
    assert_eq!(
        ended.stderr,
        "postern: AUTH0_AUDIENCE is \"gr\u{fffd}n\", which is not UTF-8: write it in UTF-8\n"
    );
}

#[test]
fn the_example_file_works_once_the_tenant_is_filled_in() {
    let folder = Folder::new();
    folder.write(".env", include_str!("../../.env.example"));
    let ended = run(&mut postern(&folder.0));
    assert_eq!(ended.code, 78);
    assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
    run_until(postern(&folder.0).envs(TENANT), "https://api.example.com");
}

/// The names that a file of settings explains, commented out or not.
fn names(file: &str) -> BTreeSet<&str> {
    file.lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name)
        .filter(|name| {
            name.bytes()
                .all(|b| b.is_ascii_uppercase() || b"0_".contains(&b))
        })
        .collect()
}

#[test]
fn the_settings_for_systemd_are_those_of_the_example_file() {
    let folder = Folder::new();
    let settings = include_str!("../../systemd/postern.env");
    folder.write(".env", settings);
    let ended = run(&mut postern(&folder.0));
    assert_eq!((ended.code, ended.stderr.lines().count()), (78, 3));
    let mut expected = names(include_str!("../../.env.example"));
    // The unit sets it.
    assert!(expected.remove("STATE_DIRECTORY"));
    assert_eq!(names(settings), expected);
}

#[test]
fn the_journal_gets_one_line_with_a_priority_for_each_wrong_setting() {
    let folder = Folder::new();
    let ended = run(postern(&folder.0)
        .env("JOURNAL_STREAM", "not comparable")
        .env("AUTH0_AUDIENCE", "x"));
    assert_eq!(ended.code, 78);
    assert_eq!(
        ended.stderr,
        "<3>postern: AUTH0_DOMAIN is not set: write the host of the Auth0 tenant, such as \
         tenant.eu.auth0.com\n"
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    let folder = Folder::new();
    for argument in ["--help", "-h"] {
        let ended = run(postern(&folder.0).arg(argument));
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        for (name, default) in [
            ("AUTH0_DOMAIN", "required"),
            ("AUTH0_AUDIENCE", "required"),
            ("CLIENT_ORIGIN_URL", "no CORS"),
            ("PORT", "6060"),
            ("HOST", "127.0.0.1"),
            ("SSL_CERT_FILE", "none"),
            ("HTTPS_PROXY", "none"),
            ("NO_PROXY", "none"),
            ("STATE_DIRECTORY", "none"),
            ("MAX_CONNECTIONS", "256"),
            ("HEAD_TIMEOUT_SECONDS", "10"),
            ("IDLE_TIMEOUT_SECONDS", "30"),
            ("WRITE_TIMEOUT_SECONDS", "10"),
            ("JWKS_MAX_STALE_SECONDS", "86400"),
            ("JWKS_COOLDOWN_SECONDS", "30"),
            ("TOKEN_CACHE_SIZE", "1024"),
            ("CLOCK_LEEWAY_SECONDS", "5"),
            ("FORWARD_AUTH_PATH", "none"),
            ("TRUSTED_PROXIES", "none"),
            ("ADMIN_LISTEN", "none"),
            ("DRAIN_DELAY_SECONDS", "0"),
            ("RUST_LOG", "info"),
        ] {
            let row = format!("  {name:22}  {default:9}  ");
            assert!(ended.stdout.contains(&row), "{row:?} in {}", ended.stdout);
        }
        let widest = ended.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest < Some(100), "{}", ended.stdout);
    }
    for argument in ["--version", "-V"] {
        let ended = run(postern(&folder.0).arg(argument));
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        assert_eq!(ended.stdout, format!("postern {}\n", version()));
    }
}

/// The version, and the commit if the source has a history.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let head = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"])
        .output();
    match head {
        Ok(head) if head.status.success() => {
            let commit = String::from_utf8_lossy(&head.stdout)[..12].to_owned();
            format!("{version} ({commit})")
        }
        _ => version.to_owned(),
    }
}

#[test]
fn each_command_has_a_help_of_its_own() {
    let folder = Folder::new();
    let help = |arguments: &[&str]| {
        let ended = run(postern(&folder.0).args(arguments));
        assert_eq!((ended.code, &*ended.stderr), (0, ""), "{arguments:?}");
        let widest = ended.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{}", ended.stdout);
        ended.stdout
    };
    let general = help(&["help"]);
    assert_eq!(general, help(&["--help"]));
    for command in ["check", "explain"] {
        assert!(general.contains(&format!("\n  {command}  ")), "{general}");
        let text = help(&["help", command]);
        assert!(
            text.starts_with(&format!("Usage: postern {command}")),
            "{text}"
        );
        for part in ["\nExit codes: 0 ", "\nExample: "] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(text, help(&[command, "--help"]));
        assert_eq!(text, help(&[command, "-h"]));
    }
    assert!(help(&["help", "explain"]).contains("[--offline]"));
}

#[test]
fn other_arguments_are_refused_in_one_line() {
    let folder = Folder::new();
    let cases: [(&[&str], &str); 12] = [
        (&["help", "serve"], "serve"),
        (&["help", "check", "now"], "now"),
        (&["check", "--offline"], "--offline"),
        (&["check", "now"], "now"),
        (&["explain", "--online"], "--online"),
        (&["--offline"], "--offline"),
        (&["--frob"], "--frob"),
        (&["-x"], "-x"),
        (&["serve"], "serve"),
        (&["--help=all"], "--help"),
        (&["--version", "now"], "now"),
        (&["--a\n\u{1b}b"], "--a\\n\\x1bb"),
    ];
    for (arguments, named) in cases {
        // A tenant, so that a start would not go unnoticed.
        let ended = run(postern(&folder.0).envs(TENANT).args(arguments));
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (64, ""),
            "{arguments:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with("postern: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
        assert!(ended.stderr.contains("postern --help"), "{}", ended.stderr);
    }
}

/// A pipe whose reader is gone.
fn closed_pipe() -> PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn a_proxy_that_cannot_be_used_stops_the_start_and_shows_no_password() {
    let cases = [
        (
            "HTTPS_PROXY",
            "http://user:secret@proxy:0",
            "\"http://***\": its port is not",
        ),
        (
            "https_proxy",
            "socks5://u:secret@proxy",
            "\"socks5://***@proxy\": proxies that speak",
        ),
        (
            "ALL_PROXY",
            "user:secret",
            "\"***\": its port is not a number",
        ),
        (
            "all_proxy",
            "http://u:sec ret@proxy",
            "\"http://***@proxy\": it holds a space",
        ),
        (
            "NO_PROXY",
            "a\tb",
            "\"a\\tb\": write it without control characters",
        ),
        (
            "no_proxy",
            " a",
            "\" a\": write it without spaces around it: a",
        ),
    ];
    for (name, value, told) in cases {
        let lines = refused(&[(name, value)]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let start = format!("postern: {name} is {told}");
        assert!(lines[0].starts_with(&start), "{lines:?}");
        assert!(!lines[0].contains("sec"), "{lines:?}");
    }
    let folder = Folder::new();
    let mut command = postern(&folder.0);
    let value = OsStr::from_bytes(b"http://user:secret\xff@proxy");
    let ended = run(command.envs(TENANT).env("HTTPS_PROXY", value));
    assert_eq!(ended.code, 78);
    assert!(
        ended
            .stderr
            .contains("HTTPS_PROXY is \"http://***@proxy\", which is not UTF-8")
    );
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

/// What cannot be written to.
fn broken_outputs() -> Vec<Stdio> {
    let mut outputs = vec![Stdio::from(closed_pipe())];
    if cfg!(target_os = "linux") {
        outputs.push(Stdio::from(
            File::options().write(true).open("/dev/full").unwrap(),
        ));
    }
    outputs
}

/// Outputs that are full, because their other ends are not read.
fn stalled_outputs() -> Vec<Stdio> {
    let fill = |output: OwnedFd| {
        // The call is the same for a pipe.
        let set_nonblocking = |output: OwnedFd, nonblocking| {
            let output = UnixStream::from(output);
            output.set_nonblocking(nonblocking).unwrap();
            OwnedFd::from(output)
        };
        let mut output = File::from(set_nonblocking(output, true));
        while output.write(&[b'x'; 4096]).is_ok() {}
        Stdio::from(set_nonblocking(output.into(), false))
    };
    let (pipe_reader, pipe) = std::io::pipe().unwrap();
    let (socket_reader, socket) = UnixStream::pair().unwrap();
    // Open until the tests end.
    std::mem::forget((pipe_reader, socket_reader));
    vec![fill(pipe.into()), fill(socket.into())]
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_hold_up_the_end() {
    let folder = Folder::new();
    let limit = Duration::from_secs(10);
    for output in stalled_outputs() {
        let mut command = postern(&folder.0);
        let code = Running::start(command.arg("--frob").stderr(output)).exit_code(limit);
        assert_eq!(code, Some(64));
    }
    for output in stalled_outputs() {
        let mut command = postern(&folder.0);
        // A line for each of three.
        command.env("PORT", "x").stderr(output);
        assert_eq!(Running::start(&mut command).exit_code(limit), Some(78));
    }
}

#[test]
fn a_broken_output_changes_no_exit_code() {
    let folder = Folder::new();
    let limit = Duration::from_secs(10);
    for output in broken_outputs() {
        let mut command = postern(&folder.0);
        let code = Running::start(command.arg("--help").stdout(output)).exit_code(limit);
        assert_eq!(code, Some(0));
    }
    for output in broken_outputs() {
        let mut command = postern(&folder.0);
        let code = Running::start(command.arg("--frob").stderr(output)).exit_code(limit);
        assert_eq!(code, Some(64));
    }
    for level in LEVELS {
        for output in broken_outputs() {
            let mut command = postern(&folder.0);
            command.envs(TENANT).env("RUST_LOG", level).env("PORT", "x");
            let code = Running::start(command.stderr(output)).exit_code(limit);
            assert_eq!(code, Some(78), "{level}");
        }
    }
}

#[test]
fn a_broken_standard_error_does_not_end_the_server() {
    let folder = Folder::new();
    let mut all = Vec::new();
    for level in LEVELS {
        for output in broken_outputs() {
            let mut command = postern(&folder.0);
            command.envs(TENANT).env("RUST_LOG", level).stderr(output);
            all.push(Running::start(&mut command));
        }
    }
    thread::sleep(Duration::from_millis(500));
    for running in &mut all {
        assert_eq!(running.exit_code(Duration::ZERO), None);
    }
}

#[test]
fn each_write_is_of_whole_lines() {
    let folder = Folder::new();
    // What is written to it at once comes out at once.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut command = postern(&folder.0);
    command.envs(TENANT).stderr(OwnedFd::from(theirs));
    let _running = Running::start(&mut command);
    let mut piece = [0; 8192];
    loop {
        let length = ours.recv(&mut piece).expect("a line");
        let lines = std::str::from_utf8(&piece[..length]).unwrap();
        assert!(lines.ends_with('\n') && length <= 4096, "{lines:?}");
        if lines.contains("listening on") {
            break;
        }
    }
}

#[cfg(unix)]
#[test]
fn lines_have_a_timestamp_except_in_the_journal() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let first_line = |journal_stream: Option<&str>| {
        let mut command = postern(&folder.0);
        command
            .envs(TENANT)
            .envs(journal_stream.map(|s| ("JOURNAL_STREAM", s)));
        let stderr = run_until(&mut command, "takes access tokens");
        stderr.lines().next().unwrap().to_owned()
    };
    let stamped = |line: &str| line.as_bytes()[10] == b'T' && line.contains("Z INFO  [postern");
    let plain = |line: &str| line.starts_with("<6> INFO  [postern");

    assert!(stamped(&first_line(None)));
    assert!(stamped(&first_line(Some(""))));
    // Inherited by a child whose standard error goes to a file.
    assert!(stamped(&first_line(Some("1:2"))));
    assert!(plain(&first_line(Some("not comparable"))));

    let file = folder.0.join("journal");
    let stderr = File::create(&file).unwrap();
    let metadata = stderr.metadata().unwrap();
    let mut command = postern(&folder.0);
    command.envs(TENANT).stderr(stderr);
    command.env(
        "JOURNAL_STREAM",
        format!("{}:{}", metadata.dev(), metadata.ino()),
    );
    let mut running = Running::start(&mut command);
    let end = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(&file).unwrap().contains('\n') {
        assert_eq!(running.exit_code(Duration::from_millis(20)), None);
        assert!(Instant::now() < end, "nothing logged");
    }
    let logged = fs::read_to_string(&file).unwrap();
    assert!(plain(&logged), "{logged}");
}
