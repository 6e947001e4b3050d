//! The command line.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lexopt::prelude::*;

use crate::Result;
use crate::choice::{Other, Set};

/// The options of a run.
#[derive(Debug)]
pub struct Options {
    pub rounds: usize,
    pub seconds: u64,
    pub sets: Vec<Set>,
    pub others: Vec<Other>,
    pub builds: Vec<Build>,
    /// The file that figures are kept in.
    pub json: Option<PathBuf>,
    /// The folder that pictures are drawn into.
    pub svg: Option<PathBuf>,
    /// The file with the figures of another run, to be drawn instead of measuring.
    pub from: Option<PathBuf>,
}

/// A binary of postern.
#[derive(Debug)]
pub struct Build {
    pub name: String,
    pub path: PathBuf,
    /// Whether it has the settings for it, as older builds have not.
    pub speaks_tls: bool,
}

impl Options {
    /// Reads the command line.
    pub fn parse() -> Result<Options> {
        let mut options = Options {
            rounds: 5,
            seconds: 4,
            sets: Set::USUAL.to_vec(),
            others: Other::ALL.to_vec(),
            builds: Vec::new(),
            json: None,
            svg: None,
            from: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next().map_err(said)? {
            match argument {
                Long("quick") => (options.rounds, options.seconds) = (1, 1),
                Long("rounds") => options.rounds = count(&mut parser)? as usize,
                Long("seconds") => options.seconds = count(&mut parser)?,
                Long("set") => options.sets = names(&mut parser, &Set::ALL, Set::name)?,
                Long("server") => options.others = names(&mut parser, &Other::ALL, Other::name)?,
                Long("postern") => options.builds.push(build(&text(&mut parser)?)?),
                Long("json") => options.json = Some(path(&mut parser)?),
                Long("svg") => options.svg = Some(path(&mut parser)?),
                Long("from") => options.from = Some(path(&mut parser)?),
                other => return Err(said(other.unexpected())),
            }
        }
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        if self.from.is_some() {
            return match (&self.svg, &self.json) {
                (Some(_), None) => Ok(()),
                _ => Err("--from goes with --svg, and not with --json".into()),
            };
        }
        let mut names: Vec<&str> = self.builds.iter().map(|build| &*build.name).collect();
        names.sort_unstable();
        if names.is_empty() || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("each --postern needs a name of its own: --postern NAME=PATH".into());
        }
        Ok(())
    }
}

fn said(error: lexopt::Error) -> String {
    format!("{error}; see benches/compare/run --help")
}

fn text(parser: &mut lexopt::Parser) -> Result<String> {
    parser
        .value()
        .and_then(|value| value.string())
        .map_err(said)
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf> {
    Ok(PathBuf::from(parser.value().map_err(said)?))
}

fn count(parser: &mut lexopt::Parser) -> Result<u64> {
    let value: u64 = parser
        .value()
        .and_then(|value| value.parse())
        .map_err(said)?;
    match value {
        1..=1000 => Ok(value),
        _ => Err(format!("{value} is not from 1 to 1000")),
    }
}

fn names<T: Copy>(
    parser: &mut lexopt::Parser,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>> {
    let given = text(parser)?;
    let named = |text: &str| {
        let found = all.iter().copied().find(|item| name(*item) == text);
        found.ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|item| name(*item)).collect();
            format!("{text} is none of {}", known.join(", "))
        })
    };
    given.split(',').map(named).collect()
}

fn build(text: &str) -> Result<Build> {
    let (name, path) = text.split_once('=').unwrap_or(("postern", text));
    let path = fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))?;
    let help = Command::new(&path).arg("--help").output();
    let help = help.map_err(|error| format!("{}: {error}", path.display()))?;
    let speaks_tls = String::from_utf8_lossy(&help.stdout).contains("TLS_CERTIFICATE_FILE");
    if !speaks_tls {
        eprintln!("{name} does not speak TLS: left out where that is measured");
    }
    Ok(Build {
        name: name.to_owned(),
        path,
        speaks_tls,
    })
}
