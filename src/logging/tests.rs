use super::*;

#[test]
fn journal_stream_is_read() {
    assert_eq!(device_and_inode("9:12345"), Some((9, 12345)));
    for wrong in ["", "9", "9:", ":1", "a:b", "9:1:2"] {
        assert_eq!(device_and_inode(wrong), None, "{wrong}");
    }
}

fn line(form: Form, level: Level, message: &str) -> String {
    let mut line = String::new();
    form.print(
        &Record::builder()
            .level(level)
            .target("postern::x")
            .args(format_args!("{message}"))
            .build(),
        &mut line,
    );
    line
}

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    for (level, begin) in [
        (Level::Error, "<3> ERROR"),
        (Level::Warn, "<4> WARN "),
        (Level::Info, "<6> INFO "),
        (Level::Debug, "<7> DEBUG"),
        (Level::Trace, "<7> TRACE"),
    ] {
        let expected = format!("{begin} [postern::x] a\\nb\n");
        assert_eq!(line(Form::Journal, level, "a\nb"), expected);
    }
}

#[test]
fn other_lines_begin_with_the_time() {
    let line = line(Form::Timestamp, Level::Info, "a message");
    let (time, rest) = line.split_at("2026-11-23T20:29:27.000Z".len());
    assert_eq!(rest, " INFO  [postern::x] a message\n");
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
    let at = |seconds| Timestamp(OffsetDateTime::from_unix_timestamp(seconds).unwrap());
    assert_eq!(at(0).to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(1_795_465_767).to_string(), "2026-11-23T20:29:27.000Z");
}

#[test]
fn a_message_has_its_greatest_length_whatever_stands_before_it() {
    let long = "x".repeat(3 * MAX_MESSAGE);
    for form in [Form::Journal, Form::Timestamp] {
        let line = line(form, Level::Info, &long);
        let (_, message) = line.split_once("] ").unwrap();
        assert_eq!(message.trim_end().len(), MAX_MESSAGE);
        assert!(line.len() < MAX_WRITE);
    }
}
