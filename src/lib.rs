//! postern: an Auth0-protected API server for constrained hosts.
//!
//! One small binary, blocking threads, no async runtime. This library exists for the binary and its
//! tests; it is no API to build on.
//!
//! # The way of a request
//!
//! ```text
//! http::engine        a worker waits for a ready connection, and takes it
//! http::places        shares the places when there are more connections than places
//! http::tls           decrypts, after a handshake, if there is a certificate
//! http::connection    reads the head within its deadline, answers, keeps alive or closes
//! http::request       the head becomes a Request, or a 400, 414, 431, 505
//! api::router         (method, path) becomes a handler, or a 404, 405
//! api::messages       the handler, which
//! api::access         requires a token or a permission, and asks
//! auth::bearer          for the token in the Authorization header,
//! auth::jwks            for the tenant's current keys,
//! auth::cache           for the claims of a token verified before, or
//! auth::verifier        for those of a token that one of the keys signed
//! http::cors          adds the headers for browsers
//! http::response      prints the answer
//! ```
//!
//! Arrows point one way: `main -> server -> {api, auth, http}` and `api -> {auth, http}`. [`http`]
//! and [`auth`] never name each other, nor [`api`]. All of them may use the rooms below:
//!
//! ```text
//! config              settings, checked once; uses tls, escape and file
//! systemd             readiness, watchdog, passed sockets; uses tls, and the sockets of http
//! tls                 the certificate with its key, their renewal; uses escape and file
//! logging             log lines that never wait for their reader; uses escape
//! escape              text from the network, safe for one line
//! file                reads of files whose size is bounded
//! ```
//!
//! # The log
//!
//! | level | what it adds |
//! |---|---|
//! | `error` | no token can be accepted: no usable key, keys too stale, clock not set; a panic |
//! | `warn` | keys not fetched or left out, no place for a connection, faults of the certificate |
//! | `info` | start and stop, keys fetched, a new certificate, one line per request |
//! | `debug` | requests that could not be read, TLS handshakes (one an hour that failed at `warn`), peers that went away |
//! | `trace` | messages of the libraries |
//!
//! Tokens, signatures and `Authorization` values are never logged.

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
pub mod service;
pub mod systemd;
pub mod tls;
