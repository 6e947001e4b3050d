use super::*;

fn escape(text: &str, max_bytes: usize) -> String {
    let mut out = String::new();
    escape_into(&mut out, text, max_bytes);
    out
}

#[test]
fn control_characters_are_escaped() {
    let cases = [
        ("", ""),
        (
            "GET /api/messages/public 200",
            "GET /api/messages/public 200",
        ),
        ("a\nb\r\tc\0", r"a\nb\r\tc\0"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x7f", r"\x7f"),
        ("\u{80}\u{85}\u{9b}31m", r"\x80\x85\x9b31m"),
        ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
        (
            "\u{202e}gnp\u{200b}\u{feff}",
            r"\u{202e}gnp\u{200b}\u{feff}",
        ),
        ("Zürich 東京", "Zürich 東京"),
    ];
    for (text, expected) in cases {
        assert_eq!(escape(text, 2000), expected, "{text:?}");
    }
}

#[test]
fn every_character_of_unicode_gives_one_printable_line() {
    for character in '\0'..=char::MAX {
        let escaped = escape(&character.to_string(), 20);
        assert!(!escaped.chars().any(char::is_control), "{character:?}");
    }
}

#[test]
fn long_text_is_cut_between_characters() {
    let cases = [
        ("12345678", 8, "12345678"),
        ("123456789", 8, "12345…"),
        ("üüüü", 8, "üüüü"),
        ("üüüüü", 8, "üü…"),
        // An escape is left out whole.
        ("1234\n\n\n", 8, "1234…"),
        ("\n\n\n\n", 8, r"\n\n\n\n"),
        ("\n\n\n\n\n", 8, r"\n\n…"),
        ("1234", 3, "…"),
        // No room even for the ellipsis.
        ("1234", 2, ""),
        ("1", 0, ""),
        ("", 0, ""),
    ];
    for (text, max_bytes, expected) in cases {
        let escaped = escape(text, max_bytes);
        assert_eq!(escaped, expected, "{text:?} in {max_bytes}");
        assert!(escaped.len() <= max_bytes);
    }
}

#[test]
fn the_limit_counts_what_is_appended() {
    let mut out = String::from("path ");
    escape_into(&mut out, "123456789", 8);
    assert_eq!(out, "path 12345…");
    escape_into(&mut out, "abc", usize::MAX);
    assert_eq!(out, "path 12345…abc");
}

#[test]
fn a_message_written_in_pieces_is_cut_once() {
    let mut out = String::new();
    let mut escaper = Escaper::new(&mut out, 8);
    for piece in ["12345", "67", "89", "and more", "\n"] {
        escaper.write_str(piece).unwrap();
    }
    assert_eq!(out, "12345…");
}
