//! The fetch of the keys through a proxy, which the environment names as other programs have it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::support::PATIENCE;
use crate::support::postern::{Builder, Postern};
use crate::support::tenant::Tenant;
use crate::support::token::Token;

/// A stand-in proxy: it opens tunnels, or refuses to.
struct Proxy {
    addr: SocketAddr,
    heads: Receiver<String>,
}

impl Proxy {
    /// Starts one whose answers to `CONNECT` begin with this status. It ends with the test.
    fn start(status: &'static str) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::channel();
        thread::spawn(move || {
            for client in listener.incoming() {
                let sender = sender.clone();
                thread::spawn(move || {
                    let client = BufReader::new(client?);
                    tunnel(client, status, |head| {
                        let _ = sender.send(head);
                    })
                });
            }
        });
        Proxy { addr, heads }
    }

    /// The head of the next request; panics when none comes within [`PATIENCE`].
    fn head(&self) -> String {
        self.heads
            .recv_timeout(PATIENCE)
            .expect("the proxy is asked")
    }

    fn assert_not_asked(&self) {
        assert!(self.heads.try_recv().is_err(), "the proxy was asked");
    }
}

/// Reads the head of a request, answers it with `status`, and relays if that is 200.
fn tunnel(
    mut client: BufReader<TcpStream>,
    status: &str,
    tell: impl FnOnce(String),
) -> io::Result<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    tell(head);
    write!(client.get_mut(), "HTTP/1.1 {status}\r\n\r\n")?;
    if !status.starts_with("200") {
        return Ok(());
    }
    let server = TcpStream::connect(target)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.get_ref().try_clone()?);
    let back = thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both)
    });
    let mut to_server = &server;
    let _ = io::copy(&mut client, &mut to_server);
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}

/// A server that tells all there is to tell.
fn builder(tenant: &Tenant) -> Builder {
    Postern::builder(tenant).env("RUST_LOG", "trace")
}

fn assert_lets_in(tenant: &Tenant, postern: &Postern) {
    let token = Token::user(tenant).sign();
    assert_eq!(postern.get_protected(&token).status, 200);
}

#[test]
fn the_keys_are_fetched_through_a_tunnel() {
    let proxy = Proxy::start("200 Connection established");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let tenant = Tenant::start();
        let url = format!("http://us%40er:se%3Acret@{}/", proxy.addr);
        let postern = builder(&tenant).env(name, url).start();
        postern.wait_for_keys();
        let head = proxy.head();
        let connect = format!("CONNECT {} HTTP/1.1\r\n", tenant.domain());
        assert!(head.starts_with(&connect), "{head}");
        // us@er:se:cret
        let authorization = "\r\nProxy-Authorization: Basic dXNAZXI6c2U6Y3JldA==\r\n";
        assert!(head.contains(authorization), "{head}");
        assert_eq!((tenant.connections(), tenant.fetches()), (1, 1), "{name}");
        assert!(!tenant.last_request().contains("Proxy-"));
        assert_lets_in(&tenant, &postern);
        for line in postern.into_logs() {
            assert!(
                !line.contains("cret") && !line.contains("dXNAZXI"),
                "{line}"
            );
        }
        proxy.assert_not_asked();
    }
}

#[test]
fn a_file_of_settings_names_the_proxy_as_well() {
    let proxy = Proxy::start("200 OK");
    let tenant = Tenant::start();
    let settings = format!("HTTPS_PROXY={}\n", proxy.addr);
    let postern = builder(&tenant).file(".env", &settings).start();
    postern.wait_for_keys();
    assert!(proxy.head().starts_with("CONNECT "));
}

#[test]
fn of_several_names_the_first_counts_and_the_environment_before_the_file() {
    let (proxy, other) = (Proxy::start("200 OK"), Proxy::start("200 OK"));
    let tenant = Tenant::start();
    let (counts, does_not) = (proxy.addr.to_string(), other.addr.to_string());
    let orders: [&[(&str, &str)]; 2] = [
        &[
            ("HTTPS_PROXY", &counts),
            ("https_proxy", &does_not),
            ("ALL_PROXY", "socks5://a"),
        ],
        &[("HTTPS_PROXY", ""), ("all_proxy", &counts)],
    ];
    let settings = format!("HTTPS_PROXY={does_not}\n");
    for order in orders {
        let mut builder = builder(&tenant).file(".env", &settings);
        for (name, value) in order {
            builder = builder.env(name, *value);
        }
        let postern = builder.start();
        postern.wait_for_keys();
        assert!(proxy.head().starts_with("CONNECT "));
    }
    other.assert_not_asked();
}

#[test]
fn hosts_that_need_no_proxy_and_plain_http_are_fetched_directly() {
    let proxy = Proxy::start("200 OK");
    let url = proxy.addr.to_string();
    let cases: [&[(&str, &str)]; 4] = [
        &[
            ("HTTPS_PROXY", &url),
            ("NO_PROXY", "example.com, localhost"),
        ],
        &[("ALL_PROXY", &url), ("no_proxy", "*")],
        // Unlike these, no fetch is plain.
        &[("HTTP_PROXY", &url), ("http_proxy", &url)],
        &[
            ("HTTP_PROXY", "http://nonsense:0/ "),
            ("http_proxy", "socks5://a"),
        ],
    ];
    for case in cases {
        let tenant = Tenant::start();
        let mut builder = builder(&tenant);
        for (name, value) in case {
            builder = builder.env(name, *value);
        }
        let postern = builder.start();
        postern.wait_for_keys();
        assert_lets_in(&tenant, &postern);
    }
    proxy.assert_not_asked();
}

#[test]
fn a_proxy_that_fails_is_named_and_never_passed_over() {
    let refusing = Proxy::start("407 Proxy Authentication Required");
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    for (addr, why) in [(refusing.addr, "407"), (gone, "refused")] {
        let tenant = Tenant::start();
        let postern = builder(&tenant)
            .env("HTTPS_PROXY", addr.to_string())
            .start();
        let line = postern.wait_for_log("connecting through the proxy failed: ");
        assert!(
            line.contains(why) && line.contains("(is HTTPS_PROXY right?)"),
            "{line}"
        );
        assert_eq!(tenant.connections(), 0);
    }
}
