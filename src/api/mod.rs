//! The API: three messages, what each request needs to read them, and the gate for proxies. Other
//! APIs are made of the same parts.

mod access;
mod gate;
mod messages;
mod router;

pub use self::access::{Access, Auth};
pub use self::gate::Gate;
pub use self::messages::Messages;
pub use self::router::{Route, Router};
