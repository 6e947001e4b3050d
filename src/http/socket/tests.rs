use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use super::*;

#[test]
fn a_peer_is_over_when_it_has_closed_and_all_is_read() {
    let pair = || {
        let (socket, peer) = UnixStream::pair().unwrap();
        let (fd, is_tcp) = (socket.into(), false);
        (Socket { fd, is_tcp }, peer)
    };
    let (socket, mut peer) = pair();
    assert!(!socket.is_over() && !socket.has_input());
    peer.write_all(b"x").unwrap();
    assert!(!socket.is_over() && socket.has_input());
    let (socket, peer) = pair();
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(socket.is_over() && !socket.has_input());
    let (mut socket, mut peer) = pair();
    peer.write_all(b"x").unwrap();
    drop(peer);
    assert!(!socket.is_over(), "what it has sent wants an answer");
    assert_eq!(socket.read(&mut [0; 2]).unwrap(), 1);
    assert!(socket.is_over());
}

#[test]
fn a_peer_that_has_reset_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = Listening::Tcp(listener).accept().unwrap();
    assert!(!socket.is_over());
    peer.write_all(b"x").unwrap();
    set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    while !socket.is_over() {
        thread::yield_now();
    }
}
