//! The variables that are read, and the settings as they are written.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::report::{Report, shown};
use super::{Config, ConfigError, proxy};

/// An environment variable that is read here.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name, in the only spelling that counts.
    pub name: &'static str,
    /// The value used when it is not set, or in words what happens then.
    pub default: &'static str,
    /// What it says, in a few words.
    pub about: &'static str,
    /// Other names that count if this one is not set, the first of them first.
    pub other_names: &'static [&'static str],
    /// How a report shows a value.
    pub(super) show: fn(&str) -> String,
}

impl Variable {
    const fn new(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Variable {
            name,
            default,
            about,
            other_names: &[],
            show: shown,
        }
    }

    /// All its names, in the order in which they count.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name]
            .into_iter()
            .chain(self.other_names.iter().copied())
    }

    /// The variable of this name, and the name.
    pub(super) fn spelled(name: &str) -> Option<(Variable, &'static str)> {
        VARIABLES.iter().find_map(|variable| {
            let name = variable.names().find(|known| *known == name)?;
            Some((*variable, name))
        })
    }
}

/// Every variable read here, in the order in which problems are reported.
pub const VARIABLES: &[Variable] = &[
    AUTH0_DOMAIN,
    AUTH0_AUDIENCE,
    CLIENT_ORIGIN_URL,
    PORT,
    HOST,
    SSL_CERT_FILE,
    HTTPS_PROXY,
    NO_PROXY,
    STATE_DIRECTORY,
    MAX_CONNECTIONS,
    HEAD_TIMEOUT_SECONDS,
    IDLE_TIMEOUT_SECONDS,
    WRITE_TIMEOUT_SECONDS,
    JWKS_MAX_STALE_SECONDS,
    JWKS_COOLDOWN_SECONDS,
    TOKEN_CACHE_SIZE,
    CLOCK_LEEWAY_SECONDS,
    RUST_LOG,
];

pub(super) const AUTH0_DOMAIN: Variable = Variable::new(
    "AUTH0_DOMAIN",
    "required",
    "host of the Auth0 tenant, such as tenant.eu.auth0.com",
);

pub(super) const AUTH0_AUDIENCE: Variable = Variable::new(
    "AUTH0_AUDIENCE",
    "required",
    "identifier of the API, as registered with Auth0",
);

pub(super) const CLIENT_ORIGIN_URL: Variable = Variable::new(
    "CLIENT_ORIGIN_URL",
    "no CORS",
    "browser origins allowed to call, separated by commas",
);

pub(super) const PORT: Variable =
    Variable::new("PORT", "6060", "port to listen on; 0 is any free one");

pub(super) const HOST: Variable = Variable::new(
    "HOST",
    "127.0.0.1",
    "IP address to listen on; :: is all, IPv4 and IPv6",
);

pub(super) const SSL_CERT_FILE: Variable = Variable::new(
    "SSL_CERT_FILE",
    "none",
    "PEM file of roots trusted besides Mozilla's",
);

pub(super) const HTTPS_PROXY: Variable = Variable {
    other_names: &["https_proxy", "ALL_PROXY", "all_proxy"],
    show: proxy::masked,
    ..Variable::new(
        "HTTPS_PROXY",
        "none",
        "URL of an HTTP proxy through which the keys are fetched",
    )
};

pub(super) const NO_PROXY: Variable = Variable {
    other_names: &["no_proxy"],
    ..Variable::new(
        "NO_PROXY",
        "none",
        "hosts that need no proxy, separated by commas",
    )
};

pub(super) const STATE_DIRECTORY: Variable = Variable::new(
    "STATE_DIRECTORY",
    "none",
    "folder that keeps the last good keys over a restart",
);

pub(super) const MAX_CONNECTIONS: Variable = Variable::new(
    "MAX_CONNECTIONS",
    "256",
    "connections at once; fewer if there are too few descriptors",
);

pub(super) const HEAD_TIMEOUT_SECONDS: Variable = Variable::new(
    "HEAD_TIMEOUT_SECONDS",
    "10",
    "time for a request head, first byte to last",
);

pub(super) const IDLE_TIMEOUT_SECONDS: Variable = Variable::new(
    "IDLE_TIMEOUT_SECONDS",
    "30",
    "time a connection may wait for a first byte",
);

pub(super) const WRITE_TIMEOUT_SECONDS: Variable =
    Variable::new("WRITE_TIMEOUT_SECONDS", "10", "time to write a response");
pub(super) const JWKS_MAX_STALE_SECONDS: Variable = Variable::new(
    "JWKS_MAX_STALE_SECONDS",
    "86400",
    "how long the last good keys serve when no newer can be had",
);

pub(super) const JWKS_COOLDOWN_SECONDS: Variable = Variable::new(
    "JWKS_COOLDOWN_SECONDS",
    "30",
    "least time between two key fetches that tokens ask for",
);

pub(super) const TOKEN_CACHE_SIZE: Variable = Variable::new(
    "TOKEN_CACHE_SIZE",
    "1024",
    "verified tokens kept, to check each signature once; 0 is none",
);

pub(super) const CLOCK_LEEWAY_SECONDS: Variable = Variable::new(
    "CLOCK_LEEWAY_SECONDS",
    "5",
    "clock difference tolerated in a token's times",
);

pub(super) const RUST_LOG: Variable =
    Variable::new("RUST_LOG", "info", "error, warn, info, debug or trace");

pub(super) const TIMEOUT_RANGE: RangeInclusive<u64> = 1..=3600;

/// A thread each: more than this is a mistake, and another kind of server.
pub(super) const CONNECTIONS_RANGE: RangeInclusive<u64> = 1..=10_000;

/// Up to a year: keys that nobody has confirmed for longer are nobody's keys.
pub(super) const MAX_STALE_RANGE: RangeInclusive<u64> = 0..=365 * 24 * 3600;

/// Some 100 MB, and as many users at once as no constrained host has.
pub(super) const TOKEN_CACHE_RANGE: RangeInclusive<u64> = 0..=1_000_000;

pub(super) const LEEWAY_RANGE: RangeInclusive<u64> = 0..=300;

/// The settings as they were written; nothing in them is empty.
#[derive(Deserialize)]
pub(super) struct RawSettings {
    pub(super) auth0_domain: Option<String>,
    pub(super) auth0_audience: Option<String>,
    pub(super) client_origin_url: Option<String>,
    pub(super) port: Option<String>,
    pub(super) host: Option<String>,
    pub(super) ssl_cert_file: Option<String>,
    pub(super) https_proxy: Option<String>,
    pub(super) no_proxy: Option<String>,
    pub(super) state_directory: Option<String>,
    pub(super) max_connections: Option<String>,
    pub(super) head_timeout_seconds: Option<String>,
    pub(super) idle_timeout_seconds: Option<String>,
    pub(super) write_timeout_seconds: Option<String>,
    pub(super) jwks_max_stale_seconds: Option<String>,
    pub(super) jwks_cooldown_seconds: Option<String>,
    pub(super) token_cache_size: Option<String>,
    pub(super) clock_leeway_seconds: Option<String>,
    pub(super) rust_log: Option<String>,
}

/// What is written of each variable: its name as spelled there, and the value. By its main name.
#[derive(Default)]
pub(super) struct Written(BTreeMap<&'static str, (&'static str, String)>);

impl Written {
    /// Adds what is written in one place, which counts more than all added before.
    pub(super) fn add(&mut self, vars: impl IntoIterator<Item = (String, String)>) {
        // envy folds the case of names, so that `port` beside `PORT` would be a duplicate, and
        // knows nothing of empty values.
        let vars: BTreeMap<String, String> = vars
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        for variable in VARIABLES {
            let written = variable
                .names()
                .find_map(|name| Some((name, vars.get(name)?.clone())));
            if let Some(written) = written {
                self.0.insert(variable.name, written);
            }
        }
    }

    pub(super) fn check(self, mut report: Report) -> Result<Config, ConfigError> {
        report.spelled = self
            .0
            .iter()
            .map(|(main, (name, _))| (*main, *name))
            .collect();
        let settings = self
            .0
            .into_iter()
            .map(|(name, (_, value))| (name.to_owned(), value));
        let settings: RawSettings = envy::from_iter(settings)
            .expect("every field is an optional string and no name is twice");
        settings.check(report)
    }
}
