//! TLS of the server's side: the certificate with its key, their renewal, and what sessions may be.
//! Knows nothing of sockets, nor of requests.
//!
//! ```text
//! certificate  two PEM files, read and checked
//! validity     how long a certificate is valid
//! ```

pub mod certificate;
pub mod pem;
pub mod validity;
mod x509;

#[cfg(test)]
mod testing;

pub use self::certificate::{Fault, Files, Pair};
