//! What `postern check` and `postern explain` print on a terminal: the same words as elsewhere,
//! with colours, and what is waited for.

use std::fs;

use crate::support::TempDir;
use crate::support::postern::{Builder, Postern, binary};
use crate::support::tenant::{Behaviour, Tenant};
use crate::support::token::Token;

/// Runs a shell command, in which `$POSTERN` is the binary, on a terminal of its own. All that the
/// terminal got.
fn on_a_terminal(builder: Builder, command: &str) -> String {
    let script = "exec script -qec \"$0\" /dev/null";
    let ended = builder
        .env("POSTERN", binary().display().to_string())
        .prefix(&["sh", "-c", script, command])
        .run(&[], b"");
    assert_eq!(ended.stderr, "");
    ended.stdout
}

/// What a terminal shows in the end: text after a carriage return stands over what was there.
fn screen(text: &str) -> String {
    let mut screen = String::new();
    for line in text.split_terminator("\r\n") {
        let mut columns: Vec<char> = Vec::new();
        for part in line.split('\r') {
            let part: Vec<char> = part.chars().collect();
            let rest = columns.split_off(part.len().min(columns.len()));
            columns = [part, rest].concat();
        }
        screen.push_str(columns.into_iter().collect::<String>().trim_end());
        screen.push('\n');
    }
    screen
}

/// This text without colours.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (colour, rest) = part.split_once('m').expect("a colour ends with m");
        let is_colour = |c: char| c.is_ascii_digit() || c == ';';
        assert!(colour.chars().all(is_colour), "{text:?}");
        plain.push_str(rest);
    }
    plain
}

#[test]
fn a_check_has_colours_on_a_terminal() {
    let tenant = Tenant::start();
    for (behaviour, key_set) in [
        (Behaviour::Keys, "\x1b[32mok       \x1b[mkey set: "),
        (Behaviour::Status(500), "\x1b[1;31mFAILED   \x1b[mkey set: "),
    ] {
        tenant.answer(behaviour);
        let coloured = Postern::builder(&tenant).env("NO_COLOR", "");
        let coloured = on_a_terminal(coloured, "$POSTERN check");
        assert!(coloured.contains(key_set), "{coloured:?}");
        let (_, elsewhere) = Postern::builder(&tenant).run(&["check"], b"").printed();
        assert_eq!(screen(&without_colours(&coloured)), elsewhere);
    }
}

#[test]
fn an_explanation_has_colours_on_a_terminal() {
    let tenant = Tenant::start();
    let folder = TempDir::new();
    let file = folder.path().join("token");
    let explained = |token: &str, options: &str| {
        fs::write(&file, token).unwrap();
        let command = format!("$POSTERN explain {options} < '{}'", file.display());
        on_a_terminal(Postern::builder(&tenant), &command)
    };
    let token = Token::user(&tenant).sign();
    let good = explained(&token, "");
    assert!(
        good.contains("\x1b[32mok       \x1b[msignature"),
        "{good:?}"
    );
    assert!(good.ends_with("\r\n\x1b[32maccepted\x1b[m\r\n"), "{good:?}");
    let unknown = explained(&token, "--offline");
    assert!(unknown.contains("\x1b[33mnot known\x1b[m: "), "{unknown:?}");
    assert!(unknown.contains("\x1b[2mskipped  \x1b[m"), "{unknown:?}");
    let bad = explained(&Token::user(&tenant).claim("iss", "x".into()).sign(), "");
    assert!(bad.contains("\x1b[1;31mREFUSED  \x1b[miss: "), "{bad:?}");
    assert!(bad.contains("\r\n\x1b[1;31mrefused\x1b[m: "), "{bad:?}");
    // Nothing of a token gets to a terminal as a control character.
    let bad = Token::user(&tenant).claim("iss", "\x1b[2J\r\n".into());
    let bad = explained(&bad.sign(), "");
    assert!(without_colours(&bad).contains(r"\x1b[2J\r\n"), "{bad:?}");
}

#[test]
fn no_colour_is_without_any_escape_sequence() {
    let tenant = Tenant::start();
    let token = Token::user(&tenant).sign();
    let folder = TempDir::new();
    let file = folder.path().join("token");
    fs::write(&file, token).unwrap();
    let builder = || Postern::builder(&tenant).env("NO_COLOR", "1");
    let command = format!("$POSTERN explain < '{}'", file.display());
    let explained = on_a_terminal(builder(), &command);
    assert!(!explained.contains('\x1b'), "{explained:?}");
    assert!(screen(&explained).ends_with("\naccepted\n"), "{explained}");
    let checked = on_a_terminal(builder(), "$POSTERN check");
    assert!(!checked.contains('\x1b'), "{checked:?}");
    let (_, elsewhere) = builder().run(&["check"], b"").printed();
    assert_eq!(screen(&checked), elsewhere);
}

#[test]
fn what_is_waited_for_is_shown_on_a_terminal_until_it_is_over() {
    let tenant = Tenant::start();
    let builder = || Postern::builder(&tenant).env("NO_COLOR", "1");
    let checked = on_a_terminal(builder(), "$POSTERN check");
    let domain = tenant.domain();
    for (number, step) in [
        (4, "name resolution"),
        (5, "connection"),
        (6, "TLS"),
        (7, "key set"),
    ] {
        let wait = format!("{number} of 9   {step}: waiting up to 5 s for {domain} ...");
        let erased = format!("\n{wait}\r{:1$}\rok       {step}: ", "", wait.len());
        assert!(checked.contains(&erased), "{step}: {checked:?}");
        let shown = screen(&checked);
        assert_eq!(shown.lines().nth(number - 1).unwrap().find(step), Some(9));
    }
    // Only where the waits are seen: the lines go to a file here.
    let folder = TempDir::new();
    let file = folder.path().join("lines");
    let command = format!("$POSTERN check > '{}'", file.display());
    let waits = on_a_terminal(Postern::builder(&tenant), &command);
    let lines = fs::read_to_string(&file).unwrap();
    assert!(
        !lines.contains('\x1b') && !lines.contains('\r'),
        "{lines:?}"
    );
    assert!(lines.starts_with("ok       settings: "), "{lines}");
    assert!(waits.contains("7 of 9   key set: "), "{waits:?}");
    assert_eq!(screen(&waits).trim(), "", "{waits:?}");
    // A long name is cut, so that the line can be overwritten. Nobody resolves it behind a proxy.
    let long = builder()
        .env("AUTH0_DOMAIN", ["a"; 30].join("."))
        .env("HTTPS_PROXY", "http://127.0.0.1:1");
    let checked = on_a_terminal(long, "$POSTERN check");
    let longest = checked
        .split(['\r', '\n'])
        .find(|part| part.ends_with("… ..."));
    assert_eq!(longest.map(str::len), Some(79), "{checked:?}");
}

#[test]
fn a_dumb_terminal_gets_lines_of_text_only() {
    let tenant = Tenant::start();
    let dumb = Postern::builder(&tenant).env("TERM", "dumb");
    let checked = on_a_terminal(dumb, "$POSTERN check");
    let (_, elsewhere) = Postern::builder(&tenant).run(&["check"], b"").printed();
    assert_eq!(checked.replace("\r\n", "\n"), elsewhere);
}
