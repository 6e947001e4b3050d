//! What `postern check` does, and what `postern help` says of it.

mod check;
mod output;

pub use self::check::check;

/// What `postern help check` prints.
pub const CHECK_HELP: &str = "\
Usage: postern check

Does what a start and a first fetch of the keys do, step by step, and prints a line for each:
settings, listening address, state folder, name resolution, connection, TLS, key set, clock and
certificate. A line begins with ok, warning, FAILED, or skipped if the step needs one that failed;
what to do stands below. It stops at no failure, changes nothing, and works beside a postern that
runs.

The settings are those of the server: environment and .env. Under systemd, systemd/postern-run
runs it as the service's user, with the service's settings.

Exit codes: 0 nothing failed, 1 something failed, 64 wrong command line.

Example: AUTH0_DOMAIN=tenant.eu.auth0.com AUTH0_AUDIENCE=https://api.example.com postern check";
