//! What `postern check` and `postern explain` do, and what `postern help` says of them.

mod check;
mod explain;
mod output;

pub use self::check::check;
pub use self::explain::explain;

/// What `postern help check` prints.
pub const CHECK_HELP: &str = "\
Usage: postern check

Does what a start and a first fetch of the keys do, step by step, and prints a line for each:
settings, listening address, state folder, name resolution, connection, TLS, key set, clock and
certificate. A line begins with ok, warning, FAILED, or skipped if the step needs one that failed;
what to do stands below. It stops at no failure, changes nothing, and works beside a postern that
runs. A terminal gets colours, unless NO_COLOR is set.

The settings are those of the server: environment and .env. Under systemd, systemd/postern-run
runs it as the service's user, with the service's settings.

Exit codes: 0 nothing failed, 1 something failed, 64 wrong command line.

Example: AUTH0_DOMAIN=tenant.eu.auth0.com AUTH0_AUDIENCE=https://api.example.com postern check";

/// What `postern help explain` prints.
pub const EXPLAIN_HELP: &str = "\
Usage: postern explain [--offline]

Reads an access token from standard input, with or without \"Bearer\" or \"Authorization: Bearer\"
before it; at a terminal it is not shown. Prints the token's header and the claims that count, each
rule for access tokens with ok or why it is broken, the permissions, and what each route would
answer. The signature is never printed. A terminal gets colours, unless NO_COLOR is set.

The keys are those in STATE_DIRECTORY if they are fresh and have the token's key, else they are
fetched. With --offline, nothing is fetched.

Exit codes: 0 accepted, 1 refused, 64 wrong command line or no token, 75 no keys to tell, 78 wrong
settings.

Example: postern explain < token.txt";
