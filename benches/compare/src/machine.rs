//! Where the comparison ran, and with what.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use serde::{Deserialize, Serialize};

use crate::choice::Other;
use crate::plan::Server;
use crate::servers::Context;
use crate::{Result, said_by};

/// Where and when the comparison runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Date and time.
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    kernel: String,
    /// Its load before the start, over 1, 5 and 15 minutes.
    load: String,
}

impl Machine {
    pub fn here() -> Result<Machine> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim())
        });
        let load = read("/proc/loadavg")?;
        Ok(Machine {
            date: first_line("date", &["-u", "+%F %H:%M UTC"])?,
            cpu: model.unwrap_or("unknown").to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        })
    }
}

#[cfg(test)]
impl Machine {
    pub fn example() -> Machine {
        let text = |text: &str| text.to_owned();
        Machine {
            date: text("2026-11-24 10:00 UTC"),
            cpu: text("AMD EPYC 7763 64-Core Processor"),
            cores: 2,
            kernel: text("6.1.0-41-amd64"),
            load: text("0.00 0.01 0.05"),
        }
    }
}

/// Date, machine and versions, as Markdown.
pub fn describe(context: &Context, machine: &Machine) -> Result<String> {
    let options = &context.options;
    let mut text = format!(
        "# postern compared\n\n\
         - date: {}\n- CPU: {}, {} cores\n- kernel: Linux {}\n\
         - load of the machine before the start (1, 5, 15 minutes): {}\n\
         - {} rounds of {} s each; medians; the clients run on the same cores\n\n\
         | what | version |\n|---|---|\n",
        machine.date,
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.load,
        options.rounds,
        options.seconds,
    );
    for (what, version) in versions(context)? {
        let _ = writeln!(text, "| {what} | {version} |");
    }
    Ok(text)
}

fn versions(context: &Context) -> Result<Vec<(String, String)>> {
    let mut versions = Vec::new();
    for build in &context.options.builds {
        versions.push((build.name.clone(), first_line(&build.path, &["--version"])?));
    }
    for &other in &context.options.others {
        let version = match other {
            Other::Axum => crates(&["axum", "hyper", "tokio", "jsonwebtoken", "aws-lc-rs"]),
            Other::TinyHttp => crates(&["tiny_http", "jsonwebtoken", "aws-lc-rs"]),
            Other::Nginx => {
                let lines = printed(context.program(Server::Other(other)), &["-V"])?;
                let openssl = lines.lines().find(|line| line.contains("OpenSSL"));
                let version = lines.lines().next().unwrap_or_default();
                format!("{version}, {}", openssl.unwrap_or("without TLS"))
            }
            Other::Flask => {
                let python = context.installed(Server::Other(other)).join("bin/python");
                format!("{}, {}", first_line(python, &["--version"])?, packages())
            }
        };
        versions.push((other.name().to_owned(), version));
    }
    versions.push(("rustc".to_owned(), first_line("rustc", &["--version"])?));
    let wrk = first_line("wrk", &["-v"])?;
    let wrk = wrk.split_once(" [").map_or(&*wrk, |(version, _)| version);
    versions.push(("wrk".to_owned(), wrk.to_owned()));
    versions.push(("handshakes".to_owned(), crates(&["rustls", "ring"])));
    Ok(versions)
}

/// The versions of these crates in the lock file.
fn crates(names: &[&str]) -> String {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &&str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split('"').next()?))
    };
    let found: Vec<String> = names.iter().filter_map(version).collect();
    found.join(", ")
}

/// The Python packages that are pinned.
fn packages() -> String {
    let lines = include_str!("../servers/requirements.txt").lines();
    let packages = lines.filter(|line| line.contains("=="));
    packages.collect::<Vec<_>>().join(", ").replace("==", " ")
}

/// The first line that a program prints.
fn first_line(program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
    let printed = printed(program, arguments)?;
    Ok(printed.lines().next().unwrap_or_default().to_owned())
}

/// What a program prints. The exit code counts for nothing: wrk's is 1.
fn printed(program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let printed = [&*output.stdout, &*output.stderr].concat();
    match printed.is_empty() {
        true => Err(said_by(&program.display().to_string(), &output)),
        false => Ok(String::from_utf8_lossy(&printed).into_owned()),
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
