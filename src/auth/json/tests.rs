use super::*;

#[derive(Debug, Deserialize)]
struct Sample<'a> {
    #[serde(borrow, default)]
    a: Member<'a>,
}

fn read(text: &str) -> Result<Member<'_>, String> {
    object::<Sample<'_>>(text.as_bytes()).map(|sample| sample.a)
}

#[test]
fn every_type() {
    let strings = |texts: &[&str]| Member::Strings(texts.iter().copied().collect());
    let cases = [
        (r"{}", Member::Absent),
        (r#"{"b": 1}"#, Member::Absent),
        (r#"{"a": "x"}"#, Member::String("x".into())),
        (r#"{"a": "\u0078\n"}"#, Member::String("x\n".into())),
        (r#"{"\u0061": "x"}"#, Member::String("x".into())),
        (r#"{"a": 5}"#, Member::Number(5.0)),
        (r#"{"a": -5}"#, Member::Number(-5.0)),
        (r#"{"a": 5.5}"#, Member::Number(5.5)),
        (r#"{"a": []}"#, strings(&[])),
        (r#"{"a": ["x", "y"]}"#, strings(&["x", "y"])),
        (r#"{"a": ["x", 1]}"#, Member::Other),
        (r#"{"a": [["x"]]}"#, Member::Other),
        (r#"{"a": null}"#, Member::Other),
        (r#"{"a": true}"#, Member::Other),
        (r#"{"a": {"x": [1, {"y": 2}]}}"#, Member::Other),
        ("\r\n\t {\"a\":1}\n ", Member::Number(1.0)),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_not_one_object() {
    for text in [
        "",
        "[]",
        r#"["x"]"#,
        "null",
        "5",
        r#"{"a": 1"#,
        r#"{"a": 1} {}"#,
        r#"{"a": 1},"#,
        r#"{"a": 1, "a": 1}"#,
        r#"{"a": 1, "\u0061": 2}"#,
        r#"{"a": 1,}"#,
        "{'a': 1}",
        r#"{"a": 1e999}"#,
        "\u{feff}{}",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(object::<Sample<'_>>(b"{\"b\": \"\xff\"}").is_err());
}

#[test]
fn nesting_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let small_stack = std::thread::Builder::new().stack_size(128 * 1024);
    let read_deep = move || {
        let skipped = format!(r#"{{"b": {deep}, "a": 1}}"#);
        assert_eq!(read(&skipped), Ok(Member::Number(1.0)));
        let member = format!(r#"{{"a": {deep}}}"#);
        assert_eq!(read(&member), Ok(Member::Other));
    };
    small_stack.spawn(read_deep).unwrap().join().unwrap();
}
