//! The table of settings, and the settings as they are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;
use ureq::Proxy;
use ureq::tls::Certificate;

use super::admin::{AdminAddress, admin_address};
use super::gate::{forward_auth_path, trusted_proxies};
use super::host::{domain, origins};
use super::proxy::{masked, proxy};
use super::report::Report;
use super::roots::extra_roots;
use super::values::{
    audience, count, host, log_level, no_proxy, path, port, seconds, state_directory,
};
use super::variable::Variable;
use crate::network::Trusted;

/// Makes of each entry a [`Variable`], a field of the settings as they are written, and a field of
/// the settings as they are checked.
///
/// An entry is: exceptions from lints; the name, the field (the name in small letters) and its
/// type; the method of [`Report`] that tells what happens when it is not set, with the check of its
/// value; its default and what it says; and methods of [`Variable`] for what is special about it.
macro_rules! settings {
    ($(
        $(#[$lint:meta])*
        $name:ident $field:ident: $type:ty = $unset:ident($check:expr),
            $default:literal, $about:literal $(, $special:ident($value:expr))*;
    )*) => {
        /// Every variable read here, in the order in which problems are reported.
        pub const VARIABLES: &[Variable] = &[$(
            Variable::new(stringify!($name), $default, $about)$(.$special($value))*,
        )*];

        /// The settings as they are written; nothing in them is empty.
        #[derive(Deserialize)]
        struct RawSettings {
            $($field: Option<String>,)*
        }

        /// The settings, each of them checked.
        pub(super) struct Settings {
            $(#[doc = $about] $(#[$lint])* pub(super) $field: $type,)*
        }

        /// The settings that are right: `None` is one that is wrong, or missing and required.
        #[derive(Default)]
        pub(super) struct Right {
            $(#[doc = $about] pub(super) $field: Option<$type>,)*
        }

        impl Right {
            /// All of them, if they are.
            pub(super) fn all(self) -> Option<Settings> {
                Some(Settings { $($field: self.$field?,)* })
            }
        }

        impl RawSettings {
            /// Checks all of them, so that all problems are reported.
            fn check(self, report: &mut Report) -> Right {
                let mut right = Right::default();
                let mut variables = VARIABLES.iter();
                $(if let Some(variable) = variables.next() {
                    right.$field = report.$unset(variable, self.$field, $check);
                })*
                right
            }
        }
    };
}

settings! {
    AUTH0_DOMAIN auth0_domain: String = required(domain),
        "required", "host of the Auth0 tenant, such as tenant.eu.auth0.com";
    AUTH0_AUDIENCE auth0_audience: String = required(audience),
        "required", "identifier of the API, as registered with Auth0";
    CLIENT_ORIGIN_URL client_origin_url: Vec<String> = optional(origins),
        "no CORS", "browser origins allowed to call, separated by commas";
    PORT port: u16 = defaulted(port),
        "6060", "port to listen on; 0 is any free one";
    HOST host: IpAddr = defaulted(host),
        "127.0.0.1", "IP address to listen on; :: is all, IPv4 and IPv6";
    SSL_CERT_FILE ssl_cert_file: Vec<Certificate<'static>> = optional(extra_roots),
        "none", "PEM file of roots trusted in addition to Mozilla's";
    #[expect(dead_code, reason = "tls.rs reads both together, also when others are wrong")]
    TLS_CERTIFICATE_FILE tls_certificate_file: Option<PathBuf> = optional(path),
        "plain HTTP", "PEM file of the server's certificate and those that issued it";
    #[expect(dead_code, reason = "as above")]
    TLS_KEY_FILE tls_key_file: Option<PathBuf> = optional(path),
        "plain HTTP", "PEM file of the certificate's private key";
    HTTPS_PROXY https_proxy: Option<Proxy> = optional(proxy),
        "none", "URL of an HTTP proxy through which the keys are fetched",
        or(&["https_proxy", "ALL_PROXY", "all_proxy"]), shown_by(masked);
    NO_PROXY no_proxy: String = optional(no_proxy),
        "none", "hosts that need no proxy, separated by commas", or(&["no_proxy"]);
    STATE_DIRECTORY state_directory: Option<PathBuf> = optional(state_directory),
        "none", "folder for the last good keys, which serve after a restart";
    MAX_CONNECTIONS max_connections: usize = defaulted(count(1..=65_536)),
        "256", "connections at once; fewer if there are too few descriptors";
    HEAD_TIMEOUT_SECONDS head_timeout_seconds: Duration = defaulted(seconds(1..=3600)),
        "10", "time for a request head, first byte to last";
    IDLE_TIMEOUT_SECONDS idle_timeout_seconds: Duration = defaulted(seconds(1..=3600)),
        "30", "time a connection may wait for a first byte";
    WRITE_TIMEOUT_SECONDS write_timeout_seconds: Duration = defaulted(seconds(1..=3600)),
        "10", "time to write a response";
    // At most a year: a key set that was not confirmed for longer is of no use.
    JWKS_MAX_STALE_SECONDS jwks_max_stale_seconds: Duration = defaulted(seconds(0..=31_536_000)),
        "86400", "how long the last good keys serve if no newer can be fetched";
    JWKS_COOLDOWN_SECONDS jwks_cooldown_seconds: Duration = defaulted(seconds(1..=3600)),
        "30", "least time between two key fetches caused by tokens";
    // At most some 100 MB, and more users at once than a constrained host has.
    TOKEN_CACHE_SIZE token_cache_size: usize = defaulted(count(0..=1_000_000)),
        "1024", "verified tokens kept, to check each signature once; 0 is none";
    CLOCK_LEEWAY_SECONDS clock_leeway_seconds: Duration = defaulted(seconds(0..=300)),
        "5", "clock difference tolerated in a token's times";
    FORWARD_AUTH_PATH forward_auth_path: Option<String> = optional(forward_auth_path),
        "none", "path at which proxies ask whether a request may pass";
    TRUSTED_PROXIES trusted_proxies: Trusted = optional(trusted_proxies),
        "none", "proxies whose X-Forwarded-For the log believes";
    ADMIN_LISTEN admin_listen: Option<AdminAddress> = optional(admin_address),
        "none", "where health and metrics are served: address:port, or a path";
    DRAIN_DELAY_SECONDS drain_delay_seconds: Duration = defaulted(seconds(0..=60)),
        "0", "how long /readyz warns before a drain begins";
    RUST_LOG rust_log: LevelFilter = defaulted(log_level),
        "info", "error, warn, info, debug or trace";
}

/// The variable that has this name, and the name.
pub(super) fn named(name: &str) -> Option<(&'static Variable, &'static str)> {
    VARIABLES.iter().find_map(|variable| {
        let name = variable.names().find(|known| *known == name)?;
        Some((variable, name))
    })
}

/// The variables as `--help` lists them: name, default and what each says, a line for each.
pub fn help() -> String {
    let width = |of: fn(&Variable) -> &str| VARIABLES.iter().map(|v| of(v).len()).max();
    let name_width = width(|variable| variable.name).unwrap_or(0);
    let default_width = width(|variable| variable.default).unwrap_or(0);
    let mut help = String::new();
    for variable in VARIABLES {
        let (name, default, about) = (variable.name, variable.default, variable.about);
        let _ = writeln!(
            help,
            "  {name:name_width$}  {default:default_width$}  {about}"
        );
    }
    help
}

/// The variables that are set, by main name: the name that was used, and the value.
#[derive(Default)]
pub(super) struct Written(BTreeMap<&'static str, (&'static str, String)>);

impl Written {
    /// What is written in several places; later places override earlier ones.
    pub(super) fn in_places(places: impl IntoIterator<Item = Vec<(String, String)>>) -> Written {
        let mut written = Written::default();
        places.into_iter().for_each(|vars| written.add(vars));
        written
    }

    /// Adds what is written in one place. It overrides what was added before.
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

    /// The value of a variable that is set.
    pub(super) fn value(&self, variable: &str) -> Option<&str> {
        let (_, value) = self.0.get(variable)?;
        Some(value)
    }

    /// Checks all settings. The report then has the problems of those that are not right.
    pub(super) fn check(&self, report: &mut Report) -> Right {
        for (variable, (name, _)) in &self.0 {
            report.named(variable, name);
        }
        let written = self.0.iter();
        let written = written.map(|(&name, (_, value))| (name.to_owned(), value.clone()));
        let raw: RawSettings = envy::from_iter(written)
            .expect("every field is an optional string, and no name is there twice");
        raw.check(report)
    }
}

#[cfg(test)]
mod tests;
