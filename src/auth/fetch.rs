//! Fetches the tenant's key set, over https only.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use ureq::http::Response;
use ureq::tls::Certificate;
use ureq::{Agent, Body, Error, Proxy};

mod connect;

use self::connect::Names;
pub use self::connect::{Progress, Watch};
use super::key_set::{KeySet, KeySetError};
use crate::metrics;

/// The time for a whole fetch, from name resolution to the last byte.
pub const FETCH_TIME: Duration = Duration::from_secs(5);
/// The largest key set that is read, in bytes. Auth0's have about 3,000.
const MAX_BYTES: u64 = 512 * 1024;

/// Fetches a tenant's key set.
#[derive(Debug)]
pub struct Fetcher {
    url: String,
    extra_roots: Vec<Certificate<'static>>,
    proxy: Option<Proxy>,
    watch: Watch,
}

/// What a fetch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The `ETag` of the current set, which then need not be sent again (RFC 9110 §13.1.2).
    pub etag: Option<String>,
    /// Whether a cache on the way must ask the tenant again (RFC 9111 §5.2.1.4).
    pub no_cache: bool,
}

/// The result of a fetch.
pub type Answer = Result<Fetched, FetchFailure>;

/// How a fetch has ended, for the metrics.
pub(super) fn outcome(answer: &Answer) -> metrics::Fetch {
    match answer {
        Ok(fetched) if fetched.new.is_none() => metrics::Fetch::Unchanged,
        Ok(_) => metrics::Fetch::New,
        Err(failure) => failure.error.kind(),
    }
}

/// A fetch that succeeded.
#[derive(Debug)]
pub struct Fetched {
    /// The keys; `None` if they are still those of the `ETag` that was sent.
    pub new: Option<NewKeys>,
    /// The tenant's time.
    pub date: Option<SystemTime>,
    /// How long the keys are fresh, from when the tenant sent them (RFC 9111 §5.2.2.1).
    pub max_age: Option<Duration>,
    /// How long ago the tenant sent them, if they come from a cache (RFC 9111 §5.1).
    pub age: Duration,
}

/// A key set as it was received.
#[derive(Debug)]
pub struct NewKeys {
    /// The usable keys.
    pub keys: KeySet,
    /// The JWK Set they were parsed from.
    pub text: Vec<u8>,
    /// Its `ETag`.
    pub etag: Option<String>,
}

/// A fetch that failed.
#[derive(Debug)]
pub struct FetchFailure {
    /// Why.
    pub error: FetchError,
    /// The tenant's time, if it answered.
    pub date: Option<SystemTime>,
    /// How long the tenant asks to wait before the next fetch (RFC 9110 §10.2.3).
    pub retry_after: Option<Duration>,
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for FetchFailure {}

impl From<FetchError> for FetchFailure {
    fn from(error: FetchError) -> FetchFailure {
        FetchFailure {
            error,
            date: None,
            retry_after: None,
        }
    }
}

/// Why a fetch failed. Its `Display` names the layer that failed, and what may fix it.
#[derive(Debug)]
pub enum FetchError {
    /// The tenant's host name could not be resolved.
    Resolve(String),
    /// No connection could be made.
    Connect(String),
    /// The proxy could not be reached, or made no connection.
    Proxy(String),
    /// The connection ended before the answer was complete.
    Broken(String),
    /// No trustworthy TLS session could be made.
    Tls(String),
    /// The answer was not complete in time.
    Timeout(String),
    /// The answer's status is not 200.
    Status(u16),
    /// The answer is not HTTP as expected.
    Http(String),
    /// The answer is too large.
    TooLarge,
    /// The answer is not a key set.
    KeySet(KeySetError),
    /// The fetch panicked, most likely because no thread could be started.
    Panicked,
}

impl FetchError {
    fn kind(&self) -> metrics::Fetch {
        match self {
            FetchError::Resolve(_) => metrics::Fetch::Resolve,
            FetchError::Connect(_) => metrics::Fetch::Connect,
            FetchError::Proxy(_) => metrics::Fetch::Proxy,
            FetchError::Broken(_) => metrics::Fetch::Broken,
            FetchError::Tls(_) => metrics::Fetch::Tls,
            FetchError::Timeout(_) => metrics::Fetch::Timeout,
            FetchError::Status(_) => metrics::Fetch::Status,
            FetchError::Http(_) => metrics::Fetch::Http,
            FetchError::TooLarge => metrics::Fetch::TooLarge,
            FetchError::KeySet(_) => metrics::Fetch::KeySet,
            FetchError::Panicked => metrics::Fetch::Panicked,
        }
    }
}

impl Fetcher {
    /// A fetcher for the tenant at `domain` (`host` or `host:port`). It trusts Mozilla's roots and
    /// `extra_roots`, and goes through `proxy` if there is one.
    pub fn new(
        domain: &str,
        extra_roots: Vec<Certificate<'static>>,
        proxy: Option<Proxy>,
    ) -> Fetcher {
        Fetcher {
            url: format!("https://{domain}/.well-known/jwks.json"),
            extra_roots,
            proxy,
            watch: Watch::default(),
        }
    }

    /// The same, which tells `watch` how far each fetch has come.
    pub fn watched_by(self, watch: Watch) -> Fetcher {
        Fetcher { watch, ..self }
    }

    /// The address of the key set.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fetches the key set and parses it, unless the tenant answers that the `ETag` is still valid.
    /// Takes 5 s at most.
    ///
    /// # Errors
    /// [`FetchFailure`].
    pub fn fetch(&self, question: &Question) -> Answer {
        // To limit the time of name resolution, ureq starts a thread; it panics if it cannot.
        let fetched = catch_unwind(AssertUnwindSafe(|| self.fetch_now(question)));
        fetched.unwrap_or_else(|_| Err(FetchError::Panicked.into()))
    }

    fn fetch_now(&self, question: &Question) -> Answer {
        let mut request = self.agent().get(&self.url);
        if let Some(etag) = &question.etag {
            request = request.header("If-None-Match", etag);
        }
        if question.no_cache {
            request = request.header("Cache-Control", "no-cache");
        }
        let mut answer = request.call().map_err(|error| self.layer(error))?;
        let date = date(&answer);
        let new = match read(&mut answer, question.etag.is_some()) {
            Ok(new) => new,
            Err(error) => {
                return Err(FetchFailure {
                    error,
                    date,
                    retry_after: retry_after(&answer, date),
                });
            }
        };
        Ok(Fetched {
            new,
            date,
            max_age: max_age(&answer),
            age: age(&answer),
        })
    }

    /// The layer that failed.
    fn layer(&self, error: Error) -> FetchError {
        match error.into() {
            // With a proxy, no other name is resolved, and nothing else is connected to.
            FetchError::Resolve(text) | FetchError::Connect(text) if self.proxy.is_some() => {
                FetchError::Proxy(text)
            }
            error => error,
        }
    }

    /// Made for each fetch and then dropped: fetches are rare, and the parsed roots would be the
    /// largest object in the process.
    fn agent(&self) -> Agent {
        let config = Agent::config_builder()
            .https_only(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(FETCH_TIME))
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_idle_connections(0)
            // Otherwise ureq reads the environment, passes over what it cannot use, and goes
            // directly.
            .proxy(self.proxy.clone())
            .build();
        let names = Names {
            watch: self.watch.clone(),
            ..Names::default()
        };
        let connector = connect::connector(&self.extra_roots, &self.watch);
        Agent::with_parts(config, connector, names)
    }
}

/// Reads the keys in an answer; `None` for a 304, if one is allowed.
fn read(
    answer: &mut Response<Body>,
    may_be_unchanged: bool,
) -> Result<Option<NewKeys>, FetchError> {
    match answer.status().as_u16() {
        200 => {}
        304 if may_be_unchanged => return Ok(None),
        status => return Err(FetchError::Status(status)),
    }
    let text = answer
        .body_mut()
        .with_config()
        .limit(MAX_BYTES)
        .read_to_vec()?;
    let keys = KeySet::parse(&text).map_err(FetchError::KeySet)?;
    let etag = header(answer, "etag").map(str::to_owned);
    Ok(Some(NewKeys { keys, text, etag }))
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn date(answer: &Response<Body>) -> Option<SystemTime> {
    httpdate::parse_http_date(header(answer, "date")?).ok()
}

fn max_age(answer: &Response<Body>) -> Option<Duration> {
    let mut directives = header(answer, "cache-control")?.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age")
            .then(|| value.trim_matches('"'))
    })?;
    delta_seconds(seconds)
}

fn age(answer: &Response<Body>) -> Duration {
    let age = header(answer, "age").and_then(delta_seconds);
    age.unwrap_or_default()
}

/// RFC 9111 §1.2.2. A number that is too large counts as the largest.
fn delta_seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

/// Either a number of seconds, or a time by the tenant's clock.
fn retry_after(answer: &Response<Body>, date: Option<SystemTime>) -> Option<Duration> {
    let value = header(answer, "retry-after")?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value)
        .ok()?
        .duration_since(date?)
        .ok()
}

impl From<Error> for FetchError {
    fn from(error: Error) -> FetchError {
        match error {
            Error::Io(error) => from_io(&error),
            Error::HostNotFound => FetchError::Resolve("no address".to_owned()),
            Error::Timeout(phase) => FetchError::Timeout(phase.to_string()),
            Error::Rustls(error) => FetchError::Tls(error.to_string()),
            Error::Tls(text) => FetchError::Tls(text.to_owned()),
            Error::TlsRequired => FetchError::Tls("no TLS".to_owned()),
            Error::ConnectionFailed => FetchError::Connect("no connection".to_owned()),
            Error::ConnectProxyFailed(text) => FetchError::Proxy(text),
            Error::BodyExceedsLimit(_) => FetchError::TooLarge,
            other => FetchError::Http(other.to_string()),
        }
    }
}

fn from_io(error: &io::Error) -> FetchError {
    let text = error.to_string();
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return FetchError::Tls(tls.to_string());
    }
    // The standard library has no error kind for failed name resolution.
    if text.contains("lookup address") {
        return FetchError::Resolve(text);
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => FetchError::Timeout(text),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => FetchError::Broken(text),
        _ => FetchError::Connect(text),
    }
}

impl FetchError {
    /// The layer that failed, and how.
    pub fn reason(&self) -> String {
        match self {
            FetchError::Resolve(text) => format!("name resolution failed: {text}"),
            FetchError::Connect(text) => format!("connecting failed: {text}"),
            FetchError::Proxy(text) => format!("connecting through the proxy failed: {text}"),
            FetchError::Broken(text) => format!("the connection broke off: {text}"),
            FetchError::Tls(text) => format!("TLS failed: {text}"),
            FetchError::Timeout(phase) => {
                let seconds = FETCH_TIME.as_secs();
                format!("no complete answer within {seconds} s ({phase})")
            }
            FetchError::Status(status @ 300..400) => {
                format!("the tenant answered HTTP {status}, and redirects are not followed")
            }
            FetchError::Status(status) => format!("the tenant answered HTTP {status}"),
            FetchError::Http(text) => {
                format!("the tenant's answer is not HTTP as expected: {text}")
            }
            FetchError::TooLarge => format!("the answer has more than {} KiB", MAX_BYTES / 1024),
            FetchError::KeySet(error) => error.to_string(),
            FetchError::Panicked => {
                "the fetch panicked, probably because threads or memory ran out".to_owned()
            }
        }
    }

    /// What may fix it, if there is something likely.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            FetchError::Resolve(_) => Some("is AUTH0_DOMAIN right, is there a network?"),
            FetchError::Connect(_) => Some("behind a proxy, set HTTPS_PROXY"),
            FetchError::Proxy(_) => Some("is HTTPS_PROXY right?"),
            FetchError::Tls(text) => tls_hint(text),
            FetchError::Status(300..400 | 404) => Some("is AUTH0_DOMAIN right?"),
            _ => None,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())?;
        match self.hint() {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FetchError {}

/// The most common cause of a failed TLS handshake, as a hint.
fn tls_hint(text: &str) -> Option<&'static str> {
    if text.contains("UnknownIssuer") {
        Some("a private CA, or a proxy that opens TLS? put its certificate into SSL_CERT_FILE")
    } else if text.contains("NotValidYet")
        || text.contains("Expired")
        || text.contains("not valid yet")
        || text.contains("expired")
    {
        Some("is this host's clock right?")
    } else {
        None
    }
}
