//! Configuration.
use std::{net::SocketAddr, time::Duration};
use ureq::tls::Certificate;

/// What the server is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host (and port) of the tenant, lower-cased: `tenant.eu.auth0.com`.
    pub domain: String,
    /// The API identifier a token's `aud` must hold.
    pub audience: String,
    /// Browser origins allowed by CORS; empty means no CORS.
    pub origins: Vec<String>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Roots trusted in addition to Mozilla's.
    pub extra_roots: Vec<Certificate<'static>>,
    /// Time for a request head, first byte to last.
    pub head_timeout: Duration,
    /// Time a connection may be idle before a first byte.
    pub idle_timeout: Duration,
    /// Time to write a response.
    pub write_timeout: Duration,
    /// Least time between two fetches of the key set that tokens ask for.
    pub jwks_cooldown: Duration,
    /// Clock difference tolerated in `exp` and `nbf`.
    pub clock_leeway: Duration,
    /// The level below which nothing is logged.
    pub log_level: log::LevelFilter,
}
impl Config {
    /// Stub.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Config, String> {
        let _ = vars;
        Err(String::new())
    }
}
