//! A whole service, from its first to its last moment.

use std::fmt;
use std::process::ExitCode;

use crate::api::Auth;
use crate::config::Config;
use crate::http::Handler;
use crate::logging::{self, complain};
use crate::server::{Server, Signals, StartError, StartFault};
use crate::systemd;

/// The name, the version and the commit of postern.
pub const VERSION: &str = concat!("postern ", env!("POSTERN_VERSION"));

/// A setting is missing or wrong: `EX_CONFIG` of `sysexits.h`. Another start with the same settings
/// fails, too.
const EXIT_CONFIG: u8 = 78;

/// Runs a service until SIGTERM or SIGINT, and returns the exit code of its process: this is the
/// `main` of a program. What `handler` makes answers the requests.
///
/// It reads the settings from the environment and from `.env`, takes the sockets that systemd
/// passes, logs to standard error, serves, tells systemd when it is ready, fetches the keys and
/// reads the certificate again at SIGHUP, and drains at the end. A fault that prevents the start is
/// one line on standard error that says what to do.
pub fn run<H: Handler + 'static>(handler: impl FnOnce(Auth) -> H) -> ExitCode {
    logging::install_panic_hook();
    let exit_code = serve(handler);
    logging::flush();
    exit_code
}

fn serve<H: Handler + 'static>(handler: impl FnOnce(Auth) -> H) -> ExitCode {
    // Before anything opens a descriptor: these are known by their numbers.
    let sockets = match systemd::passed_sockets() {
        Ok(sockets) => sockets,
        Err(e) => return fail(1, StartError(StartFault::Sockets(e))),
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
        true => Server::start(&config, handler),
        false => Server::start_with(sockets, &config, handler),
    };
    let server = match started {
        Ok(server) => server,
        Err(e) => return fail(e.exit_code(), e),
    };
    if let Err(e) = logging::start() {
        return fail(1, StartError(StartFault::Thread(e)));
    }
    systemd::ready();
    server.wait_for_signals(signals);
    ExitCode::SUCCESS
}

fn fail(exit_code: u8, why: impl fmt::Display) -> ExitCode {
    complain(&why.to_string());
    ExitCode::from(exit_code)
}
