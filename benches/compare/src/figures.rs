//! The figures of a run, and the file they are kept in: so that pictures can be drawn anew without
//! measuring anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::options::Options;
use crate::plan::{Condition, Load, Measurement, Server};
use crate::{Result, Sample};

/// Percent of the CPU time that others may have.
pub const QUIET: f64 = 5.0;
pub const MIB: f64 = 1024.0 * 1024.0;

/// What a run has found out so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub machine: Machine,
    /// How many rounds were planned.
    pub rounds: usize,
    /// How long each measurement takes.
    pub seconds: u64,
    pub measured: Vec<Measured>,
}

/// A measurement with the samples of all rounds that are done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The server's name, for people.
    pub name: String,
    pub server: Server,
    pub condition: Condition,
    pub load: Load,
    /// Never empty.
    pub samples: Vec<Sample>,
}

/// A median with its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub lowest: f64,
    pub median: f64,
    pub highest: f64,
}

impl Figures {
    pub fn new(
        options: &Options,
        machine: &Machine,
        round: &[Measurement],
        samples: &[Vec<Sample>],
    ) -> Figures {
        let all = round.iter().zip(samples);
        let done = all.filter(|(_, samples)| !samples.is_empty());
        let measured = done.map(|(&measurement, samples)| Measured {
            name: measurement.server.name(options),
            server: measurement.server,
            condition: measurement.condition,
            load: measurement.load,
            samples: samples.clone(),
        });
        Figures {
            machine: machine.clone(),
            rounds: options.rounds,
            seconds: options.seconds,
            measured: measured.collect(),
        }
    }

    /// Reads those that [`Figures::write`] has written.
    pub fn read(file: &Path) -> Result<Figures> {
        let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| fault(&error))?;
        let figures: Figures = serde_json::from_str(&text).map_err(|error| fault(&error))?;
        let is_empty = |one: &Measured| one.samples.is_empty();
        if figures.measured.is_empty() || figures.measured.iter().any(is_empty) {
            return Err(fault(&"there are no figures, or a measurement without any"));
        }
        let mut samples = figures.measured.iter().flat_map(|one| &one.samples);
        if samples.any(|sample| {
            [sample.per_second, sample.resident]
                .iter()
                .any(|&n| n < 0.0)
        }) {
            return Err(fault(&"a figure is below zero"));
        }
        Ok(figures)
    }

    /// Writes them, a measurement a line. A file that is there already is replaced at once, so that
    /// an interruption loses neither.
    pub fn write(&self, file: &Path) -> Result<()> {
        let partial = partial(file);
        fs::write(&partial, self.text())
            .and_then(|()| fs::rename(&partial, file))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    pub fn text(&self) -> String {
        let measured: Vec<String> = self.measured.iter().map(json).collect();
        format!(
            "{{\"machine\":{},\n\"rounds\":{},\"seconds\":{},\n\"measured\":[\n{}\n]}}\n",
            json(&self.machine),
            self.rounds,
            self.seconds,
            measured.join(",\n")
        )
    }

    /// The percentage of the CPU time that others had, in the median of all samples.
    pub fn others(&self) -> f64 {
        let samples = self.measured.iter().flat_map(|measured| &measured.samples);
        median(samples.map(|sample| 100.0 * sample.others))
    }
}

impl Measured {
    /// A field of its samples.
    pub fn spread(&self, field: fn(&Sample) -> f64) -> Spread {
        let values = self.samples.iter().map(field);
        Spread {
            lowest: values.clone().fold(f64::INFINITY, f64::min),
            median: median(values.clone()),
            highest: values.fold(0.0, f64::max),
        }
    }
}

/// Sees to it that the file can be written, before anything is measured for it.
pub fn try_write(file: &Path) -> Result<()> {
    let partial = partial(file);
    fs::write(&partial, "")
        .and_then(|()| fs::remove_file(&partial))
        .map_err(|error| format!("{}: {error}", partial.display()))
}

fn partial(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".partial");
    path.into()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("no map in it has keys other than text")
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
