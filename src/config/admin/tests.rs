use super::*;

fn accepted(value: &str) -> AdminAddress {
    admin_address(value)
        .unwrap_or_else(|advice| panic!("{value}: {advice}"))
        .unwrap()
}

#[test]
fn addresses_with_ports_and_paths_are_accepted() {
    for value in ["127.0.0.1:9465", "[::1]:0", "0.0.0.0:80"] {
        let expected = AdminAddress::Tcp(value.parse().unwrap());
        assert_eq!(accepted(value), expected);
        assert_eq!(expected.to_string(), value);
    }
    let longest = "/".to_owned() + &"x".repeat(MAX_PATH - 1);
    for value in ["/run/postern/admin.sock", longest.as_str()] {
        assert_eq!(accepted(value), AdminAddress::Unix(value.into()));
    }
}

#[test]
fn anything_else_is_told_what_to_write_instead() {
    let too_long = "/".to_owned() + &"x".repeat(MAX_PATH);
    for (value, advice) in [
        ("127.0.0.1", "it needs a port, too: write 127.0.0.1:9465 or"),
        ("::1", "it needs a port, too: write [::1]:9465 or"),
        ("[::1]", "it needs a port, too: write [::1]:9465 or"),
        ("9465", "it needs an IP address, too: write 127.0.0.1:9465"),
        (":9465", "it needs an IP address, too: write 127.0.0.1:9465"),
        ("*:80", "it needs an IP address, too: write 127.0.0.1:80"),
        (
            "localhost:9465",
            "it must be an IP address: write 127.0.0.1:9465",
        ),
        ("127.0.0.1:65536", "write an IP address and a port"),
        ("run/admin.sock", "write an IP address and a port"),
        ("unix:/run/admin.sock", "write an IP address and a port"),
        ("/run/postern/", "write the path of a file"),
        (&too_long, "write a path of at most 107 bytes"),
        (" /run/a", "write it without spaces"),
    ] {
        let error = admin_address(value).unwrap_err();
        assert!(error.starts_with(advice), "{value}: {error}");
    }
}
