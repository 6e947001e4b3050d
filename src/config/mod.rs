//! Settings: environment variables and `.env` become one checked [`Config`].
//!
//! Settings are checked once, here, and all problems are reported together. Everything after that
//! works with types that cannot hold a wrong value.
//!
//! A new setting is one entry in the table in `settings.rs` and one field of [`Config`].

mod admin;
mod dotenv;
mod gate;
mod host;
mod proxy;
mod report;
mod roots;
mod settings;
mod survey;
mod tls;
mod values;
mod variable;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use ureq::Proxy;
use ureq::tls::Certificate;

use self::proxy::needs_none;
use self::report::Report;
use self::settings::{Settings, Written};

pub use self::admin::AdminAddress;
pub use self::report::ConfigError;
pub use self::settings::{VARIABLES, help};
pub use self::survey::{Survey, Tenant};
pub use self::variable::Variable;
use crate::network::Trusted;
use crate::tls::Pair;

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host (and port) of the tenant, lower-cased: `tenant.eu.auth0.com`.
    #[doc(hidden)]
    pub domain: String,
    /// The API identifier that a token's `aud` must contain.
    #[doc(hidden)]
    pub audience: String,
    /// Browser origins allowed by CORS, as browsers write them; empty means no CORS.
    #[doc(hidden)]
    pub origins: Vec<String>,
    /// Where to listen; port 0 is any free port.
    #[doc(hidden)]
    pub listen: SocketAddr,
    /// Roots trusted in addition to Mozilla's.
    #[doc(hidden)]
    pub extra_roots: Vec<Certificate<'static>>,
    /// The certificate with its key, read and checked; none: plain HTTP.
    #[doc(hidden)]
    pub tls: Option<Pair>,
    /// The proxy through which the keys are fetched; none: directly.
    #[doc(hidden)]
    pub proxy: Option<Proxy>,
    /// The most connections at once.
    #[doc(hidden)]
    pub max_connections: usize,
    /// Time for a request head, first byte to last.
    #[doc(hidden)]
    pub head_timeout: Duration,
    /// Time a connection may be idle before a first byte.
    #[doc(hidden)]
    pub idle_timeout: Duration,
    /// Time to write a response.
    #[doc(hidden)]
    pub write_timeout: Duration,
    /// The folder in which the last good key set is kept; none: in memory only.
    #[doc(hidden)]
    pub state_directory: Option<PathBuf>,
    /// How long past its freshness the last good key set serves.
    #[doc(hidden)]
    pub jwks_max_stale: Duration,
    /// Least time between two fetches of the key set that are caused by tokens.
    #[doc(hidden)]
    pub jwks_cooldown: Duration,
    /// How many verified tokens are kept; 0: none.
    #[doc(hidden)]
    pub token_cache_size: usize,
    /// Clock difference tolerated in `exp` and `nbf`.
    #[doc(hidden)]
    pub clock_leeway: Duration,
    /// The path at which proxies ask whether a request may pass; none: there is no gate.
    #[doc(hidden)]
    pub forward_auth_path: Option<String>,
    /// The proxies whose word about their clients the log takes.
    #[doc(hidden)]
    pub trusted_proxies: Trusted,
    /// Where those who watch are answered; none: nowhere.
    #[doc(hidden)]
    pub admin: Option<AdminAddress>,
    /// How long everything is still served after a signal to stop.
    #[doc(hidden)]
    pub drain_delay: Duration,
    /// The level below which nothing is logged.
    #[doc(hidden)]
    pub log_level: LevelFilter,
}

impl Config {
    /// Reads the environment of the process. `.env` in the working directory fills in variables
    /// that the environment leaves unset.
    ///
    /// # Errors
    ///
    /// All problems at once: settings that are missing, wrong or not UTF-8, and a `.env` that
    /// exists but cannot be read.
    pub fn from_environment() -> Result<Config, ConfigError> {
        let mut report = Report::default();
        let places = places(&mut report);
        Config::from_places(places, report)
    }

    /// Reads `vars` only: neither the environment nor `.env`.
    ///
    /// Names that are not in [`VARIABLES`] and empty values are ignored. Of several values of one
    /// name, the last counts.
    ///
    /// # Errors
    ///
    /// All problems at once: settings that are missing or wrong.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        Config::from_places([vars.into_iter().collect()], Report::default())
    }

    /// From what is written in several places; later places override earlier ones.
    fn from_places<const N: usize>(
        places: [Vec<(String, String)>; N],
        mut report: Report,
    ) -> Result<Config, ConfigError> {
        let written = Written::in_places(places);
        let settings = written.check(&mut report).all();
        // Also when other settings are wrong, so that all problems are reported.
        let tls = tls::pair(&written, &mut report);
        report.conclude(settings.map(|settings| settings.meant(tls)))
    }

    /// The issuer of acceptable tokens, exactly as their `iss` must be.
    pub fn issuer(&self) -> String {
        format!("https://{}/", self.domain)
    }
}

/// The settings in `.env` and in the environment, which counts more.
fn places(report: &mut Report) -> [Vec<(String, String)>; 2] {
    let file = dotenv::read(Path::new(".env"), report);
    [file, environment(report)]
}

/// The variables of the environment that are read here.
fn environment(report: &mut Report) -> Vec<(String, String)> {
    let mut vars = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some((variable, name)) = name.to_str().and_then(settings::named) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => vars.push((name.to_owned(), value)),
            Err(value) => report.not_utf8(variable, name, &value.to_string_lossy()),
        }
    }
    vars
}

impl Settings {
    /// What the settings mean together.
    fn meant(self, tls: Option<Pair>) -> Config {
        let needs_proxy = !needs_none(&self.no_proxy, &self.auth0_domain);
        Config {
            domain: self.auth0_domain,
            audience: self.auth0_audience,
            origins: self.client_origin_url,
            listen: SocketAddr::new(self.host, self.port),
            extra_roots: self.ssl_cert_file,
            tls,
            proxy: self.https_proxy.filter(|_| needs_proxy),
            state_directory: self.state_directory,
            max_connections: self.max_connections,
            head_timeout: self.head_timeout_seconds,
            idle_timeout: self.idle_timeout_seconds,
            write_timeout: self.write_timeout_seconds,
            jwks_max_stale: self.jwks_max_stale_seconds,
            jwks_cooldown: self.jwks_cooldown_seconds,
            token_cache_size: self.token_cache_size,
            clock_leeway: self.clock_leeway_seconds,
            forward_auth_path: self.forward_auth_path,
            trusted_proxies: self.trusted_proxies,
            admin: self.admin_listen,
            drain_delay: self.drain_delay_seconds,
            log_level: self.rust_log,
        }
    }
}

#[cfg(test)]
mod tests;
