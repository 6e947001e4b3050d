//! What the server is told: environment variables and `.env` become one checked [`Config`].
//!
//! Settings are checked once, here, and all problems are reported together. What is left of them
//! afterwards has types that cannot be wrong.

mod dotenv;
mod host;
mod proxy;
mod report;
mod roots;
mod settings;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use ureq::Proxy;
use ureq::tls::Certificate;

use self::dotenv::{DOTENV, read_dotenv};
use self::host::{domain, origins};
use self::report::Report;
use self::roots::extra_roots;
use self::settings::*;
use self::values::{audience, count, host, log_level, no_proxy, port, seconds, state_directory};

pub use self::report::ConfigError;
pub use self::settings::{VARIABLES, Variable};

/// What the server is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host (and port) of the tenant, lower-cased: `tenant.eu.auth0.com`.
    pub domain: String,
    /// The API identifier a token's `aud` must hold.
    pub audience: String,
    /// Browser origins allowed by CORS, as browsers write them; empty means no CORS.
    pub origins: Vec<String>,
    /// Where to listen; port 0 is any free port.
    pub listen: SocketAddr,
    /// Roots trusted in addition to Mozilla's.
    pub extra_roots: Vec<Certificate<'static>>,
    /// The proxy through which the keys are fetched; none: directly.
    pub proxy: Option<Proxy>,
    /// Connections at once.
    pub max_connections: usize,
    /// Time for a request head, first byte to last.
    pub head_timeout: Duration,
    /// Time a connection may be idle before a first byte.
    pub idle_timeout: Duration,
    /// Time to write a response.
    pub write_timeout: Duration,
    /// Where the last good key set is kept; none: in memory only.
    pub state_directory: Option<PathBuf>,
    /// How long past its freshness the last good key set serves.
    pub jwks_max_stale: Duration,
    /// Least time between two fetches of the key set that tokens ask for.
    pub jwks_cooldown: Duration,
    /// Verified tokens kept; 0: none.
    pub token_cache_size: usize,
    /// Clock difference tolerated in `exp` and `nbf`.
    pub clock_leeway: Duration,
    /// The level below which nothing is logged.
    pub log_level: LevelFilter,
}

impl Config {
    /// Reads the environment of the process and, for what that leaves unset, `.env` in the working
    /// directory.
    ///
    /// # Errors
    ///
    /// All problems at once: settings missing or wrong, ours that are not UTF-8, a `.env` that is
    /// there but cannot be read.
    pub fn from_environment() -> Result<Config, ConfigError> {
        let mut report = Report::default();
        let mut written = Written::default();
        written.add(read_dotenv(Path::new(DOTENV), &mut report));
        let mut vars = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some((variable, name)) = name.to_str().and_then(Variable::spelled) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => vars.push((name.to_owned(), value)),
                Err(value) => report.not_utf8(variable, name, &value.to_string_lossy()),
            }
        }
        written.add(vars);
        written.check(report)
    }

    /// Reads `vars` only: neither the environment nor `.env`.
    ///
    /// Names that are not in [`VARIABLES`] are ignored. Of several values of one name the last
    /// counts that is not empty.
    ///
    /// # Errors
    ///
    /// All settings missing or wrong, at once.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut written = Written::default();
        written.add(vars);
        written.check(Report::default())
    }

    /// The issuer of acceptable tokens, exactly as their `iss` must name it.
    pub fn issuer(&self) -> String {
        format!("https://{}/", self.domain)
    }
}

impl RawSettings {
    pub(super) fn check(self, mut report: Report) -> Result<Config, ConfigError> {
        let report = &mut report;
        let domain = report.required(AUTH0_DOMAIN, self.auth0_domain, domain);
        let audience = report.required(AUTH0_AUDIENCE, self.auth0_audience, audience);
        let origins = report.optional(CLIENT_ORIGIN_URL, self.client_origin_url, origins);
        let port = report.defaulted(PORT, self.port, port);
        let host = report.defaulted(HOST, self.host, host);
        let extra_roots = report.optional(SSL_CERT_FILE, self.ssl_cert_file, extra_roots);
        let proxy = report.optional(HTTPS_PROXY, self.https_proxy, proxy::proxy);
        let no_proxy = report.optional(NO_PROXY, self.no_proxy, no_proxy);
        let state_directory =
            report.optional(STATE_DIRECTORY, self.state_directory, state_directory);
        let max_connections = report.defaulted(MAX_CONNECTIONS, self.max_connections, |value| {
            count(value, &CONNECTIONS_RANGE)
        });
        let head_timeout = report.timeout(HEAD_TIMEOUT_SECONDS, self.head_timeout_seconds);
        let idle_timeout = report.timeout(IDLE_TIMEOUT_SECONDS, self.idle_timeout_seconds);
        let write_timeout = report.timeout(WRITE_TIMEOUT_SECONDS, self.write_timeout_seconds);
        let jwks_max_stale = report.defaulted(
            JWKS_MAX_STALE_SECONDS,
            self.jwks_max_stale_seconds,
            |value| seconds(value, &MAX_STALE_RANGE),
        );
        let jwks_cooldown = report.timeout(JWKS_COOLDOWN_SECONDS, self.jwks_cooldown_seconds);
        let token_cache_size = report.defaulted(TOKEN_CACHE_SIZE, self.token_cache_size, |value| {
            count(value, &TOKEN_CACHE_RANGE)
        });
        let clock_leeway =
            report.defaulted(CLOCK_LEEWAY_SECONDS, self.clock_leeway_seconds, |value| {
                seconds(value, &LEEWAY_RANGE)
            });
        let log_level = report.defaulted(RUST_LOG, self.rust_log, log_level);

        let config = (|| {
            let domain = domain?;
            let no_proxy = no_proxy?;
            let is_needed = |_: &Proxy| !proxy::needs_none(&no_proxy, &domain);
            Some(Config {
                proxy: proxy?.filter(is_needed),
                domain,
                audience: audience?,
                origins: origins?,
                listen: SocketAddr::new(host?, port?),
                extra_roots: extra_roots?,
                state_directory: state_directory?,
                max_connections: max_connections?,
                head_timeout: head_timeout?,
                idle_timeout: idle_timeout?,
                write_timeout: write_timeout?,
                jwks_max_stale: jwks_max_stale?,
                jwks_cooldown: jwks_cooldown?,
                token_cache_size: token_cache_size?,
                clock_leeway: clock_leeway?,
                log_level: log_level?,
            })
        })();
        match config {
            Some(config) if report.problems.is_empty() => Ok(config),
            _ => Err(ConfigError {
                problems: std::mem::take(&mut report.problems),
                tenant_missing: report.tenant_missing,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
