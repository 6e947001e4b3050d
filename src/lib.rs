//! postern: an Auth0-protected API server for constrained hosts.
//!
//! One small binary, blocking threads, no async runtime. This library is what the binary is made
//! of; it is not meant to be built upon.
//!
//! # The way of a request
//!
//! ```text
//! http::engine        a worker waits for whoever is ready, and takes the connection
//! http::places        decides whose connection it is when there are more than places
//! http::connection    reads the head within its deadline, answers, keeps alive or closes
//! http::request       the head becomes a Request, or a 400, 414, 431, 505
//! api::router         (method, path) becomes a handler, or a 404, 405
//! api::messages       the handler, which asks
//! auth::bearer          for the token in the Authorization header,
//! auth::jwks            for the tenant's current keys,
//! auth::cache           for the claims of a token verified before, or
//! auth::verifier        for those of a token that one of the keys signed
//! http::cors          adds what browsers must be told
//! http::response      puts the answer onto the wire
//! ```
//!
//! Arrows point one way: `main -> server -> {api, auth, http}` and `api -> {auth, http}`. [`http`]
//! and [`auth`] never name each other, nor [`api`]. All of them may use the rooms below:
//!
//! ```text
//! config              settings, checked once; uses escape and file
//! systemd             readiness, watchdog, passed sockets; uses the sockets of http
//! logging             log lines that never wait for their reader; uses escape
//! escape              text from the network, safe for one line
//! file                reads of files whose size is bounded
//! ```
//!
//! # The log
//!
//! | level | what it adds |
//! |---|---|
//! | `error` | nobody can be let in: no usable key, keys too stale, clock not set; a panic |
//! | `warn` | a fetch of the keys that failed, keys left out, no place for a connection |
//! | `info` | start and stop, keys fetched, one line per request |
//! | `debug` | requests that could not be read, peers that went away |
//! | `trace` | what the libraries below have to say |
//!
//! Tokens, signatures and `Authorization` values are in none of them.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod api;
pub mod auth;
pub mod blocking;
pub mod config;
pub mod escape;
pub mod file;
pub mod http;
pub mod logging;
pub mod server;
pub mod systemd;
