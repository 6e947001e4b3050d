//! Sockets to requests and responses back. Knows nothing of tokens.
//!
//! The vocabulary (`Method`, `Header`, `StatusCode`, `HTTPVersion`, `Response`) and the printing of
//! responses are tiny_http's. Its `Server` is not used: a single client can stop it.

pub mod body;
mod channel;
pub mod connection;
pub mod cors;
mod crew;
mod engine;
pub mod forwarded;
mod handshakes;
mod intake;
mod life;
pub mod limits;
pub mod listener;
mod lock;
mod orphans;
mod places;
mod poller;
pub mod request;
pub mod response;
pub mod service;
pub mod socket;
pub mod socket_file;
mod table;
mod timers;
pub mod tls;
pub mod transport;

pub use self::request::Request;
pub use self::response::Response;
pub use self::service::{Answer, Handler, Interruption};
