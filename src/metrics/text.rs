//! The Prometheus text format 0.0.4, in which metrics are printed.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{self, Display, Write as _};

use super::Observed;

/// The `Content-Type` of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families of metrics, printed one after the other.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A family that has begun.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// A value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count, which is printed to its last digit.
    Count(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Float(value)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Count(count) => write!(f, "{count}"),
            Value::Float(f64::INFINITY) => f.write_str("+Inf"),
            Value::Float(f64::NEG_INFINITY) => f.write_str("-Inf"),
            // Rust prints NaN as the format does, and other numbers without an exponent.
            Value::Float(value) => write!(f, "{value}"),
        }
    }
}

impl Exposition {
    /// Begins a family of counters. By convention, its `name` ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Begins a family of gauges.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// A histogram of times in seconds, without labels.
    pub fn histogram(&mut self, name: &'static str, help: &str, observed: &Observed) {
        let mut family = self.family(name, "histogram", help);
        let count = observed.count();
        for (bound, below) in observed.cumulative() {
            let bound = bound.as_secs_f64().to_string();
            family.print("_bucket", &[("le", &bound)], below.into());
        }
        family.print("_bucket", &[("le", "+Inf")], count.into());
        family.print("_sum", &[], observed.sum().as_secs_f64().into());
        family.print("_count", &[], count.into());
    }

    /// What has been printed.
    pub fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        debug_assert!(is_name(name), "{name}");
        let text = &mut self.0;
        // Writing to a string does not fail, here and below.
        let _ = write!(text, "# HELP {name} ");
        escape(text, help, false);
        let _ = write!(text, "\n# TYPE {name} {kind}\n");
        Family { text, name }
    }
}

impl Family<'_> {
    /// A sample without labels.
    pub fn value(mut self, value: impl Into<Value>) {
        self.print("", &[], value.into());
    }

    /// A sample with labels: names and values. No other one of the family may have the same.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) {
        self.print("", labels, value.into());
    }

    fn print(&mut self, suffix: &str, labels: &[(&'static str, &str)], value: Value) {
        let text = &mut *self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        for (at, (name, value)) in labels.iter().enumerate() {
            debug_assert!(is_name(name) && !name.contains(':'), "{name}");
            let _ = write!(text, "{}{name}=\"", if at == 0 { '{' } else { ',' });
            escape(text, value, true);
            text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }
}

/// Appends a help text, or the value of a label, in which quotes are escaped, too.
fn escape(text: &mut String, plain: &str, is_label: bool) {
    for character in plain.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if is_label => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
    name.bytes().all(is_part)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
