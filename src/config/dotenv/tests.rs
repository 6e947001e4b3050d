use super::*;

#[test]
fn dotenv_is_read_as_it_is_commonly_written() {
    let text = "\u{feff}# comment, it's one\r\n\
        AUTH0_DOMAIN=tenant.eu.auth0.com\r\n\
        \n\
        AUTH0_AUDIENCE=https://x # why\n\
        export CLIENT_ORIGIN_URL=\"http://localhost:4040, http://a\"\n\
        PORT = 8080\n\
        HOST=\n\
        A='$PORT'\n\
        B=${PORT}1\n\
        RUST_LOG=debug ";
    let mut report = Report::default();
    let vars = parse(text, &mut report);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let expected = [
        ("AUTH0_DOMAIN", "tenant.eu.auth0.com"),
        ("AUTH0_AUDIENCE", "https://x"),
        ("CLIENT_ORIGIN_URL", "http://localhost:4040, http://a"),
        ("PORT", "8080"),
        ("HOST", ""),
        ("A", "$PORT"),
        ("B", "80801"),
        ("RUST_LOG", "debug"),
    ];
    let vars: Vec<_> = vars.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(vars, expected);
}

#[test]
fn a_malformed_dotenv_is_reported_by_line_without_its_secrets() {
    let long = format!("#{}\nX", "x".repeat(20_000));
    // Contents, and the lines to be named.
    let cases: [(&str, &[&str]); 9] = [
        (
            "# one\n\nAUTH0_AUDIENCE=a secret\nPORT=1",
            &["line 3 (AUTH0_AUDIENCE) is"],
        ),
        ("PORT=1\nsecret", &["line 2 is"]),
        (
            "X=1\n1X=secret\n\nY Z=secret\nZ=1\n",
            &["line 2 is", "line 4 is"],
        ),
        ("X=1\nPORT=\"secret\nZ=1\n\n\n", &["line 2 (PORT) is"]),
        ("X=1\nPORT='secret\nZ=1", &["line 2 (PORT) is"]),
        (
            "X='a\nb\nc'\nexport PORT='secret\nb' c\nZ=1",
            &["line 4 (PORT) is"],
        ),
        ("X=${secret", &["line 1 is"]),
        ("X=\\secret\n", &["line 1 is"]),
        (&long, &["line 2 is"]),
    ];
    for (text, expected) in cases {
        let mut report = Report::default();
        parse(text, &mut report);
        assert_eq!(
            report.problems.len(),
            expected.len(),
            "{:?}",
            report.problems
        );
        for (problem, expected) in report.problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{text:?} gives {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
