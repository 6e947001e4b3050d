use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_network_has_the_addresses_with_its_prefix() {
    for (network, inside, outside) in [
        (
            "127.0.0.1",
            &["127.0.0.1", "::ffff:127.0.0.1"][..],
            &["127.0.0.2", "::1", "::127.0.0.1"][..],
        ),
        (
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            &["9.255.255.255", "11.0.0.0", "::a00:1"],
        ),
        (
            "192.0.2.128/25",
            &["192.0.2.128", "192.0.2.255"],
            &["192.0.2.127", "192.0.3.128"],
        ),
        (
            "0.0.0.0/0",
            &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"],
            &["::", "2001:db8::1"],
        ),
        ("203.0.113.7/32", &["203.0.113.7"], &["203.0.113.6"]),
        ("2001:db8::1", &["2001:db8::1"], &["2001:db8::2"]),
        (
            "2001:db8::/33",
            &["2001:db8::", "2001:db8:7fff:ffff::"],
            &["2001:db8:8000::", "2001:db9::", "32.1.13.184"],
        ),
        ("::/0", &["::", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
        (
            "::ffff:10.0.0.0/104",
            &["10.1.2.3", "::ffff:10.1.2.3"],
            &["11.0.0.0"],
        ),
        ("::ffff:1.2.3.4", &["1.2.3.4"], &["1.2.3.5"]),
        // All mapped addresses, and nothing else.
        ("::ffff:0:0/96", &["1.2.3.4"], &["::1.2.3.4"]),
    ] {
        let parsed = Network::parse(network).unwrap_or_else(|e| panic!("{network}: {e:?}"));
        for text in inside {
            assert!(parsed.contains(address(text)), "{network} {text}");
        }
        for text in outside {
            assert!(!parsed.contains(address(text)), "{network} {text}");
        }
    }
}

#[test]
fn other_texts_are_no_network() {
    for text in [
        "",
        "x",
        "localhost",
        "127.0.0",
        "127.0.0.1:80",
        "[::1]",
        "::1%lo",
        "/8",
        "127.1/8",
        "010.0.0.1",
        " 10.0.0.0/8",
        "unix",
    ] {
        assert_eq!(Network::parse(text), Err(NetworkError::Address), "{text}");
    }
    for (text, most) in [
        ("10.0.0.0/33", 32),
        ("10.0.0.0/", 32),
        ("10.0.0.0/+8", 32),
        ("10.0.0.0/-1", 32),
        ("10.0.0.0/8/8", 32),
        ("10.0.0.0/255.0.0.0", 32),
        ("10.0.0.0/256", 32),
        ("::/129", 128),
        ("::/8 ", 128),
    ] {
        let error = NetworkError::Prefix(most);
        assert_eq!(Network::parse(text), Err(error), "{text}");
    }
    for (text, first, prefix) in [
        ("10.0.0.1/8", "10.0.0.0", 8),
        ("10.0.0.1/0", "0.0.0.0", 0),
        ("192.0.2.129/25", "192.0.2.128", 25),
        ("2001:db8::1/64", "2001:db8::", 64),
    ] {
        let error = NetworkError::Host(address(first), prefix);
        assert_eq!(Network::parse(text), Err(error), "{text}");
    }
}

#[test]
fn by_default_nobody_is_trusted() {
    let nobody = Trusted::default();
    assert!(nobody.is_empty());
    assert!(!nobody.contains(address("127.0.0.1")));
    let networks = ["10.0.0.0/8", "::1"].map(|text| Network::parse(text).unwrap());
    let some = Trusted {
        networks: networks.to_vec(),
        unix: false,
    };
    assert!(!some.is_empty());
    assert!(some.contains(address("10.1.1.1")) && some.contains(address("::1")));
    assert!(!some.contains(address("127.0.0.1")));
    let unix = Trusted {
        unix: true,
        ..Trusted::default()
    };
    assert!(!unix.is_empty());
}
