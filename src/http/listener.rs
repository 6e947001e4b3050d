//! Accepts connections, gives each a slot and a thread, and ends them all at a drain.
//!
//! ```text
//! accept -> slot free? -- yes --> a worker serves it --> slot freed
//!    ^          |
//!    |          no --> evict a waiting connection; none waiting: 503, close
//!    +-- back off (no descriptors, no memory)
//! ```
//!
//! The accept thread ends only when told to drain. Nothing a peer does can make it wait: the only
//! thing it waits for is the thread of a connection, to notice that it was closed or has answered.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Type};

use super::connection::{self, Lifecycle, Service, Waiting};
use super::pool::Pool;
use super::response;
use super::slots::{Group, Place, Slots};
use super::socket::{Socket, SocketTransport};

/// Connections the kernel keeps for us while all slots are taken.
const BACKLOG: i32 = 1024;
/// Descriptors that are not connections: standard streams, listener, wake-up and signal pipes, the
/// fetch of the keys with its name resolution, one connection more than there are slots.
const RESERVED_DESCRIPTORS: u64 = 16;
/// The pauses after an `accept` that failed for lack of something: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How long all connections must be busy before a new one is told so: one that has just answered
/// becomes evictable within microseconds.
const BUSY_TIME: Duration = Duration::from_millis(20);
/// How long an evicted connection's thread may take to notice.
const EVICTION_TIME: Duration = Duration::from_secs(1);
/// At a drain: how long a connection may still send a request, and how long all may take.
const DRAIN_TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// A bound socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    wake: UnixStream,
    drain: Drain,
    slots: Arc<Slots>,
    pool: Pool,
}

/// Tells a [`Listener`], and all its connections, to come to an end.
#[derive(Debug, Clone)]
pub struct Drain {
    draining: Arc<AtomicBool>,
    wake: Arc<UnixStream>,
}

impl Drain {
    /// Accept no more, let the requests under way finish, then stop. Returns at once.
    pub fn start(&self) {
        self.draining.store(true, Ordering::SeqCst);
        // The pipe can only be full of earlier wake-ups.
        let _ = (&*self.wake).write(&[0]);
    }

    /// Whether it has been started.
    pub fn is_started(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

impl Listener {
    /// Binds `address`, for at most `max_connections` at once. Connections queue from here on.
    ///
    /// # Errors
    /// What the system says: the port is taken, the address is not this host's, ...
    pub fn bind(address: SocketAddr, max_connections: usize) -> io::Result<Listener> {
        let socket = bind(address)?;
        let local_addr = socket.local_addr()?;
        let (wake, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let capacity = fit_descriptors(max_connections);
        Ok(Listener {
            socket,
            local_addr,
            wake,
            drain: Drain {
                draining: Arc::default(),
                wake: Arc::new(waker),
            },
            slots: Slots::new(capacity),
            pool: Pool::new(capacity),
        })
    }

    /// The address bound, with the port the system chose when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many connections there may be at once.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// What ends [`run`](Listener::run).
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Accepts and serves connections until drained.
    pub fn run(self, service: Service) {
        info!("listening on http://{}", self.local_addr);
        let service = Arc::new(service);
        let mut back_off = BackOff::default();
        while !self.drain.is_started() {
            self.wait(&[self.socket.as_fd(), self.wake.as_fd()], None);
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    back_off.end();
                    self.admit(stream, peer, &service);
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    let pause = back_off.next(&error);
                    self.wait(&[self.wake.as_fd()], Some(pause));
                }
            }
        }
        self.finish(&service);
    }

    /// Gives a connection a slot and a worker, at another's expense if need be.
    fn admit(&self, stream: TcpStream, peer: SocketAddr, service: &Arc<Service>) {
        if let Err(error) = prepare(&stream) {
            debug!("{peer} gone: {error}");
            return;
        }
        let socket = Arc::new(Socket(stream));
        let group = Group::of(peer.ip());
        let take = || self.slots.take(Arc::clone(&socket), group);
        let take_from_another = || {
            if self.slots.evict(None) {
                self.slots.wait_for_room(EVICTION_TIME);
            }
            take()
        };
        let Some(place) = take().or_else(|| persist(take_from_another)) else {
            return refuse(&socket, peer, service, "all connections are busy");
        };
        let place = Arc::new(place);
        let job = {
            let (place, service, drain) =
                (Arc::clone(&place), Arc::clone(service), self.drain.clone());
            let transport = SocketTransport(Arc::clone(&socket));
            Box::new(move || {
                connection::serve(transport, &peer, &service, &Admitted { place, drain })
            })
        };
        if let Err(error) = self.pool.execute(job) {
            // A worker that waits on another connection can take this one: the job stays queued.
            let evict = || self.slots.evict(Some(&place)).then_some(());
            if persist(evict).is_none() && self.pool.take_back().is_some() {
                let why = format!("no thread to serve it: {error}");
                refuse(&socket, peer, service, &why);
            }
        }
    }

    /// Waits until one of `descriptors` can be read, or `time` has passed.
    fn wait(&self, descriptors: &[std::os::fd::BorrowedFd<'_>], time: Option<Duration>) {
        let mut polled: Vec<_> = descriptors
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        // A signal ends the wait early, which is harmless: the callers look again.
        let _ = poll(&mut polled, time.as_ref());
    }

    /// The drain: what is connected gets its answers, within limits.
    fn finish(self, service: &Arc<Service>) {
        let started = Instant::now();
        let left = |time: Duration| time.saturating_sub(started.elapsed());
        // What is in the backlog came before the signal, and may have sent its request already.
        // There is an end to it even if new ones come faster than they are admitted.
        for _ in 0..BACKLOG {
            match self.socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, service),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
            if left(DRAIN_TIME.0).is_zero() {
                break;
            }
        }
        drop(self.socket);
        info!("draining {} connections", self.slots.used());
        // A request that is in the socket already can still be read after this.
        self.slots.shut_down(Some(&[Waiting::Idle]), Shutdown::Read);
        if !self.slots.wait_for_fewer_than(1, left(DRAIN_TIME.0)) {
            let waiting = [Waiting::Fresh, Waiting::Idle, Waiting::Head];
            self.slots.shut_down(Some(&waiting), Shutdown::Read);
        }
        if !self.slots.wait_for_fewer_than(1, left(DRAIN_TIME.1)) {
            warn!("{} connections cut off", self.slots.used());
            self.slots.shut_down(None, Shutdown::Both);
        }
    }
}

/// A connection, as the listener keeps track of it.
struct Admitted {
    place: Arc<Place>,
    drain: Drain,
}

impl Lifecycle for Admitted {
    fn serving(&self) -> bool {
        self.place.serving()
    }

    fn waiting(&self, waiting: Waiting) {
        self.place.waiting(waiting);
    }

    fn is_draining(&self) -> bool {
        self.drain.is_started()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // It is waited for with `poll`; a connection can be gone again before it is accepted.
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Tries until it works out, for as long as connections may seem busy.
fn persist<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let result = attempt();
        if result.is_some() || started.elapsed() >= BUSY_TIME {
            return result;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Inherited from the listener on some systems, though not on Linux.
    #[cfg(not(target_os = "linux"))]
    stream.set_nonblocking(false)?;
    // Answers are written whole: there is nothing to wait for.
    stream.set_nodelay(true)
}

/// Answers 503 without a thread: one attempt, and whatever has come in is thrown away.
fn refuse(socket: &Socket, peer: SocketAddr, service: &Service, why: &str) {
    warn!("{peer} 503: {why}");
    let mut response = response::error(503, "Service Unavailable");
    service.cors.apply(None, &mut response);
    let wire = response::print(response, false, response::Connection::Close);
    let stream = &socket.0;
    // The accept thread waits for no peer: what does not fit the socket's buffer is lost.
    if stream.set_nonblocking(true).is_ok() {
        let mut stream = stream;
        let _ = stream.write(&wire);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = io::Read::read(&mut stream, &mut [0; 4096]);
    }
}

/// How many of `wanted` connections the descriptor limit allows. The soft limit is raised first.
fn fit_descriptors(wanted: usize) -> usize {
    let needed = wanted as u64 + RESERVED_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limit.current) {
        return wanted;
    }
    let raised = Rlimit {
        current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
        maximum: limit.maximum,
    };
    // Where it cannot be raised, what there is must do.
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    if enough(current) {
        return wanted;
    }
    let current = current.unwrap_or(needed);
    let fitting = usize::try_from(current.saturating_sub(RESERVED_DESCRIPTORS))
        .unwrap_or(wanted)
        .max(1);
    warn!(
        "MAX_CONNECTIONS is {wanted}, but this process may have {current} descriptors only, and keeps \
         {RESERVED_DESCRIPTORS} for other uses: serving {fitting} connections at once"
    );
    fitting
}

/// Whether an `accept` failed for the sake of one connection, or of nothing: the next may succeed.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
    )
}

/// The pauses between failing `accept`s, and their two log lines.
#[derive(Default)]
struct BackOff {
    pause: Option<Duration>,
}

impl BackOff {
    fn next(&mut self, error: &io::Error) -> Duration {
        if self.pause.is_none() {
            warn!("cannot accept connections: {error}; trying on");
        }
        let pause = self
            .pause
            .map_or(BACK_OFF.0, |last| (last * 2).min(BACK_OFF.1));
        self.pause = Some(pause);
        pause
    }

    fn end(&mut self) {
        if self.pause.take().is_some() {
            info!("accepting connections again");
        }
    }
}
