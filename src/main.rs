//! The command line of postern. Everything else is in the library.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::io::Write as _;
use std::process::ExitCode;

use lexopt::prelude::*;
use postern::api::Messages;
use postern::config;
use postern::logging::{self, complain};
use postern::service::{self, VERSION};

/// The command line is wrong: `EX_USAGE` of `sysexits.h`.
const EXIT_USAGE: u8 = 64;

enum Command {
    Serve,
    Help,
    Version,
}

fn main() -> ExitCode {
    match command() {
        Ok(Command::Serve) => service::run(Messages::new),
        Ok(Command::Help) => print(&help()),
        Ok(Command::Version) => print(VERSION),
        Err(e) => {
            complain(&format!("{e}; see postern --help"));
            logging::flush();
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
