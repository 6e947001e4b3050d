//! What the demo prints, and that it leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::Scenario;
use crate::house::{Demo, program};
use crate::support::client::Client;
use crate::support::postern::binary;
use crate::support::{TempDir, wait_until};

pub const SCENARIOS: &[Scenario] = &[
    ("colour on a terminal only", colour),
    ("no colour with NO_COLOR", no_colour),
    ("one link, and few lines", one_link),
    ("a port that is taken", taken_port),
    ("Ctrl-C leaves nothing", interrupted),
    ("neither does SIGKILL leave the server", killed),
    ("the page's server answers the page only", strangers),
    ("what is to be pasted works in a shell", pasted),
];

fn check(args: &[&str]) -> Output {
    let mut command = Command::new(program());
    let output = command.arg("--check").args(args).output();
    output.expect("the demo starts")
}

/// The same on a terminal.
fn check_on_terminal(no_color: Option<&str>) -> Vec<u8> {
    let mut command = Command::new("script");
    let inner = format!("{} --check", program().display());
    command.args(["-qec", &inner, "/dev/null"]);
    command.env("TERM", "xterm");
    if let Some(value) = no_color {
        command.env("NO_COLOR", value);
    }
    let output = command.output().expect("script is installed");
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("6 of 6 as expected"));
    output.stdout
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ESC: u8 = 0x1b;

fn colour() {
    for args in [&[][..], &["--tls"]] {
        let output = check(args);
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).ends_with("6 of 6 as expected\n"));
        assert!(!output.stdout.contains(&ESC), "{output:?}");
        // Steps are for a terminal, and nothing went wrong.
        assert_eq!(text(&output.stderr), "");
    }
    let printed = check_on_terminal(None);
    assert!(printed.contains(&ESC), "{}", text(&printed));
    assert!(text(&printed).contains("starting postern"));
    // An empty value counts as unset (https://no-color.org).
    assert!(check_on_terminal(Some("")).contains(&ESC));
}

fn no_colour() {
    let printed = check_on_terminal(Some("1"));
    assert!(!printed.contains(&ESC), "{}", text(&printed));
    assert!(text(&printed).contains("[2/2] starting postern"));
}

fn one_link() {
    let mut child = Command::new(program())
        .env("PORT", "0")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut start = [0; 4096];
    let out = child.stdout.as_mut().expect("a pipe");
    let count = std::io::Read::read(out, &mut start).expect("text");
    let printed = text(&start[..count]);
    let status = Command::new("kill").arg(child.id().to_string()).status();
    assert!(status.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(!printed.as_bytes().contains(&ESC), "{printed}");
    assert!(printed.trim_start().starts_with("Open http://127.0.0.1:"));
    assert!(printed.lines().count() <= 9, "{printed}");
    let log = text(&output.stderr);
    assert!(!log.as_bytes().contains(&ESC), "{log}");
    assert!(log.contains("] listening on http://127.0.0.1:"), "{log}");
}

fn taken_port() {
    let demo = Demo::start();
    let (_, port) = demo.postern.rsplit_once(':').expect("a port");
    let mut command = Command::new(program());
    let output = command.env("PORT", port).output().expect("it starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("PORT is {port}, which another program")),
        "{said}"
    );
    assert!(
        said.ends_with("On another port: PORT=6061 cargo run --example demo\n"),
        "{said}"
    );
}

fn interrupted() {
    let dir = TempDir::new();
    let mut demo = Demo::start_in(dir.path());
    let children = demo.children();
    assert!(is_alive(children[0]) && children.len() == 1, "{children:?}");
    assert!(fs::read_dir(dir.path()).is_ok_and(|mut files| files.next().is_some()));
    assert_eq!(demo.end("INT").code(), Some(0));
    assert!(!is_alive(children[0]));
    let left: Vec<_> = fs::read_dir(dir.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
    let ended = |line: &String| line.contains("SIGTERM received");
    wait_until("the end is logged", || demo.lines().iter().any(ended));
}

fn killed() {
    let mut demo = Demo::start();
    let children = demo.children();
    assert_eq!(children.len(), 1);
    demo.end("KILL");
    wait_until("the server ends", || !is_alive(children[0]));
}

/// Whether it runs. One that has ended may not have been waited for.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn strangers() {
    let demo = Demo::start();
    let host = demo.page.strip_prefix("http://").expect("http");
    let ask = |method: &str, path: &str, host: &str, more: &str| {
        let addr = demo
            .page
            .strip_prefix("http://")
            .and_then(|it| it.parse().ok());
        let mut client = Client::connect(addr.expect("an address"));
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: 0\r\n\r\n"
        ));
        client.response()
    };
    // A name that an attacker's DNS server points to this host.
    for path in ["/", "/state", "/curl", "/record"] {
        assert_eq!(ask("GET", path, "evil.example.com", "").status, 421);
        let answer = ask("GET", path, host, "");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    }
    let own = format!("Origin: {}\r\n", demo.page);
    for path in ["/tenant/down", "/tokens", "/reload"] {
        for more in [
            "",
            "Origin: http://evil.example.com\r\n",
            "Origin: null\r\n",
        ] {
            assert_eq!(ask("POST", path, host, more).status, 403);
        }
        assert_eq!(ask("POST", path, "localhost", &own).status, 421);
    }
    assert_eq!(ask("POST", "/tokens", host, &own).status, 200);
    assert_eq!(ask("POST", "/nothing", host, &own).status, 404);
    assert_eq!(ask("GET", "/nothing", host, "").status, 404);
}

/// The lines of `/curl`, and a server of one's own with the settings that they set.
fn pasted() {
    let demo = Demo::start();
    let script = format!(
        "eval \"$(curl -sS {}/curl)\"; '{}' check",
        demo.page,
        binary().display()
    );
    let mut command = Command::new("bash");
    let folder = TempDir::new();
    command.args(["-euc", &script]).current_dir(folder.path());
    let ended = command.output().expect("bash is installed");
    let printed = text(&ended.stdout);
    // No line ends after a body.
    let answers = printed.split("HTTP/1.1 ").skip(1);
    let statuses: Vec<_> = answers.filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(statuses, ["200", "200", "200", "401", "401", "403"]);
    assert!(printed.contains("\nok       key set: "), "{printed}");
    assert!(ended.status.success(), "{ended:?}");
}
