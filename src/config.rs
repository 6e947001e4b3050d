//! What the server is told: environment variables and `.env` become one checked [`Config`].
//!
//! Settings are checked once, here, and all problems are reported together. What is left of them
//! afterwards has types that cannot be wrong.

use crate::escape::escape_into;
use log::LevelFilter;
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};
use serde::Deserialize;
use std::{
    cell::Cell,
    collections::BTreeMap,
    error::Error,
    fmt,
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};
use ureq::{Proxy, tls::Certificate};

mod proxy;

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

/// All that is wrong with the settings; one line each when displayed.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<String>,
    tenant_missing: bool,
}

impl ConfigError {
    /// Whether `AUTH0_DOMAIN` or `AUTH0_AUDIENCE` is not set at all, as on a first try.
    pub fn tenant_missing(&self) -> bool {
        self.tenant_missing
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl Error for ConfigError {}

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
    show: fn(&str) -> String,
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
    fn spelled(name: &str) -> Option<(Variable, &'static str)> {
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

const AUTH0_DOMAIN: Variable = Variable::new(
    "AUTH0_DOMAIN",
    "required",
    "host of the Auth0 tenant, such as tenant.eu.auth0.com",
);
const AUTH0_AUDIENCE: Variable = Variable::new(
    "AUTH0_AUDIENCE",
    "required",
    "identifier of the API, as registered with Auth0",
);
const CLIENT_ORIGIN_URL: Variable = Variable::new(
    "CLIENT_ORIGIN_URL",
    "no CORS",
    "browser origins allowed to call, separated by commas",
);
const PORT: Variable = Variable::new("PORT", "6060", "port to listen on; 0 is any free one");
const HOST: Variable = Variable::new(
    "HOST",
    "127.0.0.1",
    "IP address to listen on; :: is all, IPv4 and IPv6",
);
const SSL_CERT_FILE: Variable = Variable::new(
    "SSL_CERT_FILE",
    "none",
    "PEM file of roots trusted besides Mozilla's",
);
const HTTPS_PROXY: Variable = Variable {
    other_names: &["https_proxy", "ALL_PROXY", "all_proxy"],
    show: proxy::masked,
    ..Variable::new(
        "HTTPS_PROXY",
        "none",
        "URL of an HTTP proxy through which the keys are fetched",
    )
};
const NO_PROXY: Variable = Variable {
    other_names: &["no_proxy"],
    ..Variable::new(
        "NO_PROXY",
        "none",
        "hosts that need no proxy, separated by commas",
    )
};
const STATE_DIRECTORY: Variable = Variable::new(
    "STATE_DIRECTORY",
    "none",
    "folder that keeps the last good keys over a restart",
);
const MAX_CONNECTIONS: Variable = Variable::new(
    "MAX_CONNECTIONS",
    "256",
    "connections at once; fewer if there are too few descriptors",
);
const HEAD_TIMEOUT_SECONDS: Variable = Variable::new(
    "HEAD_TIMEOUT_SECONDS",
    "10",
    "time for a request head, first byte to last",
);
const IDLE_TIMEOUT_SECONDS: Variable = Variable::new(
    "IDLE_TIMEOUT_SECONDS",
    "30",
    "time a connection may wait for a first byte",
);
const WRITE_TIMEOUT_SECONDS: Variable =
    Variable::new("WRITE_TIMEOUT_SECONDS", "10", "time to write a response");
const JWKS_MAX_STALE_SECONDS: Variable = Variable::new(
    "JWKS_MAX_STALE_SECONDS",
    "86400",
    "how long the last good keys serve when no newer can be had",
);
const JWKS_COOLDOWN_SECONDS: Variable = Variable::new(
    "JWKS_COOLDOWN_SECONDS",
    "30",
    "least time between two key fetches that tokens ask for",
);
const TOKEN_CACHE_SIZE: Variable = Variable::new(
    "TOKEN_CACHE_SIZE",
    "1024",
    "verified tokens kept, to check each signature once; 0 is none",
);
const CLOCK_LEEWAY_SECONDS: Variable = Variable::new(
    "CLOCK_LEEWAY_SECONDS",
    "5",
    "clock difference tolerated in a token's times",
);
const RUST_LOG: Variable = Variable::new("RUST_LOG", "info", "error, warn, info, debug or trace");

const TIMEOUT_RANGE: RangeInclusive<u64> = 1..=3600;
/// A thread each: more than this is a mistake, and another kind of server.
const CONNECTIONS_RANGE: RangeInclusive<u64> = 1..=10_000;
/// Up to a year: keys that nobody has confirmed for longer are nobody's keys.
const MAX_STALE_RANGE: RangeInclusive<u64> = 0..=365 * 24 * 3600;
/// Some 100 MB, and as many users at once as no constrained host has.
const TOKEN_CACHE_RANGE: RangeInclusive<u64> = 0..=1_000_000;
const LEEWAY_RANGE: RangeInclusive<u64> = 0..=300;

const DOTENV: &str = ".env";

/// No file named in a setting, and no `.env`, is larger than this in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// How much of a wrong value a report shows, in characters.
const MAX_SHOWN: usize = 100;

/// The settings as they were written; nothing in them is empty.
#[derive(Deserialize)]
struct RawSettings {
    auth0_domain: Option<String>,
    auth0_audience: Option<String>,
    client_origin_url: Option<String>,
    port: Option<String>,
    host: Option<String>,
    ssl_cert_file: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Option<String>,
    state_directory: Option<String>,
    max_connections: Option<String>,
    head_timeout_seconds: Option<String>,
    idle_timeout_seconds: Option<String>,
    write_timeout_seconds: Option<String>,
    jwks_max_stale_seconds: Option<String>,
    jwks_cooldown_seconds: Option<String>,
    token_cache_size: Option<String>,
    clock_leeway_seconds: Option<String>,
    rust_log: Option<String>,
}

/// What is written of each variable: its name as spelled there, and the value. By its main name.
#[derive(Default)]
struct Written(BTreeMap<&'static str, (&'static str, String)>);

impl Written {
    /// Adds what is written in one place, which counts more than all added before.
    fn add(&mut self, vars: impl IntoIterator<Item = (String, String)>) {
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

    fn check(self, mut report: Report) -> Result<Config, ConfigError> {
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

impl RawSettings {
    fn check(self, mut report: Report) -> Result<Config, ConfigError> {
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

/// The problems found so far.
#[derive(Default)]
struct Report {
    problems: Vec<String>,
    /// What could not be read of `.env` and the environment: a variable named in there is not
    /// reported as missing, too.
    unread: String,
    tenant_missing: bool,
    /// The name of each variable as it is spelled, by its main name.
    spelled: BTreeMap<&'static str, &'static str>,
}

impl Report {
    /// The checked value of a variable that must be set.
    fn required<T>(
        &mut self,
        variable: Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(value) = value else {
            if !self.unread.contains(variable.name) {
                self.tenant_missing = true;
                let Variable { name, about, .. } = variable;
                self.problems
                    .push(format!("{name} is not set: write the {about}"));
            }
            return None;
        };
        self.checked(variable, &value, check)
    }

    /// The checked value of a variable, or the value its default has.
    fn defaulted<T>(
        &mut self,
        variable: Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = value.as_deref().unwrap_or(variable.default);
        self.checked(variable, value, check)
    }

    fn timeout(&mut self, variable: Variable, value: Option<String>) -> Option<Duration> {
        self.defaulted(variable, value, |value| seconds(value, &TIMEOUT_RANGE))
    }

    /// The checked value of a variable, or nothing when it is not set.
    fn optional<T: Default>(
        &mut self,
        variable: Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match value {
            Some(value) => self.checked(variable, &value, check),
            None => Some(T::default()),
        }
    }

    fn checked<T>(
        &mut self,
        variable: Variable,
        value: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match check(value) {
            Ok(checked) => Some(checked),
            Err(advice) => {
                let name = self.spelled.get(variable.name).unwrap_or(&variable.name);
                let value = (variable.show)(value);
                self.problems
                    .push(format!("{name} is \"{value}\": {advice}"));
                None
            }
        }
    }

    fn not_utf8(&mut self, variable: Variable, name: &str, lossy: &str) {
        self.unread.push_str(name);
        let value = (variable.show)(lossy);
        self.problems.push(format!(
            "{name} is \"{value}\", which is not UTF-8: write it in UTF-8"
        ));
    }
}

/// What a report shows of a value: one line, and not too much of it.
fn shown(value: &str) -> String {
    let end = value.char_indices().nth(MAX_SHOWN);
    let mut out = String::new();
    escape_into(
        &mut out,
        end.map_or(value, |(end, _)| &value[..end]),
        usize::MAX,
    );
    if end.is_some() {
        out.push('…');
    }
    out
}

const QUOTES: &[char] = &['"', '\'', '`', '“', '”', '‘', '’'];

/// Refuses what no setting has on purpose: quotes or spaces around it, control characters.
fn tidy(value: &str) -> Result<(), String> {
    let bare = value.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c));
    if bare != value {
        let instead = match bare {
            "" => String::new(),
            bare => format!(": {}", shown(bare)),
        };
        let around = match value.trim() == value {
            true => "quotes",
            false => "spaces",
        };
        return Err(format!("write it without {around} around it{instead}"));
    }
    if bare.chars().any(char::is_control) {
        return Err("write it without control characters".to_owned());
    }
    Ok(())
}

/// A tenant's host, lower-cased.
fn domain(value: &str) -> Result<String, String> {
    tidy(value)?;
    let domain = value.to_ascii_lowercase();
    match domain_fault(&domain) {
        None => Ok(domain),
        Some(fault) => Err(match bare_host(&domain) {
            Some(host) => format!("{fault}; write {host}"),
            None => format!("{fault}; write a host such as tenant.eu.auth0.com"),
        }),
    }
}

fn domain_fault(domain: &str) -> Option<String> {
    if domain.contains("://") {
        return Some("it must be the bare host, without a scheme".to_owned());
    }
    if domain.contains(['/', '?', '#', '\\']) {
        return Some("it must be the bare host, without a slash or a path".to_owned());
    }
    if domain.contains('@') {
        return Some("it must be the bare host, without a user name".to_owned());
    }
    match authority(domain, HostRules::Tenant) {
        Err(fault) => Some(fault),
        // Every token would be refused: an issuer does not name the default port.
        Ok(Some(443)) => Some("the default port is left out".to_owned()),
        Ok(_) => None,
    }
}

/// The host meant by something that holds one, if it is in order.
fn bare_host(domain: &str) -> Option<&str> {
    let rest = domain.split_once("://").map_or(domain, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.trim_matches('.');
    let host = host.strip_suffix(":443").unwrap_or(host);
    domain_fault(host).is_none().then_some(host)
}

/// An API identifier: any text, compared byte by byte with a token's `aud`.
fn audience(value: &str) -> Result<String, String> {
    tidy(value)?;
    Ok(value.to_owned())
}

/// Browser origins as browsers write them, each once.
fn origins(value: &str) -> Result<Vec<String>, String> {
    let mut origins = Vec::new();
    for written in value
        .split(',')
        .map(|written| written.trim_matches([' ', '\t']))
    {
        if written.is_empty() {
            continue;
        }
        let origin = match origin(written) {
            Ok(origin) => origin,
            Err(advice) if written == value => return Err(advice),
            Err(advice) => return Err(format!("in it, \"{}\": {advice}", shown(written))),
        };
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    if origins.is_empty() {
        return Err("write an origin such as http://localhost:4040".to_owned());
    }
    Ok(origins)
}

fn origin(written: &str) -> Result<String, String> {
    tidy(written)?;
    let lower = written.to_ascii_lowercase();
    let example = "write an origin such as http://localhost:4040";
    if lower == "*" || lower == "null" {
        return Err(format!("origins are allowed one by one; {example}"));
    }
    let Some((scheme, rest)) = lower.split_once("://") else {
        return Err(match authority(&lower, HostRules::Origin) {
            Ok(_) => format!("it has no scheme; write http://{lower} or https://{lower}"),
            Err(_) => format!("it has no scheme; {example}"),
        });
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(format!("its scheme is neither http nor https; {example}")),
    };
    if rest.contains([' ', '\t', ';']) {
        return Err("separate origins with commas".to_owned());
    }
    // What a browser would send for this page, to be offered when only that is wrong.
    let bare = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let host = bare.rsplit('@').next().unwrap_or(bare);
    let instead = match authority(host, HostRules::Origin) {
        Ok(_) => format!("write {scheme}://{host}"),
        Err(_) => example.to_owned(),
    };
    if bare != rest {
        let fault = "it must end after the host and port, without a slash or a path";
        return Err(format!("{fault}; {instead}"));
    }
    if host != bare {
        return Err(format!("an origin has no user name; {instead}"));
    }
    match authority(host, HostRules::Origin) {
        Err(fault) => Err(format!("{fault}; {example}")),
        // Browsers leave the default port out of `Origin`.
        Ok(Some(port)) if port == default_port => {
            let (host, _) = host.rsplit_once(':').unwrap_or((host, ""));
            Ok(format!("{scheme}://{host}"))
        }
        Ok(_) => Ok(lower),
    }
}

/// What differs between the hosts of a tenant and of an origin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HostRules {
    /// No certificate is issued for a name with an underscore.
    Tenant,
    /// Browsers accept an underscore.
    Origin,
}

/// The port of a `host` or `host:port` in which all is well; otherwise what is wrong.
fn authority(text: &str, rules: HostRules) -> Result<Option<u16>, String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| "what its brackets hold is not an IPv6 address")?;
        return match after.strip_prefix(':') {
            Some(port) => authority_port(port).map(Some),
            None if after.is_empty() => Ok(None),
            None => Err("only a port may follow the bracket".to_owned()),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address stands in brackets, [{text}]"));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    check_host(host, rules)?;
    port.map(authority_port).transpose()
}

fn authority_port(port: &str) -> Result<u16, String> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    digits
        .then(|| port.parse().ok())
        .flatten()
        .ok_or_else(|| "its port is not a number from 1 to 65535".to_owned())
}

/// Refuses what is neither an IPv4 address nor a host name (RFC 1123 §2.1, RFC 1035 §2.3.4).
fn check_host(host: &str, rules: HostRules) -> Result<(), String> {
    if host.is_empty() {
        return Err("its host is missing".to_owned());
    }
    if !host.is_ascii() {
        return Err(
            "its host must be in ASCII, as xn--… when the name has other letters".to_owned(),
        );
    }
    if host.len() > 253 {
        return Err("its host is longer than 253 characters".to_owned());
    }
    if host.ends_with('.') {
        return Err("its host must not end in a dot".to_owned());
    }
    let underscore = rules == HostRules::Origin;
    for label in host.split('.') {
        check_label(label, underscore)?;
    }
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|byte| byte.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err("it is neither an IPv4 address nor a host name".to_owned());
    }
    Ok(())
}

fn check_label(label: &str, underscore: bool) -> Result<(), String> {
    if label.is_empty() {
        return Err("its host has nothing before, or between, two dots".to_owned());
    }
    if label.len() > 63 {
        return Err("a part of its host is longer than 63 characters".to_owned());
    }
    let stranger = label
        .chars()
        .find(|&c| !(c.is_ascii_alphanumeric() || c == '-' || (underscore && c == '_')));
    if let Some(stranger) = stranger {
        let stranger = match stranger {
            ' ' => "a space".to_owned(),
            other => shown(&other.to_string()),
        };
        return Err(format!("a host cannot hold {stranger}"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("no part of a host starts or ends with a hyphen".to_owned());
    }
    Ok(())
}

fn port(value: &str) -> Result<u16, String> {
    tidy(value)?;
    whole(value, &(0..=65535))
        .map_err(|_| "write a whole number from 1 to 65535, or 0 for any free port".to_owned())
}

fn host(value: &str) -> Result<IpAddr, String> {
    tidy(value)?;
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    if let Ok(both) = value.parse::<SocketAddr>() {
        let (host, port) = (both.ip(), both.port());
        return Err(format!("write {host} here and {port} in PORT"));
    }
    let inner = value
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
    Err(if let Some(address) = inner {
        format!("write it without brackets: {address}")
    } else if value.eq_ignore_ascii_case("localhost") {
        "it must be an IP address; write 127.0.0.1".to_owned()
    } else if value == "*" {
        "it must be an IP address; write 0.0.0.0, or :: for IPv6 too".to_owned()
    } else {
        "write an IP address: 127.0.0.1 for this machine only, 0.0.0.0 for all".to_owned()
    })
}

/// What is wrong with a PEM file. The error's own words show a line as the numbers of its bytes,
/// however long it is.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it has no -----END line".to_owned(),
        pem::Error::IllegalSectionStart { line } => {
            let line = String::from_utf8_lossy(line);
            format!("it begins with \"{}\"", shown(&line))
        }
        error => shown(&error.to_string()),
    }
}

/// The certificates of a PEM file, each of which can serve as a root.
fn extra_roots(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let instead = "write the path of a PEM file of root certificates";
    tidy(path)?;
    let pem = read_file(File::open(path)).map_err(|fault| format!("it {fault}; {instead}"))?;
    if pem.is_empty() {
        return Err(format!("it is empty; {instead}"));
    }
    // In front of the first `-----BEGIN` it would hide that certificate.
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&pem);
    let mut roots = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let number = roots.len() + 1;
        let der = der.map_err(|error| {
            let fault = pem_fault(&error);
            format!("its certificate {number} is broken ({fault}); {instead}")
        })?;
        RootCertStore::empty()
            .add(der.clone())
            .map_err(|e| format!("its certificate {number} cannot be a root ({e}); {instead}"))?;
        roots.push(Certificate::from_der(&der).to_owned());
    }
    if roots.is_empty() {
        return Err(format!(
            "it has no certificate between -----BEGIN CERTIFICATE----- and its END; {instead}"
        ));
    }
    Ok(roots)
}

/// A whole file that is not larger than [`MAX_FILE`]; otherwise what is wrong, after "it".
fn read_file(file: io::Result<File>) -> Result<Vec<u8>, String> {
    let unreadable = |e: io::Error| format!("cannot be read ({e})");
    let file = file.map_err(unreadable)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err("is a folder".to_owned());
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, to tell; a length from the metadata would be 0 for a pipe.
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// Hosts that need no proxy. Such a list is shared by many programs: what is in it besides hosts
/// does no harm.
fn no_proxy(value: &str) -> Result<String, String> {
    tidy(value)?;
    Ok(value.to_owned())
}

/// systemd sets it, with a colon between several: the first is ours. Whether it can be written to
/// is found out when there are keys to write, and then is no reason to stop.
fn state_directory(value: &str) -> Result<Option<PathBuf>, String> {
    let folder = Path::new(value.split(':').next().unwrap_or_default());
    match folder.is_absolute() {
        true => Ok(Some(folder.to_owned())),
        false => Err("write an absolute path, such as /var/lib/postern".to_owned()),
    }
}

fn count(value: &str, range: &RangeInclusive<u64>) -> Result<usize, String> {
    tidy(value)?;
    whole(value, range)
}

fn seconds(value: &str, range: &RangeInclusive<u64>) -> Result<Duration, String> {
    tidy(value)?;
    whole(value, range).map(Duration::from_secs)
}

/// A number in plain digits.
fn whole<T: TryFrom<u64>>(value: &str, range: &RangeInclusive<u64>) -> Result<T, String> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|number| digits && range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("write a whole number from {least} to {most}")
        })
}

fn log_level(value: &str) -> Result<LevelFilter, String> {
    tidy(value)?;
    let level = |text: &str| {
        let level: log::Level = text.parse().ok()?;
        Some(level.to_level_filter())
    };
    level(value).ok_or_else(|| {
        let directive = value.rsplit_once('=').and_then(|(_, text)| level(text));
        match directive {
            Some(level) => {
                let level = level.as_str().to_ascii_lowercase();
                format!("it is one level for everything, without targets; write {level}")
            }
            None => "write one of error, warn, info, debug, trace".to_owned(),
        }
    })
}

/// What `.env` sets, in its order; nothing when there is none.
///
/// No line is shown in a report: the file may hold secrets that are none of ours.
fn read_dotenv(path: &Path, report: &mut Report) -> Vec<(String, String)> {
    let file = File::open(path);
    if matches!(&file, Err(e) if e.kind() == io::ErrorKind::NotFound) {
        return Vec::new();
    }
    let text = read_file(file).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|e| {
            let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
            format!("is not UTF-8 in line {line}")
        })
    });
    match text {
        Ok(text) => parse_dotenv(&text, report),
        Err(fault) => {
            report.unread.extend(VARIABLES.iter().map(|v| v.name));
            let name = path.display();
            report.problems.push(format!(
                "{name} {fault}: make it a readable text file, or remove it"
            ));
            Vec::new()
        }
    }
}

fn parse_dotenv(text: &str, report: &mut Report) -> Vec<(String, String)> {
    // dotenvy takes a byte order mark for the start of a name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines_read = Cell::new(0);
    let lines = LineReader {
        rest: text.as_bytes(),
        lines_read: &lines_read,
    };
    let mut vars = Vec::new();
    // dotenvy refuses a last line that ends in a space instead of a newline.
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    for entry in dotenvy::from_read_iter(lines.chain(end)) {
        match entry {
            Ok(var) => vars.push(var),
            Err(dotenvy::Error::LineParse(unread, _)) => {
                // An open quote takes in all lines that follow; the first is the one to mend.
                let taken = unread.lines().count().max(1);
                let first = (lines_read.get() + 1).saturating_sub(taken).max(1);
                let entry = text.lines().skip(first - 1).take(taken);
                report.unread.extend(entry.clone());
                report
                    .problems
                    .push(dotenv_fault(first, entry.clone().next().unwrap_or("")));
            }
            // Only a read fails otherwise, and these bytes are in memory.
            Err(_) => break,
        }
    }
    vars
}

fn dotenv_fault(number: usize, line: &str) -> String {
    let name = line.split('=').next().unwrap_or(line).trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim_start();
    let of = match Variable::spelled(name) {
        Some((_, name)) => format!(" ({name})"),
        None => String::new(),
    };
    format!(
        ".env line {number}{of} is malformed: write NAME=value, and single quotes around a value \
         that holds spaces, quotes, $, # or a backslash"
    )
}

/// Gives one line per read, so that the lines read are those that dotenvy has seen.
struct LineReader<'a> {
    rest: &'a [u8],
    lines_read: &'a Cell<usize>,
}

impl Read for LineReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.split_inclusive(|&byte| byte == b'\n').next();
        let mut line = line.unwrap_or_default();
        let length = line.read(out)?;
        // The end counts, too: of a long line, or of a last one without a newline.
        if length > 0 && line.is_empty() {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: [(&str, &str); 2] = [
        ("AUTH0_DOMAIN", "tenant.eu.auth0.com"),
        ("AUTH0_AUDIENCE", "https://api.example.com"),
    ];

    /// A tenant, and one more setting or another value of one.
    fn with(name: &str, value: &str) -> Result<Config, ConfigError> {
        let vars = TENANT.into_iter().chain([(name, value)]);
        Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    fn fault(name: &str, value: &str) -> String {
        match with(name, value) {
            Ok(_) => panic!("{name}={value:?} was taken"),
            Err(e) => e.to_string(),
        }
    }

    #[track_caller]
    fn assert_faults(name: &str, cases: &[(&str, &str)]) {
        for (value, advice) in cases {
            let line = fault(name, value);
            assert!(line.starts_with(&format!("{name} is \"")), "{line}");
            assert!(line.contains(advice), "{value:?} gives {line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = with("", "").unwrap();
        assert_eq!(config.domain, "tenant.eu.auth0.com");
        assert_eq!(config.issuer(), "https://tenant.eu.auth0.com/");
        assert_eq!(config.audience, "https://api.example.com");
        assert!(config.origins.is_empty());
        assert_eq!(config.listen, "127.0.0.1:6060".parse().unwrap());
        assert!(config.extra_roots.is_empty());
        assert_eq!(config.head_timeout, Duration::from_secs(10));
        assert_eq!(config.idle_timeout, Duration::from_secs(30));
        assert_eq!(config.write_timeout, Duration::from_secs(10));
        assert_eq!(config.jwks_cooldown, Duration::from_secs(30));
        assert_eq!(config.clock_leeway, Duration::from_secs(5));
        assert_eq!(config.log_level, LevelFilter::Info);
    }

    #[test]
    fn an_empty_value_is_unset_and_the_last_other_one_counts() {
        let config = with("PORT", "").unwrap();
        assert_eq!(config.listen.port(), 6060);
        let config = with("AUTH0_DOMAIN", "").unwrap();
        assert_eq!(config.domain, "tenant.eu.auth0.com");
        let config = with("AUTH0_DOMAIN", "other.auth0.com").unwrap();
        assert_eq!(config.domain, "other.auth0.com");
    }

    #[test]
    fn names_count_in_capitals_only() {
        let vars = TENANT.into_iter().chain([
            ("port", "wrong"),
            ("Port", "wrong"),
            ("PORT", "8080"),
            ("auth0_domain", "wrong/"),
            ("PATH", "/bin"),
            ("PORT ", "wrong"),
        ]);
        let config =
            Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))
                .unwrap();
        assert_eq!(config.listen.port(), 8080);
        assert_eq!(config.domain, "tenant.eu.auth0.com");
    }

    #[test]
    fn every_variable_is_a_field_and_is_in_the_example() {
        let example = include_str!("../.env.example");
        for variable in VARIABLES {
            // A field that is misspelt would leave the default in place.
            fault(variable.name, "\u{7f}");
            let written = example
                .lines()
                .find_map(|line| line.trim_start_matches('#').strip_prefix(variable.name))
                .unwrap_or_else(|| panic!("{} is not in .env.example", variable.name));
            if variable.default.parse::<u64>().is_ok() {
                assert_eq!(written, format!("={}", variable.default));
            }
        }
        let mut report = Report::default();
        let vars = parse_dotenv(example, &mut report);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        for (name, _) in vars {
            assert!(
                Variable::spelled(&name).is_some(),
                "{name} is in .env.example"
            );
        }
    }

    #[test]
    fn domains_are_taken_and_lower_cased() {
        let longest = [&"a".repeat(63); 3].map(String::as_str).join(".") + "." + &"b".repeat(61);
        let cases = [
            ("tenant.eu.auth0.com", "tenant.eu.auth0.com"),
            ("Login.Example.COM", "login.example.com"),
            ("localhost:8443", "localhost:8443"),
            ("tenant.example:1", "tenant.example:1"),
            ("tenant.example:65535", "tenant.example:65535"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:4443", "127.0.0.1:4443"),
            ("[::1]", "[::1]"),
            ("[FE80::1]:8443", "[fe80::1]:8443"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("0x.example", "0x.example"),
            (longest.as_str(), longest.as_str()),
        ];
        for (value, expected) in cases {
            assert_eq!(with("AUTH0_DOMAIN", value).unwrap().domain, expected);
        }
    }

    #[test]
    fn wrong_domains() {
        let scheme = "the bare host, without a scheme; write tenant.eu.auth0.com";
        let slash = "without a slash or a path; write tenant.eu.auth0.com";
        let port = "its port is not a number from 1 to 65535";
        let long = format!("{}.example", "a".repeat(64));
        let longer = vec!["a".repeat(60); 5].join(".");
        assert_faults(
            "AUTH0_DOMAIN",
            &[
                ("https://tenant.eu.auth0.com", scheme),
                ("https://tenant.eu.auth0.com/", scheme),
                ("HTTPS://Tenant.eu.auth0.com/authorize?x#y", scheme),
                ("http://tenant.eu.auth0.com", scheme),
                ("https://u:p@tenant.eu.auth0.com:443/", scheme),
                ("https://", "write a host such as"),
                ("https://{yourDomain}/", "write a host such as"),
                ("tenant.eu.auth0.com/", slash),
                ("tenant.eu.auth0.com/api/v2", slash),
                ("tenant.eu.auth0.com?x", slash),
                ("tenant.eu.auth0.com#x", slash),
                ("tenant.eu.auth0.com\\", slash),
                (
                    "me@tenant.eu.auth0.com",
                    "without a user name; write tenant",
                ),
                (" tenant.eu.auth0.com", "without spaces around it: tenant"),
                ("tenant.eu.auth0.com\n", "without spaces around it: tenant"),
                (" ", "without spaces around it"),
                ("tenant .auth0.com", "a host cannot hold a space"),
                (
                    "\"tenant.eu.auth0.com\"",
                    "without quotes around it: tenant",
                ),
                ("'tenant.eu.auth0.com'", "without quotes around it: tenant"),
                ("“tenant.eu.auth0.com”", "without quotes around it: tenant"),
                ("tenant.eu.auth0.com:", port),
                ("tenant.eu.auth0.com:0", port),
                ("tenant.eu.auth0.com:080", port),
                ("tenant.eu.auth0.com:65536", port),
                ("tenant.eu.auth0.com:+80", port),
                ("tenant.eu.auth0.com:80:80", port),
                ("tenant.eu.auth0.com:https", port),
                (
                    "tenant.eu.auth0.com:443",
                    "left out; write tenant.eu.auth0.com",
                ),
                ("bücher.example", "must be in ASCII"),
                ("tenant_1.auth0.com", "a host cannot hold _"),
                ("{yourDomain}", "a host cannot hold {"),
                ("*.auth0.com", "a host cannot hold *"),
                ("tenant\0.auth0.com", "without control characters"),
                (
                    "tenant.eu.auth0.com.",
                    "end in a dot; write tenant.eu.auth0.com",
                ),
                ("tenant..auth0.com", "nothing before, or between, two dots"),
                (
                    ".auth0.com",
                    "nothing before, or between, two dots; write auth0.com",
                ),
                (".", "end in a dot"),
                (":443", "its host is missing"),
                ("-a.example", "starts or ends with a hyphen"),
                ("a-.example", "starts or ends with a hyphen"),
                (&long, "longer than 63"),
                (&longer, "longer than 253"),
                ("1.2.3", "neither an IPv4 address nor a host name"),
                ("256.0.0.1", "neither an IPv4 address nor a host name"),
                ("::1", "an IPv6 address stands in brackets, [::1]"),
                ("[::1", "its bracket is not closed"),
                ("[::g]", "not an IPv6 address"),
                ("[::1]8443", "only a port may follow"),
                ("[::1]:0", port),
            ],
        );
    }

    #[test]
    fn audiences() {
        for value in [
            "https://api.example.com",
            "https://x/",
            "Hello World",
            "ä",
            "a\"b",
        ] {
            assert_eq!(with("AUTH0_AUDIENCE", value).unwrap().audience, value);
        }
        assert_faults(
            "AUTH0_AUDIENCE",
            &[
                ("\"https://x\"", "without quotes around it: https://x"),
                ("'https://x", "without quotes around it: https://x"),
                ("https://x ", "without spaces around it: https://x"),
                ("\u{a0}https://x", "without spaces around it: https://x"),
                ("https://x\r", "without spaces around it: https://x"),
                ("a\tb", "without control characters"),
                ("a\u{85}b", "without control characters"),
                ("\"\"", "without quotes around it"),
            ],
        );
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        let cases: [(&str, &[&str]); 13] = [
            ("http://localhost:4040", &["http://localhost:4040"]),
            ("HTTPS://App.Example.com", &["https://app.example.com"]),
            (
                "http://a , https://b,http://c",
                &["http://a", "https://b", "http://c"],
            ),
            (" http://a,\thttp://b ", &["http://a", "http://b"]),
            ("http://a,HTTP://A,http://a:80", &["http://a"]),
            ("http://a,,http://b,", &["http://a", "http://b"]),
            ("http://a:80", &["http://a"]),
            ("https://a:443", &["https://a"]),
            (
                "http://a:443,https://a:80",
                &["http://a:443", "https://a:80"],
            ),
            ("http://[::1]:80", &["http://[::1]"]),
            ("http://[::1]", &["http://[::1]"]),
            ("http://127.0.0.1:3000", &["http://127.0.0.1:3000"]),
            ("http://my_app:3000", &["http://my_app:3000"]),
        ];
        for (value, expected) in cases {
            assert_eq!(with("CLIENT_ORIGIN_URL", value).unwrap().origins, expected);
        }
    }

    #[test]
    fn wrong_origins() {
        let slash = "without a slash or a path; write http://localhost:4040";
        assert_faults(
            "CLIENT_ORIGIN_URL",
            &[
                ("http://localhost:4040/", slash),
                ("HTTP://LocalHost:4040/app?x#y", slash),
                ("http://localhost:4040?x", slash),
                ("http://localhost:4040#x", slash),
                (
                    "http://u:p@localhost:4040",
                    "no user name; write http://localhost:4040",
                ),
                ("*", "one by one"),
                ("null", "one by one"),
                ("http://a,*", "in it, \"*\": origins are allowed one by one"),
                (
                    "localhost:4040",
                    "write http://localhost:4040 or https://localhost:4040",
                ),
                ("app.example.com", "write http://app.example.com or"),
                ("/", "it has no scheme; write an origin such as"),
                ("ftp://a", "neither http nor https"),
                ("http:/a", "it has no scheme"),
                ("http://", "its host is missing"),
                ("http:///a", "without a slash or a path"),
                ("http://a http://b", "separate origins with commas"),
                ("http://a;http://b", "separate origins with commas"),
                ("\"http://a\"", "without quotes around it: http://a"),
                (
                    "'http://a','http://b'",
                    "without quotes around it: http://a",
                ),
                ("http://a\nb", "without control characters"),
                ("http://bücher.example", "must be in ASCII"),
                ("http://*.example.com", "a host cannot hold *"),
                ("http://a:0", "its port is not a number"),
                ("http://a:04040", "its port is not a number"),
                ("http://a.", "must not end in a dot"),
                ("http://a,http://b/", "in it, \"http://b/\": it must end"),
                (",", "write an origin such as http://localhost:4040"),
                (" ", "write an origin such as http://localhost:4040"),
            ],
        );
    }

    #[test]
    fn ports() {
        for (value, port) in [("0", 0), ("1", 1), ("08080", 8080), ("65535", 65535)] {
            assert_eq!(with("PORT", value).unwrap().listen.port(), port);
        }
        let advice = "write a whole number from 1 to 65535, or 0 for any free port";
        assert_faults(
            "PORT",
            &[
                ("65536", advice),
                ("99999999999999999999999", advice),
                ("-1", advice),
                ("+1", advice),
                ("80.0", advice),
                ("http", advice),
                ("tcp://10.0.0.1:80", advice),
                ("٣", advice),
                ("\"6060\"", "without quotes around it: 6060"),
                ("6060 ", "without spaces around it: 6060"),
            ],
        );
    }

    #[test]
    fn hosts() {
        for value in ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1"] {
            let expected: IpAddr = value.parse().unwrap();
            assert_eq!(with("HOST", value).unwrap().listen.ip(), expected);
        }
        let generic = "write an IP address: 127.0.0.1 for this machine only";
        assert_faults(
            "HOST",
            &[
                ("localhost", "write 127.0.0.1"),
                ("LOCALHOST", "write 127.0.0.1"),
                ("[::1]", "write it without brackets: ::1"),
                ("127.0.0.1:8080", "write 127.0.0.1 here and 8080 in PORT"),
                ("[::1]:8080", "write ::1 here and 8080 in PORT"),
                ("*", "write 0.0.0.0"),
                ("x86_64-conda-linux-gnu", generic),
                ("http://127.0.0.1", generic),
                ("127.1", generic),
                ("[localhost]", generic),
            ],
        );
    }

    #[test]
    fn connections_are_counted_in_whole_numbers() {
        assert_eq!(with("PORT", "1").unwrap().max_connections, 256);
        assert_eq!(with("MAX_CONNECTIONS", "1").unwrap().max_connections, 1);
        assert_eq!(
            with("MAX_CONNECTIONS", "10000").unwrap().max_connections,
            10_000
        );
        let advice = "write a whole number from 1 to 10000";
        for wrong in ["0", "10001", "-1", "many", "1k"] {
            assert_faults("MAX_CONNECTIONS", &[(wrong, advice)]);
        }
    }

    #[test]
    fn the_token_cache_may_be_of_no_size() {
        assert_eq!(with("PORT", "1").unwrap().token_cache_size, 1024);
        for (value, size) in [("0", 0), ("1", 1), ("1000000", 1_000_000)] {
            let config = with("TOKEN_CACHE_SIZE", value).unwrap();
            assert_eq!(config.token_cache_size, size);
        }
        let advice = "write a whole number from 0 to 1000000";
        for wrong in ["1000001", "-1", "off", "1k"] {
            assert_faults("TOKEN_CACHE_SIZE", &[(wrong, advice)]);
        }
    }

    #[test]
    fn seconds_are_whole_and_within_their_range() {
        let timeouts = [
            ("HEAD_TIMEOUT_SECONDS", "1"),
            ("IDLE_TIMEOUT_SECONDS", "3600"),
            ("WRITE_TIMEOUT_SECONDS", "60"),
            ("JWKS_COOLDOWN_SECONDS", "001"),
            ("CLOCK_LEEWAY_SECONDS", "0"),
            ("CLOCK_LEEWAY_SECONDS", "300"),
        ];
        for (name, value) in timeouts {
            with(name, value).unwrap();
        }
        assert_eq!(
            with("HEAD_TIMEOUT_SECONDS", "7").unwrap().head_timeout,
            Duration::from_secs(7)
        );
        for (name, _) in &timeouts[..4] {
            let advice = "write a whole number from 1 to 3600";
            let wrong = [
                "0",
                "3601",
                "-1",
                "+1",
                "1.5",
                "10s",
                "1e3",
                "18446744073709551616",
            ];
            assert_faults(name, &wrong.map(|value| (value, advice)));
        }
        let advice = "write a whole number from 0 to 300";
        assert_faults("CLOCK_LEEWAY_SECONDS", &[("301", advice), ("five", advice)]);
    }

    #[test]
    fn log_levels() {
        let levels = ["error", "WARN", "Info", "debug", "trace"];
        for (value, level) in levels.into_iter().zip(LevelFilter::iter().skip(1)) {
            assert_eq!(with("RUST_LOG", value).unwrap().log_level, level);
        }
        let generic = "write one of error, warn, info, debug, trace";
        assert_faults(
            "RUST_LOG",
            &[
                ("postern=debug", "without targets; write debug"),
                ("warn,postern=TRACE", "without targets; write trace"),
                ("postern=x", generic),
                ("off", generic),
                ("verbose", generic),
                ("1", generic),
            ],
        );
    }

    #[test]
    fn all_problems_are_reported_in_one_go() {
        let wrong = VARIABLES
            .iter()
            .map(|v| (v.name.to_owned(), "\n".to_owned()));
        let error = Config::from_vars(wrong).unwrap_err();
        let lines = error.to_string();
        assert_eq!(lines.lines().count(), VARIABLES.len(), "{lines}");
        for (line, variable) in lines.lines().zip(VARIABLES) {
            assert!(line.starts_with(variable.name), "{line}");
        }
        assert!(!error.tenant_missing());
    }

    #[test]
    fn a_missing_tenant_is_told_apart() {
        let error = Config::from_vars([]).unwrap_err();
        assert!(error.tenant_missing());
        assert_eq!(
            error.to_string(),
            "AUTH0_DOMAIN is not set: write the host of the Auth0 tenant, such as \
             tenant.eu.auth0.com\n\
             AUTH0_AUDIENCE is not set: write the identifier of the API, as registered with Auth0"
        );
    }

    #[test]
    fn a_wrong_value_is_shown_on_one_line_and_not_whole() {
        let value = "\x1b[2J\n".to_owned() + &"ü".repeat(200);
        let line = fault("RUST_LOG", &value);
        let shown = format!("\"\\x1b[2J\\n{}…\":", "ü".repeat(95));
        assert!(line.contains(&shown), "{line}");
    }

    #[test]
    fn dotenv_is_read_as_it_is_commonly_written() {
        let text = "\u{feff}# comment, it's one\r\n\
            AUTH0_DOMAIN=tenant.eu.auth0.com\r\n\
            \n\
            AUTH0_AUDIENCE=https://x # why\n\
            export CLIENT_ORIGIN_URL=\"http://localhost:4040, http://a\"\n\
            PORT = 8080\n\
            HOST=\n\
            A='$PORT'\n\
            B=${PORT}1\n\
            RUST_LOG=debug ";
        let mut report = Report::default();
        let vars = parse_dotenv(text, &mut report);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let expected = [
            ("AUTH0_DOMAIN", "tenant.eu.auth0.com"),
            ("AUTH0_AUDIENCE", "https://x"),
            ("CLIENT_ORIGIN_URL", "http://localhost:4040, http://a"),
            ("PORT", "8080"),
            ("HOST", ""),
            ("A", "$PORT"),
            ("B", "80801"),
            ("RUST_LOG", "debug"),
        ];
        let vars: Vec<_> = vars.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(vars, expected);
    }

    #[test]
    fn a_malformed_dotenv_is_reported_by_line_without_its_secrets() {
        let long = format!("#{}\nX", "x".repeat(20_000));
        // Contents, and the lines to be named.
        let cases: [(&str, &[&str]); 9] = [
            (
                "# one\n\nAUTH0_AUDIENCE=a secret\nPORT=1",
                &["line 3 (AUTH0_AUDIENCE) is"],
            ),
            ("PORT=1\nsecret", &["line 2 is"]),
            (
                "X=1\n1X=secret\n\nY Z=secret\nZ=1\n",
                &["line 2 is", "line 4 is"],
            ),
            ("X=1\nPORT=\"secret\nZ=1\n\n\n", &["line 2 (PORT) is"]),
            ("X=1\nPORT='secret\nZ=1", &["line 2 (PORT) is"]),
            (
                "X='a\nb\nc'\nexport PORT='secret\nb' c\nZ=1",
                &["line 4 (PORT) is"],
            ),
            ("X=${secret", &["line 1 is"]),
            ("X=\\secret\n", &["line 1 is"]),
            (&long, &["line 2 is"]),
        ];
        for (text, expected) in cases {
            let mut report = Report::default();
            parse_dotenv(text, &mut report);
            assert_eq!(
                report.problems.len(),
                expected.len(),
                "{:?}",
                report.problems
            );
            for (problem, expected) in report.problems.iter().zip(expected) {
                assert!(problem.contains(expected), "{text:?} gives {problem}");
                assert!(!problem.contains("secret"), "{problem}");
            }
        }
    }
}
