//! postern: an Auth0-protected API server for constrained hosts.

pub mod api;
pub mod auth;
pub mod config;
pub mod http;
pub mod logging;
pub mod server;
