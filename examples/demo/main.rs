//! postern without an Auth0 account: a stand-in tenant, the real server, and requests to try.
//!
//! `cargo run --example demo` serves until Ctrl-C. With `-- --check` it makes the requests itself
//! and exits with 0 if every answer is the expected one, else with 1. With `-- --tls` it serves
//! over TLS, with a certificate of a private CA.

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::LevelFilter;
use postern::api::Messages;
use postern::config::Config;
use postern::logging;
use postern::server::{Server, Signals};

use rustls::ClientConfig;

use crate::support::TempDir;
use crate::support::certificates::{self, ServerFiles};
use crate::support::client::{self, Client, Response};
use crate::support::https::client_config;
use crate::support::tenant::Tenant;
use crate::support::token::{AUDIENCE, Token};

const USAGE: &str = "\
Usage: cargo run --example demo [-- [--check] [--tls]]

  --check   make the requests, compare the answers, exit with 0 or 1
  --tls     serve over TLS, with a certificate of a private CA

PORT sets the port to listen on: 6060 unless set, any free one for --check.";

/// Where the sample web apps run.
const WEB_APP: &str = "http://localhost:4040";

/// One request, and its expected answer.
struct Example {
    path: &'static str,
    caller: Caller,
    status: u16,
    message: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Caller {
    Nobody,
    User,
    Admin,
    Expired,
}

const EXAMPLES: [Example; 6] = [
    Example {
        path: "/api/messages/public",
        caller: Caller::Nobody,
        status: 200,
        message: "The API doesn't require an access token to share this message.",
    },
    Example {
        path: "/api/messages/protected",
        caller: Caller::User,
        status: 200,
        message: "The API successfully validated your access token.",
    },
    Example {
        path: "/api/messages/admin",
        caller: Caller::Admin,
        status: 200,
        message: "The API successfully recognized you as an admin.",
    },
    Example {
        path: "/api/messages/protected",
        caller: Caller::Nobody,
        status: 401,
        message: "Requires authentication",
    },
    Example {
        path: "/api/messages/protected",
        caller: Caller::Expired,
        status: 401,
        message: "Bad credentials",
    },
    Example {
        path: "/api/messages/admin",
        caller: Caller::User,
        status: 403,
        message: "Permission denied",
    },
];

impl Caller {
    /// The shell variable that holds the caller's token.
    fn variable(self) -> &'static str {
        match self {
            Caller::Nobody => "",
            Caller::User => "USER_TOKEN",
            Caller::Admin => "ADMIN_TOKEN",
            Caller::Expired => "EXPIRED_TOKEN",
        }
    }

    fn token(self, tenant: &Tenant) -> Option<String> {
        let user = Token::user(tenant);
        match self {
            Caller::Nobody => None,
            Caller::User => Some(user.sign()),
            Caller::Admin => Some(user.admin().sign()),
            Caller::Expired => Some(user.expired().sign()),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    if !args.iter().all(|arg| arg == "--check" || arg == "--tls") {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let check = args.iter().any(|arg| arg == "--check");
    let default_port = if check { "0" } else { "6060" };
    // As everywhere in postern, an empty value counts as unset.
    let port = env::var("PORT").unwrap_or_default();
    let port = if port.is_empty() { default_port } else { &port };

    let level = if check {
        LevelFilter::Warn
    } else {
        LevelFilter::Info
    };
    logging::init(level);
    if let Err(error) = logging::start() {
        eprintln!("demo: cannot start a thread: {error}");
        return ExitCode::FAILURE;
    }
    let tenant = Tenant::start();
    let tls = args.iter().any(|arg| arg == "--tls").then(Tls::new);
    let server = match serve(&tenant, port, tls.as_ref()) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(addr) = server.local_addr() else {
        eprintln!("demo: the server listens on no TCP port");
        return ExitCode::FAILURE;
    };
    if check {
        return run_examples(&tenant, addr, tls.as_ref());
    }
    // From here on Ctrl-C ends the demo in order, so that it leaves nothing behind.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("cannot catch Ctrl-C: {error}");
            return ExitCode::FAILURE;
        }
    };
    say(&introduction(&tenant, addr, tls.as_ref()));
    server.wait_for_signals(signals);
    ExitCode::SUCCESS
}

/// The files of a certificate, and what clients need.
struct Tls {
    files: ServerFiles,
    /// The file of the CA.
    root: PathBuf,
    _dir: TempDir,
}

impl Tls {
    fn new() -> Tls {
        let dir = TempDir::new();
        let files = ServerFiles::new(dir.path());
        let root = dir.path().join("ca.pem");
        certificates::replace(&root, files.root.pem());
        Tls {
            files,
            root,
            _dir: dir,
        }
    }
}

/// Starts the server that `main.rs` starts, in this process, with the stand-in for a tenant.
fn serve(tenant: &Tenant, port: &str, tls: Option<&Tls>) -> Result<Server, String> {
    let settings = [
        ("AUTH0_DOMAIN".to_owned(), tenant.domain()),
        ("AUTH0_AUDIENCE".to_owned(), AUDIENCE.to_owned()),
        (
            "SSL_CERT_FILE".to_owned(),
            tenant.ca_file().display().to_string(),
        ),
        ("CLIENT_ORIGIN_URL".to_owned(), WEB_APP.to_owned()),
        ("PORT".to_owned(), port.to_owned()),
    ];
    let tls = tls.into_iter().flat_map(|tls| tls.files.settings());
    let tls = tls.map(|(name, value)| (name.to_owned(), value));
    let config = Config::from_vars(settings.into_iter().chain(tls));
    let config = config.map_err(|error| error.to_string())?;
    Server::start(&config, Messages::new).map_err(|error| {
        let other = if port == "6061" { "6062" } else { "6061" };
        format!("{error}\nOn another port: PORT={other} cargo run --example demo")
    })
}

fn introduction(tenant: &Tenant, addr: SocketAddr, tls: Option<&Tls>) -> String {
    let issuer = tenant.issuer();
    let (scheme, trust) = match tls {
        Some(tls) => ("https", format!("--cacert {} ", tls.root.display())),
        None => ("http", String::new()),
    };
    let mut text = format!(
        "postern serves on      {scheme}://{addr}\n\
         the stand-in tenant    {issuer}\n\
         the API (audience)     {AUDIENCE}\n\
         web apps may call from {WEB_APP}\n\n\
         The tokens; the first two are valid for a day. Paste them into a shell:\n\n"
    );
    for caller in [Caller::User, Caller::Admin, Caller::Expired] {
        let token = caller.token(tenant).unwrap_or_default();
        text += &format!("{}={token}\n", caller.variable());
    }
    text += "\nThen ask:\n";
    for example in &EXAMPLES {
        let header = match example.caller {
            Caller::Nobody => String::new(),
            caller => format!(" -H \"Authorization: Bearer ${}\"", caller.variable()),
        };
        text += &format!(
            "\ncurl -i {trust}{scheme}://{addr}{}{header}\n    answers {} {}\n",
            example.path, example.status, example.message
        );
    }
    text + "\nCtrl-C ends it.\n"
}

fn run_examples(tenant: &Tenant, addr: SocketAddr, tls: Option<&Tls>) -> ExitCode {
    let config = tls.map(|tls| client_config(tls.files.root.pem(), rustls::ALL_VERSIONS));
    let config = config.map(Arc::new);
    let mut failed = 0;
    for example in &EXAMPLES {
        let request = match example.caller {
            Caller::Nobody => format!("GET {}", example.path),
            caller => format!("GET {} with {}", example.path, caller.variable()),
        };
        let expected = format!("{} {}", example.status, example.message);
        let actual = ask(tenant, addr, config.as_ref(), example);
        let verdict = if actual == expected { "ok  " } else { "FAIL" };
        failed += usize::from(actual != expected);
        say(&format!(
            "{verdict}  {request}\n      expected  {expected}\n      actual    {actual}\n"
        ));
    }
    let all = EXAMPLES.len();
    say(&format!("{} of {all} as expected\n", all - failed));
    ExitCode::from(u8::from(failed > 0))
}

/// The status and message a request gets, or why it gets none.
fn ask(
    tenant: &Tenant,
    addr: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    example: &Example,
) -> String {
    let token = example.caller.token(tenant);
    let authorization = token.map(|token| client::bearer(&token));
    let headers: Vec<_> = authorization
        .iter()
        .map(|value| ("Authorization", value.as_str()))
        .collect();
    let request = || -> io::Result<Response> {
        let client = Client::try_connect(addr)?;
        let mut client = match tls {
            Some(config) => client.try_secure(config)?,
            None => client,
        };
        client.try_request("GET", example.path, &headers)
    };
    let mut answer = request();
    // While the server is still fetching the keys, it answers 503 with Retry-After.
    if let Ok(response) = &answer
        && let Some(seconds) = response.header("Retry-After")
    {
        thread::sleep(Duration::from_secs(seconds.parse().unwrap_or(1)));
        answer = request();
    }
    match answer {
        Ok(response) => format!("{} {}", response.status, response.message()),
        Err(error) => format!("no answer: {error}"),
    }
}

/// To standard output, in one piece, for the log comes in between; a closed one stops nothing.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
