//! The API: three messages, and what each request needs to read them.

mod access;
mod messages;
mod router;

pub use self::router::Api;
