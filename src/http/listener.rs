//! Accepts connections, gives each a slot and a thread, and ends them all at a drain.
//!
//! ```text
//! accept -> slot free? -- yes --------------------------------> a worker serves it --> slot freed
//!    ^          |                                                  ^
//!    |          no --> has another made way for it? -- yes --------+
//!    |                          ^            |                     |
//!    |                          |            no --> it waits: does a slot become free?
//!    |                          +--- look again -------------------+
//!    |                                                             +--> too long: 503, close
//!    +-- back off (no descriptors, no memory)
//! ```
//!
//! The accept thread ends only when told to drain. Nothing a peer does can make it wait: the only
//! thing it waits for are the threads of connections, to notice that those were closed.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Type};

use super::connection::{self, Lifecycle, Service, Waiting};
use super::limits;
use super::pool::Pool;
use super::response;
use super::slots::{self, Group, Place, Slots, Way};
use super::socket::{Address, Listening, Peer, Socket, SocketTransport};

/// Connections the kernel keeps for us while all slots are taken.
const BACKLOG: i32 = 1024;
/// How many connections are accepted from a socket before the others, and the queue, have their turn.
const BATCH: usize = 16;
/// The pauses after an `accept` that failed for lack of something: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How long a new connection waits for a slot while all others are busy, until it is told so; and
/// how long until it is looked again whether one can be had.
const NEWCOMER_TIME: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(1));
/// How long the threads of evicted connections may take to notice.
const EVICTION_TIME: Duration = Duration::from_secs(1);
/// How long a connection waits for one that would make a thread free, when none can be started.
const THREAD_TIME: Duration = Duration::from_millis(20);
/// At a drain: how long it may take to accept what is in the backlog.
const BACKLOG_TIME: Duration = Duration::from_millis(250);
/// At a drain: how long a connection may still send a request, and how long all may take.
const DRAIN_TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// Why a newcomer is refused, as a rule.
const ALL_BUSY: &str = "all connections are busy";

/// Bound sockets that accept connections.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Listening>,
    /// Whether nobody else accepts from them when this process no longer does.
    owns_sockets: bool,
    addresses: Vec<Address>,
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
        Listener::new(vec![Listening::Tcp(bind(address)?)], true, max_connections)
    }

    /// Accepts from `sockets` that listen already, at most `max_connections` at once. They are not
    /// this process's own: at a drain, what is in their backlog is left to whoever comes next.
    ///
    /// # Errors
    /// What the system says.
    pub fn adopt(sockets: Vec<Listening>, max_connections: usize) -> io::Result<Listener> {
        Listener::new(sockets, false, max_connections)
    }

    fn new(
        sockets: Vec<Listening>,
        owns_sockets: bool,
        max_connections: usize,
    ) -> io::Result<Listener> {
        let (wake, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let mut addresses = Vec::new();
        for socket in &sockets {
            // Waited for with `poll`; a connection can be gone again before it is accepted.
            socket.set_nonblocking(true)?;
            addresses.push(socket.address()?);
        }
        let capacity = limits::fit(max_connections)?;
        Ok(Listener {
            sockets,
            owns_sockets,
            addresses,
            wake,
            drain: Drain {
                draining: Arc::default(),
                wake: Arc::new(waker),
            },
            slots: Slots::new(capacity),
            pool: Pool::new(capacity),
        })
    }

    /// Where it listens, with the port the system chose when 0 was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
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
        for address in &self.addresses {
            info!("listening on {address}");
        }
        let service = Arc::new(service);
        let mut back_off = BackOff::default();
        let mut queue = Queue::default();
        while !self.drain.is_started() {
            self.wait(true, (!queue.is_empty()).then_some(NEWCOMER_TIME.1));
            self.admit_queued(&mut queue, &service);
            let mut failure = None;
            for socket in &self.sockets {
                for _ in 0..BATCH {
                    match socket.accept() {
                        Ok((socket, peer)) => {
                            back_off.end();
                            self.admit(Newcomer::new(socket, peer), &mut queue, &service);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) if is_about_one_connection(&error) => {}
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    }
                }
            }
            if let Some(error) = failure {
                let pause = back_off.next(&error);
                self.wait(false, Some(pause));
            }
        }
        self.finish(queue, &service);
    }

    /// Gives a connection a slot and a worker, at another's expense if need be, or queues it.
    fn admit(&self, newcomer: Newcomer, queue: &mut Queue, service: &Arc<Service>) {
        // Who is gone already displaces nobody, and costs no thread.
        if newcomer.socket.is_over() {
            return;
        }
        let place = self.take(&newcomer);
        if let Some(place) = place.or_else(|| self.displace(&newcomer, true)) {
            return self.start(newcomer, place, service);
        }
        let claim = self.slots.used_by(newcomer.group) + queue.used_by(newcomer.group);
        queue.insert(newcomer, claim);
        if queue.len() > slots::spare(self.capacity())
            && let Some(last) = queue.pop()
        {
            refuse(&last, service, ALL_BUSY);
        }
    }

    /// Gives those in the queue their slots, as far as there are any, and gives up on those that have
    /// waited too long.
    fn admit_queued(&self, queue: &mut Queue, service: &Arc<Service>) {
        while let Some(first) = queue.first()
            && let Some(place) = self.take(first).or_else(|| self.displace(first, false))
        {
            self.start(queue.remove_first(), place, service);
        }
        for late in queue.remove_late() {
            refuse(&late, service, ALL_BUSY);
        }
    }

    fn take(&self, newcomer: &Newcomer) -> Option<Place> {
        self.slots.take(&newcomer.socket, newcomer.group)
    }

    /// The slot of another connection, if one can be had now.
    fn displace(&self, newcomer: &Newcomer, may_dismiss: bool) -> Option<Place> {
        self.slots.wait_for_evicted(EVICTION_TIME);
        match self.slots.make_way(newcomer.group, may_dismiss, None)? {
            Way::Evicted => self.take(newcomer),
            Way::Dismissed => None,
        }
    }

    /// Has a worker serve the connection.
    fn start(&self, newcomer: Newcomer, place: Place, service: &Arc<Service>) {
        let place = Arc::new(place);
        let peer = newcomer.peer;
        let job = {
            let (place, service, drain) =
                (Arc::clone(&place), Arc::clone(service), self.drain.clone());
            let transport = SocketTransport(Arc::clone(&newcomer.socket));
            Box::new(move || {
                connection::serve(transport, &peer, &service, &Admitted { place, drain })
            })
        };
        let Err(error) = self.pool.execute(job) else {
            return;
        };
        // A worker that is done with another connection can take this one: the job stays queued.
        let make_way = || self.slots.make_way(newcomer.group, false, Some(&place));
        let started = Instant::now();
        while make_way().is_none() {
            if started.elapsed() < THREAD_TIME {
                thread::sleep(NEWCOMER_TIME.1);
                continue;
            }
            if self.pool.take_back().is_some() {
                let why = format!("no thread to serve it: {error}");
                refuse(&newcomer, service, &why);
            }
            return;
        }
    }

    /// Waits for a drain, or `time`; with `sockets`, for a connection as well.
    fn wait(&self, sockets: bool, time: Option<Duration>) {
        let sockets = self
            .sockets
            .iter()
            .filter(|_| sockets)
            .map(Listening::as_fd);
        let descriptors = std::iter::once(self.wake.as_fd()).chain(sockets);
        let mut polled: Vec<_> = descriptors
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        // A signal ends the wait early, which is harmless: the callers look again.
        let _ = poll(&mut polled, time.as_ref());
    }

    /// Accepts what came before the drain, and may have sent its request already. Without an end in
    /// sight, as clients that are answered come again, it stops.
    fn empty_backlog(&self, queue: &mut Queue, service: &Arc<Service>) {
        let started = Instant::now();
        for socket in &self.sockets {
            while started.elapsed() < BACKLOG_TIME {
                match socket.accept() {
                    Ok((socket, peer)) => self.admit(Newcomer::new(socket, peer), queue, service),
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// The drain: what is connected gets its answers, within limits.
    fn finish(mut self, mut queue: Queue, service: &Arc<Service>) {
        let started = Instant::now();
        let left = |time: Duration| time.saturating_sub(started.elapsed());
        if self.owns_sockets {
            self.empty_backlog(&mut queue, service);
        }
        self.sockets.clear();
        while !queue.is_empty() {
            self.admit_queued(&mut queue, service);
            thread::sleep(NEWCOMER_TIME.1);
        }
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

    fn waiting(&self, waiting: Waiting) -> bool {
        self.place.waiting(waiting)
    }

    fn is_ending(&self) -> bool {
        self.place.is_dismissed() || self.drain.is_started()
    }
}

/// A connection that has no slot yet.
struct Newcomer {
    socket: Arc<Socket>,
    peer: Peer,
    group: Group,
    came: Instant,
}

impl Newcomer {
    fn new(socket: Socket, peer: Peer) -> Newcomer {
        Newcomer {
            socket: Arc::new(socket),
            peer,
            group: Group::of(peer),
            came: Instant::now(),
        }
    }
}

/// Connections that wait for a slot. Those come first whose group had fewest when they came: if nobody
/// makes way for them, nobody does for the others.
#[derive(Default)]
struct Queue(Vec<(usize, Newcomer)>);

impl Queue {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn used_by(&self, group: Group) -> usize {
        let theirs = |(_, newcomer): &&(usize, Newcomer)| newcomer.group == group;
        self.0.iter().filter(theirs).count()
    }

    /// Puts it behind those whose groups have no more than `used`.
    fn insert(&mut self, newcomer: Newcomer, used: usize) {
        let at = self.0.partition_point(|(before, _)| *before <= used);
        self.0.insert(at, (used, newcomer));
    }

    fn first(&self) -> Option<&Newcomer> {
        self.0.first().map(|(_, newcomer)| newcomer)
    }

    fn remove_first(&mut self) -> Newcomer {
        self.0.remove(0).1
    }

    /// The one with the least claim.
    fn pop(&mut self) -> Option<Newcomer> {
        self.0.pop().map(|(_, newcomer)| newcomer)
    }

    /// Those that have waited too long.
    fn remove_late(&mut self) -> Vec<Newcomer> {
        let late = self.0.extract_if(.., |(_, newcomer)| {
            newcomer.came.elapsed() >= NEWCOMER_TIME.0
        });
        late.map(|(_, newcomer)| newcomer).collect()
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
    Ok(socket.into())
}

/// Answers 503 without a thread: one attempt, and whatever has come in is thrown away.
fn refuse(newcomer: &Newcomer, service: &Service, why: &str) {
    let mut socket = &*newcomer.socket;
    warn!("{} 503: {why}", newcomer.peer);
    let mut response = response::error(503, "Service Unavailable");
    service.cors.apply(None, &mut response);
    let wire = response::print(response, false, response::Connection::Close);
    // The accept thread waits for no peer: what does not fit the socket's buffer is lost.
    if socket.set_nonblocking(true).is_ok() {
        let _ = socket.write(&wire);
        let _ = socket.shutdown(Shutdown::Write);
        let _ = io::Read::read(&mut socket, &mut [0; 4096]);
    }
}

/// Whether an `accept` failed for the sake of one connection: the next may succeed.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
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
