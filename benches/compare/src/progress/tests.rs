use super::*;

fn terminal(columns: Option<usize>, term: Option<&str>, no_colour: Option<&str>) -> Terminal {
    Terminal::with(columns, term.map(OsStr::new), no_colour.map(OsStr::new))
}

/// What a run of one round of two measurements writes.
fn written(terminal: Terminal) -> String {
    let mut out = Vec::new();
    let mut progress = Progress::new(&mut out, terminal);
    progress.prepare("checking axum");
    progress.start(2, 4);
    for (name, others) in [("64 connections, warm, postern", 0.0), ("axum", 0.25)] {
        progress.begin(name);
        progress.end(name, 1, 1234.5, others);
    }
    drop(progress);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_terminal_is_told_what_is_under_way() {
    let text = written(terminal(Some(80), Some("xterm"), None));
    let begun = "[----------------] 1 of 2, 0:00 passed, 0:11 left: 64 connections, warm, postern";
    let cut = &begun[..79];
    assert!(text.contains(&format!("{cut}\r{:79}\r", "")), "{text:?}");
    assert!(text.contains("[########--------] 2 of 2, "), "{text:?}");
    let faint = "\x1b[2m   1 of 2, 0:00 passed, 0:00 left, round 1\x1b[m  \x1b[1m   1234/s\x1b[m  ";
    assert!(text.contains(faint), "{text:?}");
    let warning = "axum  \x1b[33m(others had 25 % of the CPU time)\x1b[m\n";
    assert!(text.ends_with(warning), "{text:?}");
}

#[test]
fn what_is_no_terminal_gets_lines() {
    let lines = "checking axum ...\n   \
        1 of 2, 0:00 passed, 0:00 left, round 1     1234/s  64 connections, warm, postern\n   \
        2 of 2, 0:00 passed, 0:00 left, round 1     1234/s  axum  \
        (others had 25 % of the CPU time)\n";
    assert_eq!(written(terminal(None, Some("xterm"), None)), lines);
    // Nor does a terminal that can do no more.
    assert_eq!(written(terminal(Some(80), Some("dumb"), None)), lines);
}

#[test]
fn no_colour_is_without_any_escape_sequence() {
    let text = written(terminal(Some(80), Some("xterm"), Some("1")));
    assert!(text.contains("[########--------] 2 of 2, ") && !text.contains('\x1b'));
    assert!(terminal(Some(80), None, Some("")).has_colours);
}

#[test]
fn the_rest_is_estimated_from_what_is_done() {
    let mut progress = Progress::new(Vec::new(), terminal(None, None, None));
    progress.start(180, 4);
    let left = |progress: &Progress<_>, passed| progress.times(Duration::from_secs(passed));
    assert_eq!(left(&progress, 0), "0:00 passed, 16:30 left");
    progress.done = 60;
    assert_eq!(left(&progress, 400), "6:40 passed, 13:20 left");
    progress.done = 180;
    assert_eq!(left(&progress, 4000), "66:40 passed, 0:00 left");
}

#[test]
fn a_terminal_that_tells_no_width_has_the_usual_one() {
    assert_eq!(terminal(Some(0), None, None).columns, Some(80));
    let mut narrow = Progress::new(Vec::new(), terminal(Some(20), None, None));
    narrow.prepare("checking tiny_http over TLS");
    assert_eq!(narrow.out, b"checking tiny_http ");
}
