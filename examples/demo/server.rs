//! postern in a process of its own, so that its log, its signals and its clock are its own too.
//! That process runs this program again.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::postern::api::Messages;
use ::postern::config::Config;
use ::postern::logging;
use ::postern::server::{Server, Signals};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::Event;
use crate::record::{Mark, Record};
use crate::terminal::{Paint, complain, say};

/// The argument that makes this program the server.
pub const SERVE: &str = "serve-the-demo";

/// How long the first fetch of the keys may take, on a busy machine.
const FETCH_TIME: Duration = Duration::from_secs(30);

/// A running postern. It is told to stop on drop, and waited for.
pub struct Postern {
    child: Child,
    pub addr: SocketAddr,
    pub record: Arc<Record>,
    reader: Option<JoinHandle<()>>,
}

/// Which of postern's lines are printed.
#[derive(Clone, Copy, PartialEq)]
pub enum Printed {
    All,
    Warnings,
}

/// What [`SERVE`] does: the server that `main.rs` starts, with the settings of the environment
/// alone. It prints its address.
pub fn serve() -> ExitCode {
    let started = || -> Result<(Server, Signals), String> {
        // It must not outlive the demo, however that ends.
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(|error| error.to_string())?;
        let config = Config::from_vars(env::vars()).map_err(|error| error.to_string())?;
        logging::init(config.log_level);
        let signals = Signals::catch().map_err(|error| error.to_string())?;
        let server = Server::start(&config, Messages::new).map_err(|error| error.to_string())?;
        logging::start().map_err(|error| error.to_string())?;
        Ok((server, signals))
    };
    match started() {
        Ok((server, signals)) => {
            if let Some(addr) = server.local_addr() {
                say(&format!("{addr}\n"));
            }
            server.wait_for_signals(signals);
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Postern {
    /// Starts it with these settings and waits until it has keys. Its lines are recorded and
    /// printed; its end is an event.
    ///
    /// # Errors
    /// Why it does not serve, or only that: it has told the reason itself.
    pub fn start(
        settings: Vec<(String, String)>,
        printed: Printed,
        events: Sender<Event>,
    ) -> Result<Postern, String> {
        let program = env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let mut command = Command::new(program);
        command.arg(SERVE).env_clear().envs(settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C reaches the demo, and the demo ends postern.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a process: {error}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let record = Arc::new(Record::default());
        let lines = Arc::clone(&record);
        let reader = thread::spawn(move || {
            let stderr = stderr.into_iter().flat_map(|it| BufReader::new(it).lines());
            pass_on(stderr, printed, &lines);
            lines.end();
            // Nobody receives it once the demo ends.
            let _ = events.send(Event::Ended);
        });
        let mut line = String::new();
        let stdout = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let addr = line.trim_end().parse();
        let mut postern = Postern {
            child,
            addr: addr.clone().unwrap_or(([127, 0, 0, 1], 0).into()),
            record,
            reader: Some(reader),
        };
        if addr.is_err() || !matches!(stdout, Some(Ok(_))) {
            postern.stop();
            return Err("postern has not started".to_owned());
        }
        postern.wait_for_keys()?;
        Ok(postern)
    }

    fn wait_for_keys(&self) -> Result<(), String> {
        let has_keys = |lines: &[String]| lines.iter().any(|line| line.contains("] fetched "));
        let start = Mark {
            exchange: 0,
            line: 0,
        };
        match self.record.lines(start, FETCH_TIME, has_keys) {
            Some(lines) if has_keys(&lines) => Ok(()),
            _ => Err("postern has not fetched the keys of the stand-in tenant".to_owned()),
        }
    }

    /// `systemctl reload`: it fetches the keys again. Returns what it logs about that.
    pub fn reload(&self) -> Vec<String> {
        let mark = self.record.mark();
        self.signal(Signal::HUP);
        let about_keys = |line: &String| line.contains("[postern::auth::jwks");
        let lines = self.record.lines(mark, Duration::from_secs(5), |lines| {
            lines.iter().any(about_keys)
        });
        lines.unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(Some(pid)) = i32::try_from(self.child.id()).map(Pid::from_raw) {
            // It may have ended by itself; it has not been waited for, so the id is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    fn stop(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // A panic of that thread has been printed.
            let _ = reader.join();
        }
    }
}

impl Drop for Postern {
    fn drop(&mut self) {
        if self.reader.is_some() {
            self.stop();
        }
    }
}

/// Prints and records lines until there are no more.
fn pass_on(lines: impl Iterator<Item = io::Result<String>>, printed: Printed, record: &Record) {
    let paint = Paint::of(&io::stderr());
    for line in lines.map_while(Result::ok) {
        let is_quiet = line.contains(" INFO  [");
        if printed == Printed::All || !is_quiet {
            complain(&paint.log_line(&line));
        }
        record.log(line);
    }
}
