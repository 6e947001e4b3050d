use crate::config::tests::{assert_faults, with};

#[test]
fn domains_are_taken_and_lower_cased() {
    let longest = [&"a".repeat(63); 3].map(String::as_str).join(".") + "." + &"b".repeat(61);
    let cases = [
        ("tenant.eu.auth0.com", "tenant.eu.auth0.com"),
        ("Login.Example.COM", "login.example.com"),
        ("localhost:8443", "localhost:8443"),
        ("tenant.example:1", "tenant.example:1"),
        ("tenant.example:65535", "tenant.example:65535"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:4443", "127.0.0.1:4443"),
        ("[::1]", "[::1]"),
        ("[FE80::1]:8443", "[fe80::1]:8443"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("0x.example", "0x.example"),
        (longest.as_str(), longest.as_str()),
    ];
    for (value, expected) in cases {
        assert_eq!(with("AUTH0_DOMAIN", value).unwrap().domain, expected);
    }
}

#[test]
fn wrong_domains() {
    let scheme = "the bare host, without a scheme; write tenant.eu.auth0.com";
    let slash = "without a slash or a path; write tenant.eu.auth0.com";
    let port = "its port is not a number from 1 to 65535";
    let long = format!("{}.example", "a".repeat(64));
    let longer = vec!["a".repeat(60); 5].join(".");
    assert_faults(
        "AUTH0_DOMAIN",
        &[
            ("https://tenant.eu.auth0.com", scheme),
            ("https://tenant.eu.auth0.com/", scheme),
            ("HTTPS://Tenant.eu.auth0.com/authorize?x#y", scheme),
            ("http://tenant.eu.auth0.com", scheme),
            ("https://u:p@tenant.eu.auth0.com:443/", scheme),
            ("https://", "write a host such as"),
            ("https://{yourDomain}/", "write a host such as"),
            ("tenant.eu.auth0.com/", slash),
            ("tenant.eu.auth0.com/api/v2", slash),
            ("tenant.eu.auth0.com?x", slash),
            ("tenant.eu.auth0.com#x", slash),
            ("tenant.eu.auth0.com\\", slash),
            (
                "me@tenant.eu.auth0.com",
                "without a user name; write tenant",
            ),
            (" tenant.eu.auth0.com", "without spaces around it: tenant"),
            ("tenant.eu.auth0.com\n", "without spaces around it: tenant"),
            (" ", "without spaces around it"),
            ("tenant .auth0.com", "a host cannot hold a space"),
            (
                "\"tenant.eu.auth0.com\"",
                "without quotes around it: tenant",
            ),
            ("'tenant.eu.auth0.com'", "without quotes around it: tenant"),
            ("“tenant.eu.auth0.com”", "without quotes around it: tenant"),
            ("tenant.eu.auth0.com:", port),
            ("tenant.eu.auth0.com:0", port),
            ("tenant.eu.auth0.com:080", port),
            ("tenant.eu.auth0.com:65536", port),
            ("tenant.eu.auth0.com:+80", port),
            ("tenant.eu.auth0.com:80:80", port),
            ("tenant.eu.auth0.com:https", port),
            (
                "tenant.eu.auth0.com:443",
                "left out; write tenant.eu.auth0.com",
            ),
            ("bücher.example", "must be in ASCII"),
            ("tenant_1.auth0.com", "a host cannot hold _"),
            ("{yourDomain}", "a host cannot hold {"),
            ("*.auth0.com", "a host cannot hold *"),
            ("tenant\0.auth0.com", "without control characters"),
            (
                "tenant.eu.auth0.com.",
                "end in a dot; write tenant.eu.auth0.com",
            ),
            ("tenant..auth0.com", "nothing before, or between, two dots"),
            (
                ".auth0.com",
                "nothing before, or between, two dots; write auth0.com",
            ),
            (".", "end in a dot"),
            (":443", "its host is missing"),
            ("-a.example", "starts or ends with a hyphen"),
            ("a-.example", "starts or ends with a hyphen"),
            (&long, "longer than 63"),
            (&longer, "longer than 253"),
            ("1.2.3", "neither an IPv4 address nor a host name"),
            ("256.0.0.1", "neither an IPv4 address nor a host name"),
            ("::1", "an IPv6 address stands in brackets, [::1]"),
            ("[::1", "its bracket is not closed"),
            ("[::g]", "not an IPv6 address"),
            ("[::1]8443", "only a port may follow"),
            ("[::1]:0", port),
        ],
    );
}

#[test]
fn origins_are_taken_as_browsers_write_them() {
    let cases: [(&str, &[&str]); 13] = [
        ("http://localhost:4040", &["http://localhost:4040"]),
        ("HTTPS://App.Example.com", &["https://app.example.com"]),
        (
            "http://a , https://b,http://c",
            &["http://a", "https://b", "http://c"],
        ),
        (" http://a,\thttp://b ", &["http://a", "http://b"]),
        ("http://a,HTTP://A,http://a:80", &["http://a"]),
        ("http://a,,http://b,", &["http://a", "http://b"]),
        ("http://a:80", &["http://a"]),
        ("https://a:443", &["https://a"]),
        (
            "http://a:443,https://a:80",
            &["http://a:443", "https://a:80"],
        ),
        ("http://[::1]:80", &["http://[::1]"]),
        ("http://[::1]", &["http://[::1]"]),
        ("http://127.0.0.1:3000", &["http://127.0.0.1:3000"]),
        ("http://my_app:3000", &["http://my_app:3000"]),
    ];
    for (value, expected) in cases {
        assert_eq!(with("CLIENT_ORIGIN_URL", value).unwrap().origins, expected);
    }
}

#[test]
fn wrong_origins() {
    let slash = "without a slash or a path; write http://localhost:4040";
    assert_faults(
        "CLIENT_ORIGIN_URL",
        &[
            ("http://localhost:4040/", slash),
            ("HTTP://LocalHost:4040/app?x#y", slash),
            ("http://localhost:4040?x", slash),
            ("http://localhost:4040#x", slash),
            (
                "http://u:p@localhost:4040",
                "no user name; write http://localhost:4040",
            ),
            ("*", "one by one"),
            ("null", "one by one"),
            ("http://a,*", "in it, \"*\": origins are allowed one by one"),
            (
                "localhost:4040",
                "write http://localhost:4040 or https://localhost:4040",
            ),
            ("app.example.com", "write http://app.example.com or"),
            ("/", "it has no scheme; write an origin such as"),
            ("ftp://a", "neither http nor https"),
            ("http:/a", "it has no scheme"),
            ("http://", "its host is missing"),
            ("http:///a", "without a slash or a path"),
            ("http://a http://b", "separate origins with commas"),
            ("http://a;http://b", "separate origins with commas"),
            ("\"http://a\"", "without quotes around it: http://a"),
            (
                "'http://a','http://b'",
                "without quotes around it: http://a",
            ),
            ("http://a\nb", "without control characters"),
            ("http://bücher.example", "must be in ASCII"),
            ("http://*.example.com", "a host cannot hold *"),
            ("http://a:0", "its port is not a number"),
            ("http://a:04040", "its port is not a number"),
            ("http://a.", "must not end in a dot"),
            ("http://a,http://b/", "in it, \"http://b/\": it must end"),
            (",", "write an origin such as http://localhost:4040"),
            (" ", "write an origin such as http://localhost:4040"),
        ],
    );
}
