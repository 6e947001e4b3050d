//! Listening sockets, and the server behind them from start to drain.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use socket2::{Domain, Protocol, Type};

use super::engine::Engine;
use super::intake::Intake;
use super::life::Stage;
use super::limits::{self, ADMIN_PLACES, Load, TooLittleSpace};
use super::places::Counts;
use super::poller::Poller;
use super::service::{Role, Service};
use super::socket::{Address, BUFFER_SIZE, Listening};

/// Connections the kernel keeps until they are accepted, if the system allows as many. One that
/// finds the queue full is tried again by its peer a second later.
const BACKLOG: i32 = 4096;
/// The same for the admin address.
pub const ADMIN_BACKLOG: i32 = 64;
/// The longest drain.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Why a listener cannot be made.
#[derive(Debug)]
pub enum ListenError {
    /// A system call failed: the port is taken, the address is not this host's, ...
    Socket(io::Error),
    /// The process may not have enough memory.
    Memory(TooLittleSpace),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Socket(error) => write!(f, "{error}"),
            ListenError::Memory(error) => write!(f, "{error}"),
        }
    }
}

impl Error for ListenError {}

impl From<io::Error> for ListenError {
    fn from(error: io::Error) -> ListenError {
        ListenError::Socket(error)
    }
}

/// Bound sockets that accept connections.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Listening>,
    /// Whether no other process will accept from them after this one.
    owns_sockets: bool,
    addresses: Vec<Address>,
    capacity: usize,
    poller: Poller,
}

impl Listener {
    /// Binds `address`, for as many connections as the limits of the process allow. Connections
    /// queue from here on.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(address: SocketAddr, load: Load) -> Result<Listener, ListenError> {
        let sockets = vec![Listening::Tcp(bind(address, BACKLOG)?)];
        let capacity = limits::raise_and_fit(load).map_err(ListenError::Memory)?;
        Ok(Listener::new(sockets, true, capacity)?)
    }

    /// Accepts from `sockets` that listen already. The sockets outlive this process: a drain leaves
    /// the connections in their backlog to the next one.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn adopt(sockets: Vec<Listening>, load: Load) -> Result<Listener, ListenError> {
        let capacity = limits::raise_and_fit(load).map_err(ListenError::Memory)?;
        Ok(Listener::new(sockets, false, capacity)?)
    }

    /// Binds `address` for administration. What that takes is in the [`Load`] of the other
    /// listener.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind_admin(address: SocketAddr) -> io::Result<Listener> {
        Listener::of_admin(Listening::Tcp(bind(address, ADMIN_BACKLOG)?))
    }

    /// As [`bind_admin`](Listener::bind_admin), on a socket that listens already.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_admin(socket: Listening) -> io::Result<Listener> {
        Listener::new(vec![socket], true, ADMIN_PLACES)
    }

    fn new(sockets: Vec<Listening>, owns_sockets: bool, capacity: usize) -> io::Result<Listener> {
        let addresses = sockets.iter().map(Listening::address);
        let addresses = addresses.collect::<io::Result<_>>()?;
        Ok(Listener {
            sockets,
            owns_sockets,
            addresses,
            capacity,
            poller: Poller::new()?,
        })
    }

    /// Where it listens. Port 0 has been replaced by the port that the system chose.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// How many connections there may be at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Starts to accept and serve connections, on threads of its own.
    ///
    /// # Errors
    /// If the threads cannot be started or the sockets cannot be used.
    pub fn start(self, service: Service) -> io::Result<Running> {
        let intake = Intake::new(self.sockets, self.owns_sockets, service.timeouts.write)?;
        let (role, is_secure) = (service.role, service.tls.is_some());
        let engine = Engine::new(service, self.poller, intake, self.capacity);
        engine.start()?;
        for address in &self.addresses {
            match address {
                address if role == Role::Admin => info!("health and metrics at {address}"),
                Address::Tcp(address) if is_secure => info!("listening on https://{address}"),
                address => info!("listening on {address}"),
            }
        }
        Ok(Running { engine })
    }
}

/// A server that serves connections.
#[derive(Clone)]
pub struct Running {
    engine: Arc<Engine>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("stage", &self.engine.life().stage())
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Starts a drain: no new connections, and the end once requests in progress are answered.
    /// Returns at once.
    pub fn drain(&self) {
        self.engine.start_drain();
    }

    /// Sets an `action` to call when the last connection of a drain has ended.
    pub fn on_finished(&self, action: impl Fn() + Send + Sync + 'static) {
        self.engine.life().on_finished(action);
    }

    /// Whether the last connection of a drain has ended.
    pub fn is_finished(&self) -> bool {
        self.engine.life().stage() == Stage::Finished
    }

    /// How many connections there are.
    pub fn connections(&self) -> Counts {
        self.engine.connections()
    }

    /// Whether it has begun to drain.
    pub fn is_draining(&self) -> bool {
        self.engine.life().is_draining()
    }

    /// Drains within this time. Connections that are left then are closed.
    pub fn end_within(&self, time: Duration) {
        self.drain();
        let stage = self.engine.life().stage();
        if let Stage::Draining(_) = stage
            && self.engine.life().wait_for_stage_after(stage, Some(time)) != Stage::Finished
        {
            self.engine.cut_off();
        }
    }

    /// Waits until a drain starts, and then for its end, at most 10 s.
    pub fn wait(&self) {
        self.engine
            .life()
            .wait_for_stage_after(Stage::Running, None);
        let stage = self.engine.life().stage();
        if let Stage::Draining(since) = stage {
            let left = (since + DRAIN_TIME).saturating_duration_since(Instant::now());
            if self.engine.life().wait_for_stage_after(stage, Some(left)) != Stage::Finished {
                warn!("{} connections cut off", self.engine.places_used());
                self.engine.cut_off();
            }
        }
    }
}

fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Whether a listener could be bound to this address now. Nobody can connect meanwhile.
///
/// # Errors
/// Why not, as [`Listener::bind`] would fail.
pub fn try_bind(address: SocketAddr) -> io::Result<()> {
    bound(address).map(drop)
}

fn bound(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait until the kernel has forgotten connections of the last run.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Before the first connection: its initial window depends on these sizes.
    set_socket_send_buffer_size(&socket, BUFFER_SIZE)?;
    set_socket_recv_buffer_size(&socket, BUFFER_SIZE)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
