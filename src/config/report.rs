//! Problems with the settings, collected so that all are reported at once.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use super::variable::Variable;

/// All problems with the settings. Its `Display` is one line for each.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<String>,
    tenant_missing: bool,
}

impl ConfigError {
    /// Whether `AUTH0_DOMAIN` or `AUTH0_AUDIENCE` is not set, as on a first try.
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

/// The problems found so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) problems: Vec<String>,
    /// Text of `.env` and names from the environment that could not be read. A variable named there
    /// is not also reported as missing.
    unread: String,
    tenant_missing: bool,
    /// For each variable that is set, by its main name: the name that was used.
    names: BTreeMap<&'static str, &'static str>,
}

impl Report {
    /// Notes which of its names a variable is set by.
    pub(super) fn named(&mut self, variable: &'static str, name: &'static str) {
        self.names.insert(variable, name);
    }

    /// Notes a problem that is not about one variable.
    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The problems so far, which are then no longer here.
    pub(super) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Notes text that could not be read. Variables named in it are not reported as missing.
    pub(super) fn unread(&mut self, text: &str) {
        self.unread.push_str(text);
        self.unread.push('\n');
    }

    /// Whether a variable may be set in text that could not be read.
    pub(super) fn may_be_unread(&self, variable: &str) -> bool {
        self.unread.contains(variable)
    }

    /// Notes that a variable is set to a value that is not UTF-8.
    pub(super) fn not_utf8(&mut self, variable: &Variable, name: &str, lossy: &str) {
        self.unread(variable.name);
        let value = (variable.show)(lossy);
        self.problem(format!(
            "{name} is \"{value}\", which is not UTF-8: write it in UTF-8"
        ));
    }

    /// The checked value of a variable that must be set.
    pub(super) fn required<T>(
        &mut self,
        variable: &Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(value) = value else {
            if !self.may_be_unread(variable.name) {
                self.tenant_missing = true;
                let Variable { name, about, .. } = variable;
                self.problem(format!("{name} is not set: write the {about}"));
            }
            return None;
        };
        self.checked(variable, &value, check)
    }

    /// The checked value of a variable, or of its default.
    pub(super) fn defaulted<T>(
        &mut self,
        variable: &Variable,
        value: Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = value.as_deref().unwrap_or(variable.default);
        self.checked(variable, value, check)
    }

    /// The checked value of a variable; if it is not set, the `Default` of its type.
    pub(super) fn optional<T: Default>(
        &mut self,
        variable: &Variable,
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
        variable: &Variable,
        value: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match check(value) {
            Ok(checked) => Some(checked),
            Err(advice) => {
                let name = self.names.get(variable.name).unwrap_or(&variable.name);
                let value = (variable.show)(value);
                let problem = format!("{name} is \"{value}\": {advice}");
                self.problem(problem);
                None
            }
        }
    }

    /// `found`, if there is no problem.
    pub(super) fn conclude<T>(self, found: Option<T>) -> Result<T, ConfigError> {
        match found {
            Some(found) if self.problems.is_empty() => Ok(found),
            _ => Err(ConfigError {
                problems: self.problems,
                tenant_missing: self.tenant_missing,
            }),
        }
    }
}
