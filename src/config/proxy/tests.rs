use super::*;

#[test]
fn proxies_are_taken_as_they_are_commonly_written() {
    // Host, port, user name, password.
    let cases = [
        (
            "http://proxy.example.com:3128",
            "proxy.example.com",
            3128,
            None,
        ),
        (
            "HTTP://Proxy.example.com:3128/",
            "Proxy.example.com",
            3128,
            None,
        ),
        ("proxy.example.com:3128", "proxy.example.com", 3128, None),
        ("http://proxy", "proxy", 80, None),
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, None),
        ("http://[::1]:8080", "[::1]", 8080, None),
        (
            "http://user:secret@proxy:1",
            "proxy",
            1,
            Some(("user", "secret")),
        ),
        ("user:secret@proxy:1", "proxy", 1, Some(("user", "secret"))),
        (
            "http://a%40b:c%3Ad%2F@proxy",
            "proxy",
            80,
            Some(("a@b", "c:d/")),
        ),
    ];
    for (value, host, port, user) in cases {
        let proxy = proxy(value).unwrap().expect("a proxy");
        assert_eq!((proxy.host(), proxy.port()), (host, port), "{value}");
        assert_eq!(proxy.username().zip(proxy.password()), user, "{value}");
        assert_eq!(proxy.protocol(), ProxyProtocol::Http);
    }
}

#[test]
fn wrong_proxies_are_told_without_the_password() {
    let odd = "it holds a space, a quote or a control character";
    let encoded = "its user name and password must be percent-encoded";
    let port = "its port is not a number from 1 to 65535";
    // The value, what of it is shown, and what is said about it.
    let cases = [
        ("http://proxy:3128 ", "http://***", odd),
        ("\"http://proxy:3128\"", "***", odd),
        ("http://user:secret@proxy\n", "http://***", odd),
        (
            "socks5://proxy:1080",
            "socks5://proxy:1080",
            "SOCKS are not supported",
        ),
        (
            "https://user:secret@proxy",
            "https://***@proxy",
            "its scheme must be http",
        ),
        ("proxy://a", "proxy://a", "its scheme must be http"),
        ("user:secret@a://b", "***", "its scheme must be http"),
        (
            "http://proxy/path",
            "http://proxy/path",
            "it must end after the host and port",
        ),
        ("http://", "http://", "its host is missing"),
        ("http://user:secret@", "http://***", "its host is missing"),
        ("http://user:secret", "http://***", port),
        ("user:secret", "***", port),
        ("http://proxy:0", "http://***", port),
        ("http://user:secret@proxy:65536", "http://***", port),
        ("http://user:sec/ret@proxy", "http://***@proxy", encoded),
        ("http://user:sec@ret@proxy", "http://***@proxy", encoded),
        ("http://user:sec%ffret@proxy", "http://***@proxy", encoded),
        ("http://user:s\u{fc}cret@proxy", "http://***@proxy", encoded),
        (
            "http://b\u{fc}cher.example",
            "http://b\u{fc}cher.example",
            "must be in ASCII",
        ),
    ];
    for (value, shown, fault) in cases {
        let told = proxy(value).expect_err(value);
        assert!(told.contains(fault), "{value:?} gives {told}");
        assert!(told.ends_with("; write a URL such as http://proxy.example.com:3128"));
        assert_eq!(masked(value), shown, "{value:?}");
        assert!(!(told + &masked(value)).contains("secret"), "{value:?}");
    }
}

#[test]
fn hosts_that_need_no_proxy() {
    let tenant = "tenant.eu.auth0.com";
    for hosts in [
        "*",
        "tenant.eu.auth0.com",
        "TENANT.EU.auth0.com",
        ".auth0.com",
        "*.auth0.com",
        "localhost, 127.0.0.1 , .auth0.com",
        "10.0.0.0/8,,*",
    ] {
        assert!(needs_none(hosts, tenant), "{hosts}");
        assert!(needs_none(hosts, "tenant.eu.auth0.com:8443"), "{hosts}");
    }
    for hosts in [
        "",
        ",",
        "auth0.com",
        "tenant",
        "localhost,10.0.0.0/8",
        "t.eu.auth0.com",
    ] {
        assert!(!needs_none(hosts, tenant), "{hosts}");
    }
    assert!(needs_none("[::1]", "[::1]:8443"));
}
