//! Settings: whatever is written, either a `Config` of valid values or a line for each variable
//! that is wrong.
//!
//! Input: settings, each ended by a zero byte: a byte that names the variable, then its value. In
//! a first one that begins with `#`: a `.env` file instead.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postern::config::{Config, ConfigError, VARIABLES, Variable};
use postern_fuzz::assert_one_line;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = postern_fuzz::folder("config");
    std::env::set_current_dir(&folder).expect("it was just made");
    for name in VARIABLES.iter().flat_map(Variable::names) {
        // SAFETY: no other thread has been started.
        unsafe { std::env::remove_var(name) };
    }
    folder
});

fuzz_target!(|data: &[u8]| {
    match data.strip_prefix(b"#") {
        Some(text) => dotenv(text),
        None => settings(data),
    }
});

fn settings(data: &[u8]) {
    let mut vars = BTreeMap::new();
    for setting in data.split(|byte| *byte == 0) {
        if let Some((&name, value)) = setting.split_first() {
            let name = VARIABLES[usize::from(name) % VARIABLES.len()].name;
            vars.insert(name, value_of(name, value));
        }
    }
    let owned = vars.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
    let result = Config::from_vars(owned);
    for (name, least, most) in RANGES {
        let value = vars.get(name).filter(|value| !value.is_empty());
        let is_right = value.is_none_or(|value| is_number(value, *least, *most));
        assert_eq!(is_named(&result, name), !is_right, "{name} {value:?}");
    }
    match result {
        Ok(config) => check_config(&config, &vars),
        Err(error) => check_error(&error, |name| vars.get(name).is_some_and(|v| !v.is_empty())),
    }
}

const RANGES: &[(&str, u64, u64)] = &[
    ("PORT", 0, 65535),
    ("MAX_CONNECTIONS", 1, 65_536),
    ("HEAD_TIMEOUT_SECONDS", 1, 3600),
    ("IDLE_TIMEOUT_SECONDS", 1, 3600),
    ("WRITE_TIMEOUT_SECONDS", 1, 3600),
    ("JWKS_MAX_STALE_SECONDS", 0, 31_536_000),
    ("JWKS_COOLDOWN_SECONDS", 1, 3600),
    ("CLOCK_LEEWAY_SECONDS", 0, 300),
];

/// The variables that name files to be read.
const FILES: &[&str] = &["SSL_CERT_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"];

fn is_number(value: &str, least: u64, most: u64) -> bool {
    let number = value.chars().try_fold(0u64, |number, digit| {
        let digit = u64::from(digit.to_digit(10)?);
        Some(number.saturating_mul(10).saturating_add(digit))
    });
    number.is_some_and(|number| (least..=most).contains(&number))
}

/// A value. Paths name files of this process only: another file may be a pipe without a writer.
fn value_of(name: &str, value: &[u8]) -> String {
    if !FILES.contains(&name) || value.is_empty() {
        return String::from_utf8_lossy(value).into_owned();
    }
    let path = FOLDER.join(name).with_extension("pem");
    fs::write(&path, value).expect("the folder can be written");
    path.display().to_string()
}

fn dotenv(text: &[u8]) {
    let is_in = |name: &&str| text.windows(name.len()).any(|part| part == name.as_bytes());
    if FILES.iter().any(is_in) {
        return;
    }
    fs::write(FOLDER.join(".env"), text).expect("the folder can be written");
    match Config::from_environment() {
        Ok(config) => check_config(&config, &BTreeMap::new()),
        Err(error) => check_error(&error, |name| {
            text.windows(name.len()).any(|part| part == name.as_bytes())
        }),
    }
}

fn is_named(result: &Result<Config, ConfigError>, name: &str) -> bool {
    let Err(error) = result else { return false };
    let text = error.to_string();
    text.split('\n')
        .any(|line| line.starts_with(&format!("{name} is ")))
}

/// Each line names another variable, one that is set or must be; or a line of `.env`.
fn check_error(error: &ConfigError, is_set: impl Fn(&str) -> bool) {
    let text = error.to_string();
    let mut named = Vec::new();
    for line in text.split('\n') {
        assert_one_line(line, 2000);
        let name = line.split(' ').next().unwrap_or_default();
        if name == ".env" {
            continue;
        }
        assert!(
            VARIABLES
                .iter()
                .flat_map(Variable::names)
                .any(|known| known == name),
            "{line}"
        );
        assert!(!named.contains(&name), "{name} twice: {text}");
        let is_required = ["AUTH0_DOMAIN", "AUTH0_AUDIENCE"].contains(&name);
        assert!(is_set(name) || is_required, "{line}");
        named.push(name);
    }
}

fn check_config(config: &Config, vars: &BTreeMap<&str, String>) {
    let is_one_line = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    assert!(is_host(&config.domain, false), "{}", config.domain);
    assert!(!config.domain.ends_with(":443"));
    assert_eq!(config.issuer(), format!("https://{}/", config.domain));
    assert!(is_one_line(&config.audience), "{:?}", config.audience);
    assert_eq!(config.audience, config.audience.trim());
    for origin in &config.origins {
        let (scheme, host) = origin.split_once("://").expect("a scheme");
        assert!(["http", "https"].contains(&scheme), "{origin}");
        assert!(is_host(host, true), "{origin}");
        let default_port = if scheme == "http" { ":80" } else { ":443" };
        assert!(
            !host.ends_with(default_port) || host.starts_with('['),
            "{origin}"
        );
        assert_eq!(config.origins.iter().filter(|o| *o == origin).count(), 1);
    }
    let seconds = |time: Duration, least: u64, most: u64| {
        (least..=most).contains(&time.as_secs()) && time.subsec_nanos() == 0
    };
    assert!(seconds(config.head_timeout, 1, 3600));
    assert!(seconds(config.idle_timeout, 1, 3600));
    assert!(seconds(config.write_timeout, 1, 3600));
    assert!(seconds(config.jwks_cooldown, 1, 3600));
    assert!(seconds(config.jwks_max_stale, 0, 31_536_000));
    assert!(seconds(config.clock_leeway, 0, 300));
    assert!((1..=65_536).contains(&config.max_connections));
    assert!(config.log_level != log::LevelFilter::Off);
    assert!(
        config
            .state_directory
            .as_deref()
            .is_none_or(Path::is_absolute)
    );
    if let Some(proxy) = &config.proxy {
        assert!(is_host(
            &format!("{}:{}", proxy.host(), proxy.port()).to_ascii_lowercase(),
            true
        ));
    }
    let is_set = |name| vars.get(name).is_some_and(|value| !value.is_empty());
    assert_eq!(!config.extra_roots.is_empty(), is_set("SSL_CERT_FILE"));
    let has_tls = is_set("TLS_CERTIFICATE_FILE") && is_set("TLS_KEY_FILE");
    assert_eq!(config.tls.is_some(), has_tls);
    is_stable(config);
}

/// Lower-case, and nothing that could end a header line, a URL's host or a label.
fn is_host(host: &str, underscore: bool) -> bool {
    let (name, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_is_right = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(port) => is_number(port, 1, 65535) && !port.starts_with('0'),
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_label = |label: &str| {
        let known = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (underscore && c == '_')
        };
        (1..=63).contains(&label.len())
            && label.chars().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name_is_right = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.len() <= 253 && name.split('.').all(is_label),
    };
    port_is_right && name_is_right && host == host.to_ascii_lowercase()
}

/// Accepted settings are accepted again, with the same meaning.
fn is_stable(config: &Config) {
    let vars = [
        ("AUTH0_DOMAIN", config.domain.clone()),
        ("AUTH0_AUDIENCE", config.audience.clone()),
        ("CLIENT_ORIGIN_URL", config.origins.join(",")),
        ("HOST", config.listen.ip().to_string()),
        ("PORT", config.listen.port().to_string()),
        ("MAX_CONNECTIONS", config.max_connections.to_string()),
        ("RUST_LOG", config.log_level.to_string()),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value));
    let again = Config::from_vars(vars).expect("it was taken before");
    assert_eq!(again.domain, config.domain);
    assert_eq!(again.audience, config.audience);
    assert_eq!(again.origins, config.origins);
    assert_eq!(again.listen, config.listen);
    assert_eq!(again.max_connections, config.max_connections);
    assert_eq!(again.log_level, config.log_level);
}
