//! Compares postern with the alternatives of its users; `usage.txt` says how. Started by `run`,
//! which also sees to it that no process is left behind.

mod choice;
mod figures;
mod handshakes;
mod load;
mod machine;
mod options;
mod pictures;
mod plan;
mod processes;
mod progress;
mod report;
mod servers;
// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../../tests/support/mod.rs"]
mod support;
mod tokens;

use std::fs;
use std::io::{Stderr, stderr};
use std::path::Path;
use std::process::{ExitCode, Output};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use figures::Figures;
use machine::Machine;
use options::Options;
use plan::{Condition, Load, Logs, Measurement, Server};
use progress::Terminal;
use servers::{Context, Running};

/// Errors are for people.
type Result<T> = std::result::Result<T, String>;

/// How far the run is.
type Progress = progress::Progress<Stderr>;

/// What one round found out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// CPU seconds of the server per 1,000 requests.
    #[serde(rename = "cpu_seconds_per_1000")]
    cpu: f64,
    /// The same of the clients.
    #[serde(rename = "clients_cpu_seconds_per_1000")]
    load_cpu: f64,
    /// Resident memory in bytes, under load.
    #[serde(rename = "resident_bytes")]
    resident: f64,
    /// The length of an answer; nothing for handshakes.
    #[serde(rename = "answer_bytes")]
    bytes: f64,
    /// The part of the machine's CPU time that neither the server nor the clients had.
    #[serde(rename = "cpu_part_of_others")]
    others: f64,
}

fn main() -> ExitCode {
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let name = Terminal::here().paint(progress::ERROR, "compare:");
            eprintln!("{name} {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<()> {
    let options = Options::parse()?;
    if let Some(folder) = &options.svg {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    if let (Some(file), Some(folder)) = (&options.from, &options.svg) {
        return draw(&Figures::read(file)?, folder);
    }
    if let Some(file) = &options.json {
        figures::try_write(file)?;
    }
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let base = this
        .ancestors()
        .nth(2)
        .ok_or("not in target/compare/release")?;
    let mut progress = Progress::new(stderr(), Terminal::here());
    progress.prepare("signing tokens");
    let context = Context::new(options, base.to_owned())?;
    let round = plan::round(&context.options);
    let machine = Machine::here()?;
    let described = machine::describe(&context, &machine)?;
    progress.clear();
    print!("{described}");
    check_servers(&context, &round, &mut progress)?;
    check_handshakes(&context, &round, &mut progress)?;
    let samples = measure(&context, &machine, &round, &mut progress)?;
    progress.clear();
    print!("{}", report::report(&context, &round, &samples)?);
    match &context.options.svg {
        Some(folder) => {
            let figures = Figures::new(&context.options, &machine, &round, &samples);
            draw(&figures, folder)
        }
        None => Ok(()),
    }
}

fn draw(figures: &Figures, folder: &Path) -> Result<()> {
    for name in pictures::draw(figures, folder)? {
        eprintln!("{name} is not drawn: nothing that it shows was measured");
    }
    Ok(())
}

/// Starts each server once, with and without TLS, and looks at its answers.
fn check_servers(context: &Context, round: &[Measurement], progress: &mut Progress) -> Result<()> {
    let mut servers: Vec<(bool, Server)> = Vec::new();
    for measurement in round {
        let server = (measurement.condition.tls, measurement.server);
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    let mut references = [None, None];
    for (at, &(tls, server)) in servers.iter().enumerate() {
        let condition = Condition {
            tls,
            ..Condition::with(1)
        };
        let name = server.name(&context.options);
        let name = format!("{name}{}", if tls { " over TLS" } else { "" });
        let number = at + 1;
        progress.prepare(&format!("checking {name}, {number} of {}", servers.len()));
        let reference = &mut references[usize::from(tls)];
        let result = Running::start(context, server, condition).and_then(|running| {
            let result = running.check(server, &context.tokens, reference);
            result.map_err(|error| running.with_log(error))
        });
        result.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Has each server log its handshakes, and counts them.
fn check_handshakes(
    context: &Context,
    round: &[Measurement],
    progress: &mut Progress,
) -> Result<()> {
    let loads = round.iter().filter(|m| m.load.is_handshakes());
    for &Measurement {
        condition,
        load,
        server,
    } in loads
    {
        let name = format!("{}, {}", load.name(), server.name(&context.options));
        let condition = Condition {
            logs: Logs::Handshakes,
            ..condition
        };
        progress.prepare(&format!("counting {name}"));
        let result = Running::start(context, server, condition).and_then(|running| {
            let result = handshakes::check(&running, condition, load);
            result.map_err(|error| running.with_log(error))
        });
        let counts = result.map_err(|error| format!("{name}: {error}"))?;
        progress.line(&format!("checked {name}: the server counted {counts}"));
    }
    Ok(())
}

/// The samples of each measurement of `round`. After each round they are kept, if that is asked
/// for.
fn measure(
    context: &Context,
    machine: &Machine,
    round: &[Measurement],
    progress: &mut Progress,
) -> Result<Vec<Vec<Sample>>> {
    let options = &context.options;
    let mut samples = vec![Vec::new(); round.len()];
    progress.start(options.rounds * round.len(), options.seconds);
    for number in 1..=options.rounds {
        for at in plan::order(round, number - 1) {
            let measurement = &round[at];
            let name = measurement.name(options);
            progress.begin(&name);
            let sample = sample(context, measurement);
            let sample = sample.map_err(|error| format!("{name}: {error}"))?;
            progress.end(&name, number, sample.per_second, sample.others);
            samples[at].push(sample);
        }
        if let Some(file) = &options.json {
            Figures::new(options, machine, round, &samples).write(file)?;
        }
    }
    Ok(samples)
}

fn sample(context: &Context, measurement: &Measurement) -> Result<Sample> {
    let running = Running::start(context, measurement.server, measurement.condition)?;
    sample_from(context, measurement, &running).map_err(|error| running.with_log(error))
}

fn sample_from(
    context: &Context,
    &Measurement {
        condition, load, ..
    }: &Measurement,
    running: &Running,
) -> Result<Sample> {
    let make = |load: Load, seconds, meanwhile: &mut dyn FnMut()| {
        if load.is_handshakes() {
            return handshakes::make(condition, running.addr(), load, seconds, meanwhile);
        }
        let tokens = context.tokens.file(load);
        let target = (running.addr(), servers::path(load));
        load::make(condition, target, tokens.as_deref(), seconds, meanwhile)
    };
    if load == Load::Many {
        make(Load::Cold, 1, &mut || ())?;
    }
    make(load, 1, &mut || ())?;

    let bytes = match load.is_handshakes() {
        true => None,
        false => Some(running.answer_bytes(load, condition.close, &context.tokens)?),
    };
    let seconds = context.options.seconds;
    let mut resident = 0;
    let machine = processes::machine_seconds();
    let before = processes::cpu_seconds(running.pid());
    let (summary, load_cpu) = make(load, seconds, &mut || {
        thread::sleep(Duration::from_secs(seconds) - Duration::from_millis(250));
        resident = processes::resident_bytes(running.pid());
    })?;
    let cpu = processes::cpu_seconds(running.pid()) - before;
    let machine_now = processes::machine_seconds();
    let others = machine_now.used - machine.used - cpu - load_cpu;

    let requests = summary.answers as f64;
    if let Some(bytes) = bytes {
        // The last answers may have been cut off by the end of the load.
        let length = summary.bytes as f64 / requests;
        if (length / bytes as f64 - 1.0).abs() > 0.02 {
            return Err(format!("answers have {length:.1} bytes each, not {bytes}"));
        }
    }
    Ok(Sample {
        per_second: requests / summary.seconds,
        p50_ms: summary.p50_ms,
        p99_ms: summary.p99_ms,
        cpu: 1e3 * cpu / requests,
        load_cpu: 1e3 * load_cpu / requests,
        resident: resident as f64,
        bytes: bytes.unwrap_or_default() as f64,
        others: (others / (machine_now.all - machine.all)).max(0.0),
    })
}

/// What a program that failed left behind.
fn said_by(program: &str, output: &Output) -> String {
    format!(
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
