//! An environment variable, and how its value is shown.

use crate::escape::escape_into;

/// How many characters of a wrong value are shown.
const MAX_SHOWN: usize = 100;

/// An environment variable that is read here.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The value used if it is not set, or in words what happens then.
    pub default: &'static str,
    /// What it means, in a few words.
    pub about: &'static str,
    /// Names that count if this one is not set, the first of them first.
    pub other_names: &'static [&'static str],
    /// How a report shows a value.
    pub(super) show: fn(&str) -> String,
}

impl Variable {
    pub(super) const fn new(
        name: &'static str,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Variable {
            name,
            default,
            about,
            other_names: &[],
            show: shown,
        }
    }

    /// With names that count if this one is not set.
    pub(super) const fn or(self, other_names: &'static [&'static str]) -> Self {
        Variable {
            other_names,
            ..self
        }
    }

    /// With another way to show a value that is wrong.
    pub(super) const fn shown_by(self, show: fn(&str) -> String) -> Self {
        Variable { show, ..self }
    }

    /// All its names, in the order in which they count.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name]
            .into_iter()
            .chain(self.other_names.iter().copied())
    }
}

/// A value as a report shows it: on one line, and cut if it is long.
pub(super) fn shown(value: &str) -> String {
    let end = value.char_indices().nth(MAX_SHOWN);
    let mut out = String::new();
    escape_into(
        &mut out,
        end.map_or(value, |(end, _)| &value[..end]),
        usize::MAX,
    );
    if end.is_some() {
        out.push('…');
    }
    out
}
