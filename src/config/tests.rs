use super::*;

const TENANT: [(&str, &str); 2] = [
    ("AUTH0_DOMAIN", "tenant.eu.auth0.com"),
    ("AUTH0_AUDIENCE", "https://api.example.com"),
];

/// A tenant, and one more setting or another value of one.
pub(super) fn with(name: &str, value: &str) -> Result<Config, ConfigError> {
    let vars = TENANT.into_iter().chain([(name, value)]);
    Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

pub(super) fn fault(name: &str, value: &str) -> String {
    match with(name, value) {
        Ok(_) => panic!("{name}={value:?} was taken"),
        Err(e) => e.to_string(),
    }
}

#[track_caller]
pub(super) fn assert_faults(name: &str, cases: &[(&str, &str)]) {
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
        Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.domain, "tenant.eu.auth0.com");
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
