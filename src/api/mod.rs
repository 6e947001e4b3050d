//! The API: three messages, and what each request needs to read them. Other APIs are made of the same
//! parts.

mod access;
mod messages;
mod router;

pub use self::access::{Access, Auth};
pub use self::messages::Messages;
pub use self::router::{Route, Router};
