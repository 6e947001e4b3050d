//! What docs/monitoring.md says.

use std::collections::BTreeSet;

use crate::support::admin::metrics;
use crate::tools::Watched;

const PAGE: &str = include_str!("../../docs/monitoring.md");

/// The first block of code in this language that has this text.
pub fn block(language: &str, text: &str) -> &'static str {
    let begin = format!("```{language}\n");
    let mut blocks = PAGE.split(begin.as_str()).skip(1);
    let found = blocks.find_map(|rest| {
        let (block, _) = rest.split_once("```\n")?;
        block.contains(text).then_some(block)
    });
    found.unwrap_or_else(|| panic!("docs/monitoring.md has no {language} with {text}"))
}

/// The table has each family that a server prints, and no other.
pub fn families() {
    let watched = Watched::start();
    let metrics = metrics(watched.admin);
    let printed: BTreeSet<_> = metrics.families.iter().map(|(name, _)| &**name).collect();
    let rows = PAGE.lines().filter(|line| {
        let names = ["| `postern_", "| `process_"];
        names.iter().any(|begin| line.starts_with(begin))
    });
    let is_family = |word: &&str| word.starts_with("postern_") || word.starts_with("process_");
    let told: BTreeSet<_> = rows
        .flat_map(|row| row.split('`'))
        .filter(is_family)
        .collect();
    assert_eq!(told, printed);
}
