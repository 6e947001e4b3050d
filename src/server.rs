//! Puts the parts together: keys, API, listener.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use log::info;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{self, Handle};

use crate::admin::{self, Admin, Watching};
use crate::api::{Auth, Gate};
use crate::auth::clock::program_date;
use crate::auth::disk::DiskCopy;
use crate::auth::fetch::Fetcher;
use crate::auth::jwks::JwksSettings;
use crate::auth::{Authenticator, Jwks, TokenCache, Verifier};
use crate::config::{AdminAddress, Config};
use crate::http::cors::Cors;
use crate::http::forwarded::Forwarded;
use crate::http::limits::{Load, TooLittleSpace};
use crate::http::listener::{ListenError, Listener, Running};
use crate::http::service::{Handler, Service, Timeouts};
use crate::http::socket::{Address, Listening};
use crate::systemd::{self, StatusPart};
use crate::tls::{self, Certificate, probe};

/// Address space for the stack of the thread that waits for a drain.
const DELAY_STACK_SIZE: usize = 64 * 1024;

/// A running server.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<Address>,
    jwks: Jwks,
    /// None: plain HTTP.
    certificate: Option<Arc<Certificate>>,
    running: Running,
    /// The admin address, if there is one.
    watching: Option<Watching>,
    /// Whether it has been told to stop.
    is_stopping: Arc<AtomicBool>,
    /// How long everything is still served after that.
    drain_delay: Duration,
    /// The wait for signals, if there is one. The end of the server ends it.
    signals: Arc<OnceLock<Handle>>,
}

/// Why the server cannot start. Its `Display` says what to do about it.
#[derive(Debug)]
pub struct StartError(pub(crate) StartFault);

/// What prevents a start.
#[derive(Debug)]
pub(crate) enum StartFault {
    /// The address cannot be listened on.
    Bind(SocketAddr, io::Error),
    /// The admin address cannot be listened on.
    Admin(AdminAddress, io::Error),
    /// The sockets that were passed to this process cannot be used.
    Sockets(io::Error),
    /// The process is not allowed enough memory.
    Memory(TooLittleSpace),
    /// There is no memory for a token cache of that size.
    TokenCache(usize),
    /// A thread that everything else needs cannot be started.
    Thread(io::Error),
}

impl StartError {
    /// The process's exit code: 78 (`EX_CONFIG`) if only another setting helps, 1 if another start
    /// may succeed.
    pub fn exit_code(&self) -> u8 {
        match &self.0 {
            StartFault::Bind(_, error) | StartFault::Admin(_, error)
                if error.kind() != io::ErrorKind::AddrNotAvailable =>
            {
                78
            }
            StartFault::TokenCache(_) | StartFault::Memory(_) => 78,
            _ => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            StartFault::Memory(error) => write!(f, "{error}"),
            StartFault::Bind(address, error) => {
                let (host, port) = (address.ip(), address.port());
                match error.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "PORT is {port}, which another program on this host listens on: write a \
                         free port (0 takes any)"
                    ),
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        "PORT is {port}, which this user may not listen on: write one from 1024 to \
                         65535"
                    ),
                    io::ErrorKind::AddrNotAvailable => write!(
                        f,
                        "HOST is {host}, which is not an address of this host (now): write one \
                         that is, or 0.0.0.0 or :: for all"
                    ),
                    _ => write!(
                        f,
                        "HOST is {host} and PORT is {port}, cannot listen there: {error}"
                    ),
                }
            }
            StartFault::Admin(address, error) => {
                let advice = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "which is in use: write another one, or remove what is there".to_owned()
                    }
                    io::ErrorKind::NotFound => "whose folder does not exist: create it".to_owned(),
                    io::ErrorKind::PermissionDenied => {
                        "which this user may not use: write another one".to_owned()
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        "which is not an address of this host (now): write one that is".to_owned()
                    }
                    _ => format!("cannot listen there: {error}"),
                };
                write!(f, "ADMIN_LISTEN is {address}, {advice}")
            }
            StartFault::Sockets(error) => {
                write!(f, "cannot use the sockets passed by systemd: {error}")
            }
            StartFault::TokenCache(size) => write!(
                f,
                "TOKEN_CACHE_SIZE is {size}, for which this process has not the memory: write a \
                 smaller one"
            ),
            StartFault::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl Error for StartError {}

impl Server {
    /// Binds the listening socket, starts the threads and returns. The keys are fetched in the
    /// background. What `handler` makes answers the requests. It is given the [`Auth`] that decides
    /// who is let in.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<H: Handler + 'static>(
        config: &Config,
        handler: impl FnOnce(Auth) -> H,
    ) -> Result<Server, StartError> {
        let listener = Listener::bind(config.listen, load(config));
        let listener = listener.map_err(|error| match error {
            ListenError::Socket(error) => StartFault::Bind(config.listen, error),
            ListenError::Memory(error) => StartFault::Memory(error),
        });
        let server = listener.and_then(|listener| Server::start_on(listener, config, handler));
        server.map_err(StartError)
    }

    /// As [`start`](Server::start), but on sockets that listen already.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn start_with<H: Handler + 'static>(
        sockets: Vec<Listening>,
        config: &Config,
        handler: impl FnOnce(Auth) -> H,
    ) -> Result<Server, StartError> {
        let listener = Listener::adopt(sockets, load(config));
        let listener = listener.map_err(|error| match error {
            ListenError::Socket(error) => StartFault::Sockets(error),
            ListenError::Memory(error) => StartFault::Memory(error),
        });
        let server = listener.and_then(|listener| Server::start_on(listener, config, handler));
        server.map_err(StartError)
    }

    fn start_on<H: Handler + 'static>(
        listener: Listener,
        config: &Config,
        handler: impl FnOnce(Auth) -> H,
    ) -> Result<Server, StartFault> {
        let addresses = listener.addresses().to_vec();
        let admin = bind_admin(config)?;
        let cache = token_cache(config.token_cache_size)?;
        let certificate = start_certificate(config)?;
        let tls = certificate.clone().map(tls::server_config);
        let probe_path = random_path();
        if let Some(address) = addresses.first() {
            let client = tls.is_some().then(probe::Client::default);
            systemd::start_watchdog(address.clone(), probe_path.clone(), client)
                .map_err(StartFault::Thread)?;
        }
        let jwks = start_keys(config)?;
        let verifier = Verifier::new(
            config.issuer(),
            config.audience.clone(),
            config.clock_leeway,
        );
        let auth = Auth::new(Authenticator::new(verifier, jwks.clone(), cache));
        let handler = handler(auth.clone());
        let timeouts = Timeouts {
            head: config.head_timeout,
            idle: config.idle_timeout,
            write: config.write_timeout,
        };
        let handler = guarded(handler, auth, config.forward_auth_path.clone());
        let service = Service {
            cors: Cors::new(config.origins.clone()),
            tls,
            unlogged_path: Some(probe_path),
            forwarded: Forwarded {
                trusted: config.trusted_proxies.clone(),
                gate: config.forward_auth_path.clone(),
            },
            ..Service::new(handler, timeouts)
        };
        let running = listener.start(service).map_err(StartFault::Thread)?;
        let is_stopping: Arc<AtomicBool> = Arc::default();
        let watched = Admin {
            jwks: jwks.clone(),
            running: running.clone(),
            is_stopping: Arc::clone(&is_stopping),
            certificate: certificate.clone(),
        };
        let watching = admin.map(|bound| bound.start(watched, timeouts));
        let watching = watching.transpose().map_err(StartFault::Thread)?;
        let signals: Arc<OnceLock<Handle>> = Arc::default();
        let waiting = Arc::clone(&signals);
        running.on_finished(move || {
            if let Some(signals) = waiting.get() {
                signals.close();
            }
        });
        Ok(Server {
            addresses,
            jwks,
            certificate,
            running,
            watching,
            is_stopping,
            drain_delay: config.drain_delay,
            signals,
        })
    }

    /// The address the server listens on, when that is a TCP one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.iter().find_map(|address| match address {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        })
    }

    /// Accepts no more connections and lets the requests in progress finish, 10 s at most.
    /// Returns at once; [`wait`](Server::wait) returns when it is done.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.running.drain();
    }

    /// Blocks until the server has stopped.
    pub fn wait(self) {
        self.running.wait();
        if let Some(watching) = self.watching {
            watching.end();
        }
    }

    /// Blocks until the server has stopped. SIGTERM and SIGINT stop it, after the delay that is
    /// set; a second one ends that. SIGHUP fetches the keys and reads the certificate again.
    pub fn wait_for_signals(self, mut signals: Signals) {
        // From here on, the end of the server also ends the wait below.
        let _ = self.signals.set(signals.0.handle());
        if self.running.is_finished() {
            return;
        }
        for signal in signals.0.forever() {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            info!("{name} received");
            if signal == SIGHUP {
                self.jwks.refresh();
                if let Some(certificate) = &self.certificate {
                    certificate.reload();
                }
            } else {
                systemd::stopping();
                if self.is_stopping.swap(true, Ordering::Relaxed) || !self.stop_later() {
                    self.stop();
                    break;
                }
            }
        }
        self.wait();
    }

    /// Stops after the delay, if there is one, and then also ends the wait for signals. Returns
    /// whether that has been arranged.
    fn stop_later(&self) -> bool {
        let (delay, running) = (self.drain_delay, self.running.clone());
        let signals = Arc::clone(&self.signals);
        if delay.is_zero() {
            return false;
        }
        let stop = move || {
            thread::sleep(delay);
            running.drain();
            if let Some(signals) = signals.get() {
                signals.close();
            }
        };
        let thread = thread::Builder::new().name("drain".into());
        let started = thread.stack_size(DELAY_STACK_SIZE).spawn(stop);
        if started.is_ok() {
            info!(
                "draining in {} s; until then all is served",
                delay.as_secs()
            );
        }
        started.is_ok()
    }
}

/// SIGTERM, SIGINT and SIGHUP. They are caught from here on, so that none is lost before the server
/// waits for them.
#[derive(Debug)]
pub struct Signals(iterator::Signals);

impl Signals {
    /// Catches the signals.
    ///
    /// # Errors
    /// What the system says.
    pub fn catch() -> io::Result<Signals> {
        iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map(Signals)
    }
}

/// What answers the requests, behind the gate if there is one.
fn guarded<H: Handler + 'static>(handler: H, auth: Auth, gate: Option<String>) -> Box<dyn Handler> {
    match gate {
        Some(path) => Box::new(Gate::new(path, auth, handler)),
        None => Box::new(handler),
    }
}

/// What the server is to serve.
fn load(config: &Config) -> Load {
    Load {
        connections: config.max_connections,
        over_tls: config.tls.is_some(),
        with_admin: config.admin.is_some(),
    }
}

fn bind_admin(config: &Config) -> Result<Option<admin::Bound>, StartFault> {
    let Some(address) = &config.admin else {
        return Ok(None);
    };
    let bound = admin::Bound::bind(address);
    bound
        .map(Some)
        .map_err(|error| StartFault::Admin(address.clone(), error))
}

/// Starts the thread that renews the certificate, if there is one.
fn start_certificate(config: &Config) -> Result<Option<Arc<Certificate>>, StartFault> {
    let start =
        |pair| Certificate::start(pair, |text| systemd::status(StatusPart::Certificate, text));
    let certificate = config.tls.clone().map(start).transpose();
    certificate.map_err(StartFault::Thread)
}

/// Starts the thread that keeps the tenant's keys.
fn start_keys(config: &Config) -> Result<Jwks, StartFault> {
    let fetcher = Fetcher::new(
        &config.domain,
        config.extra_roots.clone(),
        config.proxy.clone(),
    );
    let settings = JwksSettings {
        max_stale: config.jwks_max_stale,
        cooldown: config.jwks_cooldown,
        program_date: program_date(),
        report: |text| systemd::status(StatusPart::Keys, text),
    };
    let disk = config.state_directory.clone();
    let disk = disk.map(|folder| DiskCopy::new(folder, config.issuer()));
    Jwks::start(fetcher, disk, settings).map_err(StartFault::Thread)
}

fn token_cache(size: usize) -> Result<Option<TokenCache>, StartFault> {
    let cache = NonZero::new(size).map(TokenCache::new).transpose();
    cache.map_err(|_| StartFault::TokenCache(size))
}

/// A path that clients cannot guess. Each `RandomState` has its own random keys.
fn random_path() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(0);
    format!("/{:016x}{:016x}", random(), random())
}
