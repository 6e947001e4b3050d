//! The manual page, held against what it describes: the settings and the exit codes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use postern::config::VARIABLES;
use syn::{Expr, Item, Lit};

use crate::support::TempDir;
use crate::support::postern::binary;

/// The lines of the page that are between two others.
fn between(begin: &str, end: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/postern.8");
    let page = fs::read_to_string(page).unwrap();
    let lines = page.lines().skip_while(|line| !line.starts_with(begin));
    let lines = lines.skip(1).take_while(|line| !line.starts_with(end));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_settings_are_those_of_the_table_in_its_order() {
    let ranges = ranges();
    assert!(ranges.len() > 5, "{ranges:?}");
    let of_table = VARIABLES.iter().map(|variable| {
        let in_words = match (variable.default, ranges.get(variable.name)) {
            ("required", _) => "required".to_owned(),
            (default, None) => format!("default {default}"),
            (default, Some(range)) => format!("{range}, default {default}"),
        };
        format!(".It Ev {} No ({in_words})", variable.name)
    });
    let lines = between(".Sh ENVIRONMENT", ".Ss");
    let described = lines.iter().filter(|line| line.starts_with(".It "));
    assert_eq!(
        described.cloned().collect::<Vec<_>>(),
        of_table.collect::<Vec<_>>(),
        "on the left what docs/postern.8 has, on the right what it should have"
    );
    for name in VARIABLES.iter().flat_map(|variable| variable.other_names) {
        let is_name = |line: &String| line.split(' ').take(2).eq([".Ev", *name]);
        assert!(lines.iter().any(is_name), "{name}");
    }
}

/// The range of each number, as the server tells it if the value is none.
fn ranges() -> BTreeMap<String, String> {
    let folder = TempDir::new();
    let wrong = VARIABLES.iter().map(|variable| (variable.name, "wrong/"));
    let mut command = Command::new(binary());
    command.env_clear().envs(wrong).current_dir(folder.path());
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(78));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    let range = |line: &str| {
        let line = line.strip_prefix("postern: ")?;
        let (name, advice) = line.split_once(" is \"wrong/\": write a whole number from ")?;
        let (range, _) = advice.split_once(',').unwrap_or((advice, ""));
        Some((name.to_owned(), range.to_owned()))
    };
    stderr.lines().filter_map(range).collect()
}

#[test]
fn the_exit_codes_are_those_of_the_source() {
    let mut of_source = BTreeSet::from(["0".to_owned(), "1".to_owned()]);
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    add_exit_codes(&src, &mut of_source);
    assert!(of_source.len() > 2, "{of_source:?}");
    let lines = between(".Sh EXIT STATUS", ".Sh");
    let described = lines.iter().filter_map(|line| line.strip_prefix(".It "));
    assert_eq!(
        described.map(str::to_owned).collect::<BTreeSet<_>>(),
        of_source
    );
}

/// Adds the values of all constants that are called `EXIT_`.
fn add_exit_codes(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_exit_codes(&path, codes);
            continue;
        }
        let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        for item in file.items {
            if let Item::Const(item) = item
                && item.ident.to_string().starts_with("EXIT_")
                && let Expr::Lit(value) = *item.expr
                && let Lit::Int(code) = value.lit
            {
                codes.insert(code.base10_digits().to_owned());
            }
        }
    }
}
