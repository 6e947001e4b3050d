//! The command line of postern. Everything else is in the library.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use lexopt::prelude::*;
use postern::config::{self, Config};
use postern::logging::{self, complain};
use postern::server::{Server, Signals, StartError};
use postern::systemd;

const VERSION: &str = concat!("postern ", env!("CARGO_PKG_VERSION"));

/// The command line is wrong: `EX_USAGE` of `sysexits.h`.
const EXIT_USAGE: u8 = 64;
/// A setting is missing or wrong: `EX_CONFIG`. Another start with the same settings fails, too.
const EXIT_CONFIG: u8 = 78;

enum Command {
    Serve,
    Help,
    Version,
}

fn main() -> ExitCode {
    logging::install_panic_hook();
    let exit_code = run();
    logging::flush();
    exit_code
}

fn run() -> ExitCode {
    match command() {
        Ok(Command::Serve) => serve(),
        Ok(Command::Help) => print(&help()),
        Ok(Command::Version) => print(VERSION),
        Err(e) => {
            complain(&format!("{e}; see postern --help"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn command() -> Result<Command, lexopt::Error> {
    let mut command = Command::Serve;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        command = match argument {
            Short('h') | Long("help") => Command::Help,
            Short('V') | Long("version") => Command::Version,
            _ => return Err(argument.unexpected()),
        };
    }
    Ok(command)
}

fn serve() -> ExitCode {
    // Before anything opens a descriptor: these are known by their numbers.
    let sockets = match systemd::passed_sockets() {
        Ok(sockets) => sockets,
        Err(e) => return fail(1, StartError::Sockets(e)),
    };
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(e) => {
            e.to_string().lines().for_each(complain);
            // On a first try there is a checkout; on a host there is no Cargo.
            if e.tenant_missing() && !logging::stderr_is_journal() {
                complain("cargo run --example demo shows postern without an Auth0 account");
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    logging::init(config.log_level);
    log::info!(
        "{VERSION} takes access tokens from {} for {}",
        config.issuer(),
        config.audience
    );
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(e) => return fail(1, format_args!("cannot catch signals: {e}")),
    };
    let started = match sockets.is_empty() {
        true => Server::start(&config),
        false => Server::start_with(sockets, &config),
    };
    let server = match started {
        Ok(server) => server,
        Err(e) => return fail(e.exit_code(), e),
    };
    if let Err(e) = logging::start() {
        return fail(1, StartError::Thread(e));
    }
    systemd::ready();
    server.wait_for_signals(signals);
    ExitCode::SUCCESS
}

fn fail(exit_code: u8, why: impl fmt::Display) -> ExitCode {
    complain(&why.to_string());
    ExitCode::from(exit_code)
}

fn help() -> String {
    let mut help = format!(
        "{VERSION}: serves three messages over HTTP, two of them only to holders of a valid Auth0\n\
         access token.\n\n\
         Usage: postern [--help | --version]\n\n\
         Settings are environment variables. A .env file in the working directory fills in what\n\
         the environment leaves unset; an empty value counts as unset.\n\n"
    );
    help.push_str(&config::help());
    help.push_str(
        "\nExit codes: 0 after SIGTERM or SIGINT, 1 failed but another start may succeed,\n\
         64 wrong command line, 78 wrong settings.",
    );
    help
}

/// Prints to standard output. If that is closed, it is not an error.
fn print(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
