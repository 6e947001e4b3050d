//! postern: an API server for constrained hosts, protected by Auth0. One small binary, blocking
//! threads, no async runtime.
//!
//! The program `postern` serves three messages. This library serves an API of your own in the same
//! way: sockets, TLS, deadlines, the tenant's keys, CORS, systemd, the log and the end of the
//! process are its business. Yours is what the API answers.
//!
//! # An API of your own
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use postern::{Answer, Auth, Handler, Request, Response, Route, Router};
//! use serde::{Deserialize, Serialize};
//!
//! static ROUTES: Router<Greeter> = Router::new(&[
//!     Route::get("/api/greeting", Greeter::greet),
//!     Route::post("/api/names", Greeter::add_name),
//! ]);
//!
//! struct Greeter {
//!     auth: Auth,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Name {
//!     name: String,
//! }
//!
//! impl Greeter {
//!     fn greet(&self, request: &Request<'_>) -> Answer {
//!         let access = self.auth.authenticate(request)?; // 400, 401, 503
//!         let name = access.subject().unwrap_or("nobody").to_owned();
//!         Ok(Response::json(200, &Name { name }))
//!     }
//!
//!     fn add_name(&self, request: &Request<'_>) -> Answer {
//!         self.auth.authenticate(request)?.require("write:names")?; // 403
//!         let name: Name = request.json(1024)?; // 400, 413
//!         println!("{}", name.name);
//!         Ok(Response::empty(204))
//!     }
//! }
//!
//! impl Handler for Greeter {
//!     fn handle(&self, request: &Request<'_>) -> Answer {
//!         ROUTES.answer(self, request)
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     postern::run(|auth| Greeter { auth })
//! }
//! ```
//!
//! - **Who is let in** is decided in the function that answers: [`Auth::authenticate`] needs a valid
//!   access token, [`Access::require`] a permission. With `?`, a client without them gets the error
//!   that RFC 6750 asks for.
//! - **A body** is received only after you asked for it with [`Request::body`] or
//!   [`Request::json`]: nothing is kept for a client that is not let in. The function is called
//!   again when the body is there. So ask for it after the checks, and before you change anything.
//! - **An answer** is a [`Response`]: JSON from anything that serde can write, text, or any bytes. It
//!   has the headers of every answer of postern; add others with [`Response::with_header`]. One
//!   that never changes is fastest as [`Prepared`].
//! - **Errors** are answers, too: `return Err(Response::error(409, "Already on").into())`. An
//!   [`std::io::Error`] and a panic are a 500 on this request, and a line of the log.
//! - **Routes** are a table. The [`Router`] answers 404, 405 and `OPTIONS` from it. For paths that do
//!   not fit a table, write [`Handler::handle`] yourself.
//! - **Waiting** for anything but the processor and this host's files takes one of few threads away:
//!   announce it with [`blocking::begin_wait`].
//!
//! The settings are those of the program: `AUTH0_DOMAIN`, `AUTH0_AUDIENCE` and the others that
//! README lists, from the environment or a `.env` file. To start a server inside of another
//! program, use [`Config`] and [`Server`] instead of [`run`].
//!
//! Each body that is being received takes memory: all together at most 16 MiB, beyond which the
//! answer is 503. Add that to the memory that systemd allows the service.
//!
//! # The way of a request
//!
//! ```text
//! http::engine        a worker waits for a ready connection, and takes it
//! http::places        shares the places when there are more connections than places
//! http::tls           decrypts, after a handshake, if there is a certificate
//! http::connection    reads the head within its deadline, answers, keeps alive or closes
//! http::request       the head becomes a Request, or a 400, 414, 431, 505
//! api::gate           answers proxies at a path of its own, if there is one
//! api::router         (method, path) becomes a handler, or a 404, 405
//! api::messages       the API itself, which
//! api::access         requires a token or a permission, and asks
//! auth::bearer          for the token in the Authorization header,
//! auth::jwks            for the tenant's current keys,
//! auth::cache           for the claims of a token verified before, or
//! auth::verifier        for those of a token that one of the keys signed
//! http::body          collects the request's body, if the API asks for it
//! http::cors          adds the headers for browsers
//! http::response      prints the answer
//! ```
//!
//! Arrows point one way: `main -> service -> server -> {admin, api, auth, http}`,
//! `admin -> {api, auth, http}` and `api -> {auth, http}`. `http` and `auth` never name each other,
//! nor `api`. All of them may use the rooms below:
//!
//! ```text
//! config              settings, checked once; uses tls, network, escape and file
//! systemd             readiness, watchdog, passed sockets; uses tls, and the sockets of http
//! tls                 the certificate with its key, their renewal; uses escape and file
//! logging             log lines that never wait for their reader; uses escape
//! network             IP networks, and which peers are trusted
//! metrics             counters of what happens, and the format in which they are printed
//! escape              text from the network, safe for one line
//! file                reads of files whose size is bounded
//! ```
//!
//! [`commands`] are what `postern check` and `postern explain` do. They use all the others, and the
//! server does not use them.
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

// For the binary, the tests and the fuzzers. What is for everybody is named below.
#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod api;
#[doc(hidden)]
pub mod auth;
pub mod blocking;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod escape;
#[doc(hidden)]
pub mod file;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod logging;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod network;
#[doc(hidden)]
pub mod server;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod systemd;
#[doc(hidden)]
pub mod tls;

pub use api::{Access, Auth, Route, Router};
pub use config::{Config, ConfigError};
pub use http::body::MAX_BODY;
pub use http::request::Request;
pub use http::response::{Prepared, Response};
pub use http::service::{Answer, Handler, Interruption};
pub use server::{Server, Signals, StartError};
pub use service::run;
/// tiny_http's methods, which a [`Request`] has.
pub use tiny_http::Method;
