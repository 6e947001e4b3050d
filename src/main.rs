//! The command line of postern. Everything else is in the library.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::io::Write as _;
use std::process::ExitCode;

use lexopt::prelude::*;
use postern::api::Messages;
use postern::commands;
use postern::config;
use postern::logging::{self, complain};
use postern::service::{self, VERSION};

/// The command line is wrong: `EX_USAGE` of `sysexits.h`.
const EXIT_USAGE: u8 = 64;

enum Command {
    Serve,
    Check,
    Explain { is_offline: bool },
    Help(Topic),
    Version,
}

/// What `postern help` is asked about.
enum Topic {
    Postern,
    Check,
    Explain,
}

fn main() -> ExitCode {
    logging::install_panic_hook();
    let exit_code = run();
    logging::flush();
    exit_code
}

fn run() -> ExitCode {
    match command() {
        Ok(Command::Serve) => service::run(Messages::new),
        Ok(Command::Check) => commands::check(),
        Ok(Command::Explain { is_offline }) => commands::explain(is_offline),
        Ok(Command::Help(Topic::Postern)) => print(&help()),
        Ok(Command::Help(Topic::Check)) => print(commands::CHECK_HELP),
        Ok(Command::Help(Topic::Explain)) => print(commands::EXPLAIN_HELP),
        Ok(Command::Version) => print(VERSION),
        Err(e) => {
            let mut text = e.to_string();
            // As a JWT begins. A token is not to be printed, wherever it was written.
            if text.contains("eyJ") {
                text = TOKEN_IN_ARGUMENTS.to_owned();
            }
            complain(&format!("{text}; see postern --help"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn command() -> Result<Command, lexopt::Error> {
    let mut command = Command::Serve;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        command = match (command, argument) {
            (Command::Check, Short('h') | Long("help")) => Command::Help(Topic::Check),
            (Command::Explain { .. }, Short('h') | Long("help")) => Command::Help(Topic::Explain),
            (_, Short('h') | Long("help")) => Command::Help(Topic::Postern),
            (_, Short('V') | Long("version")) => Command::Version,
            (Command::Explain { .. }, Value(_)) => return Err(TOKEN_IN_ARGUMENTS.into()),
            (Command::Explain { .. }, Long("offline")) => match arguments.optional_value() {
                Some(_) => return Err(TOKEN_IN_ARGUMENTS.into()),
                None => Command::Explain { is_offline: true },
            },
            (Command::Serve, Value(value)) => match value.to_str() {
                Some("check") => Command::Check,
                Some("explain") => Command::Explain { is_offline: false },
                Some("help") => Command::Help(Topic::Postern),
                _ => return Err(Value(value).unexpected()),
            },
            (Command::Help(Topic::Postern), Value(value)) => match value.to_str() {
                Some("check") => Command::Help(Topic::Check),
                Some("explain") => Command::Help(Topic::Explain),
                _ => return Err(Value(value).unexpected()),
            },
            (_, argument) => return Err(argument.unexpected()),
        };
    }
    Ok(command)
}

/// Other users of the host see the arguments of each process.
const TOKEN_IN_ARGUMENTS: &str = "a token is read from standard input, not from the arguments, \
     where other users of this host can see it: postern explain < FILE";

fn help() -> String {
    let mut help = String::from(
        "postern: serves three messages over HTTP, two of them only to holders of a valid Auth0\n\
         access token.\n\n\
         Usage: postern [COMMAND] [--help | --version]\n\n  \
           (none)           serves\n  \
           check            checks the settings, this host and the way to the tenant\n  \
           explain          reads a token from standard input, and says what becomes of it\n  \
           help [COMMAND]   says more about a command\n\n\
         Settings are environment variables. A .env file in the working directory fills in what\n\
         the environment leaves unset; an empty value counts as unset.\n\n",
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
