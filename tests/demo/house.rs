//! The running demo.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::wait_until;

/// The demo's program, which is built beside this one.
pub fn program() -> PathBuf {
    let this = env::current_exe().expect("this program has a path");
    let target = this.parent().and_then(|deps| deps.parent());
    let program = target.expect("target/debug/deps").join("examples/demo");
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// A demo with its page. It is killed on drop.
pub struct Demo {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// `http://127.0.0.1:4070`
    pub page: String,
    /// `http://127.0.0.1:6060`
    pub postern: String,
}

impl Demo {
    pub fn start() -> Demo {
        Demo::start_with(&[])
    }

    /// With these arguments; on any free port.
    pub fn start_with(args: &[&str]) -> Demo {
        let mut command = Command::new(program());
        command.args(args).env("PORT", "0");
        Demo::spawn(command)
    }

    pub fn start_on(port: &str) -> Demo {
        let mut command = Command::new(program());
        command.env("PORT", port);
        Demo::spawn(command)
    }

    /// With this folder for what is temporary.
    pub fn start_in(folder: &Path) -> Demo {
        let mut command = Command::new(program());
        command.env("TMPDIR", folder).env("PORT", "0");
        Demo::spawn(command)
    }

    fn spawn(mut command: Command) -> Demo {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the demo starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                kept.lock().expect("no panic").push(line);
            }
        });
        let mut after = |name: &str| loop {
            let line = out.next().expect("a line follows").expect("UTF-8");
            if let Some(value) = line.trim().strip_prefix(name) {
                break value.trim().to_owned();
            }
        };
        let (page, postern) = (after("Open"), after("postern"));
        // The rest fits into the pipe, and is not read.
        Demo {
            page: page.trim_end_matches('/').to_owned(),
            postern,
            child,
            lines,
        }
    }

    /// What it has written to standard error.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process ids of what it has started.
    pub fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().flat_map(str::parse).collect()
    }

    /// Sends a signal, `INT` or `KILL`, and waits for the end.
    pub fn end(&mut self, signal: &str) -> ExitStatus {
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", signal, &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let mut ended = None;
        wait_until("the demo ends", || {
            ended = self
                .child
                .try_wait()
                .expect("the child is ours to wait for");
            ended.is_some()
        });
        ended.expect("it was waited for")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Both fail only if it has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
