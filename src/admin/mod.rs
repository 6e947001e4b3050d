//! Health and metrics, for those who watch the server: on a listener of its own, always plain HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez` | 200 |
//! | `GET /readyz` | 200 while a valid token is accepted; else 503 with the reason in one line |
//! | `GET /metrics` | the metrics in the Prometheus text format |

mod families;
mod process;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::api::{Route, Router};
use crate::auth::{Jwks, Moment};
use crate::config::AdminAddress;
use crate::http::listener::{ADMIN_BACKLOG, Listener, Running};
use crate::http::service::{Role, Service, Timeouts};
use crate::http::socket::{Address, Listening};
use crate::http::socket_file::{self, SocketFile};
use crate::http::{Answer, Handler, Request, Response};
use crate::metrics::text::CONTENT_TYPE;
use crate::tls::Certificate;

use self::process::Process;

/// How long requests under way may take after the server has drained.
const END_TIME: Duration = Duration::from_millis(250);

static ROUTES: Router<Admin> = Router::new(&[
    Route::get("/livez", Admin::alive),
    Route::get("/readyz", Admin::ready),
    Route::get("/metrics", Admin::metrics),
]);

/// What those who watch are told about.
pub struct Admin {
    /// The keys.
    pub jwks: Jwks,
    /// The server that is watched.
    pub running: Running,
    /// Whether it has been told to stop.
    pub is_stopping: Arc<AtomicBool>,
    /// The certificate, if there is one.
    pub certificate: Option<Arc<Certificate>>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Handler for Admin {
    fn handle(&self, request: &Request<'_>) -> Answer {
        ROUTES.answer(self, request)
    }
}

impl Admin {
    fn alive(&self, _: &Request<'_>) -> Answer {
        Ok(Response::text(200, "ok\n"))
    }

    fn ready(&self, _: &Request<'_>) -> Answer {
        Ok(match self.not_ready() {
            None => Response::text(200, "ready\n"),
            Some(reason) => Response::text(503, format!("{reason}\n")),
        })
    }

    fn metrics(&self, _: &Request<'_>) -> Answer {
        let text = families::print(self, &Process::look());
        Ok(Response::new(200, CONTENT_TYPE, text.into_bytes()))
    }

    /// Why no request with a valid token should be sent here now.
    fn not_ready(&self) -> Option<Cow<'static, str>> {
        if self.is_stopping.load(Ordering::Relaxed) || self.running.is_draining() {
            return Some("draining".into());
        }
        let not_ready = self.jwks.status(Moment::now()).not_ready?;
        Some(not_ready.to_string().into())
    }
}

/// The admin address, on which connections queue.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    file: Option<SocketFile>,
}

impl Bound {
    /// Binds it.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: &AdminAddress) -> io::Result<Bound> {
        let (listener, file) = match address {
            AdminAddress::Tcp(address) => (Listener::bind_admin(*address)?, None),
            AdminAddress::Unix(path) => {
                let (socket, file) = socket_file::bind(path, ADMIN_BACKLOG)?;
                (Listener::of_admin(Listening::Unix(socket))?, Some(file))
            }
        };
        Ok(Bound { listener, file })
    }

    /// Starts to answer.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn start(self, admin: Admin, timeouts: Timeouts) -> io::Result<Watching> {
        process::note_start();
        let address = self.listener.addresses().first().cloned();
        let mut service = Service::new(Box::new(admin), timeouts);
        service.role = Role::Admin;
        let running = self.listener.start(service)?;
        Ok(Watching {
            address,
            running,
            file: self.file,
        })
    }
}

/// The admin address, on which requests are answered.
#[derive(Debug)]
pub struct Watching {
    address: Option<Address>,
    running: Running,
    file: Option<SocketFile>,
}

impl Watching {
    /// Where it listens.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Ends it.
    pub fn end(self) {
        // Before the socket is closed: later it might be another process's.
        drop(self.file);
        self.running.end_within(END_TIME);
    }
}
