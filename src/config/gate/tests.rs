use super::*;
use crate::config::tests::{assert_faults, with};

#[test]
fn without_them_there_is_no_gate_and_nobody_is_trusted() {
    let config = with("", "").unwrap();
    assert_eq!(config.forward_auth_path, None);
    assert!(config.trusted_proxies.is_empty());
    assert_eq!(
        with("FORWARD_AUTH_PATH", "").unwrap().forward_auth_path,
        None
    );
    assert!(
        with("TRUSTED_PROXIES", "")
            .unwrap()
            .trusted_proxies
            .is_empty()
    );
}

#[test]
fn a_path_is_taken_as_it_is() {
    let longest = format!("/{}", "a".repeat(MAX_PATH - 1));
    for path in [
        "/",
        "/auth",
        "/auth/",
        "/Auth%2f;x=1&y",
        "//x",
        "/~!$'()*",
        &longest,
    ] {
        let config = with("FORWARD_AUTH_PATH", path).unwrap();
        assert_eq!(config.forward_auth_path.as_deref(), Some(path));
    }
}

#[test]
fn what_no_request_can_have_is_no_path() {
    let too_long = format!("/{}", "a".repeat(MAX_PATH));
    assert_faults(
        "FORWARD_AUTH_PATH",
        &[
            (
                "auth",
                "it must begin with a slash; write a path such as /auth",
            ),
            ("*", "it must begin with a slash"),
            ("https://x/auth", "without scheme and host"),
            ("/auth?permission=a", "without a query"),
            ("/auth#x", "without a query"),
            ("/a b", "printable ASCII"),
            ("/ä", "printable ASCII"),
            ("/a\u{7f}", "control characters"),
            (" /auth", "write it without spaces around it: /auth"),
            ("\"/auth\"", "write it without quotes around it: /auth"),
            (&too_long, "at most 256 bytes"),
        ],
    );
}

#[test]
fn proxies_are_addresses_and_networks() {
    let trusted = |value| with("TRUSTED_PROXIES", value).unwrap().trusted_proxies;
    let network = |text| Network::parse(text).unwrap();
    let some = trusted("127.0.0.1, 10.0.0.0/8 ,\t::1,,fd00::/8,127.0.0.1,");
    assert_eq!(
        some.networks,
        ["127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"].map(network)
    );
    assert!(!some.unix);
    let unix = trusted("unix");
    assert!(unix.unix && unix.networks.is_empty());
    let both = trusted("10.0.0.1,unix");
    assert!(both.unix && both.networks == [network("10.0.0.1")]);
}

#[test]
fn other_proxies_are_refused() {
    assert_faults(
        "TRUSTED_PROXIES",
        &[
            (
                "localhost",
                "write addresses and networks such as 127.0.0.1,",
            ),
            ("*", "write addresses and networks"),
            ("UNIX", "write addresses and networks"),
            ("127.0.0.1:80", "write addresses and networks"),
            ("127.0.0.1 10.0.0.1", "write addresses and networks"),
            (",", "write addresses and networks"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("::1/64", "write ::/64"),
            ("10.0.0.0/33", "from 0 to 32 after the slash"),
            (
                "127.0.0.1,::/x",
                "in it, \"::/x\": write a whole number from 0 to 128",
            ),
            (
                "127.0.0.1,'::1'",
                "in it, \"'::1'\": write it without quotes around it: ::1",
            ),
        ],
    );
}
