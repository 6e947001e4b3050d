//! Sockets to requests and responses back. Knows nothing of tokens.
//!
//! The vocabulary (`Method`, `Header`, `StatusCode`, `HTTPVersion`, `Response`) and the printing of
//! responses are tiny_http's. Its `Server` is not used: one stranger can stop it.

pub mod connection;
pub mod cors;
mod limits;
pub mod listener;
mod pool;
pub mod request;
pub mod response;
mod slots;
pub mod socket;

pub use connection::{Handler, Reply};
pub use request::Request;
pub use response::Response;
