//! The black-box tests: the spawned binary, real sockets, a stand-in tenant over TLS. One binary,
//! so that what they share is compiled and linked once.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod bodies;
mod cache;
mod check;
mod clock;
mod config;
mod cors;
mod drain;
mod explain;
mod faults;
mod gate;
mod http;
mod in_process;
mod keys;
mod links;
mod listener;
mod logging;
mod manual;
mod memory;
mod newcomers;
mod outage;
mod overload;
mod own_api;
mod pipelining;
mod places;
mod proxy;
mod public_api;
mod reasons;
mod routes;
mod service;
mod slow_handlers;
mod support_works;
mod terminal;
mod threads;
mod tls;
mod tls_settings;
mod token_attacks;
mod tokens;
mod torture;
