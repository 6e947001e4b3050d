//! What was measured, beside what is asked for.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// A table that is printed as it grows.
pub struct Table {
    scenario: &'static str,
    missed: Vec<String>,
}

impl Table {
    /// Prints how busy the machine is already, and the head.
    pub fn begin() -> Table {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        println!("\nload of the machine before the start, in the last minute: {load}");
        println!("\n| scenario | what | measured | asked | |\n|---|---|--:|--:|---|");
        Table {
            scenario: "",
            missed: Vec::new(),
        }
    }

    /// The rows that follow are of this scenario.
    pub fn scenario(&mut self, name: &'static str) {
        self.scenario = name;
    }

    /// A number that must not be above `bound`.
    pub fn at_most(&mut self, what: &str, found: f64, bound: f64, unit: &str) {
        let asked = format!("<= {}", number(bound, unit));
        self.judge(what, &number(found, unit), &asked, found <= bound);
    }

    /// A number that must not be below `bound`.
    pub fn at_least(&mut self, what: &str, found: f64, bound: f64, unit: &str) {
        let asked = format!(">= {}", number(bound, unit));
        self.judge(what, &number(found, unit), &asked, found >= bound);
    }

    /// A time that must not be above `bound`; none is as bad as one without end.
    pub fn within(&mut self, what: &str, found: Option<Duration>, bound: Duration) {
        let asked = format!("<= {}", time(bound));
        let is_met = found.is_some_and(|found| found <= bound);
        self.judge(what, &found.map_or("none".into(), time), &asked, is_met);
    }

    /// Something that must have happened to all.
    pub fn all(&mut self, what: &str, found: usize, all: usize) {
        self.judge(what, &found.to_string(), &all.to_string(), found == all);
    }

    /// Something that must not have happened.
    pub fn none(&mut self, what: &str, found: u64) {
        self.judge(what, &found.to_string(), "0", found == 0);
    }

    /// Text that must be the same.
    pub fn is(&mut self, what: &str, found: &str, asked: &str) {
        self.judge(what, found, asked, found == asked);
    }

    /// Something worth knowing, of which nothing is asked.
    pub fn tell(&self, what: &str, found: &str) {
        self.row(what, found, "", "");
    }

    /// The scenario has panicked.
    pub fn broken(&mut self) {
        self.judge("the scenario ends", "panicked", "without a panic", false);
    }

    /// Says what was missed. Success when nothing was.
    pub fn end(self) -> ExitCode {
        println!();
        for missed in &self.missed {
            eprintln!("MISSED: {missed}");
        }
        ExitCode::from(u8::from(!self.missed.is_empty()))
    }

    fn judge(&mut self, what: &str, found: &str, asked: &str, is_met: bool) {
        let verdict = if is_met { "met" } else { "**missed**" };
        self.row(what, found, asked, verdict);
        if !is_met {
            let scenario = self.scenario;
            self.missed
                .push(format!("{scenario}: {what}: {found}, asked: {asked}"));
        }
    }

    fn row(&self, what: &str, found: &str, asked: &str, verdict: &str) {
        println!(
            "| {} | {what} | {found} | {asked} | {verdict} |",
            self.scenario
        );
    }
}

/// Counts have no decimals, ratios and measures have two.
fn number(value: f64, unit: &str) -> String {
    let space = if unit.is_empty() { "" } else { " " };
    match value.fract() == 0.0 {
        true => format!("{value:.0}{space}{unit}"),
        false => format!("{value:.2}{space}{unit}"),
    }
}

fn time(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
