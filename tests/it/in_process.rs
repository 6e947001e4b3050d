//! A server in this process, for handlers that the binary does not have.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postern::Handler;
use postern::http::body::Bodies;
use postern::http::limits::Load;
use postern::http::listener::{Listener, Running};
use postern::http::service::{Service, Timeouts};
use postern::http::socket::Address;

/// Serves on any free port until it is drained. No deadline passes in a test. Also returns the
/// memory of the bodies that are being collected.
pub fn serve(
    handler: impl Handler + 'static,
    connections: usize,
) -> (Running, SocketAddr, Arc<Bodies>) {
    let load = Load {
        connections,
        over_tls: false,
        with_admin: false,
    };
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), load).unwrap();
    let Address::Tcp(addr) = listener.addresses()[0] else {
        panic!("bound to an IP address");
    };
    let hour = Duration::from_secs(3600);
    let timeouts = Timeouts {
        head: hour,
        idle: hour,
        write: hour,
    };
    let service = Service::new(Box::new(handler), timeouts);
    let bodies = Arc::clone(&service.bodies);
    (listener.start(service).unwrap(), addr, bodies)
}
