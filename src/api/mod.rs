//! What this server is for: three messages, and who may read them.

mod access;
mod messages;
mod router;

pub use self::router::Api;
