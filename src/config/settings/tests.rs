use super::*;
use crate::config::dotenv;
use crate::config::tests::fault;

#[test]
fn every_entry_is_read_under_its_name() {
    for variable in VARIABLES {
        // A field of another name would leave the default in place.
        let line = fault(variable.name, "\u{7f}");
        assert!(line.starts_with(variable.name), "{line}");
    }
}

#[test]
fn the_example_file_has_every_variable_with_its_default_and_no_other() {
    let example = include_str!("../../../.env.example");
    let set = |line: &'static str| line.trim_start_matches('#').split_once('=');
    let set: BTreeMap<_, _> = example
        .lines()
        .filter_map(set)
        .filter(|(name, _)| !name.contains(' '))
        .collect();
    for variable in VARIABLES {
        let value = set.get(variable.name);
        let value = value.unwrap_or_else(|| panic!("{} is missing", variable.name));
        if variable.default.parse::<u64>().is_ok() {
            assert_eq!(*value, variable.default, "{}", variable.name);
        }
    }
    assert_eq!(set.len(), VARIABLES.len(), "{set:?}");
    let mut report = Report::default();
    dotenv::parse(example, &mut report);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn the_readme_has_every_variable_with_its_default() {
    let readme = include_str!("../../../README.md");
    for variable in VARIABLES {
        let Variable { name, default, .. } = variable;
        let quoted = format!("| `{name}` | `{default}` | ");
        let in_words = format!("| `{name}` | {default} | ");
        let is_row = |line: &str| line.starts_with(&quoted) || line.starts_with(&in_words);
        assert!(readme.lines().any(is_row), "{quoted}");
    }
}

#[test]
fn help_lists_every_variable_in_its_place() {
    let help = help();
    assert_eq!(help.lines().count(), VARIABLES.len());
    for (line, variable) in help.lines().zip(VARIABLES) {
        assert!(line.starts_with(&format!("  {} ", variable.name)), "{line}");
        assert!(line.ends_with(variable.about), "{line}");
    }
}
