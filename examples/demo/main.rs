//! postern without an Auth0 account: a stand-in tenant, the real server, and a page to try it.
//!
//! `cargo run --example demo` serves until Ctrl-C. With `-- --check` it makes requests itself
//! and exits with 0 if every answer is the expected one, else with 1. With `-- --tls` it serves
//! over TLS, with a certificate of a private CA.
//!
//! ```text
//! browser ──── the page, tokens, the record ────> page    (an origin of its own)
//!    └──────── the API ──> relay ──> postern ───> tenant  (postern in a process of its own)
//! ```

mod check;
mod page;
mod record;
mod relay;
mod server;
// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;
mod terminal;
mod world;

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustls::ClientConfig;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::page::{Page, Site};
use crate::relay::Upstream;
use crate::server::{Postern, Printed};
use crate::support::TempDir;
use crate::support::certificates::{self, ServerFiles};
use crate::support::https::client_config;
use crate::support::tenant::Tenant;
use crate::support::token::AUDIENCE;
use crate::terminal::{Paint, Steps, complain, say};
use crate::world::World;

const USAGE: &str = "\
Usage: cargo run --example demo [-- [--check] [--tls]]

  --check   make the requests, compare the answers, exit with 0 or 1
  --tls     serve over TLS, with a certificate of a private CA

PORT sets the port to listen on: 6060 unless set, any free one for --check.";

/// Where the sample web apps run.
const WEB_APP: &str = "http://localhost:4040";

/// What ends the demo.
pub enum Event {
    /// A signal: Ctrl-C, or the terminal is closed.
    Told,
    /// postern has ended.
    Ended,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    if args.iter().any(|arg| arg == server::SERVE) {
        return server::serve();
    }
    if !args.iter().all(|arg| arg == "--check" || arg == "--tls") {
        complain(USAGE);
        return ExitCode::from(2);
    }
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let run = if has("--check") { run_check } else { run_page };
    match run(has("--tls")) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            complain(&format!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run_check(is_secure: bool) -> Result<ExitCode, String> {
    let (events, _receiver) = mpsc::channel();
    let mut steps = Steps::of(2 + usize::from(is_secure));
    let world = start_world(&mut steps);
    let tls = start_tls(is_secure, &mut steps);
    let settings = settings(&world, tls.as_ref(), "0", WEB_APP);
    let postern = start_postern(settings, Printed::Warnings, events, &mut steps)?;
    let config = tls.as_ref().map(|tls| &tls.client);
    Ok(check::run(&world, postern.addr, config))
}

fn run_page(is_secure: bool) -> Result<ExitCode, String> {
    let (events, receiver) = mpsc::channel();
    let mut steps = Steps::of(3 + usize::from(is_secure));
    let site = Arc::new(Site::bind()?);
    let mut world = start_world(&mut steps);
    steps.begin("compiling a clock that can be set wrong");
    world.make_clock();
    let tls = start_tls(is_secure, &mut steps);
    let origins = format!("{WEB_APP},{}", site.origin);
    let mut settings = settings(&world, tls.as_ref(), "6060", &origins);
    settings.extend(world.clock_variables());
    let postern = start_postern(settings, Printed::All, events.clone(), &mut steps)?;
    // From here on Ctrl-C ends the demo in order, so that it leaves nothing behind.
    catch_signals(events).map_err(|error| format!("cannot catch Ctrl-C: {error}"))?;
    let relay = relay::start(Upstream {
        addr: postern.addr,
        tls: tls.as_ref().map(|tls| Arc::clone(&tls.client)),
        record: Arc::clone(&postern.record),
    });
    let relay = relay.map_err(|error| format!("cannot start the relay: {error}"))?;
    let (scheme, trust) = match &tls {
        Some(tls) => ("https", format!("--cacert {} ", tls.root.display())),
        None => ("http", String::new()),
    };
    let url = format!("{scheme}://{}", postern.addr);
    say(&introduction(&site.origin, &url, &world.tenant.issuer()));
    let page = Page {
        postern,
        world,
        api: format!("http://{relay}"),
        curl: format!("curl -i {trust}{url}"),
        is_secure,
    };
    let serving = page::serve(&site, page);
    let event = receiver.recv();
    site.end();
    // A panic of that thread has been printed.
    let _ = serving.join();
    match event {
        Ok(Event::Told) => Ok(ExitCode::SUCCESS),
        _ => Err("postern has ended".to_owned()),
    }
}

fn introduction(page: &str, url: &str, issuer: &str) -> String {
    let paint = Paint::of(&io::stdout());
    let row = |name: &str, value: &str| format!("  {} {value}\n", paint.dim(name));
    [
        format!(
            "\n  {} {}\n\n",
            paint.bold("Open"),
            paint.link(&format!("{page}/"))
        ),
        row("postern        ", url),
        row("its tenant     ", issuer),
        row("without browser", &format!("curl {page}/curl")),
        row("Ctrl-C         ", "ends it\n"),
    ]
    .concat()
}

fn catch_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            // Nobody receives it once the demo ends.
            let _ = events.send(Event::Told);
        }
    });
    Ok(())
}

fn start_world(steps: &mut Steps) -> World {
    steps.begin("starting a stand-in tenant, with two new RSA keys");
    World::new(Tenant::start())
}

fn start_postern(
    settings: Vec<(String, String)>,
    printed: Printed,
    events: Sender<Event>,
    steps: &mut Steps,
) -> Result<Postern, String> {
    steps.begin("starting postern, and waiting until it has the tenant's keys");
    Postern::start(settings, printed, events).map_err(|error| {
        let port = env::var("PORT").unwrap_or_default();
        let other = if port == "6061" { "6062" } else { "6061" };
        format!("{error}\nOn another port: PORT={other} cargo run --example demo")
    })
}

/// The files of a certificate, and what clients need.
struct Tls {
    files: ServerFiles,
    /// The file of the CA.
    root: PathBuf,
    client: Arc<ClientConfig>,
    _dir: TempDir,
}

fn start_tls(is_secure: bool, steps: &mut Steps) -> Option<Tls> {
    if !is_secure {
        return None;
    }
    steps.begin("issuing a certificate for postern");
    let dir = TempDir::new();
    let files = ServerFiles::new(dir.path());
    let root = dir.path().join("ca.pem");
    certificates::replace(&root, files.root.pem());
    Some(Tls {
        client: Arc::new(client_config(files.root.pem(), rustls::ALL_VERSIONS)),
        files,
        root,
        _dir: dir,
    })
}

/// The settings of postern, with the stand-in for a tenant.
fn settings(
    world: &World,
    tls: Option<&Tls>,
    default_port: &str,
    origins: &str,
) -> Vec<(String, String)> {
    let tenant = &world.tenant;
    // As everywhere in postern, an empty value counts as unset.
    let port = env::var("PORT").unwrap_or_default();
    let port = if port.is_empty() { default_port } else { &port };
    let settings = [
        ("AUTH0_DOMAIN", tenant.domain()),
        ("AUTH0_AUDIENCE", AUDIENCE.to_owned()),
        ("SSL_CERT_FILE", tenant.ca_file().display().to_string()),
        ("CLIENT_ORIGIN_URL", origins.to_owned()),
        ("PORT", port.to_owned()),
    ];
    let tls = tls.into_iter().flat_map(|tls| tls.files.settings());
    let all = settings.into_iter().chain(tls);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}
