//! What is wrong with the settings, found in one go.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::escape::escape_into;

use super::settings::{TIMEOUT_RANGE, Variable};
use super::values::seconds;

/// All that is wrong with the settings; one line each when displayed.
#[derive(Debug)]
pub struct ConfigError {
    pub(super) problems: Vec<String>,
    pub(super) tenant_missing: bool,
}

impl ConfigError {
    /// Whether `AUTH0_DOMAIN` or `AUTH0_AUDIENCE` is not set at all, as on a first try.
    pub fn tenant_missing(&self) -> bool {
        self.tenant_missing
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl Error for ConfigError {}

/// How much of a wrong value a report shows, in characters.
const MAX_SHOWN: usize = 100;

/// The problems found so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) problems: Vec<String>,
    /// What could not be read of `.env` and the environment: a variable named in there is not
    /// reported as missing, too.
    pub(super) unread: String,
    pub(super) tenant_missing: bool,
    /// The name of each variable as it is spelled, by its main name.
    pub(super) spelled: BTreeMap<&'static str, &'static str>,
}

impl Report {
    /// The checked value of a variable that must be set.
    pub(super) fn required<T>(
        &mut self,
        variable: Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(value) = value else {
            if !self.unread.contains(variable.name) {
                self.tenant_missing = true;
                let Variable { name, about, .. } = variable;
                self.problems
                    .push(format!("{name} is not set: write the {about}"));
            }
            return None;
        };
        self.checked(variable, &value, check)
    }

    /// The checked value of a variable, or the value its default has.
    pub(super) fn defaulted<T>(
        &mut self,
        variable: Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = value.as_deref().unwrap_or(variable.default);
        self.checked(variable, value, check)
    }

    pub(super) fn timeout(
        &mut self,
        variable: Variable,
        value: Option<String>,
    ) -> Option<Duration> {
        self.defaulted(variable, value, |value| seconds(value, &TIMEOUT_RANGE))
    }

    /// The checked value of a variable, or nothing when it is not set.
    pub(super) fn optional<T: Default>(
        &mut self,
        variable: Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match value {
            Some(value) => self.checked(variable, &value, check),
            None => Some(T::default()),
        }
    }

    fn checked<T>(
        &mut self,
        variable: Variable,
        value: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match check(value) {
            Ok(checked) => Some(checked),
            Err(advice) => {
                let name = self.spelled.get(variable.name).unwrap_or(&variable.name);
                let value = (variable.show)(value);
                self.problems
                    .push(format!("{name} is \"{value}\": {advice}"));
                None
            }
        }
    }

    pub(super) fn not_utf8(&mut self, variable: Variable, name: &str, lossy: &str) {
        self.unread.push_str(name);
        let value = (variable.show)(lossy);
        self.problems.push(format!(
            "{name} is \"{value}\", which is not UTF-8: write it in UTF-8"
        ));
    }
}

/// What a report shows of a value: one line, and not too much of it.
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
